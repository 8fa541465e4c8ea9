"""Intervals of a training's paired differences that hold at all looks together, however many there will be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from geomprobe.comparison.pairs import PLACE, ModelResults, Row, key_of
from geomprobe.inference import Estimate, Interval, intervals
from geomprobe.inference.estimate import student
from geomprobe.inference.sequences import correlations, look_levels, share_of_look

Look = tuple[ModelResults, ModelResults, Sequence[tuple[Row, Interval]]]
"""Two checkpoints, and every number that both have with its paired difference."""


def anytime_ends(looks: Sequence[Look], families: Mapping[str, str]) -> np.ndarray:
    """Ends of the intervals of all differences, in their order; NaN where there is no valid interval.

    The k-th look may spend 5 % · 1/(k(k + 1)) on a family, shared equally by the numbers that the family has at this
    look. So the chance that any interval of a family misses its truth at any look is 5 % at most. What one number's
    looks have in common is not spent twice (`inference.sequences.look_levels`).

    Parameters
    ----------
    looks : sequence of Look
        In the order of the steps.
    families : mapping of metric to family

    Returns
    -------
    float64 ndarray of shape (differences of all looks, 2)
    """
    found: dict[tuple, list[tuple[int, float, Look, Row, Interval]]] = {}
    place = 0
    for k, look in enumerate(looks, 1):
        numbers = Counter(families[row["metric"]] for row, diff in look[2] if diff.low is not None)
        for row, diff in look[2]:
            if diff.low is not None:
                error = (1 - intervals.LEVEL) * share_of_look(k) / numbers[families[row["metric"]]]
                found.setdefault(key_of(row, PLACE), []).append((place, error, look, row, diff))
            place += 1
    ends = np.full((place, 2), np.nan)
    for each in found.values():
        places, errors, of, rows, diffs = zip(*each, strict=True)
        levels = look_levels(errors, _in_common(of, rows, diffs))
        ends[list(places)] = [interval_at(diff, 1 - error) for diff, error in zip(diffs, levels, strict=True)]
    return ends


def interval_at(found: Interval, level: float) -> tuple[float, float]:
    """The interval of a difference at another level; of accuracies by their discordant rows, for the t interval of few
    of them is too narrow far out."""
    if found.discordant is not None:
        return found.discordant.interval(level)
    at = student(found.value, found.se or 0.0, found.dof, found.method, level)
    return at.low or 0.0, at.high or 0.0


def _in_common(looks: Sequence[Look], rows: Sequence[Row], diffs: Sequence[Interval]) -> np.ndarray:
    """Correlations of the differences of one number; 0 where a difference has no standard error or contributions."""
    own: dict[tuple[str, int], Estimate] = {}
    moved = []
    for (first, second, _), row in zip(looks, rows, strict=True):
        pair = []
        for side in (first, second):
            key = side.name, id(side)
            if key not in own:
                own[key] = side.estimate(side.numbers[key_of(row, PLACE)])
            pair.append(own[key])
        moved.append(pair[1].minus(pair[0]).scaled)
    size = max((len(each) for each in moved if each is not None), default=0)
    if not size:
        return np.zeros((len(moved), len(moved)))
    usable = [each is not None and len(each) == size for each in moved]
    se = np.array([diff.se if diff.se and ok else 0.0 for diff, ok in zip(diffs, usable, strict=True)])
    filled = [each if ok else np.zeros(size) for each, ok in zip(moved, usable, strict=True)]
    return correlations(np.array(filled), se)
