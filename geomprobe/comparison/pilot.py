"""What a pilot says of the rows and seeds that a difference needs: `gp.plan` and `geomprobe plan`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from geomprobe.common import InputError, UsageError, unknown_name
from geomprobe.comparison.margin_overrides import margin, parse_margins
from geomprobe.comparison.pairs import PLACE, ModelResults, Row, check_rows, paired_estimate, refits_of_difference
from geomprobe.comparison.power import Grouped, Paired, grouped, rows_needed, seeds_needed, unpaired
from geomprobe.comparison.rankings import MOST_PAIRS, deepest_sides
from geomprobe.comparison.records import known, record
from geomprobe.comparison.table import families_of, variants_of
from geomprobe.inference import Estimate
from geomprobe.inference.estimate import JACKKNIFE
from geomprobe.inference.intervals import detectable
from geomprobe.inference.refits import SAID
from geomprobe.metrics.sample_size import MATCHED
from geomprobe.results import Results, read_results
from geomprobe.results.record import WIDE, Margin
from geomprobe.results.summary.facts import headline_of

CORRELATIONS = (0.0, 0.5, 0.9)
"""Of the influences of two models, where the pilot has one: none, which needs most rows, and two that are met."""
GROWS = "at this number of rows: the values grow with it, so the difference may, too"
SCORED = "over scored rows only: the refits of the pilot are not in it"
NOTHING = "the models are equal here: no row distinguishes them"
LACK = "Repeat the command that wrote the folder: this version keeps influences.parquet."
_COUNTS = ("rows", "rows_upper", "rows_adjusted", "rows_adjusted_upper")
_SEEDS = ("seeds", "seeds_upper", "seeds_adjusted", "seeds_adjusted_upper")
COLUMNS = (
    "a", "b", "level", "task", "layer", "pooling", "view", "metric", "definition", "correlation", "difference", "n",
    "clusters", "seeds_pilot", "se", "mdd", "tests", *_COUNTS, *_SEEDS, "note",
)  # fmt: skip
_WHOLE = ("layer", "n", "clusters", "seeds_pilot", "tests", *_COUNTS, *_SEEDS)
_REAL = ("correlation", "difference", "se", "mdd")

Detect = Mapping[str, Margin | float | None]
"""Metric to the difference that is to be found; None is the metric's own margin."""


def parse_detect(texts: Sequence[str], names: Sequence[str]) -> dict[str, Margin | None]:
    """Differences from "METRIC=x", "METRIC=5%" (of the mean of both values) or "METRIC" (its margin).

    Raises
    ------
    UsageError
        As `margin_overrides.parse_margins`.
    """
    given = parse_margins([text for text in texts if "=" in text], names, "difference")
    found: dict[str, Margin | None] = {**given}
    for metric in (text.strip() for text in texts if "=" not in text):
        if metric not in names:
            raise unknown_name("metric", metric, list(names))
        if metric in found:
            raise UsageError(f"The difference of {metric} is given twice.")
        found[metric] = None
    return found


class Number(NamedTuple):
    """A number that both sides of a pilot have: its row and values, their difference, how its standard error falls.

    `refits` is how many of them the standard error covers.
    """

    row: Row
    a: float
    b: float
    difference: Estimate
    falls: Paired | Grouped
    refits: int = 0


@dataclass(frozen=True)
class Contrast:
    """Two sides of a pilot, or one model and an unknown other.

    `tests` has the size of each family of claims, `seeds` those of the smaller group.
    """

    a: str
    b: str
    level: str
    tests: Mapping[str, int]
    numbers: list[Number]
    correlation: float | None = None
    seeds: int | None = None


