"""A series of checkpoints: headline numbers along it, its paired changes, and the checkpoint that a rule keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common import UsageError
from geomprobe.comparison.looks import anytime_ends
from geomprobe.comparison.pairs import PLACE, ModelResults, Row, filled, key_of
from geomprobe.comparison.rankings import by_cell, deepest_sides, headline_sides, with_numbers
from geomprobe.comparison.records import known
from geomprobe.comparison.table import adjusted, all_pairs, differences
from geomprobe.inference import Estimate
from geomprobe.inference.estimate import MIN_SEEDS, by_count
from geomprobe.results import CHANGE_COLUMNS, COMPARISON_COLUMNS, TRAJECTORY_COLUMNS, Results, table
from geomprobe.results.record import Margin, named_end
from geomprobe.results.schema import KeptCell, KeptEntry, SeriesEntry
from geomprobe.results.summary.facts import headline_of, judgement

Pairs = Callable[[Sequence[str]], Iterable[tuple[str, str]]]
AGAINST: dict[str, Pairs] = {
    "previous": pairwise,
    "first": lambda models: ((models[0], each) for each in models[1:]),
    "last": lambda models: ((each, models[-1]) for each in models[:-1]),
}
"""Which checkpoints are compared, (earlier, later); each of the three is adjusted by itself."""
LOOKED_AT = ("previous", "first")
"""Those to which a new checkpoint adds one difference and leaves the others as they were: a sequence of looks."""
ENDS = {"max": "higher", "min": "lower"}


@dataclass(frozen=True)
class KeepRule:
    """Which checkpoint to keep: the earliest that cannot be told apart from the best.

    Attributes
    ----------
    end : {"max", "min"}
        Whether the best has the largest or the smallest value.
    metric : str
        The number; "" takes the headline score of each task's probe.
    view : str
        "" takes the first view that was measured.
    """

    end: str = "max"
    metric: str = ""
    view: str = ""

    @classmethod
    def parsed(cls, text: str, metrics: Iterable[str]) -> KeepRule:
        """The rule in a text such as ``max semantic_accuracy`` or ``min uniformity centred``.

        Raises
        ------
        UsageError
            It is no such text, or there is no such metric.
        """
        words, names = text.split(), list(metrics)
        if len(words) not in (2, 3) or words[0] not in ENDS:
            hint = "For example --keep 'max semantic_accuracy' or 'min uniformity centred'."
            raise UsageError(f"--keep takes max or min, a metric, and perhaps a view, not {text[:80]!r}.", hint)
        if words[1] not in names:
            raise UsageError(f"--keep: there is no metric {words[1][:80]!r}.", "geomprobe ls metrics lists them.")
        return cls(*words)

    def __str__(self) -> str:
        what = " ".join(filter(None, (self.metric, self.view))) or "headline score of each task"
        return f"the earliest that cannot be told apart from the best ({self.end} {what})"


def add_series(
    results: Results,
    series: Sequence[SeriesEntry],
    rule: KeepRule,
    bands: Mapping[str, Sequence[str]] | None = None,
    margins: Mapping[str, Margin] | None = None,
) -> Results:
    """Add trajectories, changes and the kept checkpoint of each training.

    Parameters
    ----------
    results : Results
        Of all checkpoints on the same rows.
    series : sequence of SeriesEntry
        The trainings; their `models` are names in the results.
    rule : KeepRule
    bands : mapping of group to names of trainings, optional
    margins : mapping of metric to Margin, optional
        Equivalence margins in place of those of the records.
    """
    names = [model for entry in series for model in entry["models"]]
    sides = dict(zip(names, headline_sides(results, names), strict=True))
    every = dict(zip(names, deepest_sides(results, names), strict=True))
    rows = [row for entry in series for row in trajectory(entry, sides)]
    for name, members in (bands or {}).items():
        rows += band(name, [entry for entry in series if entry["name"] in members], sides)
    frames, kept = [], []
    for entry in series:
        frames += [changes(results, entry, sides, against, margins) for against in AGAINST]
        decided, tested = keep(results, entry, every, rule, margins)
        kept.append(decided)
        frames += [tested] if len(tested) else []
    results.trajectories = table(rows, TRAJECTORY_COLUMNS)
    results.changes = table(pd.concat(frames, ignore_index=True), CHANGE_COLUMNS)
    results.run |= {"series": list(series), "kept": kept}
    results.run |= {"bands": {name: list(members) for name, members in bands.items()}} if bands else {}
    return results


def trajectory(entry: SeriesEntry, sides: Mapping[str, ModelResults]) -> list[dict[str, Any]]:
    """The rows of `trajectories` of one training."""
    shared = [column for column in TRAJECTORY_COLUMNS if column not in ("series", "step", "n")]
    return [
        {**{column: row[column] for column in shared}, "series": entry["name"], "step": step, "n": 1}
        for model, step in zip(entry["models"], entry["steps"], strict=True)
        for row in sides[model].rows.to_dict("records")
    ]


def band(name: str, members: Sequence[SeriesEntry], sides: Mapping[str, ModelResults]) -> list[dict[str, Any]]:
    """The rows of `trajectories` of a group: the mean over its trainings at each step that all of them have.

    The interval is Student's t over the trainings, which are the units; it needs three of them.
    """
    at = [dict(zip(entry["steps"], entry["models"], strict=True)) for entry in members]
    found = []
    for step in sorted(set.intersection(*map(set, at))):
        parts = [{key_of(row, PLACE): row for row in _rows(sides[models[step]])} for models in at]
        for key, row in parts[0].items():
            if not all(key in part for part in parts):
                continue
            values = np.array([float(part[key]["value"]) for part in parts])
            estimate = _over_trainings(values)
            place = {column: row[column] for column in ("task", "layer", "pooling", "view", "metric", "definition")}
            numbers = {"value": estimate.value, **estimate.interval().to_row()}
            found.append({**place, **numbers, "series": name, "step": step, "n": len(values)})
    return found


def _rows(side: ModelResults) -> list[Row]:
    return list(filled(side.rows, PLACE).to_dict("records"))


def _over_trainings(values: np.ndarray) -> Estimate:
    mean = float(values.mean())
    if len(values) < MIN_SEEDS:
        return Estimate.refused(mean, f"a group has fewer than {MIN_SEEDS} seeds")
    method = f"Student's t over {len(values)} trainings"
    return Estimate(mean, (values - mean) / len(values), rule=by_count, method=method)


def changes(
    results: Results,
    entry: SeriesEntry,
    sides: Mapping[str, ModelResults],
    against: str,
    margins: Mapping[str, Margin] | None = None,
) -> pd.DataFrame:
    """The paired differences of one training against one kind of checkpoint, adjusted together.

    Holm's adjustment within a family of metrics is over all of these pairs, tasks, poolings and views.
    """
    return _tested(results, entry, sides, AGAINST[against](entry["models"]), against, margins)


def _tested(
    results: Results,
    entry: SeriesEntry,
    sides: Mapping[str, ModelResults],
    pairs: Iterable[tuple[str, str]],
    against: str,
    margins: Mapping[str, Margin] | None,
) -> pd.DataFrame:
    definitions, step = known(results.definitions), dict(zip(entry["models"], entry["steps"], strict=True))
    looks = [(sides[a], sides[b], all_pairs(sides[a], sides[b])) for a, b in pairs]
    frames = [differences(found, definitions, (a.name, b.name), margins) for a, b, found in looks]
    frame = adjusted(table(pd.concat(frames, ignore_index=True), COMPARISON_COLUMNS), definitions)
    frame = frame.assign(
        series=entry["name"], against=against, step_a=frame["a"].map(step), step_b=frame["b"].map(step)
    )
    if against in LOOKED_AT:
        ends = anytime_ends(looks, dict(zip(frame["metric"], frame["family"], strict=True)))
        frame = frame.assign(anytime_low=ends[:, 0], anytime_high=ends[:, 1])
    return table(frame, CHANGE_COLUMNS)


def keep(
    results: Results,
    entry: SeriesEntry,
    sides: Mapping[str, ModelResults],
    rule: KeepRule,
    margins: Mapping[str, Margin] | None = None,
) -> tuple[KeptEntry, pd.DataFrame]:
    """The checkpoint of one training that a rule keeps, and its differences from the best ones.

    The best checkpoint of a cell is chosen by its value, so all pairs of checkpoints in all cells are adjusted
    together, by Holm within a family: whichever is the best, the tests against it hold. Kept is the earliest checkpoint
    that in no cell is told apart from the best of the cell, unless their difference is shown to be within its margin.
    A checkpoint whose difference from the best has no interval is not kept.
    """
    models, definitions = entry["models"], known(results.definitions)
    chosen = chosen_numbers(list(sides.values()), definitions, rule)
    own = {model: _at(with_numbers(sides[model], {n for each in chosen.values() for n in each}), chosen)
           for model in models}  # fmt: skip
    cells = by_cell(pd.concat(side.rows for side in own.values())) if chosen else {}
    said: KeptEntry = {"series": entry["name"], "rule": str(rule), "model": None, "step": None, "why": "", "cells": []}
    if not cells:
        if not any(len(side.rows) for side in sides.values()):
            return {**said, "why": "no checkpoint was measured"}, table([], CHANGE_COLUMNS)
        what = f"{rule.metric} was not measured" if rule.metric else "no task has labels or scores to choose by"
        return {**said, "why": f"{what} (--keep takes any metric)"}, table([], CHANGE_COLUMNS)
    tested = _tested(results, entry, own, combinations(models, 2), "best", margins)
    pairs, candidates, found, shown = by_cell(tested), set(models), [], []
    for place, rows in cells.items():
        values = {row["model"]: float(row["value"]) for row in rows}
        best = best_of(values, models, _end(rule, definitions, str(rows[0]["metric"])))
        to_best = {({pair["a"], pair["b"]} - {best}).pop(): pair for pair in pairs.get(place, ()) if best in
                   (pair["a"], pair["b"])}  # fmt: skip
        same = {best} | {m for m, pair in to_best.items() if judgement({**pair}) in ("equivalent", "unclear")}
        candidates &= same
        shown += list(to_best.values())
        found.append((rows[0], best, values, to_best, len(same), len(pairs.get(place, ()))))
    kept = next((model for model in models if model in candidates), None)
    if kept is None:
        said["why"] = "no checkpoint is indistinguishable from the best in every cell"
    else:
        said |= {"model": kept, "step": dict(zip(models, entry["steps"], strict=True))[kept]}
        said["why"] = str(rule)
    said["cells"] = [_evidence(*each, kept) for each in found]
    return said, table(shown, CHANGE_COLUMNS)


def chosen_numbers(
    sides: Sequence[ModelResults], definitions: Mapping[str, Any], rule: KeepRule
) -> dict[str, set[tuple[str, str]]]:
    """Task -> the (metric, view) by which a checkpoint is chosen there; tasks without one are left out."""
    found: dict[str, dict[tuple[str, str], None]] = {}
    for side in sides:
        for row in _rows(side):
            found.setdefault(row["task"], {})[row["metric"], row["view"]] = None
    chosen = {}
    for task, numbers in found.items():
        if rule.metric:
            mine = [each for each in numbers if each[0] == rule.metric and rule.view in ("", each[1])]
            mine.sort(key=lambda each: each[1] != "raw")
        else:
            mine = [each for each in headline_of(list(numbers), definitions) if _scores_task(definitions, each[0])]
        if mine:
            chosen[task] = {mine[0]}
    return chosen


def _scores_task(definitions: Mapping[str, Any], metric: str) -> bool:
    entry = definitions.get(metric, {})
    return entry.get("family") == "semantic" and named_end(entry.get("direction", "")) is not None


def _at(side: ModelResults, chosen: Mapping[str, set[tuple[str, str]]]) -> ModelResults:
    """A side with the chosen number of each task alone."""
    rows = side.rows
    mine = [(row["metric"], row["view"]) in chosen.get(row["task"], ()) for row in rows.to_dict("records")]
    side.rows = rows[np.array(mine, bool)]
    return side


def _end(rule: KeepRule, definitions: Mapping[str, Any], metric: str) -> str:
    return ENDS[rule.end] if rule.metric else named_end(definitions[metric]["direction"]) or "higher"


def best_of(values: Mapping[str, float], models: Sequence[str], end: str) -> str:
    """The model with the best value, the earliest of equal ones."""
    sign = 1 if end == "higher" else -1
    return max((model for model in models if model in values), key=lambda model: sign * values[model])


def _evidence(
    row: Row, best: str, values: Mapping[str, float], to_best: Mapping[str, Row], same: int, tests: int,
    kept: str | None,
) -> KeptCell:  # fmt: skip
    place = {column: str(row[column]) for column in ("task", "pooling", "metric", "view")}
    cell: KeptCell = {**place, "best": best, "best_value": values[best], "indistinguishable": same, "tests": tests}  # type: ignore[typeddict-item]
    cell["value"] = values.get(kept) if kept else None
    pair = to_best.get(kept) if kept else None
    if pair is not None:
        ahead = pair["b"] == best
        low, high, cell["p_holm"] = (_known(pair[column]) for column in ("ci_low", "ci_high", "p_holm"))
        cell["diff"] = float(pair["diff"]) if ahead else -float(pair["diff"])
        ends = (low, high) if ahead else (_minus(high), _minus(low))
        cell["ci_low"], cell["ci_high"] = ends
    return cell


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
