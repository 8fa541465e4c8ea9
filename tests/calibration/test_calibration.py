"""The calibration in its quick form: small cells, few draws, every metric; `make calibrate` runs the full one."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SPEC = importlib.util.spec_from_file_location("calibration_simulate", Path(__file__).with_name("simulate.py"))
assert SPEC is not None
assert SPEC.loader is not None
simulate = importlib.util.module_from_spec(SPEC)
sys.modules["calibration_simulate"] = simulate
SPEC.loader.exec_module(simulate)

QUICK = ("effective_rank", "participation_ratio", "rank_90", "mean_cosine", "uniformity")


@pytest.mark.parametrize("cloud", ["power-law", "clustered"])
def test_coverage_and_false_positives(cloud):
    cell = simulate.Cell(cloud, 100, 8)
    table = simulate.summarise(simulate.simulate(cell, 60, metrics=QUICK))
    assert len(table) >= len(QUICK)
    assert (table["fault"] == "").all(), table[table["fault"] != ""].to_string()
    assert (table["coverage"].dropna() > 0.85).all()


@pytest.mark.parametrize(("n", "group"), [(100, "neighbours"), (400, "declared")])
def test_coverage_of_neighbours_and_declared_structure(n, group):
    table = simulate.summarise(simulate.simulate(simulate.Cell("gaussian", n, 8), 60, metrics=simulate.GROUPS[group]))
    assert set(table["metric"]) == set(simulate.GROUPS[group])
    assert (table["fault"] == "").all(), table[table["fault"] != ""].to_string()
    assert (table["coverage"] > 0.85).all()
    assert (table["given"] == 60).all()


def test_entropies_are_covered_where_rows_are_few_for_the_dimensions():
    """Around a large mean with N not far above D the first order gives half of rankme's error: 72 % are covered."""
    cell = simulate.Cell("anisotropic", 100, 64)
    table = simulate.summarise(simulate.simulate(cell, 60, metrics=["rankme", "vendi_score"]))
    assert (table["fault"] == "").all(), table.to_string()
    assert (table["coverage"] > 0.85).all()
    assert (table["se"] > 0.8 * table["sd"]).all()


def test_the_naive_bootstrap_misses_ranks_and_uniformity():
    cell = simulate.Cell("power-law", 100, 32)
    counts = simulate.simulate(cell, 20, metrics=["effective_rank", "uniformity"], bootstrapped=20)
    table = simulate.summarise(counts).query("view == 'raw'")
    assert (table["bootstrap"] < 0.2).all()
    assert (table["coverage"] > 0.7).all()


def test_a_later_run_adds_the_draws_that_are_missing(tmp_path, monkeypatch):
    """In batches the truth is the mean up to then; with the same truth, counts in parts are those of the whole."""
    monkeypatch.setattr(simulate, "BATCH", 4)
    cell, path = simulate.Cell("gaussian", 200, 32), tmp_path / "counts.csv"
    keep, wanted = functools.partial(simulate.write_counts, path, cell), {"metrics": ["effective_rank", "norm_cv"]}
    simulate.simulate(cell, 3, keep=keep, **wanted)
    added = simulate.simulate(cell, 8, known=simulate.read_counts(path), keep=keep, **wanted)
    monkeypatch.setattr(simulate, "BATCH", 8)
    whole = simulate.simulate(cell, 8, **wanted)
    assert set(added["seeds"]) == {8}
    assert set(simulate.read_counts(path)["seeds"]) == {8}
    for column in ("draws", "mean", "squares", "given", "se", "conservative", "tested", "rejected"):
        assert added[column].to_numpy(float) == pytest.approx(whole[column].to_numpy(float), rel=1e-8), column
    assert (added["covered"] <= added["given"]).all()
    table = simulate.summarise(added)
    assert table["sd"].to_numpy() == pytest.approx(np.sqrt(whole["squares"] / 7), rel=1e-8)


def test_a_batch_is_judged_by_the_mean_of_all_draws_so_far():
    cell = simulate.Cell("gaussian", 200, 32)
    place = {"metric": "m", "view": "raw", "label": "", "se": 1.0, "p": 0.5, "boot_low": np.nan, "boot_high": np.nan}

    def rows(*values):
        return pd.DataFrame([{"value": v, "low": v - 1, "high": v + 1, **place} for v in values])

    first = simulate.judged(cell, rows(0.0, 0.5), pd.DataFrame(columns=[*simulate.PLACE, *simulate.COUNTED]), 2)
    assert (first["covered"].item(), first["mean"].item()) == (2, 0.25)
    second = simulate.judged(cell, rows(3.5, 2.0), first, 2)
    assert (second["covered"].item(), second["mean"].item()) == (3, 1.5)
    assert second["squares"].item() == pytest.approx(np.var([0, 0.5, 3.5, 2]) * 4)
    other = simulate.judged(cell, rows(1.0).assign(metric="other"), second, 1).set_index("metric")
    assert (other.loc["m", "draws"], other.loc["other", "draws"]) == (4, 1)
    assert set(other["seeds"]) == {5}


def test_groups_of_metrics_are_counted_apart(tmp_path):
    cell, path = simulate.Cell("gaussian", 200, 32), tmp_path / "counts.csv"
    keep = functools.partial(simulate.write_counts, path, cell)
    simulate.simulate(cell, 4, metrics=simulate.DECLARED[:1], keep=keep)
    simulate.simulate(cell, 2, metrics=["norm_cv"], known=simulate.read_counts(path), keep=keep)
    other = simulate.Cell("gaussian", 200, 128)
    simulate.simulate(other, 2, metrics=["norm_cv"], keep=functools.partial(simulate.write_counts, path, other))
    found = simulate.read_counts(path)
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
    assert simulate.fault(row, 50, 50) == ""
    assert simulate.fault(row | {"missed": 0.1, "refused": 0.85}, 150, 50) == "misses too often"
    assert simulate.fault(row | {"refused": 0.75}, 250, 50) == "covers too little"


def test_a_cell_fails_only_beyond_its_binomial_interval():
    assert not simulate.outside(0.90, 100, at_least=0.93)
    assert simulate.outside(0.80, 100, at_least=0.93)
    assert simulate.outside(0.90, 1000, at_least=0.93)
    assert not simulate.outside(1.0, 100, at_most=0.97)
    assert simulate.outside(1.0, 1000, at_most=0.97)
