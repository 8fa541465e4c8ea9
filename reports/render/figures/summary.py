"""The picture of the first screen: every headline difference in units of its margin, or a model against baselines.

What is drawn of a picture is a function of an axes and its data; a figure gives it its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.axes import ink, literal, names_down, paper, plain, scaled, short_label
from geomprobe.reports.render.figures.style import MUTED, colour

Data = Mapping[str, Any]
NAME, WIDE = 30, 4.1
"""Characters of a metric's name; inches, for the picture is half as wide as other figures and its type as large."""
END = 14
"""Characters of a model's name at the end of the axis."""
LINE, HEAD, FOOT = 0.22, 0.2, 0.36
FAR, FINE = 5, 100
"""Margins past which the axis is logarithmic beyond ±1, and past which it has a tick a decade."""
TONES = {"higher": 1, "lower": 0}


def answers(axis: Axes, data: Data) -> None:
    """Differences in units of their margins: the typical cell, its interval, a faint mark a cell, the band of none."""
    rows = data["rows"]
    ends = [v for row in rows for v in (row["value"], row["low"], row["high"], *row["dots"]) if v is not None]
    reach = max(1.6, *(1.08 * abs(v) for v in ends)) if ends else 1.6
    if reach > FAR:
        axis.set_xscale("symlog", linthresh=1, linscale=1)
        reach *= 1.15
        steps = [
            step for step in ((1, 3, 10, 30) if reach < 100 else (1, *(10**k for k in range(1, 9)))) if step < reach
        ]
        axis.set_xticks([*(-s for s in reversed(steps)), 0, *steps])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
    else:
        axis.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True, symmetric=True))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: plain([float(v)])[0]))
    axis.set_xlim(-reach, reach)
    axis.axvspan(-1, 1, color=MUTED, alpha=0.16, linewidth=0)
    axis.axvline(0, color=ink(), linewidth=scaled(0.9))
    for y, row in enumerate(rows):
        _difference(axis, y, row)
    _names(axis, [row["name"] for row in rows])
    axis.set_xlabel(data["x_label"])


def _difference(axis: Axes, y: int, row: Data) -> None:
    if row["value"] is None:
        literal(axis.text(0, y, row["note"], ha="center", va="center", color=MUTED, fontsize=scaled(6.5)))
        return
    tone = colour(TONES[row["judgement"]]) if row["judgement"] in TONES else MUTED
    axis.plot(row["dots"], [y] * len(row["dots"]), "|", color=tone, alpha=0.45, markersize=scaled(7), zorder=2)
    if row["low"] is not None:
        axis.plot([row["low"], row["high"]], [y, y], color=tone, linewidth=scaled(2), solid_capstyle="butt", zorder=3)
    fill = tone if row["judgement"] in (*TONES, "equivalent") else paper(axis)
    shape = {"higher": ">", "lower": "<", "equivalent": "s"}.get(row["judgement"], "o")
    axis.plot(row["value"], y, shape, color=tone, markerfacecolor=fill, markersize=scaled(6), zorder=4)


def _names(axis: Axes, names: Sequence[str]) -> None:
    axis.set_ylim(len(names) - 0.45, -0.55)
    names_down(axis, names, range(len(names)), NAME)


def summary(data: Data) -> Figure:
    """All differences on one panel."""
    figure, axis = _alone(len(data["rows"]), [row["name"] for row in data["rows"]])
    for x, text, side in ((0.0, "◂ {} higher", "left"), (1.0, "{} higher ▸", "right")):
        text = text.format(short_label(data["ab"[side == "right"]], END))
        literal(axis.text(x, 1.02, text, transform=axis.transAxes, ha=side, va="bottom", color=MUTED, fontsize=7))
    answers(axis, data)
    return figure


def standing(data: Data) -> Figure:
    """A model's values against baselines and controls, a line a metric, each on its own scale."""
    rows = data["rows"]
    figure, axis = _alone(len(rows), [row["name"] for row in rows])
    for y, row in enumerate(rows):
        _standing(axis, y, row)
    _names(axis, [row["name"] for row in rows])
    axis.set_xlim(-0.04, 1.04)
    axis.set_xticks([])
    axis.set_xlabel(data["x_label"])
    axis.grid(visible=False)
    axis.spines["bottom"].set_visible(False)
    return figure


def _standing(axis: Axes, y: int, row: Data) -> None:
    """One metric between the least and the largest of its numbers, which are printed at the ends."""
    points = [(mark["name"], mark["value"]) for mark in row["marks"]]
    every = [v for v in (row["value"], row["low"], row["high"], *row["dots"]) if v is not None]
    every += [value for _, value in points]
    least, most = min(every), max(every)

    def at(value: float) -> float:
        return 0.14 + 0.72 * ((value - least) / (most - least) if most > least else 0.5)

    axis.plot([0.14, 0.86], [y, y], color=MUTED, linewidth=scaled(0.6), alpha=0.6, zorder=1)
    axis.plot([at(v) for v in row["dots"]], [y] * len(row["dots"]), "|", color=colour(0), alpha=0.4, markersize=7)
    if row["low"] is not None:
        axis.plot([at(row["low"]), at(row["high"])], [y, y], color=colour(0), linewidth=scaled(2), zorder=3)
    for name, value in points:
        axis.plot(at(value), y, "x", color=ink(), markersize=scaled(4.5), zorder=3)
        literal(axis.annotate(name, (at(value), y), (0, 4), textcoords="offset points", ha="center", va="bottom",
                              fontsize=scaled(5.4), color=MUTED))  # fmt: skip
    axis.plot(at(row["value"]), y, "o", color=colour(0), markersize=scaled(5.5), zorder=4)
    for x, text, side in ((0.12, row["least"], "right"), (0.88, row["most"], "left")):
        literal(axis.text(x, y, text, ha=side, va="center", color=MUTED, fontsize=scaled(6.2)))


def _alone(lines: int, names: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure of one axes with so many lines."""
    left = 0.1 + 0.051 * max((min(len(name), NAME) for name in names), default=0)
    full = HEAD + LINE * lines + FOOT
    figure = Figure(figsize=(WIDE, full))
    size = (left / WIDE, FOOT / full, 1 - (left + 0.06) / WIDE, LINE * lines / full)
    return figure, figure.add_axes(size)
