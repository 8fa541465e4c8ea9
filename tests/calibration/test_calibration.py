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


def test_a_cell_fails_only_beyond_its_binomial_interval():
    assert not simulate.outside(0.90, 100, at_least=0.93)
    assert simulate.outside(0.80, 100, at_least=0.93)
    assert simulate.outside(0.90, 1000, at_least=0.93)
    assert not simulate.outside(1.0, 100, at_most=0.97)
    assert simulate.outside(1.0, 1000, at_most=0.97)
