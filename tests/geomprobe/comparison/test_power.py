"""Rows and seeds that a difference needs: the arithmetic, its power in fresh draws, plans from results, the command."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe import inference
from geomprobe.cli.main import app
from geomprobe.common import InputError, UsageError
from geomprobe.comparison.groups import compare_groups
from geomprobe.comparison.power import Paired, grouped, rows_needed, seeds_needed, unpaired
from geomprobe.comparison.table import add_comparisons
from geomprobe.inference import Estimate
from geomprobe.inference.intervals import detectable
from geomprobe.results import write_results
from tests.geomprobe.comparison.test_comparison import D, N, embeddings, made

CLUSTER = 5


def moved_rows(seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    moved = embeddings() * (1 + 0.02 * rng.normal(size=D)) + 0.3 * rng.normal(size=(N, D))
    return (moved + shift * rng.normal(size=D)).astype(np.float32)


@pytest.fixture(scope="module")
def pair():
    return add_comparisons(made({"a": embeddings(), "b": moved_rows(1)}), "a", "b")


@pytest.fixture(scope="module")
def seeds():
    models = {f"{group}{i}": moved_rows(10 * g + i, shift=0.1) for g, group in enumerate("ab") for i in range(3)}
    groups = {"A": ["a0", "a1", "a2"], "B": ["b0", "b1", "b2"]}
    return compare_groups(made(models), groups)


def mean_difference(rng: np.random.Generator, clusters: int, gain: float, declared: bool = True) -> Estimate:
    """A mean over rows in clusters of five that share half of their variance; `declared` says that they do."""
    rows = np.sqrt(0.5) * (np.repeat(rng.normal(size=clusters), CLUSTER) + rng.normal(size=clusters * CLUSTER)) + gain
    home = np.arange(len(rows)) // (CLUSTER if declared else 1)
    found = Estimate.of_rows(float(rows.mean()), rows - rows.mean(), home)
    return Estimate.paired(found.value, found.contributions, 0.0, found.method)


# ---- the arithmetic --------------------------------------------------------------------------------------------------


def test_standard_errors_fall_as_more_rows_like_these_would_make_them():
    found = mean_difference(np.random.default_rng(0), 60, 0.1)
    again = Estimate.paired(found.value, np.tile(found.contributions, 4) / 4, 0.0, "x").interval()
    se, dof = Paired(found).at(4.0)
    assert se == pytest.approx(again.se, rel=0.01)
    assert dof == pytest.approx(again.dof, rel=0.03)
    assert Paired(found).at(1.0) == (found.interval().se, found.interval().dof)


def test_planned_rows_detect_the_difference_and_one_fewer_does_not():
    found = mean_difference(np.random.default_rng(0), 60, 0.1)
    for tests in (1, 40):
        n = rows_needed(Paired(found), 300, 0.1, tests)
        level = 1 - 0.05 / tests
        assert (
            detectable(*Paired(found).at(n / 300), level) <= 0.1 < detectable(*Paired(found).at(0.99 * n / 300), level)
        )


def test_groups_fall_as_their_interval_says():
    rng = np.random.default_rng(1)
    split = [[Estimate(v, 0.02 * rng.normal(size=100)) for v in m + rng.normal(size=4)] for m in (0, 1)]
    found, falls = grouped(*split)
    interval = found.interval()
    assert falls.at(1.0) == pytest.approx((interval.se, interval.dof))
    assert falls.at(1.0, 4) == pytest.approx((interval.se, interval.dof))
    assert falls.at(1.0, 16)[0] < 0.6 * interval.se  # four times the seeds, which make most of the variance


def test_variance_that_no_row_answers_for_does_not_fall():
    contributions = np.random.default_rng(0).normal(size=200) / 200
    falls = Paired(Estimate.paired(0.1, contributions, 0.01, "x"))
    assert rows_needed(falls, 200, 0.25) is None  # 2.8 · 0.1 stays
    assert rows_needed(falls, 200, 0.3) > 200


def test_seeds_or_rows_alone_may_not_suffice():
    rng = np.random.default_rng(2)
    rows, values = rng.normal(size=200) / 200, np.array([-1.0, 0.0, 1.0])

    def groups(seeds: float, moved: float):
        split = [[Estimate(seeds * v + g, g * moved * rows) for v in values] for g in (0, 1)]
        return grouped(*split)[1]

    assert rows_needed(groups(1.0, 0.1), 200, 1.0) is None  # seeds decide
    assert seeds_needed(groups(1.0, 0.1), 1.0) > 3
    assert seeds_needed(groups(0.01, 10.0), 1.0) is None  # rows decide
    assert rows_needed(groups(0.01, 10.0), 200, 1.0) > 200


def test_one_model_bounds_what_a_pair_needs():
    rng = np.random.default_rng(3)
    shared = rng.normal(size=400)
    a, b = ((0.9 * shared + np.sqrt(1 - 0.81) * rng.normal(size=400)) / 400 for _ in range(2))
    alone = Estimate(0.0, a - a.mean())
    true = rows_needed(Paired(Estimate(0.0, b - b.mean()).minus(alone)), 400, 0.02)
    most, half, near = (rows_needed(Paired(unpaired(alone, rho)), 400, 0.02) for rho in (0.0, 0.5, 0.81))
    assert most > half > near
    assert near == pytest.approx(true, rel=0.15)


def test_fewer_rows_than_calibrated_are_not_advised():
    found = mean_difference(np.random.default_rng(0), 200, 0.1)
    assert rows_needed(Paired(found), 1000, 5.0) == 200
    assert rows_needed(Paired(found), 120, 5.0) == 120


# ---- power in fresh draws --------------------------------------------------------------------------------------------


def share_found(declared: bool, draws: int = 400) -> tuple[float, np.ndarray]:
    rng, gain = np.random.default_rng(5), 0.16
    rows, rejects = [], []
    for _ in range(draws):
        pilot = mean_difference(rng, 40, gain, declared)
        n = rows_needed(Paired(pilot), 40 * CLUSTER, gain)
        rows.append(n)
        rejects.append(mean_difference(rng, -(-n // CLUSTER), gain).interval().p < 0.05)
    return float(np.mean(rejects)), np.array(rows)


def test_planned_rows_have_the_power_they_were_planned_for():
    share, rows = share_found(declared=True)
    se = np.sqrt((0.5 + 0.5 / CLUSTER) / (rows / CLUSTER))
    explained = stats.norm.cdf(0.16 / se - 1.96).mean()  # concave in the rows, which err with the pilot
    low, high = stats.binomtest(round(share * len(rows)), len(rows)).proportion_ci(0.99)
    assert low < explained < high
    assert low < 0.8 < high


def test_without_clusters_the_plan_has_half_the_power():
    share, _ = share_found(declared=False)
    assert share < 0.5  # the same bounds refuse it


def test_the_upper_limit_holds_in_four_of_five_pilots():
    rng, gain = np.random.default_rng(6), 0.16
    true = (2.8016 / gain) ** 2 * (0.5 + 0.5 / CLUSTER) * CLUSTER
    uppers = [rows_needed(Paired(mean_difference(rng, 40, 0.0)).upper(), 200, gain) for _ in range(600)]
    assert 0.74 < np.mean(np.array(uppers) >= true) < 0.88


def test_the_error_of_a_rank_at_four_times_the_rows_is_foreseen():
    rng = np.random.default_rng(7)

    def found(n: int) -> Estimate:
        first = rng.normal(size=(n, 16)) * np.arange(1, 17) ** -0.5
        sides = [first, first * np.linspace(1.1, 0.9, 16) + 0.1 * rng.normal(size=(n, 16))]
        a, b = (inference.measure(Z, metrics=["effective_rank"], views=["raw"])[1][0] for Z in sides)
        return b.minus(a)

    foreseen = np.mean([Paired(found(250)).at(4.0)[0] for _ in range(5)])
    assert foreseen == pytest.approx(np.mean([found(1000).interval().se for _ in range(3)]), rel=0.12)


@pytest.mark.slow
def test_planned_rows_of_embeddings_have_their_power():
    from functools import partial

    from tests.calibration.planned_power import clustered, explained, power, truth

    draw = partial(clustered, apart=0.12)
    size, sd = truth(draw, "effective_rank", 1000, 150)
    found = power(draw, "effective_rank", abs(size), 150, 2)
    low, high = stats.binomtest(int(found.rejects.sum()), len(found.rejects)).proportion_ci(0.99)
    assert low < explained(found.rows, abs(size), sd, 1000) < high


# ---- plans from results ----------------------------------------------------------------------------------------------


def test_a_pair_is_planned_by_its_paired_difference(pair):
    plan = gp.plan(pair, {"semantic_accuracy": 0.05, "uniformity": None, "effective_rank": gp.Margin(0.05, "relative")})
    compared = pair.comparisons.set_index(["metric", "view", "task"])
    accuracy = plan[plan["metric"] == "semantic_accuracy"].iloc[0]
    known = compared.loc[("semantic_accuracy", "raw", "sst2")]
    assert accuracy["se"] == pytest.approx(known["se"])
    assert accuracy["mdd"] == pytest.approx(known["mdd"])
    assert accuracy["rows"] == pytest.approx(N * (known["mdd"] / 0.05) ** 2, rel=0.01)
    assert accuracy["rows"] < accuracy["rows_upper"] < accuracy["rows_adjusted"] < accuracy["rows_adjusted_upper"]
    assert accuracy["tests"] == (pair.comparisons["family"] == "semantic").sum()
    assert set(plan.loc[plan["metric"] == "uniformity", "view"]) == {"raw", "centred"}
    assert set(plan.loc[plan["metric"] == "uniformity", "difference"]) == {0.1}
    rank = plan[plan["metric"] == "effective_rank"].iloc[0]
    assert rank["difference"] == pytest.approx(0.05 * compared.loc[("effective_rank", "raw", "sst2")][
        ["value_a", "value_b"]].mean())  # fmt: skip
    assert rank["note"].startswith("at this number of rows")
    assert "number of rows" not in accuracy["note"]


def test_the_comparison_says_the_same_of_its_margins_where_it_cannot_tell(pair):
    unclear = pair.comparisons[pair.comparisons["verdict"] == "no clear difference"]
    assert len(unclear)
    assert pair.comparisons.loc[~pair.comparisons.index.isin(unclear.index), "rows_for_margin"].isna().all()
    metrics = dict.fromkeys(unclear["metric"])
    plan = gp.plan(pair, metrics).set_index(["metric", "task"])
    for row in unclear.to_dict("records"):
        assert plan.loc[(row["metric"], row["task"]), "rows_adjusted"] == row["rows_for_margin"]


def test_what_is_planned_does_not_depend_on_the_observed_difference(pair):
    moved = deepcopy(pair)
    moved.results.loc[(moved.results["model"] == "b") & (moved.results["metric"] == "uniformity"), "value"] += 0.5
    plans = [gp.plan(each, {"uniformity": 0.01})[["rows", "rows_upper", "rows_adjusted"]] for each in (pair, moved)]
    assert plans[0].equals(plans[1])


def test_seeds_are_planned_for_groups(seeds):
    plan = gp.plan(seeds, {"mean_cosine": None, "semantic_accuracy": None}).set_index(["metric", "task"])
    cosine = plan.loc[("mean_cosine", "sst2")]
    assert (cosine["level"], cosine["seeds_pilot"]) == ("objective", 3)
    assert cosine["seeds"] < cosine["seeds_upper"]
    assert "no number of rows suffices with 3 seeds a group: the seeds decide" in cosine["note"]
    assert "neither rows alone nor seeds alone" in plan.loc[("semantic_accuracy", "sst2"), "note"]
    compared = seeds.comparisons.set_index(["metric", "view", "task"])
    assert compared.loc[("mean_cosine", "raw", "sst2"), "seeds_for_margin"] == cosine["seeds_adjusted"]


def test_one_model_gives_a_table_of_correlations():
    plan = gp.plan(made({"a": embeddings()}), {"semantic_accuracy": None})
    assert plan["correlation"].tolist() == [0.0, 0.5, 0.9]
    assert plan["rows"].tolist() == pytest.approx([plan["rows"][0] * share for share in (1, 0.5, 0.1)], rel=0.02)


def test_equal_models_leave_nothing_to_plan():
    same = made({"a": embeddings(), "b": embeddings()}, same_examples=True)
    plan = gp.plan(same, {"uniformity": None})
    assert plan["rows"].isna().all()
    assert set(plan["note"]) == {"the models are equal here: no row distinguishes them"}


@pytest.mark.parametrize(
    ("detect", "error", "said"),
    [
        ({"efective_rank": 1}, UsageError, "Did you mean 'effective_rank'"),
        ({"lidar": 1}, UsageError, "lidar is not compared in the pilot"),
        ({"effective_rank": 0}, UsageError, "a positive number is needed"),
        ({"effective_rank": float("nan")}, UsageError, "a positive number is needed"),
        ({"effective_rank": "5 %"}, UsageError, "is not a difference of effective_rank: a positive number is needed"),
        ({"effective_rank": True}, UsageError, "a positive number is needed"),
        ({"semantic_accuracy": 2}, UsageError, "semantic_accuracy lies in 0 to 1"),
        (["effective_rank"], UsageError, "detect is a mapping"),
        ({}, UsageError, "detect is a mapping"),
    ],
)
def test_what_cannot_be_planned_is_refused(pair, detect, error, said):
    with pytest.raises(error, match=said):
        gp.plan(pair, detect)


def test_a_pilot_without_influences_is_refused(pair):
    bare = deepcopy(pair)
    bare.influences = bare.influences[:0]
    with pytest.raises(InputError, match="no contributions are kept"):
        gp.plan(bare, {"effective_rank": 1})
    assert gp.plan(bare, {"semantic_accuracy": None})["rows"].notna().all()  # from the scores of examples
    bare.examples = bare.examples[:0]
    with pytest.raises(InputError, match="keeps no influences"):
        gp.plan(bare)


def test_why_a_pilot_has_no_interval_is_said(pair):
    few = deepcopy(pair)
    some = few.influences["metric"] == "effective_rank"
    few.influences.loc[some, "contributions"] = few.influences.loc[some, "contributions"].map(
        lambda c: np.where(np.arange(len(c)) < 3, c, 0 * c)
    )
    with pytest.raises(InputError, match="a few rows decide the standard error"):
        gp.plan(few, {"effective_rank": 1})


# ---- where it is said ------------------------------------------------------------------------------------------------


def test_the_summary_says_what_the_margin_needs(pair):
    unclear = deepcopy(pair)
    some = unclear.comparisons["metric"] == "semantic_accuracy"
    unclear.comparisons.loc[some, ["verdict", "rows_for_margin"]] = ["no clear difference", 14006]
    assert unclear.summary().cannot_tell[0].seen.endswith("; the margin from about 15,000 rows")
    unclear.comparisons.loc[some, "seeds_for_margin"] = 42
    assert unclear.summary().cannot_tell[0].seen.endswith("; the margin from about 15,000 rows or 42 seeds a group")
    unclear.comparisons.loc[some, ["rows_for_margin", "seeds_for_margin"]] = [N, pd.NA]  # there are as many: no news
    assert "the margin" not in unclear.summary().cannot_tell[0].seen


@pytest.fixture
def folder(pair, tmp_path):
    pair.run |= {"failed_cells": 0, "notes": [], "baselines": {}, "tasks": [{"name": "sst2"}, {"name": "stsb"}]}
    write_results(tmp_path / "pilot", pair)
    return tmp_path / "pilot"


def test_the_command_prints_a_table_and_one_document(folder):
    said = CliRunner().invoke(app, ["plan", "--pilot", str(folder)])
    assert said.exit_code == 0
    assert len(said.stdout.splitlines()) <= 20
    assert "semantic accuracy" in said.stdout
    done = CliRunner().invoke(app, ["plan", "--pilot", str(folder), "--detect", "effective_rank=5%", "--json"])
    document = json.loads(done.stdout)
    assert {row["metric"] for row in document["results"]} == {"effective_rank"}
    assert document["results"][0]["rows"] == 200


@pytest.mark.parametrize(
    ("detect", "said"),
    [
        ("effective_rank=0", "is not a difference: a positive number is needed"),
        ("effective_rank=five", "is not a difference"),
        ("effective_rank=100%", "is too large a difference"),
        ("efective_rank", "Did you mean 'effective_rank'"),
        ("uniformity_reference", "is not compared in the pilot"),
    ],
)
def test_the_command_refuses_what_it_cannot_plan(folder, detect, said):
    done = CliRunner().invoke(app, ["plan", "--pilot", str(folder), "--detect", detect])
    assert done.exit_code == 2
    assert said in done.stderr
