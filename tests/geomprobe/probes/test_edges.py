"""Probes on what real files hold: missing labels, one class, three rows, empty and endless texts."""

from __future__ import annotations

import numpy as np
import pytest

from geomprobe.probes import RECORDS, PairVectors, run_probes
from geomprobe.results import EXAMPLE_COLUMNS, RESULT_COLUMNS, table
from geomprobe.tasks.base import Split, Task

WORDS = [f"w{i}" for i in range(40)]


def task_of(n_train, n_validation, *, kind="classification", pairs=False, labels=None, texts=None, seed=0):
    rng = np.random.default_rng(seed)
    splits = []
    for name, n in (("train", n_train), ("validation", n_validation)):
        sides = [tuple(" ".join(rng.choice(WORDS, 5)) + f" {name}{s}{i}" for i in range(n)) for s in range(2)]
        if texts is not None:
            sides = [tuple(texts[i % len(texts)] for i in range(n))] * 2
        y = rng.uniform(0, 5, n) if kind == "regression" else rng.integers(0, 2, n)
        y = y if labels is None else np.asarray(labels(name, n, y))
        splits.append(Split(name, sides[0], sides[1] if pairs else None, y, tuple(f"{name}/{i}" for i in range(n))))
    names = () if kind == "regression" else ("no", "yes", "new")[: max(2, int(splits[1].labels.max()) + 1)]
    score = "spearman" if kind == "regression" else "accuracy"
    return Task("edge", kind, *splits, names, score, positive_label=1 if names else None)


def vectors_of(task, d=6, seed=0):
    rng = np.random.default_rng(seed)
    sides = 1 if task.validation.second is None else 2
    return [
        None if s is None else PairVectors(*(rng.standard_normal((len(s), d)) for _ in range(sides)))
        for s in (task.train, task.validation)
    ]


def run(task, **options):
    result = run_probes(task, *vectors_of(task, **options))
    frame = table(result.rows, RESULT_COLUMNS)
    table(result.examples, EXAMPLE_COLUMNS)
    assert set(frame["metric"]) <= set(RECORDS)
    assert ((frame["status"] == "ok") == frame["value"].notna()).all()
    return frame


def status(frame, metric):
    (found,) = frame[(frame["metric"] == metric) & frame["control"].isna() & (frame["view"] == "raw")]["status"]
    return found


def test_labels_missing_are_left_out_and_said():
    def labels(name, n, y):
        return np.where(np.arange(n) % 4 == 0, -1, y)

    frame = run(task_of(80, 40, labels=labels))
    row = frame[(frame["metric"] == "semantic_accuracy") & frame["control"].isna()].iloc[0]
    assert row["n"] == 30
    assert "30 rows without a label" in row["note"]


@pytest.mark.parametrize("pairs", [True])
def test_scores_that_are_nan_are_left_out(pairs):
    def labels(name, n, y):
        return np.where(np.arange(n) % 5 == 0, np.nan, y)

    frame = run(task_of(80, 40, kind="regression", pairs=pairs, labels=labels))
    row = frame[(frame["metric"] == "sts_cosine_spearman") & frame["control"].isna()].iloc[0]
    assert row["n"] == 32
    assert np.isfinite(row["value"])


def test_no_label_at_all():
    frame = run(task_of(80, 40, labels=lambda name, n, y: np.full(n, -1)))
    assert status(frame, "semantic_accuracy") == "not applicable"
    assert status(frame, "lexical_bow_r2") == "ok"  # words need no labels


def test_one_class_only_in_train():
    frame = run(task_of(80, 40, labels=lambda name, n, y: np.zeros(n, int)))
    assert status(frame, "semantic_accuracy") == "too few rows"


def test_a_class_that_train_never_saw():
    frame = run(task_of(80, 40, labels=lambda name, n, y: y + (name == "validation")))
    assert status(frame, "semantic_accuracy") == "ok"


def test_scores_all_equal():
    frame = run(task_of(80, 40, kind="regression", pairs=True, labels=lambda name, n, y: np.full(n, 2.5)))
    assert status(frame, "sts_probe_spearman") == "too few rows"
    assert status(frame, "sts_cosine_spearman") == "not applicable"


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("n", [2, 3])
def test_three_rows(n, kind, pairs):
    if kind == "regression" and not pairs:
        kind = "classification"

    def labels(name, n, y):
        return np.arange(n) % 2 if kind == "classification" else np.arange(n) * 1.0

    frame = run(task_of(n, n, kind=kind, pairs=pairs, labels=labels))
    assert len(frame) > 5


def test_no_train_split():
    from dataclasses import replace

    task = replace(task_of(10, 30, kind="regression", pairs=True), train=None)
    frame = run(task)
    assert status(frame, "sts_cosine_spearman") == "ok"
    assert status(frame, "sts_probe_spearman") == "not applicable"


@pytest.mark.parametrize(
    "texts",
    [
        ("",),
        ("", " ", "!!!"),
        ("naïve café", "漢字 かな", "🙂 🙂", "привет мир", "‮abc‬", "a\x00b"),
        ("long " * 10_000, "short"),
    ],
    ids=["empty", "no words", "non-ASCII", "10,000 words"],
)
@pytest.mark.parametrize("pairs", [False, True])
def test_texts_of_all_kinds(texts, pairs):
    run(task_of(24, 12, texts=texts, pairs=pairs))


def test_vectors_that_are_constant_or_zero():
    task = task_of(60, 30, kind="regression", pairs=True)
    constant = [PairVectors(np.ones((len(s), 4)), np.ones((len(s), 4))) for s in (task.train, task.validation)]
    frame = table(run_probes(task, *constant).rows, RESULT_COLUMNS)
    assert status(frame, "sts_cosine_spearman") == "not applicable"
    zero = [PairVectors(np.zeros((len(s), 4)), np.zeros((len(s), 4))) for s in (task.train, task.validation)]
    assert len(run_probes(task, *zero).rows) == len(frame)


def test_more_dimensions_than_rows_and_float16():
    task = task_of(30, 20)
    wide = [PairVectors(v.first.astype(np.float16)) for v in vectors_of(task, d=80)]
    assert all(row["status"] == "ok" for row in run_probes(task, *wide).rows if row["metric"] == "semantic_accuracy")


def test_a_scale_does_not_matter():
    task = task_of(60, 30)
    train, validation = vectors_of(task)
    plain = run_probes(task, train, validation).rows
    scaled = run_probes(task, PairVectors(train.first * 1e6 + 5), PairVectors(validation.first * 1e6 + 5)).rows
    for a, b in zip(plain, scaled, strict=True):
        assert a["metric"] == b["metric"]
        if a["value"] is not None:
            assert a["value"] == pytest.approx(b["value"], abs=1e-6)
