"""Embedding: padding, order, repeats, layers, limits, the store; and that it is what sentence-transformers gives."""

import numpy as np
import pytest
import torch

from geomprobe.common import InputError, UsageError
from geomprobe.embedding.embed import embed, embed_grid
from geomprobe.embedding.layers import resolve_layers
from geomprobe.embedding.pooling import OF_STATES, POOLINGS, Pooler
from geomprobe.embedding.store import Store
from geomprobe.embedding.tokens import BATCH_TOKENS, batches
from geomprobe.encoders import load_encoder

TEXTS = [
    "the cat sat on the mat .",
    "",
    "a dog",
    "the big red bird and the small bird saw a tree !",
    "a dog",
    "Ünïcode 猫 🙂",
]


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert", "gpt2", "llama", "t5", "fnet"])
def test_every_cell_equals_the_text_encoded_alone(model_folder, kind):
    encoder = load_encoder(model_folder(kind))
    grid = embed_grid(encoder, TEXTS, POOLINGS, [0, 1, 2])
    assert len(grid.vectors) == 3 * len(OF_STATES) + 1  # the model's own pooling belongs to the last layer
    assert np.array_equal(grid.vectors[2, "model"], grid.vectors[2, "mean"])
    for row, text in enumerate(TEXTS):
        alone = embed_grid(encoder, [text], POOLINGS, [0, 1, 2])
        for cell, vectors in grid.vectors.items():
            assert vectors.dtype == np.float32
            assert vectors.shape == (len(TEXTS), 16)
            np.testing.assert_allclose(vectors[row], alone.vectors[cell][0], rtol=2e-5, atol=2e-5)


def test_last_pooling_of_a_decoder_is_the_last_tokens_state(model_folder):
    encoder = load_encoder(model_folder("gpt2"))
    vectors = embed(encoder, TEXTS, pooling="last")
    for text, vector in zip(TEXTS, vectors, strict=True):
        states, _ = encoder.states(encoder.tokenize([text])[0])
        np.testing.assert_allclose(vector, states[-1][0, -1].numpy(), rtol=2e-5, atol=2e-5)


def test_repeats_are_encoded_once_and_counts_are_kept(model_folder):
    encoder = load_encoder(model_folder("bert"))
    seen = []
    grid = embed_grid(encoder, [*TEXTS, "cat " * 50], progress=lambda done, total: seen.append((done, total)))
    assert (len(grid.vectors[2, "mean"]), grid.n_truncated) == (7, 1)
    assert np.array_equal(grid.vectors[2, "mean"][2], grid.vectors[2, "mean"][4])
    assert seen[-1] == (6, 6)
    shorter = embed_grid(encoder, TEXTS, max_length=4)
    assert shorter.n_truncated == 3
    assert shorter.n_tokens <= 4 * 5


def test_dropout_is_off_and_runs_repeat(model_folder):
    encoder = load_encoder(model_folder("bert"))
    encoder.model.train()
    first, second = embed(encoder, TEXTS), embed(encoder, TEXTS)
    assert np.array_equal(first, second)
    assert encoder.model.training


def test_a_vector_does_not_depend_on_its_batch(model_folder, monkeypatch):
    encoder = load_encoder(model_folder("modernbert"))
    large = embed_grid(encoder, TEXTS, POOLINGS)
    monkeypatch.setitem(BATCH_TOKENS, "cpu", 8)
    small = embed_grid(encoder, TEXTS[::-1], POOLINGS)
    for cell in large.vectors:
        np.testing.assert_allclose(large.vectors[cell], small.vectors[cell][::-1], rtol=2e-5, atol=2e-5)


def test_batches_hold_every_row_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    for equal in (False, True):
        groups = batches(lengths, 128, equal=equal)
        assert sorted(np.concatenate(groups)) == list(range(500))
        assert all(len(g) * lengths[g].max() <= 128 for g in groups)
        assert not equal or all(len(set(lengths[g])) == 1 for g in groups)
    assert len(batches(np.array([500]), 128)) == 1


def test_layers_by_number(model_folder):
    encoder = load_encoder(model_folder("bert"))
    assert resolve_layers(encoder, [-1, 2, 0, -3]) == [2, 0]
    with pytest.raises(UsageError, match="no layer 3"):
        resolve_layers(encoder, [3])


def test_what_is_refused(model_folder):
    encoder = load_encoder(model_folder("bert"))
    with pytest.raises(InputError, match="no texts"):
        embed(encoder, [])
    with pytest.raises(UsageError, match="one string"):
        embed(encoder, "cat")
    with pytest.raises(InputError, match="Text 1 is float"):
        embed(encoder, ["a", float("nan")])
    with pytest.raises(UsageError, match="max_length"):
        embed(encoder, ["a"], max_length=33)
    with pytest.raises(UsageError, match="Unknown pooling"):
        embed(encoder, ["a"], pooling="men")


