"""A difference's verdict as one of five codes."""

from __future__ import annotations

import pytest

from geomprobe.results.summary.facts import judgement


@pytest.mark.parametrize(
    ("verdict", "diff", "expected"),
    [
        ("no valid interval, no verdict", 1.0, "none"),
        ("no valid interval", 1.0, "none"),
        (None, 1.0, "none"),
        ("equivalent", 0.1, "equivalent"),
        ("no difference", 0.1, "equivalent"),
        ("no clear difference", 0.1, "unclear"),
        ("higher", 0.1, "higher"),
        ("different", -0.1, "lower"),
    ],
)
def test_judgement_reads_the_verdict(verdict, diff, expected):
    assert judgement({"verdict": verdict, "diff": diff}) == expected
