"""Limits of a figure: it draws the first tasks, models and layers, and its caption counts the rest."""

from __future__ import annotations

from typing import Any

DRAWN = 12
"""Panels, tasks and models of a figure: more are neither drawn in time nor read."""
MAPPED = 60
"""Rows and columns of a map of cells, models of a ranking, faint marks of a metric."""
LISTS: dict[str, tuple[dict[str, str], str]] = {
    "decomposition": ({"groups": "tasks"}, "rows"),
    "forest": ({"rows": "rows"}, ""),
    "ranking": ({"panels": "tasks", "rows": "models"}, ""),
    "overview": ({"rows": "metrics", "marks": "cells"}, ""),
    "standing": ({"rows": "metrics", "marks": "cells"}, ""),
    "controls": ({"rows": "tasks"}, "points"),
    "heat": ({"rows": "rows", "columns": "columns", "panels": "panels"}, ""),
    "scatter": ({}, ""),
    "training": ({"panels": "quantities"}, "lines"),
}
"""Kind of figure -> the lists in its data that are cut, with what they hold, and the list with an entry a model."""


def limited(kind: str, data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The data of a figure cut to what is drawn, and a sentence that counts what is not ("" where all is).

    Parameters
    ----------
    kind : str
        A key of `geomprobe.reports.render.figures.DRAW`.
    data : dict
        Of that kind of figure.
    """
    lists, of_models = LISTS.get(kind, ({"panels": "tasks"}, "lines"))
    cut: dict[str, None] = {}

    def first(items: list[Any], what: str, most: int = DRAWN) -> list[Any]:
        if len(items) > most:
            cut[f"the first {most} of {len(items):,} {what}"] = None
        return items[:most]

    legend = first(data.get("legend", []), "models")
    shown = {entry["series"] for entry in legend}

    def short(name: str, value: Any) -> Any:
        if name == "legend":
            return legend
        if name == "cells":
            return [row[:MAPPED] for row in value[:MAPPED]]
        if name == of_models:
            return [entry for entry in value if entry["series"] in shown]
        if name in lists:
            mapped = name == "marks" or (name in ("rows", "columns") and kind in ("heat", "ranking"))
            value = first(value, lists[name], MAPPED if mapped else DRAWN)
        if isinstance(value, list):
            return [parts(item) for item in value]
        return value

    def parts(value: Any) -> Any:
        return {name: short(name, part) for name, part in value.items()} if isinstance(value, dict) else value

    data = parts(data)
    return data, f" Drawn: {' and '.join(cut)}." if cut else ""