def plan(results: Results | str | Path, detect: Detect | None = None) -> pd.DataFrame:
    """How many rows, and how many seeds, find a difference of a given size, from the influences of a pilot.

    A test at the 5 % level finds it with a power of 80 % from the smallest n on with
    (t_0.975 + t_0.8)·SE(n) ≤ difference: SE(n) = SE·√(N/n) for n rows in clusters of the same sizes, and degrees of
    freedom that grow with n. Only the deepest layer of each model counts.

    Parameters
    ----------
    results : Results, or path of a results folder
        The pilot. Of two models or more every pair is planned for, of groups of seeds the claim about objectives; of
        one model its comparison with another whose influences correlate with its own by 0, 0.5 or 0.9.
    detect : mapping of metric to number, Margin or None, optional
        The difference to be found, in the metric's own units or as a `Margin`; None is the metric's own margin.
        Default: each headline number of the pilot by its margin.

    Returns
    -------
    DataFrame
        A row per pair, task, pooling and view: the difference; of the pilot its rows `n`, `clusters`, `seeds_pilot` (of
        the smaller group), standard error `se` and smallest detectable difference `mdd`; `rows` that one test needs,
        and `rows_adjusted`, what it needs as the smallest of `tests` p-values of its family under Holm's adjustment;
        of groups `seeds` a group on the pilot's rows. `_upper` is an upper limit with a confidence of 80 %, since the
        pilot's standard error is an estimate. A number is missing where no number of rows, or seeds, suffices; `note`
        says why.

    Raises
    ------
    UsageError
        A metric is unknown or not compared in the pilot, or a difference is not positive.
    InputError
        The folder keeps no influences, or nothing asked for has an interval in it.

    Examples
    --------
    >>> import geomprobe as gp
    >>> found = gp.plan("runs/analyze/mine", {"effective_rank": 0.5})
    >>> bool(found.loc[0, "rows"] <= found.loc[0, "rows_upper"])
    True
    """
    found = results if isinstance(results, Results) else read_results(results)
    if found.influences.empty and found.examples.empty:
        raise InputError("The pilot keeps no influences, from which a plan is made.", LACK)
    records = known(found.definitions)
    contrasts = list(_contrasts(found, _asked(found, records, detect)))
    rows = [
        _row(each, number, records, (detect or {}).get(str(number.row["metric"])))
        for each in contrasts
        for number in each.numbers
    ]
    if not rows:
        raise InputError("The models of the pilot share no number that is asked for.", "Name metrics: --detect METRIC.")
    if all(row["se"] is None for row in rows):
        first = rows[0]
        where = f"{first['metric']} on {first['task']}, {first['pooling']} pooling"
        hint = LACK if found.influences.empty else "More rows, another pooling or another metric may have one."
        raise InputError(f"No number asked for has an interval in the pilot. {where}: {first['note']}.", hint)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds: dict[str, Any] = dict.fromkeys(_WHOLE, "Int64") | dict.fromkeys(_REAL, "Float64")
    return frame.assign(**{name: pd.array([row[name] for row in rows], kind) for name, kind in kinds.items()})


def _asked(results: Results, records: Mapping[str, Any], detect: Detect | None) -> set[tuple[str, str]]:
    """The (metric, view) that are planned for: of each metric its headline views, where it has some."""
    rows = results.results
    rows = rows[(rows["status"] == "ok") & rows["control"].isna()]
    measured = list(dict.fromkeys(zip(rows["metric"], rows["view"].astype("string").fillna(""), strict=True)))
    compared = [(m, v) for m, v in measured if records.get(m, {}).get("compared", True)]
    if detect is None:
        return {(m, v) for m, v in headline_of(compared, records) if records.get(m, {}).get("margin")}
    if not isinstance(detect, Mapping) or not detect:
        raise UsageError(
            "detect is a mapping of metrics to differences, and not empty.",
            "Give {'effective_rank': 0.5}, or leave it out for the headline metrics by their margins.",
        )
    names = list(dict.fromkeys(metric for metric, _ in compared))
    for metric, size in detect.items():
        if metric not in names and record(metric) is None:
            raise unknown_name("metric", metric, names)
        if metric not in names:
            raise UsageError(f"{metric} is not compared in the pilot.", f"It has: {', '.join(sorted(names))}")
        if size is None and not records.get(metric, {}).get("margin"):
            raise UsageError(f"{metric} has no margin of its own.", f"Say how large a difference: {metric}=0.05")
        _check_size(metric, size, str(records.get(metric, {}).get("range", "")))
    places = headline_of([each for each in compared if each[0] in detect], records)
    argued = {metric for metric, _ in places if "headline" in records.get(metric, {})}
    return {each for each in compared if each[0] in detect and (each in places or each[0] not in argued)}


