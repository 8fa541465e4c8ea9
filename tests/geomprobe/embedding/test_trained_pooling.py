"""Trained poolings: they find what was planted, stop in time, repeat exactly, and leave validation rows alone."""

from dataclasses import replace

import numpy as np
import pytest

from geomprobe.common import InputError
from geomprobe.embedding.embed import embed_grid
from geomprobe.embedding.pooled_probes import cuts_a_group, slice_rows
from geomprobe.embedding.store import Store
from geomprobe.embedding.token_states import layers_in_memory
from geomprobe.embedding.trained_pooling import train_poolers, why_untrainable
from geomprobe.encoders.baselines import bag_of_words
from geomprobe.tasks.base import Split, Task, joined_pairs

NOISE = [f"noise{i}" for i in range(60)]
SIGNAL = ["yes", "no"]


def split(name, first, labels, second=None):
    labels = np.asarray(labels)
    ids = tuple(f"{name}/{i}" for i in range(len(first)))
    return Split(name, tuple(first), None if second is None else tuple(second), labels, ids)


def task_of(train, kind="classification"):
    names = ("no", "yes") if kind == "classification" else ()
    return Task("planted", kind, train, train, names, "accuracy")


def by_word(n=600, seed=0, length=8):
    """Texts of noise words with one signal word at a random place, which is the label."""
    rng = np.random.default_rng(seed)
    texts, labels = [], rng.integers(0, 2, n)
    for label in labels:
        words = list(rng.choice(NOISE, length))
        words.insert(rng.integers(0, length + 1), SIGNAL[label])
        texts.append(" ".join(words))
    return split("train", texts, labels)


