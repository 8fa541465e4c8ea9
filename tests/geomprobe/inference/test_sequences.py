"""Repeated looks: the intervals hold at all looks together where 95 % intervals at each look do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import geomprobe as gp
from geomprobe.common import UsageError
from geomprobe.inference.estimate import by_pairs
from geomprobe.inference.sequences import _alone, correlations, look_levels, share_of_look

LOOKS = 50
ERRORS = 0.05 * np.array([share_of_look(k) for k in range(1, LOOKS + 1)])


def shared(r):
    return np.where(np.eye(LOOKS) > 0, 1.0, r)


def drifting(r):
    places = np.arange(LOOKS)
    return r ** np.abs(places[:, None] - places)


@pytest.mark.parametrize("correlation", [shared(0.0), shared(0.9), shared(0.99), drifting(0.5), drifting(0.97)])
def test_fifty_looks_keep_the_error_and_intervals_of_each_look_do_not(correlation):
    """20,000 null series from the joint normal law that the levels are for."""
    draws = np.random.default_rng(0).standard_normal((20_000, LOOKS)) @ np.linalg.cholesky(correlation).T
    p = 2 * special.ndtr(-np.abs(draws))
    assert (p < look_levels(ERRORS, correlation)).any(1).mean() < 0.05
    assert (p < 0.05).any(1).mean() > 0.075


def test_series_of_checkpoints_on_the_same_rows():
    """Correlations and standard errors are estimated from 200 rows; false alarms by the binomial rule at 99 %."""
    rng, series, looks = np.random.default_rng(3), 120, 15
    alarms, each = 0, 0
    for _ in range(series):
        rows = np.sqrt(0.5) * rng.standard_normal(200) + np.sqrt(0.5) * rng.standard_normal((looks, 200))
        estimate = rows.mean(1)
        contributions = (rows - estimate[:, None]) / 200
        se, dof = np.array([by_pairs(one, 0.0) for one in contributions]).T
        p = 2 * special.stdtr(dof, -np.abs(estimate) / se)
        alarms += (p < look_levels(ERRORS[:looks], correlations(contributions, se))).any()
        each += (p < 0.05).any()
    assert stats.binom.sf(alarms - 1, series, 0.05) > 0.01, alarms
    assert stats.binom.sf(each - 1, series, 0.05) < 1e-3, each


def test_what_looks_have_in_common_is_not_spent_twice():
    widths = [-special.ndtri(look_levels(ERRORS, shared(r))[-1] / 2) for r in (0.0, 0.5, 0.9, 0.99)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == pytest.approx(4.27, abs=0.01)
    assert widths[-1] < 2.7


def test_a_later_look_changes_no_earlier_one():
    found = look_levels(ERRORS, drifting(0.9))
    np.testing.assert_array_equal(look_levels(ERRORS[:7], drifting(0.9)[:7, :7]), found[:7])


@pytest.mark.parametrize("r", [0.0, 0.3, -0.9, 0.999999, 1.0])
def test_levels_lie_between_their_own_error_and_all_that_was_spent(r):
    found = look_levels(ERRORS, shared(r))
    assert (found >= ERRORS * (1 - 1e-9)).all()
    assert (found <= np.cumsum(ERRORS) * (1 + 1e-4)).all()
    np.testing.assert_allclose(found, look_levels(ERRORS, shared(abs(r))))


def test_few_looks():
    assert look_levels([], np.zeros((0, 0))).tolist() == []
    np.testing.assert_allclose(look_levels([0.05], np.ones((1, 1))), [0.05])


@pytest.mark.parametrize(
    ("cut", "earlier", "r"), [(2.5, 2.24, 0.9), (4.9, 4.8, 0.99), (3.0, 2.0, 0.0), (3.6, 3.5, 0.3)]
)
def test_the_joint_probability_by_another_way(cut, earlier, r):
    x, weight = np.polynomial.legendre.leggauss(400)
    x, root = x * earlier, np.sqrt(1 - r * r)
    inner = special.ndtr((r * x - cut) / root) + special.ndtr((-cut - r * x) / root)
    expected = earlier * (weight @ (stats.norm.pdf(x) * inner))
    assert _alone(cut, np.array([earlier]), np.array([r]))[0] == pytest.approx(expected, rel=1e-5)


def test_correlations_leave_out_looks_without_an_error():
    rng = np.random.default_rng(0)
    contributions = rng.standard_normal((3, 40))
    contributions[2] = 0
    contributions -= contributions.mean(1, keepdims=True)
    se = np.array([np.sqrt(40 / 39 * (one**2).sum()) for one in contributions])
    found = correlations(contributions, se)
    assert found[0, 1] == pytest.approx(np.corrcoef(contributions[:2])[0, 1])
    assert (found[2] == 0).all()
    assert (correlations(contributions, se * 2)[0, 1]) == pytest.approx(found[0, 1] / 4), (
        "other variance is independent"
    )


def test_new_rows_are_looked_at_fifty_times():
    rng, looks = np.random.default_rng(1), np.arange(99, 5000, 100)
    alarms = {"each": 0, "sequence": 0, "99 % right": 0, "99 % right, bounded": 0}
    for _ in range(100):
        x, right, t = rng.standard_normal(5000), (rng.random(5000) < 0.99).astype(float), np.arange(1, 5001)
        alarms["each"] += (np.abs(np.cumsum(x) / t)[looks] > 1.96 * x.std() / np.sqrt(t)[looks]).any()
        for name, ends, truth in (
            ("sequence", gp.confidence_sequence(x), 0.0),
            ("99 % right", gp.confidence_sequence(right), 0.99),
            ("99 % right, bounded", gp.confidence_sequence(right, (0, 1)), 0.99),
        ):
            low, high = ends[looks].T
            alarms[name] += ((low > truth) | (high < truth)).any()
    assert alarms["sequence"] <= 12
    assert alarms["99 % right, bounded"] <= 12
    assert alarms["each"] > 20
    assert alarms["99 % right"] > 20, "where no row is wrong yet, the asymptotic interval has no width"


def test_the_formulas_one_row_after_the_other():
    x = np.random.default_rng(2).uniform(-1, 3, size=150)
    alpha, t = 0.05, 150
    rho2 = (-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / 1000
    half = x.std() * np.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * np.log(np.sqrt(t * rho2 + 1) / alpha))
    np.testing.assert_allclose(gp.confidence_sequence(x)[-1], [x.mean() - half, x.mean() + half])
    assert np.isinf(gp.confidence_sequence(x)[98]).all()
    y, total, weighted, spent, mean, variance, squares = (x + 1) / 4, 0.0, 0.0, np.log(2 / alpha), 0.5, 0.25, 0.25
    for i, value in enumerate(y, 1):
        rate = min(0.5, np.sqrt(2 * np.log(2 / alpha) / (variance * i * np.log(1 + i))))
        total, weighted = total + rate, weighted + rate * value
        spent += (value - mean) ** 2 * (-np.log(1 - rate) - rate)
        mean = (0.5 + y[:i].sum()) / (i + 1)
        squares += (value - mean) ** 2
        variance = squares / (i + 1)
    ends = -1 + 4 * np.array([weighted - spent, weighted + spent]) / total
    np.testing.assert_allclose(gp.confidence_sequence(x, (-1, 3))[-1], ends)


def test_large_means_do_not_hide_the_spread():
    x = np.random.default_rng(0).standard_normal(400)
    np.testing.assert_allclose(gp.confidence_sequence(x + 1e9) - 1e9, gp.confidence_sequence(x), atol=1e-4)


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ([0.0, np.nan], {}),
        ([[0.0]], {}),
        (["a"], {}),
        ([0.5, 2.0], {"bounds": (0, 1)}),
        ([0.5], {"bounds": (1, 0)}),
        ([0.5], {"bounds": (0, np.inf)}),
        ([0.5], {"bounds": ("0", "1")}),
        ([0.5], {"bounds": 1}),
        ([0.5], {"level": 1}),
        ([0.5], {"level": "95 %"}),
        ([0.5], {"sharpest_at": np.inf}),
    ],
)
def test_what_is_no_score_is_refused(values, more):
    with pytest.raises(UsageError):
        gp.confidence_sequence(values, **more)


def test_no_row_yet():
    assert gp.confidence_sequence([]).shape == gp.confidence_sequence([], (0, 1)).shape == (0, 2)