BOUNDED = re.compile(r"[(\[](-?[\d.]+), (-?[\d.]+)[)\]]")
"""A range with two ends that are numbers."""


def _check_size(metric: str, size: Margin | float | None, values: str) -> None:
    """Raise UsageError for a difference that is not positive, or larger than the range of its metric."""
    if size is None or (isinstance(size, Margin) and size.scale != "absolute"):
        return
    width = size.size if isinstance(size, Margin) else size
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < float("inf"):
        raise UsageError(
            f"{width!r} is not a difference of {metric}: a positive number is needed.",
            "Give it in the metric's own units, such as 0.05, or as a share: gp.Margin(0.05, 'relative').",
        )
    if bounds := BOUNDED.match(values.replace("−", "-")):
        low, high = map(float, bounds.groups())
        if width > high - low:
            points = " Two points are 0.02." if (low, high) == (0, 1) else ""
            raise UsageError(
                f"{metric} lies in {low:g} to {high:g}: it cannot differ by {width:g}.", f"Give less.{points}"
            )


def _contrasts(results: Results, asked: set[tuple[str, str]]) -> Iterator[Contrast]:
    """What the pilot can be planned by."""
    left_out = {*results.run.get("baselines", ()), *variants_of(results)}
    measured = set(results.results["model"])
    own = [entry["name"] for entry in results.run["models"] if entry["name"] in measured - left_out]
    groups: Mapping[str, Sequence[str]] = results.run.get("groups") or {}
    names = [name for members in groups.values() for name in members] or results.run.get("compared") or own
    if not names:
        raise InputError("The pilot has no number of a model: all cells failed, or it has baselines only.")
    if not groups and len(names) * (len(names) - 1) // 2 > MOST_PAIRS:
        raise UsageError(f"The pilot has {len(names)} models, too many pairs.", "geomprobe compare PILOT#A PILOT#B")
    sides = dict(zip(names, deepest_sides(results, names), strict=True))
    whole = {name: ModelResults(results, name) for name in names}

    def keys(*members: str) -> list[tuple]:
        shared = set.intersection(*(set(sides[name].numbers) for name in members))
        numbers = sides[members[0]].numbers
        wanted = (key for key in numbers if key in shared)
        return [key for key in wanted if (numbers[key]["metric"], numbers[key]["view"]) in asked]

    def tests(*members: str) -> Counter[str]:
        shared = set.intersection(*(set(whole[name].numbers) for name in members))
        return Counter(families_of([str(key[PLACE.index("metric")]) for key in shared], results.definitions))

    check_rows(list(sides.values()))
    if groups:
        (a, first), (b, second) = groups.items()
        made = []
        for key in keys(*names):
            split = [[sides[name].estimate(sides[name].numbers[key]) for name in part] for part in (first, second)]
            found, falls = grouped(*split)
            means = [sum(one.value for one in part) / len(part) for part in split]
            made.append(Number(sides[names[0]].numbers[key], means[0], means[1], found, falls))
        yield Contrast(a, b, "objective", tests(*names), made, seeds=min(len(first), len(second)))
    elif len(names) == 1:
        (name, side), *_ = sides.items()
        ones = [(row := side.numbers[key], float(row["value"]), side.estimate(row)) for key in keys(name)]
        for correlation in CORRELATIONS:
            others = [(row, value, unpaired(one, correlation)) for row, value, one in ones]
            made = [Number(row, value, value, found, Paired(found)) for row, value, found in others]
            yield Contrast(name, "another model", "checkpoint", tests(name), made, correlation)
    for a, b in [] if groups else combinations(names, 2):
        made = []
        for key in keys(a, b):
            rows = sides[a].numbers[key], sides[b].numbers[key]
            found = paired_estimate(sides[a], sides[b], rows[0])
            again = refits_of_difference([sides[a]], [sides[b]], rows[0])
            one, other = (float(row["value"]) for row in rows)
            made.append(Number(rows[0], one, other, found, Paired(found), 0 if again is None else 2 * len(again)))
        yield Contrast(a, b, "checkpoint", tests(a, b), made)


