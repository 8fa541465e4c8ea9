"""How far another seed alone moves a number: the table, its page, and the columns of comparisons."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from geomprobe.common import InputError, write_json
from geomprobe.comparison.seed_spread import TABLE, upper_bound, with_seed_spread
from geomprobe.results import COMPARISON_COLUMNS, RESULT_COLUMNS, table, write_table
from tests.geomprobe.metrics.test_definitions import script

TABULATED = json.loads(TABLE.read_text())
made = script("write_margins.py")


def test_page_and_table_are_what_the_kept_replications_give():
    folders = made.kept()
    found = made.arms(folders)
    assert made.page(found, folders) == made.PAGE.read_text(encoding="utf-8"), "make margins"
    assert made.tabulated(found) == TABULATED
    assert len(found.drop_duplicates("hashes")) == 7  # the hybrid arm is in six folders
    assert found["sd"].notna().all()


def test_the_bound_is_above_the_spread_of_differences_in_19_of_20_draws():
    seeds = np.random.default_rng(0).normal(scale=3, size=(20_000, 4, 3))  # four arms of three seeds
    sd = np.sqrt(seeds.var(axis=2, ddof=1).mean(axis=1))
    above = np.mean(upper_bound(1.0, 8) * sd >= 3 * 2**0.5)
    assert above == pytest.approx(0.95, abs=0.005)


def replication(folder, values, arm="mlm", groups=True):
    """Write what a replication keeps of one arm: values of a task's effective rank, a number a seed."""
    folder.mkdir()
    names = [f"{arm}/seed-{i}" for i in range(len(values))]
    models = [{"name": name, "hash": name, "n_layers": 2, "dim": 16, "training": {"tokens": 1}} for name in names]
    run = {"models": models, "protocol": "strict", "groups": {arm: names} if groups else None}
    write_json(folder / "run.json", run)
    cell = {"task": "sst2", "layer": 2, "pooling": "mean", "view": "raw", "status": "ok", "metric": "effective_rank"}
    rows = [{**cell, "model": name, "model_hash": name, "value": v} for name, v in zip(names, values, strict=True)]
    write_table(folder / "results.parquet", table([*rows, {**rows[0], "control": "bow"}], RESULT_COLUMNS))
    return folder


def test_arms_are_pooled_on_the_scale_of_the_margin_and_count_once(tmp_path):
    first, second = replication(tmp_path / "a", [9.0, 10.0, 11.0]), replication(tmp_path / "b", [80.0, 120.0], "jepa")
    again = tmp_path / "again"
    again.mkdir()
    for file in ("run.json", "results.parquet"):
        (again / file).write_bytes((first / file).read_bytes())
    (entry,) = made.tabulated(made.arms([first, second, again]))
    sd, dof = entry["spread"]["mean"]["effective_rank"]["raw"]
    assert (entry["layers"], entry["dim"], dof) == (2, 16, 3)
    assert sd == pytest.approx(((2 * 0.1**2 + 0.08) / 3) ** 0.5, rel=0.01)
    with pytest.raises(InputError, match="no groups of seeds"):
        made.arms([replication(tmp_path / "c", [1.0, 2.0], groups=False)])


def compared(*, layers=2, dim=128, **run):
    cell = {"a": "a", "b": "b", "layer": layers, "pooling": "mean", "view": "raw"}
    uniformity = {**cell, "metric": "uniformity", "value_a": -1.0, "value_b": -2.0}
    rows = [
        {**cell, "metric": "effective_rank", "value_a": 90.0, "value_b": 110.0},
        uniformity,
        {**uniformity, "layer": layers - 1},
        {**uniformity, "pooling": "cls"},
    ]
    models = [{"name": name, "n_layers": layers, "dim": dim} for name in "ab"]
    run = {"models": models, "protocol": "strict", **run}
    return table(with_seed_spread(table(rows, COMPARISON_COLUMNS), run, ("a", "b")), COMPARISON_COLUMNS)


def test_a_difference_has_the_spread_of_the_nearest_size_in_own_units():
    known = TABULATED[0]["spread"]["mean"]
    found = compared()
    assert found["seed_spread"][0] == pytest.approx(100 * upper_bound(*known["effective_rank"]["raw"]))
    assert found["seed_spread"][1] == pytest.approx(upper_bound(*known["uniformity"]["raw"]))
    assert found["seed_size"].tolist() == ["2 layers of 128", "2 layers of 128", pd.NA, pd.NA]
    assert found["seed_spread"].isna().tolist() == [False, False, True, True]
    large = compared(layers=12, dim=768)
    assert large["seed_size"][0] == "nearest: 2 layers of 128"
    assert large["seed_spread"][:2].tolist() == found["seed_spread"][:2].tolist()


@pytest.mark.parametrize("run", [{"protocol": "paper"}, {"baselines": {"b": "random-init"}}])
def test_where_no_seed_is_tabulated_nothing_is_said(run):
    assert compared(**run)[["seed_spread", "seed_size"]].isna().all(axis=None)
