"""Maps inside an analysis: the same rows for all models, what fails is named, texts are inert or left out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import geomprobe as gp
from geomprobe.analysis import maps
from geomprobe.analysis.protocols import STRICT
from geomprobe.metrics.similarity import shared
from geomprobe.results import OPTIONAL, TABLES, read_results
from geomprobe.tasks.base import Split, Task, joined_pairs

NOUNS = ["cat", "dog", "mat", "tree", "who", "bird", "saw", "red"]
MADE = ("maps", "neighbours", "neighbour_overlap", "moved_pairs", "texts")


def made_task(texts, labels=None, second=None, **more):
    labels = np.arange(len(texts)) % 2 if labels is None else labels
    ids = tuple(f"v/{i}" for i in range(len(texts)))
    split = Split("validation", tuple(texts), second and tuple(second), labels, ids)
    return Task("toy", "classification", None, split, ("no", "yes"), "accuracy", **more)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    return made_task([" ".join(["the", *rng.choice(NOUNS, 5)]) + f" {i}" for i in range(40)])


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    # only maps are looked at here
    monkeypatch.setattr("geomprobe.analysis.analyze.measure_cell", lambda *_: ({}, True))
    monkeypatch.setattr("geomprobe.analysis.analyze.add_variants", lambda *_: None)


@pytest.fixture
def broken(model_folder, tmp_path):
    """An encoder whose vectors are not finite."""
    encoder = gp.load_encoder(model_folder("roberta"))
    encoder.model.embeddings.word_embeddings.weight.data[7] = float("nan")
    return encoder


def of(results, name, model):
    frame = getattr(results, name)
    return frame[frame["model"] == model].reset_index(drop=True)


def test_maps_are_of_the_vectors_of_the_deepest_layer_under_the_first_pooling(model_folder, task, tmp_path):
    models = [model_folder("bert"), model_folder("roberta")]
    results = gp.analyze(models, [task], ["max", "mean"], [0, 1], baselines=["bow"], dims=[4], out=tmp_path / "r")
    sides = [gp.embed(model, list(task.geometry_rows.texts), pooling="max", layer=1) for model in models]
    ids = list(task.geometry_rows.row_ids)
    a, b = (of(results, "maps", name) for name in ("tiny-bert", "tiny-roberta"))
    assert set(results.maps["model"]) == {"tiny-bert", "tiny-roberta"}  # neither the baseline nor a variant
    for frame in (a, b):
        assert frame["row_id"].tolist() == ids
        assert set(zip(frame["task"], frame["layer"], frame["pooling"], strict=True)) == {("toy", 1, "max")}
    pca = maps.maps.principal_map(sides[0])
    np.testing.assert_allclose(a[["pca_x", "pca_y"]].to_numpy(float), pca, atol=1e-4)
    # the second map is turned onto the first: no turn brings it nearer
    for axes in maps.AXES.values():
        points, target = (frame[axes].to_numpy(float) for frame in (b, a))
        np.testing.assert_allclose(maps.maps.turned_onto(points, target), points, atol=1e-8)

    near = [maps.maps.nearest_rows(maps.maps.squared_distances(maps.Matrix(side)))[0] for side in sides]
    listed = of(results, "neighbours", "tiny-bert")
    assert listed["neighbour"].tolist() == [ids[j] for j in near[0].ravel()]
    assert listed["rank"].tolist() == list(range(1, 11)) * 40
    overlap = results.neighbour_overlap
    assert overlap["overlap"].is_monotonic_increasing
    assert overlap.set_index("row_id")["overlap"].reindex(ids).tolist() == shared(*near).mean(1).tolist()
    assert set(overlap["a"]) == {"tiny-bert"}
    assert results.run["maps"][0]["overlap"] == {"tiny-roberta": pytest.approx(shared(*near).mean())}
    assert (overlap["layer_a"].unique().tolist(), overlap["layer_b"].unique().tolist()) == ([1], [1])
    assert set(results.moved_pairs["row_id"]) | set(results.moved_pairs["other"]) <= set(ids)
    assert 2 <= len(results.moved_pairs) <= 2 * maps.MOVED
    assert results.texts["label"].tolist() == ["no", "yes"] * 20
    assert results.texts["text"].tolist() == list(task.geometry_rows.texts)

    (entry,) = results.run["maps"]
    assert (entry["task"], entry["pooling"], entry["rows"], entry["of"]) == ("toy", "max", 40, 40)
    assert (entry["point"], entry["perplexity"], entry["onto"], entry["left_out"]) == ("one text", 13, "tiny-bert", {})
    kept = shared(near[0], maps.maps.nearest_rows(maps.maps.squared_in_plane(pca))[0]).mean()
    assert entry["shown"]["tiny-bert"]["pca_neighbours"] == pytest.approx(kept)
    assert entry["shown"]["tiny-bert"]["pca_variance"] == pytest.approx((pca**2).sum(1).mean(), abs=1e-4)

    read = read_results(tmp_path / "r")
    for name in MADE:
        pd.testing.assert_frame_equal(getattr(read, name), getattr(results, name))
        (tmp_path / "r" / f"{name}.parquet").unlink()
    without = read_results(tmp_path / "r")  # a folder of an earlier version
    assert all(len(getattr(without, name)) == 0 for name in MADE)
    assert set(MADE) < OPTIONAL < set(TABLES)


def test_a_model_that_failed_is_left_out_and_named_and_the_others_are_mapped(model_folder, broken, task, tmp_path):
    models = [broken, model_folder("bert"), model_folder("fnet")]
    results = gp.analyze(models, [task], ["mean"], out=tmp_path / "r")
    (entry,) = results.run["maps"]
    assert list(entry["left_out"]) == [broken.name]
    assert "gave NaN or infinity" in entry["left_out"][broken.name]
    assert set(results.maps["model"]) == {"tiny-bert", "tiny-fnet"}
    assert set(zip(results.moved_pairs["a"], results.moved_pairs["b"], strict=True)) == {("tiny-bert", "tiny-fnet")}
    nothing = gp.analyze([broken], [task], ["mean"])
    assert len(nothing.maps) == 0
    assert nothing.run["maps"][0]["onto"] is None
    assert len(nothing.texts) == 40


def test_finished_maps_are_found_again_and_unfinished_ones_tried_again(
    model_folder, broken, task, tmp_path, monkeypatch
):
    def run(*models, **more):
        return gp.analyze(models, [task], ["mean"], out=tmp_path / "r", **more)

    first = run(model_folder("bert"), model_folder("roberta"))
    run(model_folder("bert"), broken)
    asked = []
    make = maps.measure_maps
    monkeypatch.setattr(maps, "measure_maps", lambda *given: asked.append(1) or make(*given))
    again = run(model_folder("bert"), model_folder("roberta"), texts=False)
    assert not asked
    for name in MADE[:-1]:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(first, name))
    assert again.run["maps"] == first.run["maps"]
    run(model_folder("bert"), broken)
    assert len(asked) == 1
    run(model_folder("bert"), model_folder("roberta"), seed=1)
    assert len(asked) == 2
    assert len(run(model_folder("bert"), maps=False).maps) == 0
    assert len(asked) == 2


def test_many_rows_are_sampled_and_the_texts_of_a_pair_stay_together(monkeypatch):
    monkeypatch.setattr(maps, "ROWS", 40)
    clusters = np.repeat(np.arange(100), 2)[np.random.default_rng(0).permutation(200)]
    rows = maps.sampled_rows(clusters, 0)
    assert (len(rows), (np.diff(rows) > 0).all()) == (40, True)
    assert np.unique(clusters[rows], return_counts=True)[1].tolist() == [2] * 20
    assert (maps.sampled_rows(7 * clusters, 0) == rows).all()
    assert (maps.sampled_rows(clusters, 1) != rows).any()
    assert maps.sampled_rows(np.zeros(200, int), 3).tolist() == list(range(40))  # one cluster, cut
    assert maps.sampled_rows(np.arange(30), 3).tolist() == list(range(30))
    assert maps.sampled_rows(np.arange(0), 3).tolist() == []


def test_what_a_point_is_of_pairs_apart_and_joined(model_folder):
    rng = np.random.default_rng(0)
    first, second = ([" ".join(rng.choice(NOUNS, 4)) + f" {i} {side}" for i in range(20)] for side in "ab")
    pairs = made_task(first, second=second)
    results = gp.analyze([model_folder("bert")], [pairs], ["mean"])
    assert results.run["maps"][0]["point"] == "one text of a pair"
    assert len(results.texts) == 40
    assert results.texts["label"].isna().all()
    joined = gp.analyze([model_folder("bert")], [pairs], ["mean"], protocol=replace(STRICT, pairs="joined"))
    assert joined.run["maps"][0]["point"] == "both texts of a pair as one"
    assert joined.texts["label"].tolist() == ["no", "yes"] * 10
    assert joined.texts["text"][0] == f"{first[0]} [SEP] {second[0]}"
    assert joined_pairs(pairs).geometry_rows.row_ids == tuple(joined.texts["row_id"])


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_few_rows_have_what_few_rows_allow(model_folder, n):
    results = gp.analyze([model_folder("bert")], [made_task([f"{noun} saw" for noun in NOUNS[:n]])], ["mean"])
    (entry,) = results.run["maps"]
    needed = {1: "1 row; at least 2", 2: "2 rows; at least 5", 4: "4 rows; at least 5", 8: "8 rows; at least 11"}[n]
    assert entry["left_out"]["tiny-bert"] == f"{needed} are needed"
    assert len(results.maps) == (n if n > 1 else 0)
    assert results.maps["tsne_x"].notna().sum() == (n if n > 4 else 0)
    assert len(results.neighbours) == 0


HOSTILE = [
    "<script>alert(1)</script>",
    "line\nbreak\ttab",
    "\x00 bell \x07",
    "\u202eright to left\u202c",
    "مرحبا \u200fبالعالم",
    "half \ud800 pair",
    "=cmd()",
    "",
]


def test_texts_are_on_one_line_cut_and_without_control_characters(model_folder, tmp_path):
    texts = HOSTILE + [f"{noun} {'long ' * 100}{i}" for i, noun in enumerate(NOUNS)]
    results = gp.analyze([model_folder("bert")], [made_task(texts)], ["mean"], out=tmp_path / "r")
    kept = read_results(tmp_path / "r").texts
    assert kept["text"].tolist()[:8] == [
        "<script>alert(1)</script>", "line break tab", "\ufffd bell \ufffd", "right to left", "مرحبا بالعالم",
        "half \ufffd pair", "=cmd()", "",
    ]  # fmt: skip
    assert kept["length"].tolist() == [len(text) for text in texts]
    assert kept["text"].str.len().max() == maps.LENGTH
    assert kept["text"].iloc[-1].endswith("…")
    pd.testing.assert_frame_equal(kept, results.texts)


def test_without_texts_none_is_written_anywhere(model_folder, tmp_path):
    secret = "zanzibar"
    texts = [f"{secret} {noun} {i}" for i, noun in enumerate(NOUNS * 4)]
    results = gp.analyze([model_folder("bert")], [made_task(texts)], ["mean"], out=tmp_path / "r", texts=False)
    assert results.texts["text"].isna().all()
    assert results.texts["length"].tolist() == [len(text) for text in texts]
    assert json.loads((tmp_path / "r" / "run.json").read_text())["maps"][0]["rows"] == 32
    for path in (tmp_path / "r").rglob("*"):
        if path.suffix == ".parquet":
            held = pd.read_parquet(path).to_csv()
            assert secret not in held, path
        elif path.is_file():
            assert secret.encode() not in path.read_bytes(), path
