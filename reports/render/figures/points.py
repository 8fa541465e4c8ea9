"""Figures of points with intervals: uniformity decomposition, forest plot, scores and controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import ticker
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.panels import names_down, panels_of, short_label
from geomprobe.reports.render.figures.style import INK, MARKERS, MUTED, PAPER, colour


def decomposition(data: Mapping[str, Any]) -> Figure:
    """Uniformity raw and centred as a dumbbell a model and task, against the Jensen bounds and the reference."""
    groups = data["groups"]
    lines = sum(len(g["rows"]) for g in groups)
    height = 0.2 + 0.17 * lines + 0.12 * len(groups)
    names = [g["name"] for g in groups]
    keys: dict[str, dict[str, Any]] = {
        "raw": {"marker": "o"},
        "centred": {"marker": "o", "markerfacecolor": PAPER},
        "Jensen bound": {"marker": "|", "markersize": 7},
        "uniform on the sphere": {"linestyle": (0, (2, 2)), "color": MUTED},
    }
    figure, (axis,) = panels_of(1, 1, height, legend=data["legend"], keys=keys, names=names)
    y, ticks = 0.0, []
    for group in groups:
        start = y
        for row in group["rows"]:
            c, marker = colour(row["series"]), MARKERS[row["series"] % len(MARKERS)]
            raw, centred = row["raw"], row["centred"]
            if raw is not None and centred is not None:
                axis.plot([centred, raw], [y, y], color=c, linewidth=1.4, alpha=0.55, solid_capstyle="round")
            if raw is not None:
                axis.plot(raw, y, marker, color=c, markersize=5.5)
            if centred is not None:
                axis.plot(centred, y, marker, color=c, markerfacecolor=PAPER, markersize=5.5, markeredgewidth=1.3)
            for bound in (row["raw_bound"], row["centred_bound"]):
                if bound is not None:
                    axis.plot([bound, bound], [y - 0.34, y + 0.34], color=INK, linewidth=1.1)
            y += 1
        ticks.append((start + y - 1) / 2)
        y += 0.7
    if data["reference"] is not None:
        axis.axvline(data["reference"], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
    axis.set_ylim(y - 0.9, -0.8)
    axis.set_yticks(ticks, [short_label(n) for n in names])
    axis.tick_params(axis="y", labelcolor=INK)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("uniformity (lower: spread out more evenly)")
    return figure


def forest(data: Mapping[str, Any]) -> Figure:
    """Differences with their intervals, a panel a metric, a line a task; hollow where there is no interval."""
    panels = data["panels"]
    names = [r["name"] for r in panels[0]["rows"]]
    figure, axes = panels_of(len(panels), 3, 0.12 + 0.2 * len(names), names=names, gap=0.25)
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        if panel["margin"]:
            axis.axvspan(-panel["margin"], panel["margin"], color=MUTED, alpha=0.16, linewidth=0)
        axis.axvline(0, color=INK, linewidth=0.9)
        for y, row in enumerate(panel["rows"]):
            if row["diff"] is None:
                continue
            ink = {"higher": colour(1), "lower": colour(0)}.get(row["judgement"], MUTED)
            if row["low"] is not None:
                axis.plot([row["low"], row["high"]], [y, y], color=ink, linewidth=1.6, solid_capstyle="butt")
            axis.plot(row["diff"], y, "o", color=ink, markersize=4.5, markerfacecolor=PAPER if ink == MUTED else ink)
        axis.set_title(short_label(panel["title"], 30))
        names_down(axis, [r["name"] for r in panel["rows"]], shown=i % 3 == 0)
        axis.grid(axis="y", visible=False)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(3, symmetric=True))
        ends = [abs(v) for r in panel["rows"] for v in (r["diff"], r["low"], r["high"]) if v is not None]
        reach = 1.12 * max(ends, default=0) or 1
        axis.set_xlim(-reach, reach)
        axis.set_xlabel(data["x_label"])
    return figure


CONTROL_MARKERS = ("|", "x", "+", "1", "*", "2", "3", "4")


def controls(data: Mapping[str, Any]) -> Figure:
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
                axis.plot(point["value"], y, mark, color=INK, markersize=5.5, markeredgewidth=1.1)
            for k, point in enumerate(row["points"]):
                s, at = point["series"], y + 0.36 * (k + 0.5 - len(row["points"]) / 2) / max(len(row["points"]) - 1, 1)
                axis.plot(point["value"], at, MARKERS[s % len(MARKERS)], color=colour(s), markersize=4.6)
                if point["low"] is not None:
                    axis.plot([point["low"], point["high"]], [at, at], color=colour(s), linewidth=1.4)
        axis.set_title(short_label(panel["title"], 34))
        names_down(axis, tasks, shown=i % 3 == 0)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
    return figure
