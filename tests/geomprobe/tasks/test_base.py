"""Geometry rows: unique sentences, clusters by shared sentence, declared positives."""

from __future__ import annotations

import numpy as np
import pytest

from geomprobe.tasks.base import Split, Task

ROWS = {"name": "v", "first": ("a", "b"), "second": None, "labels": np.array([0, 1]), "row_ids": ("0", "1")}


def pair_task(first, second, labels, **more):
    labels = np.asarray(labels)
    split = Split(
        "validation", tuple(first), tuple(second), labels, tuple(f"validation/{i}" for i in range(len(first)))
    )
    kind = "classification" if labels.dtype.kind == "i" else "regression"
    return Task("t", kind, None, split, (), "accuracy", **more)


def test_pairs_become_unique_sentences_in_clusters():
    task = pair_task(["p", "p", "q"], ["a", "b", "a2"], [0, 1, 0], positive_label=0)
    rows = task.geometry_rows
    assert rows.texts == ("p", "a", "b", "q", "a2")
    assert rows.row_ids == ("validation/0", "validation/0#2", "validation/1#2", "validation/2", "validation/2#2")
    assert rows.labels is None
    assert rows.clusters[0] == rows.clusters[1] == rows.clusters[2] != rows.clusters[3] == rows.clusters[4]
    assert rows.positives.tolist() == [[0, 1], [3, 4]]


def test_positive_score_and_identical_sentences():
    task = pair_task(["a", "b", "c"], ["a", "x", "y"], [5.0, 4.0, 3.9], positive_score=4.0)
    assert [[task.geometry_rows.texts[i] for i in pair] for pair in task.geometry_rows.positives] == [["b", "x"]]


def test_repeated_single_sentences_keep_the_first_label():
    split = Split("validation", ("a", "b", "a"), None, np.array([1, 0, 0]), ("v/0", "v/1", "v/2"))
    rows = Task("t", "classification", None, split, (), "accuracy").geometry_rows
    assert rows.texts == ("a", "b")
    assert rows.labels.tolist() == [1, 0]
    assert rows.positives.shape == (0, 2)


def test_fingerprint_changes_with_text_label_and_id():
    base = pair_task(["p"], ["a"], [0])
    assert base.fingerprint == pair_task(["p"], ["a"], [0]).fingerprint
    assert base.fingerprint != pair_task(["p"], ["b"], [0]).fingerprint
    assert base.fingerprint != pair_task(["p"], ["a"], [1]).fingerprint


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"labels": [0, 1]}, "labels are a numpy array of one dimension, int64 classes or float64 scores"),
        ({"labels": np.array(["x", "y"])}, "labels are a numpy array"),
        ({"labels": np.array([0])}, "2 first texts, but 1 labels"),
        ({"second": ("c",)}, "2 first texts, but 1 second"),
        ({"row_ids": ("0", "1", "2")}, "2 first texts, but 3 row_ids"),
        ({"row_ids": ("0", "0")}, "row_ids repeat, such as '0'"),
    ],
)
def test_rows_that_do_not_fit_each_other_are_refused(wrong, said):
    with pytest.raises(ValueError, match=f"the split 'v': {said}"):
        Split(**ROWS | wrong)


def test_a_label_without_a_name_is_refused():
    split = Split(**ROWS | {"labels": np.array([0, 5])})
    with pytest.raises(ValueError, match=r"task 'mood', split 'v': a label is 5; with 2 label_names labels are 0 to 1"):
        Task("mood", "classification", None, split, ("x", "y"), "accuracy")
    assert Task("mood", "classification", None, split, (), "accuracy").label_names == ()
