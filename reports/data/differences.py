"""One difference of `comparisons`: its verdict as one of five codes, and half the width of its interval."""

from __future__ import annotations

from geomprobe.reports.data.facts import Row


def judgement(row: Row) -> str:
    """What a comparison says: higher, lower, equivalent, unclear or none (no interval, so no verdict)."""
    verdict, diff = row.get("verdict") or "no verdict", row.get("diff")
    if diff is None or "no verdict" in verdict or "no valid interval" in verdict:
        return "none"
    if "equivalent" in verdict or verdict == "no difference":
        return "equivalent"
    if "no clear difference" in verdict or diff == 0:
        return "unclear"
    return "higher" if diff > 0 else "lower"


def half_width(row: Row | None) -> float | None:
    """Half the width of a number's interval, None where it has none."""
    if not row or row.get("ci_low") is None or row.get("ci_high") is None:
        return None
    return (row["ci_high"] - row["ci_low"]) / 2 or None
