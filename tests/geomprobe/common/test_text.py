"""How numbers, intervals and texts of users are written."""

from __future__ import annotations

import pytest

from geomprobe.common import text


@pytest.mark.parametrize(
    ("value", "places", "signed", "expected"),
    [
        (None, None, False, "–"),
        (float("nan"), None, False, "–"),
        (-0.0001, 2, False, "0.00"),
        (-0.737, 2, True, "−0.74"),
        (0.5, 1, True, "+0.5"),
        (1234.5, None, False, "1,234"),
        (1e-9, None, False, "1.0e−09"),
    ],
)
def test_number(value, places, signed, expected):
    assert text.number(value, places, signed) == expected


@pytest.mark.parametrize("value", [None, True, "1", float("nan"), float("-inf"), 10**400])
def test_what_is_no_finite_number_has_no_value(value):
    assert text.finite(value) is None


def test_interval_and_decimals_follow_the_half_width():
    places = text.decimals([1.23456], half_width=0.0123)
    assert places == 3
    assert text.interval(-1.0, 0.5, places) == "[−1.000, 0.500]"


def test_clean_keeps_no_control_and_names_stay_apart():
    assert text.clean("a\x00b\u202ec\ud800\ufffe") == "a\ufffdb\ufffdc\ufffd\ufffd"
    assert text.clean("a \n b") == "a b"
    names = text.short_names(["x" * 10_000, "x" * 9_000, ""])
    assert len(set(names.values())) == 3
    assert max(map(len, names.values())) <= 48
