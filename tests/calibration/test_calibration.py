"""The calibration in its quick form: small cells, few draws, every metric; `make calibrate` runs the full one."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from tests.calibration import counting, simulate

QUICK = ("effective_rank", "participation_ratio", "rank_90", "mean_cosine", "uniformity")


def simulated(cell, draws, metrics, bootstrapped=0, **known):
    """The counts of synthetic clouds."""
    of_seeds = functools.partial(simulate.several_draws, cell, metrics, bootstrapped)
    return counting.simulate(cell, draws, of_seeds, metrics, **known)


def kept_in(path, cell):
    return functools.partial(counting.write_counts, path, cell, simulate.CELLS, simulate.METRICS)


@pytest.mark.parametrize("cloud", ["power-law", "clustered"])
def test_coverage_and_false_positives(cloud):
    cell = simulate.Cell(cloud, 100, 8)
    table = counting.summarise(simulated(cell, 60, metrics=QUICK))
    assert len(table) >= len(QUICK)
    assert (table["fault"] == "").all(), table[table["fault"] != ""].to_string()
    assert (table["coverage"].dropna() > 0.85).all()


@pytest.mark.parametrize(("n", "group"), [(100, "neighbours"), (400, "declared")])
def test_coverage_of_neighbours_and_declared_structure(n, group):
    table = counting.summarise(simulated(simulate.Cell("gaussian", n, 8), 60, simulate.GROUPS[group]))
    assert set(table["metric"]) == set(simulate.GROUPS[group])
    assert (table["fault"] == "").all(), table[table["fault"] != ""].to_string()
    assert (table["coverage"] > 0.85).all()
    assert (table["given"] == 60).all()


def test_entropies_are_covered_where_rows_are_few_for_the_dimensions():
    """Around a large mean with N not far above D the first order gives half of rankme's error: 72 % are covered."""
    cell = simulate.Cell("anisotropic", 100, 64)
    table = counting.summarise(simulated(cell, 60, metrics=["rankme", "vendi_score"]))
    assert (table["fault"] == "").all(), table.to_string()
    assert (table["coverage"] > 0.85).all()
    assert (table["se"] > 0.8 * table["sd"]).all()


def test_the_naive_bootstrap_misses_ranks_and_uniformity():
    cell = simulate.Cell("power-law", 100, 32)
    counts = simulated(cell, 20, metrics=["effective_rank", "uniformity"], bootstrapped=20)
    table = counting.summarise(counts).query("view == 'raw'")
    assert (table["bootstrap"] < 0.2).all()
    assert (table["coverage"] > 0.7).all()


def test_a_later_run_adds_the_draws_that_are_missing(tmp_path, monkeypatch):
    """In batches the truth is the mean up to then; with the same truth, counts in parts are those of the whole."""
    monkeypatch.setattr(counting, "BATCH", 4)
    cell, path = simulate.Cell("gaussian", 200, 32), tmp_path / "counts.csv"
    keep, wanted = kept_in(path, cell), {"metrics": ["effective_rank", "norm_cv"]}
    simulated(cell, 3, keep=keep, **wanted)
    added = simulated(cell, 8, known=counting.read_counts(path), keep=keep, **wanted)
    monkeypatch.setattr(counting, "BATCH", 8)
    whole = simulated(cell, 8, **wanted)
    assert set(added["seeds"]) == {8}
    assert set(counting.read_counts(path)["seeds"]) == {8}
    for column in ("draws", "mean", "squares", "given", "se", "conservative", "tested", "rejected"):
        assert added[column].to_numpy(float) == pytest.approx(whole[column].to_numpy(float), rel=1e-8), column
    assert (added["covered"] <= added["given"]).all()
    table = counting.summarise(added)
    assert table["sd"].to_numpy() == pytest.approx(np.sqrt(whole["squares"] / 7), rel=1e-8)


def test_a_batch_is_judged_by_the_mean_of_all_draws_so_far():
    cell = simulate.Cell("gaussian", 200, 32)
    place = {"metric": "m", "view": "raw", "label": "", "se": 1.0, "p": 0.5, "boot_low": np.nan, "boot_high": np.nan}

    def rows(*values):
        return pd.DataFrame([{"value": v, "low": v - 1, "high": v + 1, **place} for v in values])

    first = counting.judged(cell, rows(0.0, 0.5), pd.DataFrame(columns=["metric", "view", *counting.COUNTED]), 2)
    assert (first["covered"].item(), first["mean"].item()) == (2, 0.25)
    second = counting.judged(cell, rows(3.5, 2.0), first, 2)
    assert (second["covered"].item(), second["mean"].item()) == (3, 1.5)
    assert second["squares"].item() == pytest.approx(np.var([0, 0.5, 3.5, 2]) * 4)
    other = counting.judged(cell, rows(1.0).assign(metric="other"), second, 1).set_index("metric")
    assert (other.loc["m", "draws"], other.loc["other", "draws"]) == (4, 1)
    assert set(other["seeds"]) == {5}


def test_groups_of_metrics_are_counted_apart(tmp_path):
    cell, path = simulate.Cell("gaussian", 200, 32), tmp_path / "counts.csv"
    keep = kept_in(path, cell)
    simulated(cell, 4, metrics=simulate.DECLARED[:1], keep=keep)
    simulated(cell, 2, metrics=["norm_cv"], known=counting.read_counts(path), keep=keep)
    other = simulate.Cell("gaussian", 200, 128)
    simulated(other, 2, metrics=["norm_cv"], keep=kept_in(path, other))
    found = counting.read_counts(path)
    assert found["metric"].tolist() == ["norm_cv", "alignment", "norm_cv"]
    assert found["seeds"].tolist() == [2, 4, 2]
    assert found["d"].tolist() == [32, 32, 128]


def test_where_most_draws_are_refused_the_share_of_all_that_misses_is_judged():
    row: dict = {
        "refused": 0.95,
        "missed": 0.045,
        "draws": 1000,
        "coverage": 0.1,
        "conservative": 0,
        "false_positives": 0,
    }
    assert counting.fault(row, 50, 50) == ""
    assert counting.fault(row | {"missed": 0.1, "refused": 0.85}, 150, 50) == "misses too often"
    assert counting.fault(row | {"refused": 0.75}, 250, 50) == "covers too little"


def test_a_cell_fails_only_beyond_its_binomial_interval():
    assert not counting.outside(0.90, 100, at_least=0.93)
    assert counting.outside(0.80, 100, at_least=0.93)
    assert counting.outside(0.90, 1000, at_least=0.93)
    assert not counting.outside(1.0, 100, at_most=0.97)
    assert counting.outside(1.0, 1000, at_most=0.97)
