"""One difference of `comparisons`: its verdict as one of five codes, and half the width of its interval."""

from __future__ import annotations

from geomprobe.reports.data.facts import Row


def judgement(row: Row) -> str:
    """What a comparison says: higher, lower, equivalent, unclear or none (no interval, so no verdict)."""
    verdict = (row.get("verdict") or "").lower()
    if not verdict or "no interval" in verdict or "no valid" in verdict or "no verdict" in verdict:
        return "none"
    if "equivalent" in verdict or verdict == "no difference":
        return "equivalent"
    if any(
        word in verdict
        for word in ("unclear", "no clear", "inconclusive", "not significant", "undecided", "cannot tell")
    ):
        return "unclear"
    diff = row.get("diff")
    return "none" if diff is None else "unclear" if diff == 0 else "higher" if diff > 0 else "lower"


def half_width(row: Row | None) -> float | None:
    if not row or row["ci_low"] is None or row["ci_high"] is None:
        return None
    return (row["ci_high"] - row["ci_low"]) / 2 or None
