"""The published analysis, number for number: `paper` against a transcription of its formulas that shares no code."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields, replace
from itertools import combinations

import numpy as np
import pytest

import geomprobe as gp
from geomprobe.analysis.protocols import STRICT, Protocol, choices_of, word_of
from geomprobe.analysis.similarities import sample
from geomprobe.common import UsageError
from geomprobe.predict_reconstruct import formulas, probes
from geomprobe.predict_reconstruct.measurement import CellInputs, Published, measure_rows
from geomprobe.predict_reconstruct.protocol import PAPER, choose
from geomprobe.tasks.base import Split, Task

NOUNS = ["cat", "dog", "mat", "tree", "bird", "big", "red", "saw", "who", "the", "small", "not"]


# ---- a transcription of the published formulas, row by row and pair by pair ------------------------------------------


def transcribed_geometry(Z, classes):
    """Return every deterministic number of the published geometry of Z (float64)."""
    N, D = Z.shape
    _, sigma, _ = np.linalg.svd(Z - Z.mean(axis=0), full_matrices=False)
    variance = sigma**2 / np.sum(sigma**2)
    shares = sigma / np.sum(sigma)
    z = np.array([row / math.sqrt(sum(v * v for v in row)) for row in Z])
    distance = {(i, j): math.sqrt(np.sum((z[i] - z[j]) ** 2)) for i, j in combinations(range(N), 2)}
    by_class = []
    for label in sorted(set(classes)):
        of = [d for (i, j), d in distance.items() if classes[i] == label == classes[j]]
        if of:
            by_class.append(sum((d**2) ** 2 for d in of) / len(of))
    within = [d for (i, j), d in distance.items() if classes[i] == classes[j]]
    between = [d for (i, j), d in distance.items() if classes[i] != classes[j]]
    cumulative, rank_90 = 0.0, 0
    while cumulative < 0.9:
        cumulative += variance[rank_90]
        rank_90 += 1
    return {
        "spectral_entropy": -sum(p * math.log(p) for p in variance if p > 0) / math.log(min(N, D)),
        "effective_rank": math.exp(-sum(p * math.log(p) for p in shares if p > 0)),
        "stable_rank": sum(sigma**2) / sigma[0] ** 2,
        "rank_90": rank_90,
        "alignment": sum(by_class) / len(by_class),
        "class_distance_within": sum(within) / len(within),
        "class_distance_between": sum(between) / len(between),
        "class_distance_ratio": (sum(within) / len(within)) / (sum(between) / len(between)),
    }


def transcribed_uniformity(Z):
    z = Z / np.sqrt((Z**2).sum(axis=1, keepdims=True))
    i, j = np.triu_indices(len(z), 1)
    total = 0.0
    for start in range(0, len(i), 100_000):
        part = slice(start, start + 100_000)
        total += np.exp(-2 * ((z[i[part]] - z[j[part]]) ** 2).sum(axis=1)).sum()
    return math.log(total / len(i))


def transcribed_probes(Z, y, tokens):
    from scipy.stats import spearmanr
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import cross_val_predict, cross_validate
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression(solver="saga", C=1.0, max_iter=500, random_state=0)
    often = {t for t, count in Counter(tokens).items() if count >= 5 and t >= 0}
    keep = [r for r, t in enumerate(tokens) if t in often]
    scaled = StandardScaler().fit_transform(Z[keep])
    found = {
        "lexical_top_token_accuracy": cross_validate(model, scaled, np.array(tokens)[keep], cv=3)["test_score"].mean()
    }
    scaled = StandardScaler().fit_transform(Z)
    if y.dtype.kind == "f":
        found["sts_probe_spearman"] = spearmanr(cross_val_predict(Ridge(), scaled, y, cv=5), y)[0]
        task = found["sts_probe_spearman"]
    else:
        scores = cross_validate(model, scaled, y, cv=5, scoring=("accuracy", "f1_macro"))
        found["semantic_accuracy"] = scores["test_accuracy"].mean()
        found["semantic_macro_f1"] = scores["test_f1_macro"].mean()
        task = found["semantic_accuracy"]
    return found | {"semantic_lexical_balance": task / found["lexical_top_token_accuracy"]}


def rows_of(Z, y, tokens):
    own = np.arange(len(Z))
    return CellInputs(Z, formulas.score_classes(y), own, np.array(tokens), Z, y, own)


def embeddings(n, d, seed):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.7 + 0.3 * rng.standard_normal(d)).astype(np.float32)


@pytest.mark.parametrize(("n", "d", "kind"), [(90, 12, "classes"), (20, 40, "classes"), (80, 16, "scores")])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_number_is_that_of_the_transcription(n, d, kind):
    rng = np.random.default_rng(n)
    Z = embeddings(n, d, n)
    y = rng.integers(0, 3, n) if kind == "classes" else np.round(rng.uniform(0, 5, n), 1)
    tokens = np.arange(n) % 3 - 1
    found = measure_rows(rows_of(Z, y, tokens), Published(), 0)["results"].set_index("metric")["value"]
    classes = y.tolist() if kind == "classes" else [sum(score >= edge for edge in (1, 2, 3, 4)) for score in y]
    expected = transcribed_geometry(Z.astype(np.float64), classes)
    expected |= transcribed_probes(Z.astype(np.float64), y, tokens.tolist())
    expected["uniformity"] = transcribed_uniformity(Z.astype(np.float64))
    assert set(found.index) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-12), name
    assert found["uniformity"] == pytest.approx(expected["uniformity"], rel=1e-12)


def test_uniformity_of_many_rows_is_that_of_a_seeded_thousand():
    Z = embeddings(1600, 8, 3).astype(np.float64)
    rows = rows_of(Z, np.arange(1600) % 2, np.full(1600, -1))
    only = Published(parts=("geometry",))
    found = measure_rows(rows, only, 0)["results"].set_index("metric").loc["uniformity"]
    draws = [formulas.uniformity(formulas.directions(Z[sample(1600, s, 1000)])) for s in range(1, 13)]
    whole = transcribed_uniformity(Z)
    assert found["n"] == 1000
    assert abs(found["value"] - whole) < 4 * np.std(draws, ddof=1)
    assert found["value"] != pytest.approx(whole, rel=1e-9)
    again = measure_rows(rows, only, 0)["results"].set_index("metric").loc["uniformity"]
    assert again["value"] == found["value"]
    every = measure_rows(rows, replace(only, uniformity_rows=None), 0)["results"].set_index("metric")
    assert every.loc["uniformity", "value"] == pytest.approx(whole, rel=1e-10)


def test_blocks_of_pairs_meet_every_pair_once():
    z = embeddings(2100, 3, 1).astype(np.float64)
    seen = np.concatenate([i * 2100 + j for i, j, _ in formulas.pair_blocks(z)])
    assert len(seen) == len(np.unique(seen)) == 2100 * 2099 // 2
    i, j, squared = next(iter(formulas.pair_blocks(z)))
    assert squared[-5:] == pytest.approx(((z[i[-5:]] - z[j[-5:]]) ** 2).sum(1), rel=1e-12)


def test_top_tokens():
    ids = [np.array([2, 7, 8, 8, 3]), np.array([2, 9, 7, 3]), np.array([2, 3])]
    assert probes.top_tokens(ids, [2, 3]).tolist() == [8, 9, -1]
    assert probes.top_words(["A b b", "b, a", "!"]).tolist() == [0, 0, -1]
    assert probes.frequent(np.array([5] * 5 + [6] * 4 + [-1] * 9)).sum() == 5


def test_what_has_no_value_is_a_row_that_says_why():
    def measured(Z, y, choices):
        own = np.arange(len(Z))
        rows = CellInputs(Z, formulas.score_classes(y), own, np.arange(len(Z)) % 2, Z, y, own)
        return measure_rows(rows, choices, 0)["results"].set_index("metric")

    equal = measured(np.ones((20, 4)), np.arange(20) % 2, Published(parts=("geometry",)))
    for name in ("effective_rank", "spectral_entropy", "stable_rank", "rank_90"):
        assert equal.loc[name, ["status", "note"]].tolist() == ["not applicable", "all rows are equal"]
    two = measured(np.eye(2), np.array([0, 1]), Published(entropy_bound="N-1", parts=("geometry",)))
    assert two.loc["spectral_entropy", ["status", "note"]].tolist() == [
        "too few rows",
        "2 rows; at least 3 are needed",
    ]
    assert two.loc["effective_rank", "value"] == pytest.approx(1)
    Z, rare = embeddings(20, 4, 0), (np.arange(20) == 7).astype(np.int64)
    alone = measured(Z, rare, Published(parts=("task", "token"), probe_rows="train"))
    assert alone["note"].tolist() == ["the task has no train split"] * 2
    assert measured(Z, rare, Published(parts=("task",))).loc["semantic_accuracy", "status"] == "ok"
    every = measured(Z, rare, Published(parts=("geometry",)))
    assert every["ci_method"].notna().all()  # an interval, or why there is none


def test_the_error_of_centred_uniformity_counts_the_mean():
    """A shared direction makes the mean matter; the spread over fresh samples is the truth."""
    rng = np.random.default_rng(1)

    def draw(n=200, d=16):
        Z = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.7 * np.exp(0.5 * rng.standard_normal((n, 1)))
        return Z + (rng.random((n, 1)) < 0.15) * 3 * np.eye(d)[0]

    choices = Published(centre=True, parts=("geometry",))
    truth = np.std([formulas.uniformity(formulas.directions(draw(), centre=True)) for _ in range(300)], ddof=1)
    Z = [draw() for _ in range(20)]
    found = [measure_rows(rows_of(z, np.arange(200) % 2, np.full(200, -1)), choices, 0)["results"] for z in Z]
    errors = [frame.set_index("metric").loc["uniformity", "se"] for frame in found]
    assert np.mean(errors) == pytest.approx(truth, rel=0.15)


# ---- through the grid ------------------------------------------------------------------------------------------------


def pair_task(n=60):
    rng = np.random.default_rng(0)

    def side():
        return tuple(" ".join(rng.choice(NOUNS, 5)) for _ in range(n))

    def split(name):
        return Split(name, side(), side(), np.arange(n) % 2, tuple(f"{name}/{i}" for i in range(n)))

    return Task("toy", "classification", split("train"), split("validation"), ("a", "b"), "accuracy", positive_label=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_grid_under_the_paper_protocol(model_folder):
    """From texts to numbers: joined pairs, padding in sight, vectors made with plain transformers."""
    import torch

    task = pair_task()
    results = gp.analyze([model_folder("bert")], [task], ["mean", "max", "weighted"], protocol=PAPER)
    frame = results.results
    assert set(frame["protocol"]) == {"paper"}
    assert set(frame["status"]) == {"ok"}
    assert set(frame["metric"]) <= set(results.definitions)
    encoder = gp.load_encoder(model_folder("bert"))
    texts = [f"{a} [SEP] {b}" for a, b in zip(task.validation.first, task.validation.second, strict=True)]
    rows = encoder.tokenizer(texts, padding="max_length", max_length=32, truncation=True, return_tensors="pt")
    real = rows["attention_mask"].bool()
    with torch.inference_mode():
        states = encoder.model(input_ids=rows["input_ids"]).last_hidden_state  # no attention mask
    pooled = {
        "mean": torch.stack([s[m].mean(0) for s, m in zip(states, real, strict=True)]).numpy(),
        "max": torch.stack([s[m].amax(0) for s, m in zip(states, real, strict=True)]).numpy(),
    }
    special = set(encoder.tokenizer.all_special_ids)
    tokens = []
    for ids, m in zip(rows["input_ids"], real, strict=True):
        counts = Counter(t for t in ids[m].tolist() if t not in special)
        tokens.append(counts.most_common(1)[0][0])
    for pooling, Z in pooled.items():
        Z = Z.astype(np.float64)
        found = frame[frame["pooling"] == pooling].set_index("metric")["value"]
        expected = transcribed_geometry(Z, task.validation.labels.tolist())
        expected["uniformity"] = transcribed_uniformity(Z)
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-5), (pooling, name)
        for name, value in transcribed_probes(Z, task.validation.labels, tokens).items():
            assert found[name] == pytest.approx(value, abs=0.04), (pooling, name)  # float32 vectors, another rounding
    mean, weighted = (
        frame[frame["pooling"] == p].set_index("metric")["value"].astype(float) for p in ("mean", "weighted")
    )
    assert weighted.to_numpy() == pytest.approx(mean.to_numpy(), rel=1e-6)


def test_each_choice_changes_what_it_names(model_folder):
    task, model = pair_task(), gp.load_encoder(model_folder("bert"))

    def values(*settings):
        protocol = choose("paper", [f"protocol.{setting}" for setting in settings])
        found = gp.analyze([model], [task], ["mean"], protocol=protocol).results
        assert set(found["protocol"]) == {protocol.name}
        return found.set_index(["metric", "view"])["value"].astype(float)

    plain = values("max_iter=20")
    for setting, moved in (
        ("pairs=separate", "effective_rank"),
        ("padding=hidden", "effective_rank"),
        ("rows=40", "effective_rank"),
        ("uniformity_rows=20", "uniformity"),
        ("alignment_power=2", "alignment"),
        ("class_distance=squared", "class_distance_within"),
        ("probe_rows=train", "semantic_accuracy"),
    ):
        assert values("max_iter=20", setting)[moved, "raw"] != plain[moved, "raw"], setting
    assert ("uniformity", "centred") in values("max_iter=20", "centre=yes").index
    assert ("semantic_skill", "raw") in values("max_iter=20", "score=skill").index


def test_poolings_are_trained_on_what_the_protocol_shows_the_encoder(model_folder, monkeypatch):
    """Each way of padding has trained poolings of its own, also where the other's are in the store."""
    from geomprobe.embedding import trained_pooling

    task, model, fit, lengths = pair_task(), gp.load_encoder(model_folder("bert")), trained_pooling.fit, []

    def watched(data, task, names, seed, encoder):
        lengths.append(encoder.unmasked_length)
        return fit(data, task, names, seed, encoder)

    monkeypatch.setattr(trained_pooling, "fit", watched)
    for padding in ("visible", "hidden", "visible"):
        words = ("train_poolings=yes", "max_iter=5", "max_length=16", "pooling_seeds=1", f"padding={padding}")
        protocol = choose("paper", [f"protocol.{word}" for word in words])
        found = gp.analyze([model], [task], ["weighted"], protocol=protocol).results
        assert "trained_pooling_loss" in set(found["metric"])
    assert lengths == [16, None]


