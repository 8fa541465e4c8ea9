"""Margins of equivalence: their scales, and what they never call none."""

from __future__ import annotations

import re

import numpy as np
import pytest

import geomprobe as gp
from geomprobe.api import every_metric
from geomprobe.common import UsageError
from geomprobe.comparison.margin_overrides import margin, parse_margins
from geomprobe.inference import intervals

COUNTED_IN_POINTS = ("accuracy", "macro_f1")
"""Ends of the names of shares that are read as points, 2 of 100 rows."""
DECLARED = {name: entry for name, entry in every_metric().items() if "margin" in entry}


def embeddings(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(400, 24)) * np.arange(1, 25) ** -0.5 + 0.5 * rng.normal(size=24)


def test_margins_declared_and_chosen():
    known = every_metric()
    assert margin(known["effective_rank"], 190.0, 210.0) == pytest.approx(10)
    assert [margin(known["rank_90"], k, k) for k in (1, 20, 21, 100)] == [1, 1, 2, 5]
    assert margin(known["isoscore"], 0.1, 0.3) == pytest.approx(0.1 * 0.2 * 0.8)
    assert margin(known["lexical_bow_r2"], -0.3, 0.1) == 0
    assert margin(known["semantic_accuracy"], 0.8, 0.9) == 0.02
    assert margin(known["hubness_skew"], 1.0, 1.0) is None
    chosen = parse_margins(["effective_rank=10%", "uniformity=0.2"], known)
    assert margin(known["effective_rank"], 190.0, 210.0, chosen["effective_rank"]) == pytest.approx(20)
    assert margin(known["uniformity"], -3.0, -2.0, chosen["uniformity"]) == 0.2
    with pytest.raises(UsageError, match="one value is twice the other"):
        parse_margins(["effective_rank=67%"], known)
    for wrong in ("uniformity", "uniformity=", "uniformity=-1", "=1", "uniformity=nan", "uniformity=x"):
        with pytest.raises(UsageError, match="not a margin"):
            parse_margins([wrong], known)
    Z = embeddings()
    tight = gp.compare({"a": Z, "b": Z + 0.01 * embeddings(5)}, metrics=["uniformity"], margins=chosen)
    assert tight["margin"].tolist() == [0.2] * len(tight)


@pytest.mark.parametrize("name", DECLARED)
def test_a_doubling_is_never_equivalent_and_the_order_of_two_values_does_not_matter(name):
    entry, scale = DECLARED[name], DECLARED[name]["margin"]["scale"]
    if scale == "absolute":  # of what may be negative, and of what is read as points
        assert not re.match(r"[\[({][01]\b", entry["range"]) or name.endswith(COUNTED_IN_POINTS)
    for value in np.logspace(0 if re.match(r"[\[{]1", entry["range"]) else -6, 4, 100):
        pairs = [(value, 2 * value)]
        if scale == "logit":
            a, b = (odds / (1 + odds) for odds in (value, 2 * value))
            pairs += [(a, b), (1 - b, 1 - a)]
        for a, b in pairs:
            size = margin(entry, a, b)
            assert size == margin(entry, b, a)
            if scale != "absolute":
                for diff in (b - a, a - b):
                    p = intervals.p_equivalence(diff, 1e-9 * abs(diff), 1e6, size)
                    assert intervals.verdict(diff, 0.0, p) in (intervals.HIGHER, intervals.LOWER)


@pytest.mark.parametrize("size", [0.05, 0.1, 0.5, 0.66])
def test_no_ratio_and_no_odds_ratio_beyond_the_declared_bound_is_within_a_margin(size):
    bound = (2 + size) / (2 - size)
    assert bound < 2
    mean = np.linspace(0, 1, 2001)[1:-1]
    half = np.array([gp.Margin(size, "logit").of(m, m) for m in mean]) / 2
    low, high = ((mean + side) / (1 - mean - side) for side in (-half, half))
    assert (high / low <= bound * (1 + 1e-12)).all()
    assert gp.Margin(size, "relative").of(1.0, bound) == pytest.approx(bound - 1)


def test_the_order_of_two_models_changes_no_verdict_but_its_direction():
    first, second = embeddings(), embeddings() * np.linspace(1, 1.1, 24)
    one, other = gp.compare({"a": first, "b": second}), gp.compare({"a": second, "b": first})
    assert one["verdict"].str.contains("equivalent").any()
    for column in ("margin", "p_tost", "p_holm"):
        one_way, other_way = (frame[column].to_numpy(float, na_value=np.nan) for frame in (one, other))
        np.testing.assert_allclose(one_way, other_way, rtol=1e-9, atol=1e-12)
    turned = {"higher": "lower", "lower": "higher"}
    expected = [re.sub("higher|lower", lambda word: turned[word[0]], verdict) for verdict in one["verdict"]]
    assert other["verdict"].tolist() == expected


def test_equal_values_are_equivalent_where_the_margin_is_nothing():
    assert intervals.p_equivalence(0.0, 0.0, 9.0, 0.0) == 0