def by_position(n=600, seed=0, length=8):
    """Texts of signal words alone, the first of which is the label."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (n, length))
    texts = [" ".join(SIGNAL[bit] for bit in row) + f" noise{i % 60} noise{i // 60}" for i, row in enumerate(bits)]
    return split("train", texts, bits[:, 0])


@pytest.fixture(scope="module")
def encoder():
    return bag_of_words([*NOISE, *SIGNAL], 24, seed=1)


def test_attention_finds_the_words_that_tell_the_label(encoder):
    (trained,) = train_poolers(encoder, task_of(by_word()))[0, "attention"]
    assert trained.loss < 0.5 * trained.loss_mean
    assert set(trained.learned["key"][:2]) == set(SIGNAL)
    assert trained.learned["weight"][0] > 3
    assert trained.pooler.trained
    assert (trained.n_train + trained.n_slice, trained.layer) == (600, 0)


def test_weighted_finds_the_position_that_tells_the_label(encoder):
    (trained,) = train_poolers(encoder, task_of(by_position()))[0, "weighted"]
    assert trained.loss < 0.7 * trained.loss_mean
    weights = trained.learned.set_index("key")["weight"]
    assert weights["0"] > 2 * weights.drop("0").max()
    assert trained.pooler.parameter[0] == trained.pooler.parameter.max()


def test_scores_of_pairs(encoder):
    rng = np.random.default_rng(0)
    first, second = by_word(400, 1), by_word(400, 2)
    scores = (first.labels == second.labels) * 4.0 + rng.normal(0, 0.1, 400)
    task = task_of(split("train", first.first, scores, second.first), "regression")
    trained = train_poolers(encoder, task)[0, "attention"][0]
    assert trained.loss < 0.6 * trained.loss_mean
    assert set(trained.learned["key"][:2]) == set(SIGNAL)


def test_where_there_is_nothing_to_find_nothing_is_gained(encoder):
    rows = by_word()
    shuffled = np.random.default_rng(5).permutation(rows.labels)
    for trained in train_poolers(encoder, task_of(split("train", rows.first, shuffled))).values():
        assert np.log(2) - 0.05 < trained[0].loss <= np.log(2) + 1e-6


def test_the_trained_pooler_pools_raw_states_as_in_training(encoder):
    """A probe on vectors pooled by the trained attention separates the classes; on the mean it does not as well."""
    from sklearn.linear_model import LogisticRegression

    poolers = train_poolers(encoder, task_of(by_word()), ["attention"])
    rows, fresh = by_word(), by_word(400, seed=9)
    chosen = {cell: trained[0].pooler for cell, trained in poolers.items()}
    accuracy = {}
    for name in ("mean", "attention"):
        fit, score = (embed_grid(encoder, r.first, [name], poolers=chosen).vectors[0, name] for r in (rows, fresh))
        accuracy[name] = LogisticRegression().fit(fit, rows.labels).score(score, fresh.labels)
    assert accuracy["attention"] > 0.97
    assert accuracy["attention"] >= accuracy["mean"]


def test_seeds_repeat_exactly_and_differ(encoder, tmp_path):
    task, store = task_of(by_word(200)), Store(tmp_path)
    first = train_poolers(encoder, task, seeds=(0, 1), store=store)
    alone = train_poolers(encoder, task, seeds=(1,))
    for cell, (zero, one) in first.items():
        assert np.array_equal(one.pooler.parameter, alone[cell][0].pooler.parameter)
        assert not np.array_equal(zero.pooler.parameter, one.pooler.parameter)
        assert (zero.pooler.seed, one.pooler.seed) == (0, 1)
    written = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("vectors.npy")}
    again = train_poolers(encoder, task, seeds=(0, 1), store=store)
    assert written == {file: file.stat().st_mtime_ns for file in written}  # found, not trained
    for cell, trained in first.items():
        for a, b in zip(trained, again[cell], strict=True):
            assert a.pooler.fingerprint == b.pooler.fingerprint
            assert (a.loss, a.epochs, a.n_slice) == (b.loss, b.epochs, b.n_slice)
            assert a.learned.equals(b.learned)


def test_several_layers_of_a_transformer(model_folder):
    from geomprobe.encoders import load_encoder

    rng = np.random.default_rng(0)
    words = ["the", "a", "cat", "dog", "sat", "on", "mat", "big", "small", "red"]
    texts = [" ".join(rng.choice(words, 5)) for _ in range(120)]
    task = task_of(split("train", texts, [int("cat" in text.split()) for text in texts]))
    found = train_poolers(
        load_encoder(model_folder("modernbert")), task, ["mean", "weighted", "attention"], [0, -1]
    )  # fmt: skip
    assert set(found) == {(0, "weighted"), (0, "attention"), (2, "weighted"), (2, "attention")}
    assert all(trained[0].layer == layer for (layer, _), trained in found.items())


def test_the_slice_keeps_rows_that_share_a_text_together():
    rng = np.random.default_rng(0)
    for seed in range(20):
        groups = rng.integers(0, 60, 300)
        chosen = slice_rows(groups, seed)
        assert 20 <= chosen.sum() <= 45
        assert not set(groups[chosen]) & set(groups[~chosen])
        assert not cuts_a_group(groups, chosen)
    one = np.zeros(50, int)
    assert slice_rows(one, 0).sum() == 5
    assert cuts_a_group(one, slice_rows(one, 0))


def chains(n=200, length=4, seed=3):
    """Pairs in chains: the second sentence of a pair is the first of the next; rows in random order."""
    texts = by_word(n * (length + 1) // length, seed).first
    starts = [chain * (length + 1) + i for chain in range(n // length) for i in range(length)]
    pairs = [(texts[i], texts[i + 1]) for i in starts]
    order = np.random.default_rng(seed).permutation(n)
    first, second = zip(*(pairs[i] for i in order), strict=True)
    return split("train", first, np.arange(n) % 2, second), order // length


@pytest.mark.parametrize("pairs", ["separate", "joined"])
def test_pairs_that_share_a_sentence_lie_on_one_side_of_the_slice(encoder, pairs):
    rows, chain = chains()
    task = task_of(rows)
    task = joined_pairs(task) if pairs == "joined" else task
    (data,) = layers_in_memory(encoder, task.train, [0])
    for seed in range(10):
        chosen = slice_rows(data.groups, seed)
        assert chosen.sum() == 20
        assert not set(chain[chosen]) & set(chain[~chosen])
    assert not train_poolers(encoder, task)[0, "attention"][0].cut


@pytest.mark.parametrize("pairs", ["separate", "joined"])
def test_pairs_that_all_hang_together_are_cut_and_it_is_said(encoder, pairs):
    rows, _ = chains(length=200)
    task = joined_pairs(task_of(rows)) if pairs == "joined" else task_of(rows)
    assert train_poolers(encoder, task)[0, "attention"][0].cut


def test_groups_are_part_of_what_a_split_is(encoder):
    rows, chain = chains()
    one = replace(rows, groups=chain)
    assert one.fingerprint != rows.fingerprint != replace(rows, groups=chain[::-1].copy()).fingerprint
    assert one.fingerprint == replace(rows, groups=chain.copy()).fingerprint


def test_what_cannot_be_trained_on(encoder):
    few, rows = by_word(20), by_word(100)
    one = split("train", rows.first, np.zeros(100, np.int64))
    for train, reason in ((None, "no train split"), (few, "fewer than 40"), (one, "one label")):
        task = replace(task_of(rows), train=train)
        assert reason in why_untrainable(task)
        with pytest.raises(InputError, match=reason) as error:
            train_poolers(encoder, task)
        assert "--untrained" in error.value.hint
    assert train_poolers(encoder, task_of(rows), ["mean", "max"]) == {}