def _row(
    of: Contrast,
    number: Number,
    records: Mapping[str, Any],
    asked: Margin | float | None,
) -> dict[str, Any]:
    """A row of the plan."""
    row, a, b, found, pilot, refits = number
    metric, entry = str(row["metric"]), records.get(str(row["metric"]), {})
    size = margin(entry, a, b, asked if asked is None or isinstance(asked, Margin) else Margin(asked))
    tests = of.tests.get(families_of([metric], records)[0], 1)
    contributions = found.contributions
    fewer = contributions is not None and len(contributions) < int(row["n"]) and JACKKNIFE not in found.method
    interval = found.interval()
    made: dict[str, Any] = {
        **{name: row[name] for name in ("task", "layer", "pooling", "view", "metric", "definition", "n")},
        "a": of.a, "b": of.b, "level": of.level, "correlation": of.correlation, "seeds_pilot": of.seeds,
        "difference": size, "clusters": len(contributions) if contributions is not None and fewer else None,
        "tests": tests, **dict.fromkeys(("se", "mdd", *_COUNTS, *_SEEDS)),
    }  # fmt: skip
    if not interval.se:
        return made | {"se": interval.se, "note": NOTHING if interval.se == 0 else interval.method}
    made |= {"se": interval.se, "mdd": detectable(interval.se, interval.dof)}
    if not size:
        return made | {"note": f"a difference of 0, which the share asked for is at {a:.3g} and {b:.3g}"}
    notes = [GROWS] if metric in MATCHED or entry.get("rank") else []
    notes += [SCORED] if SAID.search(str(row["ci_method"])) and not refits else []
    for name, falls, family in zip(
        _COUNTS, (pilot, pilot.upper(), pilot, pilot.upper()), (1, 1, tests, tests), strict=True
    ):
        made[name] = rows_needed(falls, int(row["n"]), size, family)
        if isinstance(falls, Grouped):
            made[name.replace("rows", "seeds")] = seeds_needed(falls, size, family)
    notes += [f"{WIDE}: fewer rows may do"] if WIDE in found.method and made["rows"] is not None else []
    return made | {"note": "; ".join([*_why_none(made, pilot, refits), *notes])}


def _why_none(made: Mapping[str, Any], pilot: Paired | Grouped, refits: int) -> list[str]:
    """Why no number of rows, or of seeds, suffices."""
    if isinstance(pilot, Paired):
        why = "variance that does not fall with the rows (rounding to whole ranks, sampled pairs) is too large"
        why = why if pilot.found.unattributed_variance else "a billion times the pilot's rows would be too few"
        decide = f"the training rows decide ({refits} refits)"
        why = f"{decide}: more of them, or a pilot without --refits for these fitted probes" if refits else why
        return [f"no number of rows suffices: {why}"] if made["rows"] is None else []
    rows, seeds, k = made["rows"], made["seeds"], made["seeds_pilot"]
    if rows is None and seeds is None:
        least = seeds_needed(pilot, made["difference"], growth=1e9)
        more = f"at least {least:,} seeds a group, and more rows" if least else "nothing suffices"
        return [f"neither rows alone nor seeds alone suffice: {more}"]
    if rows is None:
        return [f"no number of rows suffices with {k} seeds a group: the seeds decide"]
    return [f"no number of seeds suffices on {made['n']:,} rows: the rows decide"] if seeds is None else []
