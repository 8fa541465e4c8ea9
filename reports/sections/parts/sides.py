"""The models or groups that a table or figure shows: names, legend, values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geomprobe.reports.document.blocks import Cell, Line, cell, line
from geomprobe.results.summary.facts import Facts


def sides(facts: Facts) -> list[str]:
    """The pair or the two groups, followed by the baselines; all models where nothing is compared."""
    return [*facts.pair, *facts.baselines] if facts.pair else facts.models


def lettered(facts: Facts, name: str) -> str:
    """The name with the letter of its side, A or B, where it is one of the pair."""
    return f"{'AB'[facts.pair.index(name)]} · {name}" if facts.pair and name in facts.pair else name


def legend(facts: Facts, names: list[str]) -> list[dict[str, Any]]:
    """The legend of a figure: the names with their series."""
    return [{"name": lettered(facts, n), "series": facts.series.get(n, 0)} for n in names]


def by_task(
    facts: Facts, names: list[str], made: Callable[[str, str], tuple[dict[str, Any], list[Cell]] | None], pooling: str
) -> tuple[list[dict[str, Any]], list[Line]]:
    """The panels of a figure, one a task with a line a model, and the rows of its table.

    ``made(task, name)`` gives what is drawn of a model and its cells in the table, or None where it has nothing there.
    """
    panels, rows = [], []
    for task in facts.tasks:
        lines = []
        for name in names:
            if found := made(task, name):
                drawn, cells = found
                lines.append({"series": facts.series.get(name, 0)} | drawn)
                rows.append(line([cell(task), cell(lettered(facts, name)), *cells], task, pooling))
        if lines:
            panels.append({"title": task, "lines": lines})
    return panels, rows


def measured(facts: Facts, name: str, task: str, pooling: str, metric: str, view: str) -> tuple[float | None, bool]:
    """A value at the deepest layer and whether its cell failed; a group's value comes from its comparison."""
    if facts.kind == "groups" and facts.pair and name in facts.pair:
        row = facts.difference(task, pooling, metric, view)
        value = row["value_a" if name == facts.pair[0] else "value_b"] if row else None
        return value, value is None and facts.missing(name, task, pooling, metric, view)
    found = facts.cell(name, task, pooling, metric, view)
    if found is None:
        return None, facts.missing(name, task, pooling, metric, view)
    return found["value"], found["status"] == "failed"
