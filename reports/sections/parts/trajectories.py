"""Numbers along a series of checkpoints: a panel a number, a line a training, a band where there is an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geomprobe.common.text import capitalised, count, decimals, interval, listed, number
from geomprobe.reports.document.blocks import Figure, Line, cell, figure, line, table
from geomprobe.reports.sections.parts.sides import legend
from geomprobe.results.summary.facts import Facts, Row, half_width
from geomprobe.results.summary.series import points
from geomprobe.results.summary.words import title

FRONT = 6
"""Numbers of the figure of the first screen."""


def trajectories(
    facts: Facts, id: str, numbers: Sequence[tuple[str, str]], cell_of: tuple[str, str] | None = None
) -> Figure | None:
    """The figure of these numbers in one cell, the first that has each where none is given; None where none has any."""
    panels: list[dict[str, Any]] = []
    rows: list[Line] = []
    bands = facts.run.get("bands", {})
    grouped = {name for members in bands.values() for name in members}
    places = dict.fromkeys([cell_of] if cell_of else [(t, p) for t in facts.tasks for p in facts.poolings])
    shown = []
    for metric, view in numbers:
        place = next((each for each in places if _lines(facts, each, metric, view)), None)
        if place is None:
            continue
        lines, name = _lines(facts, place, metric, view), title(facts, metric, view)
        shown.append(f"{name} on {place[0]}")
        drawn = [_drawn(each, band=who not in grouped) for who, each in lines.items()]
        panels.append({"title": name if cell_of else f"{name}, {place[0]}", "lines": drawn})
        for who, line_of, row in ((who, each, row) for who, each in lines.items() for row in each["rows"]):
            rows.append(_table_row(name, who, row, line_of["rows"], place))
    if not panels:
        return None
    measured = {row["series"] for row in facts.trajectories}
    names = [name for name in facts.series if name in measured and name not in grouped]
    caption = "Values at the deepest layer of each checkpoint. Band: 95 % interval"
    caption += f" over the trainings of {listed(list(bands))}, which are lines without one" if bands else " over rows"
    caption += "; of the others over rows." if bands and len(names) > len(bands) else "."
    unit = next((entry.get("unit") for entry in facts.run.get("series", [])), None) or "step"
    heads = [("number", False), ("series", False), (unit, True), ("value", True), ("95 % interval", False)]
    side = table(f"{id}-table", "Values along the series.", heads, rows, folded=True)
    data = {"panels": panels, "legend": legend(facts, names), "x_label": unit}
    alt = f"Along {listed(names)}: {listed(shown)}; see the table."
    return figure(id, "training", "Along the series", caption, alt, data, side)


def _lines(facts: Facts, place: tuple[str, str], metric: str, view: str) -> dict[str, dict[str, Any]]:
    """Series -> its colour and its points in a cell, of those with two points or more."""
    found = {name: points(facts, name, *place, metric, view) for name in facts.series}
    return {name: {"series": facts.series[name], "rows": rows} for name, rows in found.items() if len(rows) > 1}


def _drawn(of: dict[str, Any], *, band: bool) -> dict[str, Any]:
    rows: list[Row] = of["rows"]
    drawn = {"series": of["series"], "x": [row["step"] for row in rows], "y": [_short(row["value"]) for row in rows]}
    if band and all(row["ci_low"] is not None and row["ci_high"] is not None for row in rows):
        drawn |= {"low": [_short(row["ci_low"]) for row in rows], "high": [_short(row["ci_high"]) for row in rows]}
    return drawn


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _table_row(name: str, who: str, row: Row, every: Sequence[Row], place: tuple[str, str]) -> Line:
    places = decimals([each["value"] for each in every], half_width(row))
    cells = [cell(capitalised(name)), cell(who), cell(count(row["step"]), row["step"])]
    cells += [cell(number(row["value"], places), row["value"]), cell(interval(row["ci_low"], row["ci_high"], places))]
    return line(cells, *place)
