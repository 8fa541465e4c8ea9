"""Verdicts in words: what holds, in how many cells, at which level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from geomprobe.comparison.pairs import filled
from geomprobe.inference import intervals


def claims(comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Return, for each metric and view, in how many task × pooling cells each verdict holds, and the sentence.

    Returns
    -------
    list of dict
        Keys metric, view, level, cells, counts (verdict -> number of cells) and sentence; JSON-ready.
    """
    found = []
    for (metric, view), part in filled(comparisons, ("view",)).groupby(["metric", "view"], sort=False):
        counts = {str(verdict): int(count) for verdict, count in part["verdict"].value_counts().items()}
        first = part.iloc[0]
        entry: dict[str, Any] = {"metric": str(metric), "view": str(view), "level": str(first["level"])}
        entry |= {"cells": len(part), "counts": counts}
        found.append(entry | {"sentence": sentence(entry, str(first["a"]), str(first["b"]))})
    return found


def sentence(claim: Mapping[str, Any], a: str, b: str) -> str:
    """A claim in fixed words: what holds, in how many cells, at which level, and what the data cannot tell."""
    counts, cells = claim["counts"], claim["cells"]
    who = ("checkpoint", "checkpoints") if claim["level"] == "checkpoint" else ("objective", "objectives")
    name = str(claim["metric"]).replace("_", " ") + (f" ({claim['view']})" if claim["view"] not in ("", "raw") else "")
    higher, lower = counts.get(intervals.HIGHER, 0), counts.get(intervals.LOWER, 0)
    same = sum(
        count for verdict, count in counts.items() if verdict == intervals.NO_DIFFERENCE or "equivalent" in verdict
    )
    unclear = counts.get(intervals.UNCLEAR, 0)
    silent = cells - higher - lower - same - unclear
    differs = ((higher, "higher"), (lower, "lower"))
    parts = [f"{who[0]} {b} is {word} than {a} in {count} of {cells} cells" for count, word in differs if count]
    rest = ((same, f"the {who[1]} are equivalent"), (unclear, "the data cannot tell"), (silent, "no verdict"))
    parts += [f"{words} in {count} of {cells}" for count, words in rest if count]
    return f"{name}: {'; '.join(parts)}."
