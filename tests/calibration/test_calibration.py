"""The calibration in its quick form: small cells, few draws, every metric; `make calibrate` runs the full one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

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
    table = simulate.summarise(cell, simulate.simulate(cell, 60, metrics=QUICK))
    assert len(table) >= len(QUICK)
    assert (table["fault"] == "").all(), table[table["fault"] != ""].to_string()
    assert (table["coverage"].dropna() > 0.85).all()


def test_entropies_are_covered_where_rows_are_few_for_the_dimensions():
    """Around a large mean with N not far above D the first order gives half of rankme's error: 72 % are covered."""
    cell = simulate.Cell("anisotropic", 100, 64)
    table = simulate.summarise(cell, simulate.simulate(cell, 60, metrics=["rankme", "vendi_score"]))
    assert (table["fault"] == "").all(), table.to_string()
    assert (table["coverage"] > 0.85).all()
    assert (table["se"] > 0.8 * table["sd"]).all()


def test_the_naive_bootstrap_misses_ranks_and_uniformity():
    cell = simulate.Cell("power-law", 100, 32)
    rows = simulate.simulate(cell, 20, metrics=["effective_rank", "uniformity"], bootstrapped=20)
    table = simulate.summarise(cell, rows).query("view == 'raw'")
    assert (table["bootstrap"] < 0.2).all()
    assert (table["coverage"] > 0.7).all()


def test_a_later_run_adds_the_draws_that_are_missing(tmp_path):
    cell, path = simulate.Cell("gaussian", 50, 4), tmp_path / "draws.csv"
    simulate.simulate(cell, 3, metrics=["effective_rank"], keep=path)
    added = simulate.simulate(cell, 5, metrics=["effective_rank"], keep=path)
    whole = simulate.simulate(cell, 5, metrics=["effective_rank"])
    assert sorted(added["seed"]) == [simulate.FIRST_SEED + i for i in range(5)]
    assert sorted(added["value"]) == pytest.approx(sorted(whole["value"]), rel=1e-6)
    assert len(path.read_text().splitlines()) == 6


def test_a_cell_fails_only_beyond_its_binomial_interval():
    assert not simulate.outside(0.90, 100, at_least=0.93)
    assert simulate.outside(0.80, 100, at_least=0.93)
    assert simulate.outside(0.90, 1000, at_least=0.93)
    assert not simulate.outside(1.0, 100, at_most=0.97)
    assert simulate.outside(1.0, 1000, at_most=0.97)