def test_attention_query_is_drawn_for_each_model(model_folder):
    from geomprobe.analysis.embed import query_seed

    a, b = (gp.load_encoder(model_folder(kind)) for kind in ("bert", "roberta"))
    assert query_seed(a, PAPER, 0) == query_seed(a, PAPER, 0)
    assert query_seed(a, PAPER, 0) != query_seed(b, PAPER, 0)
    assert query_seed(a, STRICT, 5) == query_seed(b, STRICT, 5) == 5


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("paper", "protocol.pars=joined", "pairs"),
        ("paper", "pairs=joined", "protocol.CHOICE=VALUE"),
        ("paper", "protocol.pairs=apart", "joined, separate"),
        ("paper", "protocol.rows=0", "whole number"),
        ("paper", "protocol.centre=maybe", "yes, no"),
        ("strict", "protocol.centre=yes", "paper"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_what_can(name, setting, said):
    with pytest.raises(UsageError) as caught:
        choose(name, [setting])
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_choices():
    assert choose("paper") == PAPER
    assert choose("strict") == STRICT
    assert choose("paper", ["protocol.rows=all"]).rows is None
    assert choose("strict", ["protocol.pairs=joined"]).name == "strict, pairs=joined"


def test_every_published_value_is_one_that_its_choice_takes():
    of_all, of_paper = choices_of(Protocol), choices_of(Published)
    assert not set(of_all) & set(of_paper)
    assert set(of_all) | set(of_paper) == {f.name for f in (*fields(Protocol), *fields(Published))} - {
        "name", "published", "parts",
    }  # fmt: skip
    for made, choices in ((PAPER, of_all), (PAPER.published, of_paper)):
        for name in choices:
            value = getattr(made, name)
            again = choose("paper", [f"protocol.{name}={word_of(value)}"])
            assert replace(again, name="paper") == PAPER


def test_the_protocol_is_written_into_keys_of_cells_as_it_was():
    """A cell in the cache is found by the text of its protocol: another text measures every cell anew."""
    assert repr(PAPER) == (
        "Protocol(name='paper', max_length=128, max_train_rows=2000, train_poolings=False, pooling_seeds=3, rows=2000, "
        "pairs='joined', padding='visible', query='per-model', published=Published(uniformity_rows=1000, centre=False, "
        "alignment_power=4, class_distance='unsquared', entropy_bound='N', token_target='token', scaling='all-rows', "
        "probe_rows='validation', score='accuracy', max_iter=500, parts=('geometry', 'task', 'token')))"
    )
    assert repr(STRICT) == (
        "Protocol(name='strict', max_length=None, max_train_rows=10000, train_poolings=True, pooling_seeds=3, "
        "rows=None, pairs='separate', padding='hidden', query='shared', published=None)"
    )
