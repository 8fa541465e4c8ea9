"""How alike the encoders of an analysis are: pairs, maps, the ceiling of seeds; inside analyze, from stored vectors."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

import geomprobe as gp
from geomprobe.analysis import similarities
from geomprobe.embedding import embed as embedding
from geomprobe.inference.similarity import similarity
from geomprobe.metrics.similarity import SIMILARITIES
from geomprobe.predict_reconstruct.protocol import PAPER, choose
from geomprobe.results import SIMILARITY_COLUMNS, read_results, table
from geomprobe.tasks.base import Split, Task, joined_pairs

NOUNS = ["cat", "dog", "mat", "tree", "house", "bird", "river", "stone"]


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    texts = tuple(" ".join(["the", *rng.choice(NOUNS, 4)]) + f" {i}" for i in range(40))
    validation = Split("validation", texts, None, np.arange(40) % 2, tuple(map(str, range(40))))
    return Task("toy", "classification", None, validation, ("a", "b"), "accuracy")


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(similarities, "PERMUTATIONS", 19)
    # only what is said of pairs is looked at here
    monkeypatch.setattr("geomprobe.analysis.analyze.measure_cell", lambda *_: ({}, True))


def test_pairs_of_models():
    layers = {"a": [0, 2], "b": [0, 4], "c": [0, 1]}
    found = similarities.pairs(layers, ["mean"], maps=False)
    assert [(p.a, p.b) for p in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[0].scored == ((0, 0), (2, 4))
    assert found[0].mapped is None
    found = similarities.pairs(layers, ["mean", "max"], maps=True)
    assert len(found) == 12
    own, pair = found[0], found[2]
    assert (own.a, own.b, own.scored, own.mapped) == ("a", "a", (), ((0, 2), (0, 2)))
    assert (pair.a, pair.b, pair.scored, pair.mapped) == ("a", "b", ((2, 4),), ((0, 2), (0, 4)))
    assert pair.sides[1] == (pair.b, [(0, "mean"), (4, "mean")])


def test_models_of_an_analysis_from_vectors_that_are_already_there(model_folder, task, tmp_path, monkeypatch):
    models = [model_folder("bert"), model_folder("roberta")]
    sides = [gp.embed(model, list(task.geometry_rows.texts), pooling="max") for model in models]
    gp.analyze(models, [task], ["mean", "max"], "all", baselines=["bow"])
    monkeypatch.setattr(embedding, "stream", lambda *_, **__: pytest.fail("a text was encoded again"))

    def analyze():
        return gp.analyze(
            models, [task], ["mean", "max"], "all", baselines=["bow"], similarity=True, out=tmp_path / "r"
        )

    results = analyze()
    frame = results.similarities
    assert set(frame["a"]) | set(frame["b"]) == {"tiny-bert", "tiny-roberta"}  # the baseline is no side
    assert not frame.duplicated(["a", "b", "pooling", "layer_a", "layer_b", "metric"]).any()
    scored = frame[frame["p"].notna()].set_index(["pooling", "metric"])
    assert len(scored) == 2 * len(SIMILARITIES)
    assert set(scored["layer_a"]) == set(scored["layer_b"]) == {2}
    direct = similarity(*sides, permutations=19).set_index("metric")
    for name, row in direct.iterrows():
        assert scored.loc["max", name][["value", "p"]].tolist() == pytest.approx(row[["value", "p"]].tolist(), rel=1e-5)
    assert set(SIMILARITIES) <= set(results.definitions)

    maps = {(entry["a"], entry["b"], entry["pooling"]): entry for entry in results.run["similarity"]}
    assert len(maps) == 6
    own = np.array(maps["tiny-bert", "tiny-bert", "mean"]["values"])
    np.testing.assert_allclose(np.diag(own), 1)
    np.testing.assert_allclose(own, own.T)
    between = maps["tiny-bert", "tiny-roberta", "max"]
    assert (between["layers_a"], between["layers_b"]) == ([0, 1, 2], [0, 1, 2])
    assert between["values"][2][2] == pytest.approx(direct.loc["linear_cka_unbiased", "value"], rel=1e-5)

    pd.testing.assert_frame_equal(read_results(tmp_path / "r").similarities, frame)
    monkeypatch.setattr(similarities, "pair_table", lambda *_: pytest.fail("a pair was compared again"))
    pd.testing.assert_frame_equal(analyze().similarities, frame)
    gp.write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Similarity of the models on the same rows" in page
    assert page.count("linear cka unbiased between layers") >= 6


def test_layers_beside_their_like_are_no_map():
    place = {"level": "checkpoint", "task": "toy", "pooling": "mean", "a": "a", "b": "b", "metric": similarities.MAP}
    like = [place | {"layer_a": k, "layer_b": k, "value": 0.5} for k in (0, 2)]
    assert similarities.maps(table(like, SIMILARITY_COLUMNS)) == []
    other = place | {"layer_a": 0, "layer_b": 2, "value": 0.25}
    (entry,) = similarities.maps(table([*like, other], SIMILARITY_COLUMNS))
    assert entry["values"] == [[0.5, 0.25], [None, 0.5]]


def test_the_ceiling_of_seeds():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((60, 6))
    runs = {name: base + 0.3 * rng.standard_normal(base.shape) for name in ("a1", "a2", "a3")}
    runs |= {name: rng.standard_normal(base.shape) + 0.3 * base for name in ("b1", "b2")}
    found = []
    for pair in similarities.pairs({name: [4] for name in runs}, ["mean"], maps=False):
        found.append(
            similarities.pair_table(pair, {4: runs[pair.a]}, {4: runs[pair.b]}, None, 60, 0).assign(task="toy")
        )
    frame = table(pd.concat(found), SIMILARITY_COLUMNS)
    groups = {"A": ["a1", "a2", "a3"], "B": ["b1", "b2"]}
    added = similarities.with_groups(frame, groups)
    added = added[added["level"] == "objective"].set_index(["a", "b", "metric"])
    ways = combinations(groups["A"], 2)
    within = np.mean([similarity(runs[a], runs[b], permutations=0).iloc[1]["value"] for a, b in ways])
    assert added.loc[("A", "A", "linear_cka_unbiased"), "value"] == pytest.approx(within)
    cross = [similarity(runs[a], runs[b], permutations=0).iloc[1]["value"] for a in groups["A"] for b in groups["B"]]
    assert added.loc[("A", "B", "linear_cka_unbiased"), "value"] == pytest.approx(np.mean(cross))
    assert added.loc[("A", "B", "procrustes"), "note"] == "mean over 6 pairs of seeds"
    assert ("B", "B", "mutual_knn") in added.index


def test_many_rows_are_sampled_alike_and_said_so(monkeypatch):
    monkeypatch.setattr(similarities, "ROWS", 30)
    rows = similarities.sample(200, 1, 30)
    assert len(set(rows)) == 30
    assert (rows == similarities.sample(200, 1, 30)).all()
    (pair,) = similarities.pairs({"a": [1], "b": [1]}, ["mean"], maps=False)
    X = np.random.default_rng(0).standard_normal((200, 5))[rows]
    frame = similarities.pair_table(pair, {1: X}, {1: 2 * X}, None, 200, 0)
    assert set(frame["note"]) == {"seeded sample of 30 of 200 rows"}
    assert frame.set_index("metric").loc["linear_cka", "value"] == pytest.approx(1)


@pytest.mark.parametrize("protocol", [PAPER, choose("strict", ["protocol.pairs=joined"])])
def test_joined_pairs_that_share_a_sentence_are_one_cluster(protocol, model_folder, monkeypatch):
    rng = np.random.default_rng(0)
    first = [f"the {a} {b}" for a in NOUNS for b in NOUNS][:40]
    second = [" ".join(rng.choice(NOUNS, 4)) + f" {i}" for i in range(80)]
    validation = Split(
        "validation", tuple(np.repeat(first, 2)), tuple(second), np.arange(80) % 2, tuple(map(str, range(80)))
    )
    pairs = Task("pairs", "classification", None, validation, ("a", "b"), "accuracy")
    models = [model_folder("bert"), model_folder("roberta")]
    results = gp.analyze(models, [pairs], ["mean"], protocol=protocol, similarity=True)
    frame = results.similarities
    assert (frame["n"] == 80).all()
    assert frame["ci_method"].str.contains("40 clusters").sum() >= 4
    task = joined_pairs(pairs)
    assert np.bincount(task.geometry_rows.clusters).tolist() == [2] * 40
    assert (task.validation.take(np.array([3, 2, 9])).groups == [1, 1, 4]).all()
