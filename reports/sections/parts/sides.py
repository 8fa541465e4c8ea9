"""The models or groups that a table or figure shows: names, legend, values."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.data.failed import missing


def sides(facts: Facts) -> list[str]:
    """The pair or the two groups, followed by the baselines; all models where nothing is compared."""
    return [*facts.pair, *facts.baselines] if facts.pair else facts.models


def lettered(facts: Facts, name: str) -> str:
    return f"{'AB'[facts.pair.index(name)]} · {name}" if facts.pair and name in facts.pair else name


def legend(facts: Facts, names: list[str]) -> list[dict[str, Any]]:
    return [{"name": lettered(facts, n), "series": facts.series.get(n, 0)} for n in names]


def measured(facts: Facts, name: str, task: str, pooling: str, metric: str, view: str) -> tuple[float | None, bool]:
    """A value at the deepest layer and whether its cell failed; a group's value comes from its comparison."""
    if facts.kind == "groups" and facts.pair and name in facts.pair:
        row = facts.difference(task, pooling, metric, view)
        value = row["value_a" if name == facts.pair[0] else "value_b"] if row else None
        return value, value is None and missing(facts, name, task, pooling, metric, view)
    found = facts.cell(name, task, pooling, metric, view)
    if found is None:
        return None, missing(facts, name, task, pooling, metric, view)
    return found["value"], found["status"] == "failed"
