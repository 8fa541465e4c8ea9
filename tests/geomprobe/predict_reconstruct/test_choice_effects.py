"""What a choice moves: planted movements are found with intervals that cover, equal analyses move exactly 0."""

from __future__ import annotations

import numpy as np
import pytest

from geomprobe.inference import Estimate, intervals
from geomprobe.predict_reconstruct.choice_effects import MISSING, common_clusters, difference, most, moved

N = 400


def mean_of(x: np.ndarray, rows: slice = slice(None)) -> Estimate:
    """Return the mean over some of the rows as a number with its contributions to all rows."""
    contributions = np.zeros(len(x))
    contributions[rows] = (x[rows] - x[rows].mean()) / len(x[rows])
    return Estimate(float(x[rows].mean()), contributions)


def shift(new: np.ndarray, old: np.ndarray, rows: slice = slice(None)) -> Estimate:
    return moved(mean_of(new), mean_of(old, rows))


def planted(rng: np.random.Generator, by: float, noise: float = 0.1, rows: slice = slice(None)):
    """Return two models whose difference moves by `by`: the analyses share most of what scatters the rows."""
    a, b = rng.normal(size=(2, N))
    return [shift(a + noise * rng.normal(size=N), a, rows)], [shift(b + by + noise * rng.normal(size=N), b, rows)]


@pytest.mark.parametrize("rows", [slice(None), slice(150)])
def test_intervals_of_a_planted_movement_cover(rows):
    rng = np.random.default_rng(0)
    found = [difference(planted(rng, 0.05, rows=rows), "checkpoint") for _ in range(400)]
    covered = sum(one.low <= 0.05 <= one.high for one in found)
    assert covered / 400 > 0.92
    spread = np.std([one.value for one in found])
    assert np.mean([one.se for one in found]) == pytest.approx(spread, rel=0.1)


def test_what_the_analyses_share_cancels():
    rng = np.random.default_rng(1)
    one = difference(planted(rng, 0.05), "checkpoint")
    assert one.se == pytest.approx(0.1 * np.sqrt(2 / N), rel=0.15)  # a tenth of that of either difference
    assert one.p < 1e-6


def test_intervals_over_seeds_cover_and_are_paired_by_seed():
    rng = np.random.default_rng(2)
    covered, widths = 0, []
    for _ in range(300):
        sides = []
        for by in (0.0, 0.2):
            side = []
            for _ in range(3):
                level, own = 5 * rng.normal(), by + 0.05 * rng.normal()  # seeds differ far more than they move
                x = rng.normal(size=N)
                side.append(shift(x + level + own + 0.1 * rng.normal(size=N), x + level))
            sides.append(side)
        one = difference((sides[0], sides[1]), "objective")
        covered += one.low <= 0.2 <= one.high
        widths.append(one.high - one.low)
    assert covered / 300 > 0.93
    assert np.median(widths) < 1.0


def test_equal_analyses_move_exactly_0():
    x = np.random.default_rng(3).normal(size=(6, N))
    sides = ([shift(row, row) for row in x[:3]], [shift(row, row) for row in x[3:]])
    for level in ("checkpoint", "objective"):
        one = difference(sides, level)
        assert (one.value, one.se, one.low, one.high, one.p) == (0, 0, 0, 0, 1)
        assert most({"same": sides}, level) is None
    assert most({}, "checkpoint") is None


def test_rounding_moves_nothing_and_what_has_no_value_is_never_the_largest():
    one = Estimate(80.0, np.array([0.1, -0.1]))
    still = moved(Estimate(80.0 + 2e-6, one.contributions * (1 + 1e-6)), one)
    assert (still.value, still.unattributed_variance, still.contributions.tolist()) == (0.0, 0.0, [0.0, 0.0])
    by_chance = moved(Estimate(80.0, np.array([0.2, -0.2]), 0.5), one)
    assert (by_chance.value, by_chance.unattributed_variance) == (0.0, pytest.approx(0.5))
    assert by_chance.contributions == pytest.approx([0.1, -0.1])
    choices = {"none": ([MISSING], [MISSING]), "some": ([one], [Estimate(81.0, one.contributions)])}
    assert most(choices, "checkpoint")["name"] == "some"
    assert most(dict(reversed(choices.items())), "checkpoint")["name"] == "some"


def test_what_the_data_can_tell_of_the_largest():
    rng = np.random.default_rng(4)
    big, bigger, against = planted(rng, 0.50), planted(rng, 0.503), planted(rng, -0.505)
    small, none = planted(rng, 0.10), planted(rng, 0.0)
    assert most({"big": big, "small": small, "none": none}, "checkpoint")["label"] == "big"
    close = most({"big": big, "bigger": bigger, "small": small}, "checkpoint")
    assert close["indistinguishable"] == [name for name in ("big", "bigger") if name != close["name"]]
    assert close["label"] == f"{close['name']} (not distinguishable from {close['indistinguishable'][0]})"
    assert most({"big": big, "against": against}, "checkpoint")["indistinguishable"]  # as far, the other way
    unclear = most({"none": none}, "checkpoint")
    assert unclear["label"] == "none (not distinguishable from 0)"
    assert unclear["moved_low"] < 0 < unclear["moved_high"]
    tested = [difference(sides, "checkpoint").p for sides in (big, small, none)]
    found = most({"big": big, "small": small, "none": none}, "checkpoint")
    assert found["p_holm"] == intervals.holm(np.array(tested))[0]


def test_without_contributions_there_is_no_interval():
    known, unknown = planted(np.random.default_rng(5), 0.1), Estimate.refused(0.4, "so")
    found = most({"known": known, "unknown": ([unknown], [Estimate.refused(1.0, "otherwise")])}, "checkpoint")
    assert found["label"] == "unknown (no valid interval)"
    assert found["moved_method"] == "no valid interval: so"
    assert found["indistinguishable"] == ["known"]


def test_unattributed_variance_of_two_analyses_is_bounded_by_what_they_may_share():
    one, other = Estimate(1.0, np.zeros(3), 4.0), Estimate(1.0, np.zeros(3), 9.0)
    assert moved(one, other).unattributed_variance == pytest.approx(25.0)


def test_clusters_of_several_analyses():
    # the second analysis ties rows b and c, which lie apart in the first, and has a row more
    homes = {"first": (["a", "b", "c"], np.array([1, 0, 2])), "second": (["d", "c", "b", "a"], np.array([0, 1, 1, 2]))}
    common = common_clusters(homes)
    first, second = common["first"].common, common["second"].common
    assert first[0] == first[2] == second[1]  # b and c
    assert first[1] == second[2]  # a
    assert sorted({*first, *second}) == [0, 1, 2]
    assert common["first"].size == common["second"].size == 3
    summed = Estimate(1.0, np.array([1.0, 2.0, 4.0])).summed(first, common["first"].size).contributions
    assert (summed[first[0]], summed[first[1]], summed[second[0]]) == (5, 2, 0)
