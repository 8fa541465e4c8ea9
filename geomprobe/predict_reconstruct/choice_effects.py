"""What replacing one choice of the published analysis moves, and the interval of that movement."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from geomprobe.comparison.pairs import estimate_of
from geomprobe.inference import Estimate, Interval, intervals
from geomprobe.inference.estimate import FUNCTION
from geomprobe.results import Results
from geomprobe.vectors.groups import connected

Key = TypeVar("Key", bound=Hashable)
Place = tuple[str, str, str, str, str]  # model, task, pooling, metric, view
ALPHA = 0.05
ROUNDING = 1e-6
"""Share of a number below which a movement of it is rounding: of float32 vectors in batches of another shape, say."""


@dataclass(frozen=True)
class Clusters:
    """Where the clusters of one analysis of a task lie among those that several analyses share.

    Attributes
    ----------
    common : int64 ndarray of shape (g,)
        The common cluster of each cluster, numbered from 0.
    size : int
        How many common clusters there are.
    """

    common: np.ndarray
    size: int


MISSING = Estimate.refused(float("nan"), "not measured")
Sides = tuple[Sequence[Estimate], Sequence[Estimate]]  # the models of A, and those of B


def numbers_of(results: Results) -> dict[Place, Estimate]:
    """Every number of the results and the contributions behind it, by model, task, pooling, metric and view."""
    place = ["model", "task", "pooling", "metric", "view"]

    def by_place(frame: Any) -> dict[Place, dict[str, Any]]:
        frame = frame.assign(view=frame["view"].astype(object).fillna("raw"))
        return {tuple(str(row[key]) for key in place): row for row in frame.to_dict("records")}  # type: ignore[misc]

    rows = results.results
    influences = by_place(results.influences)
    found = {}
    for key, row in by_place(rows[(rows["status"] == "ok") & rows["control"].isna()]).items():
        known = influences.get(key)
        found[key] = estimate_of(float(row["value"]), known, str(row["ci_method"]) if known is None else FUNCTION)
    return found


def common_clusters(homes: Mapping[Key, tuple[Sequence[str], np.ndarray]]) -> dict[Key, Clusters]:
    """Clusters that several analyses of a task share: rows that any of them ties together stay together.

    Parameters
    ----------
    homes : mapping to (row ids, int64 ndarray of shape (n,))
        For each analysis its rows and the cluster of each, numbered from 0; the rows may differ.
    """
    numbers: dict[str, int] = {}
    ends = {key: np.array([numbers.setdefault(one, len(numbers)) for one in ids]) for key, (ids, _) in homes.items()}
    size, starts = len(numbers), {}
    for key, (_, own) in homes.items():
        starts[key] = size
        size += int(own.max()) + 1
    left = np.concatenate(list(ends.values()))
    right = np.concatenate([starts[key] + own for key, (_, own) in homes.items()])
    count, component = connected(np.column_stack([left, right]), size)
    return {
        key: Clusters(component[starts[key] : starts[key] + int(own.max()) + 1], count)
        for key, (_, own) in homes.items()
    }


def difference(sides: Sides, level: str) -> Interval:
    """Return B − A: of the first model of each side, or at the level of objectives of the means over seeds.

    Contributions are subtracted row by row, between the models and between the analyses, so that what they share
    cancels. The same seed stands under both analyses, so that it is the spread of each seed's own movement that counts.
    """
    first, second = sides
    found = Estimate.grouped(first, second) if level == "objective" else second[0].minus(first[0], resolution=0.0)
    return found.interval()


def moved(after: Estimate, before: Estimate, sign: int = -1) -> Estimate:
    """After + sign·before, of one model under two analyses.

    What both share of the unattributed variance is not known, so it is bounded.
    """
    value = after.value + sign * before.value
    for side in (after, before):
        if side.contributions is None:
            return replace(side, value=value)
    assert after.contributions is not None
    assert before.contributions is not None
    contributions = after.contributions + sign * before.contributions
    # equal by chance, numbers still differ in what each row adds to them
    alike = np.linalg.norm(contributions) <= 1e3 * ROUNDING * np.linalg.norm(after.contributions)
    same = after.unattributed_variance == before.unattributed_variance
    if alike and same and abs(value) <= ROUNDING * abs(after.value):
        return Estimate(0.0, np.zeros_like(contributions))
    return Estimate(value, contributions, (after.unattributed_variance**0.5 + before.unattributed_variance**0.5) ** 2)


def combined(one: Sides, other: Sides, sign: int) -> Sides:
    """One + sign·other, model by model."""
    a, b = ([moved(x, y, sign) for x, y in zip(*pair, strict=True)] for pair in zip(one, other, strict=True))
    return a, b


def moved_by(found: Interval) -> dict[str, Any]:
    """Movement of B − A with its interval, JSON-ready."""
    moved = found.value if np.isfinite(found.value) else None  # a seed whose cell failed
    line = {"moved": moved, "moved_se": found.se, "moved_low": found.low, "moved_high": found.high}
    return line | {"moved_method": found.method}


def most(moved: Mapping[str, Sides], level: str) -> dict[str, Any] | None:
    """Which choice moves B − A most, and whether the data can tell; None where nothing moves it.

    Parameters
    ----------
    moved : mapping of a choice's name to the movements of each model
    level : {"checkpoint", "objective"}

    Returns
    -------
    dict
        name; what `moved_by` returns; p_holm: of no movement, adjusted by Holm over the choices; indistinguishable:
        the other choices that may move it as far; label: the name, with what it is not distinguishable from.

    Notes
    -----
    |x| > |y| where x − y and x + y both have the sign of x; both are tested at 5 %. The largest is distinguishable from
    the others only where it is from each, which needs no adjustment, though it was selected: Gutmann & Maymin (1987),
    "Is the selected population the best?", Annals of Statistics 15.
    """
    found = {name: difference(sides, level) for name, sides in moved.items()}
    name = max(found, key=lambda each: np.nan_to_num(abs(found[each].value), nan=-1.0), default=None)
    if name is None or found[name].value == 0:
        return None
    top = found[name]
    p = np.array([np.nan if one.p is None else one.p for one in found.values()], float)
    p_holm = dict(zip(found, intervals.holm(p), strict=True))[name]

    def distinguishable(other: str) -> bool:
        apart = [difference(combined(moved[name], moved[other], sign), level).p for sign in (-1, 1)]
        return all(one is not None and one < ALPHA for one in apart)

    indistinguishable = [other for other in found if other != name and not distinguishable(other)]
    if top.p is None:
        label = f"{name} (no valid interval)"
    elif p_holm >= ALPHA:
        label = f"{name} (not distinguishable from 0)"
    else:
        label = f"{name} (not distinguishable from {', '.join(indistinguishable)})" if indistinguishable else name
    return {
        "name": name,
        **moved_by(top),
        "p_holm": None if top.p is None else float(p_holm),
        "indistinguishable": indistinguishable,
        "label": label,
    }
