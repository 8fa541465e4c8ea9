"""One number with its interval: each rule for degrees of freedom, differences, groups, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from geomprobe.inference import Estimate
from geomprobe.inference.estimate import JACKKNIFE, ROUNDING, by_count
from geomprobe.predict_reconstruct.checkpoints import _gap

C = np.random.default_rng(0).normal(size=400) / 400
C -= C.mean()


def test_clusters_that_count_alike_have_one_degree_of_freedom_less():
    x = np.random.default_rng(1).normal(3, 1, 12)
    low, high = stats.t.interval(0.95, 11, x.mean(), stats.sem(x))
    found = Estimate(float(x.mean()), (x - x.mean()) / 12, rule=by_count, method="mean")
    assert found.to_row() | {"contributions": None} == {
        "se": pytest.approx(stats.sem(x)),
        "ci_low": pytest.approx(low),
        "ci_high": pytest.approx(high),
        "ci_method": "mean",
        "contributions": None,
    }
    assert found.interval().p == pytest.approx(stats.ttest_1samp(x, 0).pvalue)
    assert found.interval(0.5).high < high


def test_one_row_that_decides_refuses_and_the_words_name_rows_or_shards():
    few = np.r_[1.0, -1.0, np.zeros(50)]
    for method, units in (("influence function", "rows"), (JACKKNIFE, "shards")):
        found = Estimate(1.0, few, method=method).interval()
        assert (found.se, found.p) == (None, None)
        assert found.method.startswith(f"no valid interval: a few {units} decide the standard error")


def test_words_say_clusters_and_where_the_second_order_counts():
    rows, pairs = np.random.default_rng(2).normal(size=200), np.arange(200) // 2
    assert Estimate.of_rows(1.0, rows, np.arange(200)).method == "influence function"
    clustered = Estimate.of_rows(1.0, rows, pairs, second_order=rows.var() / 200)
    assert clustered.method == "influence function, 100 clusters, standard error probably too large"
    assert clustered.contributions == pytest.approx(rows.reshape(-1, 2).sum(1) / 200)
    assert Estimate.of_rows(1.0, rows, np.zeros(200, int)).interval().se is None


def test_what_two_encoders_share_cancels():
    a, b = Estimate(1.0, C), Estimate(1.5, C + np.roll(C, 1) / 10)
    found = b.minus(a).interval()
    assert found.value == 0.5
    assert found.se == pytest.approx(a.interval().se / 10)
    assert found.method == "paired influence function"


def test_a_difference_that_is_rounding_is_none():
    a = Estimate(1e6, C)
    for b in (a, Estimate(1e6 + 1e-6, C)):
        found = b.minus(a).interval()
        assert (found.value, found.se, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 0.0, 1.0)
    assert Estimate(1e6 + 1e-6, C).minus(a, resolution=0.0).value > 0


def test_nearly_equal_clouds_round_to_the_same_rank():
    near, far = (Estimate(20.0, C + np.roll(C, 1) * part, ROUNDING) for part in (1e-3, 1e3))
    rank = Estimate(20.0, C, ROUNDING)
    assert near.minus(rank).interval().high < 1  # a whole rank would be no rounding
    se = far.minus(rank).interval().se
    assert se**2 == pytest.approx((1e3 * C.std() * np.sqrt(400)) ** 2 + 2 * ROUNDING, rel=0.01)


def test_a_difference_of_rounded_crossings_is_in_its_interval_wherever_a_step_falls():
    rng = np.random.default_rng(3)
    draws, rows = 2000, len(C)
    t = stats.t.ppf(0.975, rows - 1)
    spread, step = rng.normal(size=draws), rng.normal(size=draws)
    influences = rng.normal(size=rows)
    influences = (influences - influences.mean()) / influences.std() / rows  # of standard error 1/√rows
    misses, false = [], []
    for se, apart in [(0.001, 0.0), (0.005, 0.0), (0.005, 0.05), (0.01, 0.15), (0.02, 0.3), (0.1, 0.4), (0.5, 2.5)]:
        sides = [Estimate(20.0, contributions, ROUNDING) for contributions in (C, C + influences * se * np.sqrt(rows))]
        half = t * sides[1].minus(sides[0]).interval().se
        for phase in np.linspace(0, 1, 10, endpoint=False):
            first = phase + 0.3 * spread
            found = np.ceil(first + apart + se * step) - np.ceil(first)
            misses.append(np.mean(np.abs(found - found.mean()) > half))
            false += [np.mean(np.abs(found) > half)] if not apart else []
    # up to 0.2 with 10·se as the variance; up to 1 with 0.8·se, the chance of a step where both sides are equal in law
    assert max(misses) < 0.05
    assert max(false) < 0.05


def test_a_refused_side_refuses_the_difference_with_its_reason():
    refused = Estimate.refused(2.0, "so")
    for found in (refused.minus(Estimate(1.0, C)), Estimate(3.0, C).minus(refused)):
        assert found.value == 1.0
        assert found.interval().method == "no valid interval: so"


def test_a_group_needs_three_seeds_with_an_interval_each():
    seeds = [Estimate(float(i), C) for i in range(3)]
    assert "fewer than 3 seeds" in Estimate.grouped(seeds, seeds[:2]).method
    assert "a seed has no interval" in Estimate.grouped(seeds, [*seeds[:2], Estimate.refused(2.0, "so")]).method
    found = Estimate.grouped(seeds, [Estimate(5.0 + i, C) for i in range(3)]).interval()
    assert found.se == pytest.approx(np.sqrt(2 / 3))  # seeds alone: what rows add is the same for all
    assert found.dof == pytest.approx(4)


def test_the_gap_of_skills_has_the_fewest_degrees_of_freedom_of_its_parts():
    both = {"a": "a", "b": "b", "level": "checkpoint", "task": "t", "layer": 1, "pooling": "mean", "n": 100}
    both |= {"value_a": 0.2, "ci_method": "paired"}
    task = both | {"metric": "semantic_skill", "value_b": 0.5, "diff": 0.3, "se": 0.1, "dof": 40.0}
    lexical = both | {"metric": "lexical_top_word_skill", "value_b": 0.3, "diff": 0.1, "se": 0.05, "dof": 20.0}
    line = _gap(task, lexical)
    assert (line["diff"], line["se"]) == (pytest.approx(0.2), pytest.approx(0.15))
    assert line["ci_high"] == pytest.approx(0.2 + 0.15 * stats.t.ppf(0.975, 20))
    assert line["p"] == pytest.approx(2 * stats.t.sf(0.2 / 0.15, 20))
    assert _gap(task, lexical | {"se": 0.0})["dof"] == 40
