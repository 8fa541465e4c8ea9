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
    table = simulate.simulate([cell], 60, metrics=QUICK, bootstrap=40, bootstrap_draws=15)
    assert len(table) >= len(QUICK)
    assert (table["fault"] == "").all(), table[table["fault"] != ""].to_string()
    assert (table["coverage"].dropna() > 0.85).all()


def test_the_naive_bootstrap_misses_ranks():
    table = simulate.simulate(
        [simulate.Cell("power-law", 100, 32)], 20, metrics=["effective_rank"], bootstrap=40, bootstrap_draws=20
    )
    assert table["bootstrap"].iloc[0] < 0.2
    assert table["coverage"].iloc[0] > 0.7


def test_a_cell_fails_only_beyond_its_binomial_interval():
    assert not simulate.outside(0.90, 100, at_least=0.93)
    assert simulate.outside(0.80, 100, at_least=0.93)
    assert simulate.outside(0.90, 1000, at_least=0.93)
    assert not simulate.outside(1.0, 100, at_most=0.97)
    assert simulate.outside(1.0, 1000, at_most=0.97)
