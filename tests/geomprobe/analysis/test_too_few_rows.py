"""Too few rows are a status, not a failure: the note says how many there are and how many are needed."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import geomprobe as gp
from geomprobe.analysis.cells import CellContext
from geomprobe.analysis.measure import measure_cell
from geomprobe.analysis.protocols import STRICT
from geomprobe.analysis.similarities import Pair, pair_table
from geomprobe.analysis.texts import TaskTexts
from geomprobe.api import measure
from geomprobe.predict_reconstruct.protocol import PAPER
from geomprobe.tasks import load_task
from geomprobe.tasks.base import Split, Task

COUNTS = re.compile(r"\d.*needed|no complete family")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))


def split(name, n, labels, equal=False, pairs=False):
    numbers = [0 if equal else i for i in range(n)]
    second = tuple(f"a dog {i}" for i in numbers) if pairs else None
    ids = tuple(f"{name}/{i}" for i in range(n))
    return Split(name, tuple(f"the cat {i}" for i in numbers), second, np.asarray(labels[:n]), ids)


def task(n_train, n, labels=(0, 1, 0, 1, 0, 1), **how):
    train = split("train", n_train, labels, **how) if n_train else None
    names = tuple(map(str, sorted(set(labels))))
    return Task("few", "classification", train, split("validation", n, labels, **how), names, "accuracy")


def too_few(frame):
    return frame[frame["status"] == "too few rows"]


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize(("n_train", "n"), [(0, 1), (1, 1), (1, 2), (2, 2), (3, 2), (5, 4)])
def test_no_number_of_rows_fails_a_cell(n_train, n, equal, pairs):
    few = task(n_train, n, equal=equal, pairs=pairs)
    texts = TaskTexts.of(few, matched=len(few.geometry_rows.texts))
    vectors = np.random.default_rng(0).normal(size=(len(texts.texts), 6)).astype(np.float32)
    tables, whole = measure_cell(CellContext(None, texts, 1, "mean", STRICT), vectors)
    few = too_few(tables["results"])
    assert whole
    assert len(few)
    assert few["value"].isna().all()
    assert all(COUNTS.search(note) for note in few["note"]), few["note"].unique().tolist()


@pytest.mark.parametrize(
    ("n", "metric", "labels", "note"),
    [
        (2, "spectral_entropy", None, "2 rows; at least 3 are needed"),
        (10, "hubness_skew", None, "10 rows; at least 11 are needed"),
        (3, "participation_ratio:unbiased", None, "3 rows; at least 4 are needed"),
        (12, "alpha_req", None, "12 rows; at least 14 are needed"),
        (5, "class_alignment", [0, 1, 2, 3, 4], "5 rows of 5 classes; at least 2 rows of a class are needed"),
    ],
)
def test_the_note_says_what_is_there_and_what_is_needed(n, metric, labels, note):
    x = np.random.default_rng(0).normal(size=(n, 40))
    row = measure(x, metrics=[metric], views=["centred"], labels=labels).iloc[0]
    assert (row["status"], row["note"]) == ("too few rows", note)


@pytest.mark.parametrize(("n", "metric"), [(3, "spectral_entropy"), (12, "hubness_skew"), (14, "alpha_req")])
def test_as_many_rows_as_are_needed_give_a_value(n, metric):
    x = np.random.default_rng(0).normal(size=(n, 40))
    assert measure(x, metrics=[metric], views=["centred"])["status"].tolist() == ["ok"]


def test_what_more_rows_would_not_mend_is_not_applicable():
    narrow = measure(np.random.default_rng(0).normal(size=(12, 4)), metrics=["alpha_req"])
    assert narrow["status"].tolist() == ["not applicable"]
    assert measure(np.ones((50, 4)), metrics=["effective_rank"])["status"].tolist() == ["not applicable"]
    assert measure(np.ones((2, 4)), metrics=["effective_rank"])["status"].tolist() == ["too few rows"]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_similarities(n):
    pair = Pair("a", "b", "mean", ((1, 1),), ((0, 1), (0, 1)))
    sides = {k: np.random.default_rng(k).normal(size=(n, 6)) for k in range(2)}
    frame = pair_table(pair, sides, sides, None, n, 0)
    few = too_few(frame)
    assert {"linear_cka_unbiased", "mutual_knn"} <= set(few["metric"])
    assert set(frame["status"]) <= {"ok", "not applicable", "too few rows"}
    assert all(COUNTS.search(note) for note in few["note"])


@pytest.mark.parametrize("protocol", [STRICT, PAPER], ids=["strict", "paper"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_grid_of_few_rows_has_no_failed_cell(model_folder, protocol, n):
    models = [model_folder("bert"), model_folder("bert")]
    few = task(0 if protocol is PAPER else n, n)
    baselines = () if protocol is PAPER else ("random-init",)
    results = gp.analyze(models, [few], ["mean", "weighted"], protocol=protocol, similarity=True, baselines=baselines)
    assert results.run["failed_cells"] == 0
    assert "failed" not in set(results.results["status"]) | set(results.similarities["status"])
    assert len(too_few(results.results))


def test_one_family_of_the_crossed_design(model_folder):
    whole = load_task("controlled")
    results = gp.analyze([model_folder("bert")], [whole], ["mean"], limit=2)
    assert results.run["failed_cells"] == 0
    assert "meaning_share" in set(too_few(results.results)["metric"])


def test_the_report_has_one_finding(model_folder):
    from geomprobe.reports import build_view

    results = gp.analyze([model_folder("bert")], [replace(task(2, 2), name="tiny")], ["mean"])
    found = [f for f in build_view(results)["findings"] if f["code"] == "too-few-rows"]
    assert len(found) == 1
    assert "tiny" in found[0]["sentence"]
    assert found[0]["number"] == f"{len(too_few(results.results))} numbers"
