"""The crossed design: exact for those who count words or know only meaning, unbiased for planted shares."""

from __future__ import annotations

import numpy as np
import pytest

from geomprobe.probes import RECORDS, PairVectors, run_probes
from geomprobe.probes.crossed import (
    EFFECTS,
    mean_squares,
    text_baselines,
    triplets,
    variance_components,
    variance_shares,
)
from geomprobe.results import RESULT_COLUMNS, table
from geomprobe.tasks import controlled


@pytest.fixture(scope="module")
def task():
    return controlled.load()


@pytest.fixture(scope="module")
def design(task):
    return controlled.crossed_design(task.validation)


@pytest.fixture(scope="module")
def texts(task):
    return list(task.validation.first + task.validation.second)


def planted(design, n_rows, shares, seed, d=24):
    """Vectors with the given variance per effect: a random vector for each level of each effect, per block."""
    rng = np.random.default_rng(seed)
    vectors = np.zeros((n_rows, d))
    for rows in design.rows:
        axes = {"meaning": 0, "words": 1, "syntax": 2}
        block = rng.standard_normal(d) * np.ones((*rows.shape, d))  # what a whole family has in common
        for effect, share in shares.items():
            kept = [axes[factor] for factor in effect.split("_")]
            shape = [rows.shape[a] if a in kept else 1 for a in range(3)]
            block = block + np.sqrt(share) * rng.standard_normal((*shape, d))
        vectors[rows] = block
    return vectors


def test_planted_shares_are_recovered_within_their_intervals(design, texts):
    truth = {"meaning": 0.2, "words": 0.3, "syntax": 0.1, "meaning_words": 0.05, "meaning_words_syntax": 0.35}
    seeds = 100
    values = {effect: [] for effect in EFFECTS}
    inside = dict.fromkeys(EFFECTS, 0)
    for seed in range(seeds):
        for effect, e in variance_shares(planted(design, len(texts), truth, seed), design).items():
            values[effect].append(e.value)
            interval = e.interval()
            inside[effect] += interval.low <= truth.get(effect, 0.0) <= interval.high
    for effect in EFFECTS:
        error = np.std(values[effect], ddof=1) / np.sqrt(seeds)
        assert abs(np.mean(values[effect]) - truth.get(effect, 0.0)) < 4 * error, effect
        assert inside[effect] >= 88, effect  # 95 nominal; fewer has probability 0.001


def test_nothing_but_meaning(design, texts):
    vectors = planted(design, len(texts), {"meaning": 1.0}, 0)
    shares = variance_shares(vectors, design)
    assert shares["meaning"].value == pytest.approx(1.0)
    assert shares["words"].value == pytest.approx(0.0, abs=1e-12)
    assert triplets(vectors, design)["triplet_accuracy"].value == 1.0


def test_a_bag_of_words_has_no_meaning(design, texts):
    bow = text_baselines(texts)["bow"]
    shares = variance_shares(bow, design)
    for effect in EFFECTS:
        if "meaning" in effect:
            assert shares[effect].value == pytest.approx(0.0, abs=1e-15)
    assert shares["words"].value + shares["syntax"].value == pytest.approx(1.0)
    assert triplets(bow, design)["triplet_accuracy"].value == 0.0


def test_position_does_not_pose_as_meaning(design, texts):
    baselines = text_baselines(texts)
    for name in ("position_bow", "bigram_bow"):
        assert abs(variance_shares(baselines[name], design)["meaning"].value) < 0.02
    one_frame = [rows[:, :, :1] for rows in design.rows]  # from one frame alone it does
    tagged = baselines["position_bow"]
    first = np.mean(
        [tagged[rows].mean(axis=1).var(axis=0).sum() / tagged[rows].var(axis=(0, 1)).sum() for rows in one_frame]
    )
    assert first > 0.15


def test_vectors_that_know_nothing_are_at_chance(design, texts):
    vectors = np.random.default_rng(0).standard_normal((len(texts), 64))
    shares = variance_shares(vectors, design)
    meaning = shares["meaning"].interval()
    assert meaning.low < 0 < meaning.high
    assert triplets(vectors, design)["triplet_accuracy"].value == pytest.approx(0.5, abs=0.03)


def test_components_by_hand():
    # 2 × 2 × 2 with one coordinate: y = meaning ± 1 and words ± 2, nothing else
    m, w, _ = np.indices((2, 2, 2))
    y = ((2 * m - 1) + 2 * (2 * w - 1)).astype(float)[..., None]
    ms = mean_squares(y)
    assert ms[(0,)] == pytest.approx(8.0)
    assert ms[(1,)] == pytest.approx(32.0)
    assert all(value == pytest.approx(0.0) for axes, value in ms.items() if axes not in ((0,), (1,)))
    assert variance_components(y) == pytest.approx([2.0, 8.0, 0, 0, 0, 0, 0])


def test_shares_do_not_depend_on_rotation_shift_or_scale(design, texts):
    vectors = planted(design, len(texts), {"meaning": 0.5, "words": 0.5, "meaning_words_syntax": 1.0}, 3)
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((24, 24)))[0]
    moved = 7.0 * vectors @ q + 5.0
    for effect, e in variance_shares(vectors, design).items():
        assert variance_shares(moved, design)[effect].value == pytest.approx(e.value)


def test_rows_carry_baselines_and_definitions(task, texts):
    rng = np.random.default_rng(0)
    vectors = [PairVectors(*(rng.standard_normal((len(s), 8)) for _ in "uv")) for s in (task.train, task.validation)]
    frame = table(run_probes(task, *vectors).rows, RESULT_COLUMNS)
    assert set(frame["metric"]) <= set(RECORDS)
    of = frame[(frame["metric"] == "meaning_share") & (frame["view"] == "raw")]
    assert set(of["control"].dropna()) == {"bow", "position_bow", "bigram_bow", "random"}
    assert of["ci_low"].notna().all()
    assert (frame["metric"] == "triplet_accuracy").sum() == 5


def test_a_limit_on_rows_gives_a_row_that_says_so(task):
    from dataclasses import replace

    few = replace(task, train=task.train.take(np.arange(12)), validation=task.validation.take(np.arange(10)))
    rng = np.random.default_rng(0)
    vectors = [PairVectors(*(rng.standard_normal((len(s), 8)) for _ in "uv")) for s in (few.train, few.validation)]
    (row,) = [row for row in run_probes(few, *vectors).rows if row["metric"] == "meaning_share"]
    assert row["status"] == "too few rows"
    assert row["value"] is None
