"""Figures of points with intervals: uniformity decomposition, forest plot, scores and controls.

What is drawn of one panel is a function of an axes and the panel's data; a figure lays its panels out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.axes import NAME, ink, linear, literal, names_down, paper, scaled, short_label
from geomprobe.reports.render.figures.panels import panels_of
from geomprobe.reports.render.figures.style import MARKERS, MUTED, WIDTH, colour

Data = Mapping[str, Any]

REFERENCE: dict[str, Any] = {"linestyle": (0, (2, 2)), "color": MUTED}
DUMBBELL: dict[str, dict[str, Any]] = {
    "raw": {"marker": "o"},
    "centred": {"marker": "o", "markerfacecolor": "none"},
    "Jensen bound": {"marker": "|", "markersize": 7},
    "uniform on the sphere": REFERENCE,
}
"""What a legend says of the marks of `dumbbells`."""


def dumbbells(axis: Axes, data: Data) -> None:
    """Uniformity raw and centred as a dumbbell a model and task, against the Jensen bounds and the reference."""
    y, ticks = 0.0, []
    for group in data["groups"]:
        start = y
        for row in group["rows"]:
            _dumbbell(axis, y, row)
            y += 1
        ticks.append((start + y - 1) / 2)
        y += 0.7
    if data["reference"] is not None:
        axis.axvline(data["reference"], linewidth=scaled(1), **REFERENCE)
    axis.set_ylim(y - 0.9, -0.8)
    names_down(axis, [group["name"] for group in data["groups"]], ticks)
    linear(axis.xaxis, 8)
    axis.set_xlabel("uniformity (lower: spread out more evenly)")


def _dumbbell(axis: Axes, y: float, row: Data) -> None:
    look: dict[str, Any] = {"color": colour(row["series"]), "markersize": scaled(5.5)}
    marker, raw, centred = MARKERS[row["series"] % len(MARKERS)], row["raw"], row["centred"]
    if raw is not None and centred is not None:
        width = scaled(1.4)
        axis.plot([centred, raw], [y, y], color=look["color"], linewidth=width, alpha=0.55, solid_capstyle="round")
    if raw is not None:
        axis.plot(raw, y, marker, **look)
    if centred is not None:
        axis.plot(centred, y, marker, markerfacecolor=paper(axis), markeredgewidth=scaled(1.3), **look)
    for bound in (row["raw_bound"], row["centred_bound"]):
        if bound is not None:
            axis.plot([bound, bound], [y - 0.34, y + 0.34], color=ink(), linewidth=scaled(1.1))


def decomposition(data: Data) -> Figure:
    """Uniformity, raw and centred, on one panel."""
    groups = data["groups"]
    height = 0.2 + 0.17 * sum(len(g["rows"]) for g in groups) + 0.12 * len(groups)
    names = [g["name"] for g in groups]
    figure, (axis,) = panels_of(1, 1, height, legend=data["legend"], keys=DUMBBELL, names=names)
    dumbbells(axis, data)
    return figure


def bars(axis: Axes, panel: Data) -> None:
    """Differences of one metric with their intervals, a line a task; hollow where there is no interval."""
    if panel["margin"]:
        axis.axvspan(-panel["margin"], panel["margin"], color=MUTED, alpha=0.16, linewidth=0)
    axis.axvline(0, color=ink(), linewidth=scaled(0.9))
    for y, row in enumerate(panel["rows"]):
        if row["diff"] is None:
            continue
        tone = {"higher": colour(1), "lower": colour(0)}.get(row["judgement"], MUTED)
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [y, y], color=tone, linewidth=scaled(1.6), solid_capstyle="butt")
        fill = paper(axis) if tone == MUTED else tone
        axis.plot(row["diff"], y, "o", color=tone, markersize=scaled(4.5), markerfacecolor=fill)
    _rows_down(axis, [row["name"] for row in panel["rows"]])
    linear(axis.xaxis, 3, symmetric=True)
    ends = [abs(v) for r in panel["rows"] for v in (r["diff"], r["low"], r["high"]) if v is not None]
    reach = 1.12 * max(ends, default=0) or 1
    axis.set_xlim(-reach, reach)


def _rows_down(axis: Axes, names: Sequence[str], most: int = NAME) -> None:
    """A line a name, the first on top."""
    axis.set_ylim(len(names) - 0.4, -0.6)
    names_down(axis, names, range(len(names)), most)


def forest(data: Data) -> Figure:
    """Differences of the tasks, a panel a metric."""
    panels = data["panels"]
    names = [r["name"] for r in panels[0]["rows"]]
    figure, axes = panels_of(len(panels), 3, 0.12 + 0.2 * len(names), names=names, gap=0.25)
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        bars(axis, panel)
        axis.set_title(short_label(panel["title"], 30))
        axis.set_xlabel(data["x_label"])
        axis.tick_params(labelleft=i % 3 == 0)
    return figure


def ranks(axis: Axes, panel: Data, most: int = NAME) -> None:
    """Values of one metric with their intervals, a line a model, letters on the right, baselines hollow."""
    for y, row in enumerate(panel["rows"]):
        tone, marker = colour(row["series"]), MARKERS[row["series"] % len(MARKERS)]
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [y, y], color=tone, linewidth=scaled(1.6), solid_capstyle="butt")
        fill = paper(axis) if row["baseline"] else tone
        axis.plot(row["value"], y, marker, color=tone, markersize=scaled(4.5), markerfacecolor=fill)
        literal(axis.text(1.02, y, row["letters"], transform=axis.get_yaxis_transform(), va="center"))
    _rows_down(axis, [row["name"] for row in panel["rows"]], most)
    linear(axis.xaxis, 3)


NARROW = 1.3
"""Inches of names beside which three panels stand in a row."""


def ranking(data: Data) -> Figure:
    """Models in their order, a panel a metric or a task: the order of the models is its own."""
    panels = data["panels"]
    names = [row["name"] for panel in panels for row in panel["rows"]]
    letters = 0.1 + 0.06 * max(len(row["letters"]) for panel in panels for row in panel["rows"])
    room = letters + 0.2 + 0.062 * max(len(short_label(name)) for name in names)
    height = 0.12 + 0.17 * max(len(panel["rows"]) for panel in panels)
    columns = min(3 if room < NARROW else 2, len(panels))
    left = room - letters + 0.1
    widest = min(2.6, (WIDTH - left - room * (columns - 1) - letters) / columns)
    figure, axes = panels_of(len(panels), columns, height, left=left, gap=room, bottom=0.3, widest=widest)
    for axis, panel in zip(axes, panels, strict=True):
        ranks(axis, panel)
        where = short_label(panel["task"]) if len({each["task"] for each in panels}) > 1 else ""
        axis.set_title(", ".join(filter(None, (short_label(panel["title"], 30), where))))
    return figure


CONTROL_MARKERS = ("|", "x", "+", "1", "*", "2", "3", "4")


def controls(data: Data) -> Figure:
    """Scores of the models with their controls, a panel a metric, a line a task."""
    panels = data["panels"]
    tasks = list(dict.fromkeys(r["name"] for p in panels for r in p["rows"]))
    keys = {name: {"marker": CONTROL_MARKERS[i % len(CONTROL_MARKERS)]} for i, name in enumerate(data["controls"])}
    figure, axes = panels_of(
        len(panels), 3, 0.12 + 0.22 * len(tasks), legend=data["legend"], keys=keys, names=tasks, gap=0.25, bottom=0.3
    )
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        for row in panel["rows"]:
            y = tasks.index(row["name"])
            for point in row["controls"]:
                mark = keys[point["name"]]["marker"]
                axis.plot(point["value"], y, mark, color=ink(), markersize=scaled(5.5), markeredgewidth=scaled(1.1))
            for k, point in enumerate(row["points"]):
                s, at = point["series"], y + 0.36 * (k + 0.5 - len(row["points"]) / 2) / max(len(row["points"]) - 1, 1)
                axis.plot(point["value"], at, MARKERS[s % len(MARKERS)], color=colour(s), markersize=scaled(4.6))
                if point["low"] is not None:
                    axis.plot([point["low"], point["high"]], [at, at], color=colour(s), linewidth=scaled(1.4))
        axis.set_title(short_label(panel["title"], 34))
        _rows_down(axis, tasks)
        linear(axis.xaxis, 5)
        axis.tick_params(labelleft=i % 3 == 0)
    return figure
