"""Equivalence margins: how small a difference must be to be called none, as the records declare it or as asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from geomprobe.common import UsageError, unknown_name
from geomprobe.results.record import DOUBLING, Margin


def margin(entry: Mapping[str, Any], a: float, b: float, chosen: Margin | None = None) -> float | None:
    """Margin of two values of a metric in its own units, None where none is declared.

    Parameters
    ----------
    entry : mapping
        Of definitions.json.
    a, b : float
    chosen : Margin, optional
        In place of the declared one (see `parse_margins`).
    """
    declared = entry.get("margin")
    found = chosen or (Margin(**declared) if declared else None)
    return found.of(a, b) if found else None


def parse_margins(texts: Sequence[str], known: Collection[str], what: str = "margin") -> dict[str, Margin]:
    """Margins from "METRIC=0.05" or "METRIC=5%" (of the mean of both values), of metrics that are known.

    `what` is what they are to the user, for messages.

    Raises
    ------
    UsageError
        A text is something else, no metric has that name, a margin is given twice or is not positive.
    """
    found: dict[str, Margin] = {}
    for text in texts:
        metric, _, number = (part.strip() for part in text.partition("="))
        relative = number.endswith("%")
        try:
            size = float(number.removesuffix("%")) / (100 if relative else 1)
        except ValueError:
            size = 0.0
        if not metric or not 0 < size < float("inf"):
            raise UsageError(
                f"{text[:80]!r} is not a {what}: a positive number is needed.",
                "Write METRIC=0.05, or METRIC=5% for a share of the mean of both values.",
            )
        if relative and size >= DOUBLING:
            raise UsageError(
                f"{text[:80]!r} is too large a {what}: from {100 * DOUBLING:.0f} % of the mean on, one value is twice "
                "the other.",
                f"Write a smaller share, such as {metric}=5%, or a number in its own units.",
            )
        if metric not in known:
            raise unknown_name("metric", metric, list(known))
        if metric in found:
            raise UsageError(f"The {what} of {metric} is given twice.")
        found[metric] = Margin(size, "relative" if relative else "absolute")
    return found
