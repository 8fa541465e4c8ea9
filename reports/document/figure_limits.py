"""Limits of a figure: it draws the first tasks, models and layers, and its caption counts the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DRAWN = 12
"""Panels, tasks and models of a figure: more are neither drawn in time nor read."""
MAPPED = 60
"""Rows and columns of a map of cells."""

Data = dict[str, Any]
Some = Callable[..., list[Any]]


def limited(kind: str, data: Data) -> tuple[Data, str]:
    """The data of a figure cut to what is drawn, and a sentence that counts what is not ("" where all is).

    Parameters
    ----------
    kind : str
        A key of `geomprobe.reports.render.figures.DRAW`.
    data : dict
        Of that kind of figure.
    """
    cut: list[str] = []

    def first(items: list[Any], what: str, most: int = DRAWN) -> list[Any]:
        if len(items) > most and (sentence := f"the first {most} of {len(items):,} {what}") not in cut:
            cut.append(sentence)
        return items[:most]

    if "legend" in data:
        data = {**data, "legend": first(data["legend"], "models")}
    shown = {entry["series"] for entry in data.get("legend", ())}

    def of_models(lines: list[Data]) -> list[Data]:
        return [entry for entry in lines if entry["series"] in shown]

    cuts: dict[str, Callable[[], Data]] = {
        "decomposition": lambda: {
            "groups": [{**g, "rows": of_models(g["rows"])} for g in first(data["groups"], "tasks")]
        },
        "forest": lambda: {"panels": [{**p, "rows": first(p["rows"], "rows")} for p in data["panels"]]},
        "controls": lambda: {
            "panels": [
                {**p, "rows": [{**r, "points": of_models(r["points"])} for r in first(p["rows"], "tasks")]}
                for p in data["panels"]
            ]
        },
        "heat": lambda: _map(data, first),
        "training": lambda: _panels(data, first, of_models, "quantities"),
    }
    data = {**data, **cuts.get(kind, lambda: _panels(data, first, of_models, "tasks"))()}
    return data, f" Drawn: {' and '.join(cut)}." if cut else ""


def _panels(data: Data, first: Some, of_models: Some, of: str) -> Data:
    return {"panels": [{**p, "lines": of_models(p["lines"])} for p in first(data["panels"], of)]}


def _map(data: Data, first: Some) -> Data:
    rows, columns = first(data["rows"], "rows", MAPPED), first(data["columns"], "columns", MAPPED)
    panels = [
        {**p, "cells": [line[: len(columns)] for line in p["cells"][: len(rows)]]}
        for p in first(data["panels"], "panels")
    ]
    return {"rows": rows, "columns": columns, "panels": panels}