def test_badly_decoded_text_is_embedded(model_folder):
    assert np.isfinite(embed(load_encoder(model_folder("bert")), ["cat \udcff \x00 dog"])).all()


def test_the_store_is_reused_and_keyed_by_everything_that_matters(model_folder, tmp_path):
    encoder, store = load_encoder(model_folder("bert")), Store(tmp_path)
    fresh = embed_grid(encoder, TEXTS, ["mean", "attention"], [0, -1], store=store)
    again = embed_grid(load_encoder(model_folder("bert")), TEXTS, ["mean", "attention", "max"], [0, -1], store=store)
    assert (fresh.reused, again.reused) == (0, 4)
    for cell in fresh.vectors:
        assert np.array_equal(fresh.vectors[cell], again.vectors[cell])
    assert embed_grid(encoder, TEXTS, ["attention"], store=store, seed=1).reused == 0
    assert embed_grid(encoder, TEXTS[:-1], ["mean"], store=store).reused == 0
    assert embed_grid(encoder, TEXTS, ["mean"], store=store, max_length=8).reused == 0
    assert embed_grid(load_encoder(model_folder("bert"), dtype="bfloat16"), TEXTS, ["mean"], store=store).reused == 0
    assert embed_grid(load_encoder(model_folder("modernbert")), TEXTS, ["mean"], store=store).reused == 0


def test_given_poolers_replace_the_initial_ones(model_folder):
    encoder = load_encoder(model_folder("bert"))
    first_only = Pooler("weighted", np.array([50, 0], np.float32), True)
    grid = embed_grid(encoder, TEXTS, ["weighted", "cls"], [1, 2], poolers={(2, "weighted"): first_only})
    np.testing.assert_allclose(grid.vectors[2, "weighted"], grid.vectors[2, "cls"], atol=1e-5)
    assert not np.allclose(grid.vectors[1, "weighted"], grid.vectors[1, "cls"], atol=1e-3)


def test_same_vectors_as_sentence_transformers(minilm):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = ["A man is playing a guitar.", "Zwölf Boxkämpfer", "", "word " * 400, "Dogs bark; cats don't!"]
    model = sentence_transformers.SentenceTransformer(str(minilm), device="cpu")
    theirs = model.encode(texts, convert_to_numpy=True)
    ours = embed(load_encoder(minilm), texts)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_half_precision_stays_close(model_folder):
    texts = ["the cat sat .", "a big dog"]
    full = embed(load_encoder(model_folder("bert")), texts)
    half = embed(load_encoder(model_folder("bert"), dtype="bfloat16"), texts)
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 0.1 * np.abs(full).max()


def test_encoders_are_opened_on_the_way(model_folder):
    model = load_encoder(model_folder("bert"))
    assert np.array_equal(embed(str(model_folder("bert")), ["a cat"]), embed(model, ["a cat"]))
    assert torch.is_inference_mode_enabled() is False


def test_padding_left_in_sight_as_the_published_analysis_has_it(model_folder, tmp_path):
    import dataclasses

    encoder = load_encoder(model_folder("modernbert"))
    unmasked = dataclasses.replace(encoder, unmasked_length=20)
    with torch.no_grad():
        ids = encoder.tokenize(["a big dog"])[0][0]
        states = encoder.model(torch.tensor([[*ids, *[0] * (20 - len(ids))]])).last_hidden_state[0, : len(ids)]
    grid = embed_grid(unmasked, ["a big dog", "the cat"], ["mean"], store=Store(tmp_path))
    np.testing.assert_allclose(grid.vectors[2, "mean"][0], states.mean(0), rtol=1e-5, atol=1e-5)
    assert embed_grid(encoder, ["a big dog", "the cat"], ["mean"], store=Store(tmp_path), max_length=20).reused == 0
    assert not np.allclose(grid.vectors[2, "mean"][0], embed(encoder, ["a big dog"])[0], atol=1e-3)


def test_the_name_in_the_package_stays_the_function(model_folder):
    import geomprobe as gp
    import geomprobe.embedding.embed

    assert gp.embed is geomprobe.embedding.embed.embed
    assert callable(gp.embed)


@pytest.mark.slow
def test_sts_benchmark_by_cosine_of_mean_pooling(minilm, data_dir):
    from scipy.stats import spearmanr

    from geomprobe.tasks import load_task

    rows = load_task("stsb", data_dir=data_dir).validation
    u, v = np.split(embed(load_encoder(minilm), [*rows.first, *rows.second]), 2)
    cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    assert spearmanr(cosine, rows.labels).statistic == pytest.approx(0.867, abs=0.005)
