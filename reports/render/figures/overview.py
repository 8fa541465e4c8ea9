"""The picture of the first screen: each headline difference in units of its margin, or one model against others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.axes import Plain, ink, literal, names_down, paper, scaled
from geomprobe.reports.render.figures.panels import key_handles
from geomprobe.reports.render.figures.points import CONTROL_MARKERS
from geomprobe.reports.render.figures.style import MUTED, colour

Data = Mapping[str, Any]
LINEAR = 6
"""Margins up to which the axis is linear throughout; a larger reach is drawn logarithmic beyond one margin."""
TICKS = 4
"""Most ticks of a logarithmic axis on either side of zero."""
LINE = 32
"""Characters of a metric's name."""
HALF, TALL, HEAD, FOOT, KEY = 4.1, 0.22, 0.06, 0.36, 0.17
"""Inches: width of a picture of the first screen, height of its lines, room above and below, a line of a legend."""
ACROSS = 3
"""Entries in a line of a legend."""
KEYS: dict[str, dict[str, Any]] = {
    "typical cell, 95 % interval": {"marker": "o"},
    "each cell": {"marker": "|", "markersize": 7, "alpha": 0.6},
    "negligible": {"marker": "s", "color": MUTED, "alpha": 0.3, "markersize": 7},
}
"""What a legend says of the marks."""


def margins(axis: Axes, data: Data, headings: bool = True) -> None:
    """A line a metric: its typical difference with interval, a faint mark a cell, the band of negligible differences.

    Filled where the difference is shown, orange where B is higher and blue where A is. The name of the list that a
    metric stands in is written at the right of the first.
    """
    rows = data["rows"]
    axis.axvspan(-1, 1, color=MUTED, alpha=0.16, linewidth=0)
    axis.axvline(0, color=ink(), linewidth=scaled(0.9))
    before = ""
    for y, row in enumerate(rows):
        if row["list"] != before:
            before = row["list"]
            _heading(axis, y, before if headings else "")
        tone = {"higher": colour(1), "lower": colour(0), "mixed": ink()}.get(row["judgement"], MUTED)
        for cell in row["marks"]:
            axis.plot(cell, y + 0.3, "|", color=tone, alpha=0.4, markersize=scaled(3.6), markeredgewidth=scaled(0.8))
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [y, y], color=tone, linewidth=scaled(1.8), solid_capstyle="butt")
        fill = paper(axis) if tone == MUTED else tone
        axis.plot(row["value"], y, "o", color=tone, markersize=scaled(5), markerfacecolor=fill)
    axis.set_ylim(len(rows) - 0.35, -0.65)
    names_down(axis, [row["name"] for row in rows], range(len(rows)), LINE)
    ends = [abs(v) for row in rows for v in (*row["marks"], row["value"], row["low"], row["high"]) if v is not None]
    _scale(axis, max(1.12 * max(ends, default=0), 1.6))


def _heading(axis: Axes, y: int, name: str) -> None:
    if y:
        axis.axhline(y - 0.5, color=MUTED, linewidth=scaled(0.5), linestyle=(0, (1, 2)))
    place = axis.get_yaxis_transform()
    look: dict[str, Any] = {"fontsize": scaled(6.5), "color": MUTED, "va": "center"}
    axis.text(1.02, y, name, transform=place, **look)


def _scale(axis: Axes, reach: float) -> None:
    """The same reach to both sides, logarithmic beyond one margin where it is long."""
    if reach <= LINEAR:
        axis.xaxis.set_major_locator(ticker.MultipleLocator(1))
    else:
        axis.set_xscale("symlog", linthresh=1, linscale=0.8)
        reach *= 1.4  # on this scale the last mark would touch the end
        steps = [step * 10**power for power in range(9) for step in ((1, 3) if reach < 50 else (1,))]
        steps = [step for step in steps if step <= reach]
        shown = steps[:: math.ceil(len(steps) / (TICKS if reach < 1000 else TICKS - 1))]  # longer numbers would meet
        axis.xaxis.set_major_locator(ticker.FixedLocator([*(-s for s in reversed(shown)), 0, *shown]))
        axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(Plain()))
    axis.set_xlim(-reach, reach)


def overview(data: Data) -> Figure:
    """The picture on half a page; its caption says what the marks are, and the lists stand beside it."""
    figure, axis = _half([row["name"] for row in data["rows"]], FOOT)
    margins(axis, data, headings=False)
    axis.set_xlabel(data["x_label"])
    return figure


def standing(data: Data) -> Figure:
    """A model's values against baselines and controls, a line a metric, each on its own scale."""
    rows = data["rows"]
    names = dict.fromkeys(each["name"] for row in rows for each in row["others"])
    looks = {name: CONTROL_MARKERS[i % len(CONTROL_MARKERS)] for i, name in enumerate(names)}
    keys = key_handles({name: {"marker": mark, "markersize": 5} for name, mark in looks.items()})
    lines = math.ceil(len(keys) / ACROSS)
    figure, axis = _half([row["name"] for row in rows], 0.26, KEY * lines)
    for y, row in enumerate(rows):
        _standing(axis, y, row, looks)
    axis.set_ylim(len(rows) - 0.45, -0.55)
    names_down(axis, [row["name"] for row in rows], range(len(rows)), LINE)
    axis.set_xlim(-0.04, 1.04)
    axis.set_xticks([])
    axis.set_xlabel(data["x_label"])
    axis.grid(visible=False)
    axis.spines[["bottom", "left"]].set_visible(False)
    if keys:
        figure.legend(handles=keys, bbox_to_anchor=(0.005, 1), ncols=ACROSS, handlelength=1.2, fontsize=6.4)
    return figure


def _standing(axis: Axes, y: int, row: Data, looks: Mapping[str, str]) -> None:
    """One metric between the least and the largest of its numbers, which are printed at the ends."""
    points = [(mark["name"], mark["value"]) for mark in row["others"]]
    every = [v for v in (row["value"], row["low"], row["high"], *row["marks"]) if v is not None]
    every += [value for _, value in points]
    least, most = min(every), max(every)

    def at(value: float) -> float:
        return 0.14 + 0.72 * ((value - least) / (most - least) if most > least else 0.5)

    axis.plot([0.14, 0.86], [y, y], color=MUTED, linewidth=scaled(0.6), alpha=0.6, zorder=1)
    axis.plot([at(v) for v in row["marks"]], [y] * len(row["marks"]), "|", color=colour(0), alpha=0.4, markersize=7)
    if row["low"] is not None:
        axis.plot([at(row["low"]), at(row["high"])], [y, y], color=colour(0), linewidth=scaled(2), zorder=3)
    for name, value in points:
        axis.plot(at(value), y, looks[name], color=ink(), markersize=scaled(5), markeredgewidth=scaled(1), zorder=3)
    axis.plot(at(row["value"]), y, "o", color=colour(0), markersize=scaled(5.5), zorder=4)
    for x, text, side in ((0.12, row["least"], "right"), (0.88, row["most"], "left")):
        literal(axis.text(x, y, text, ha=side, va="center", color=MUTED, fontsize=scaled(6.2)))


def _half(names: Sequence[str], foot: float, head: float = 0) -> tuple[Figure, Axes]:
    """A figure of one axes with a line a name, on half a page: its type is as large as in a figure of a whole one."""
    left = 0.1 + 0.051 * max((min(len(name), LINE) for name in names), default=0)
    full = HEAD + head + TALL * len(names) + foot
    figure = Figure(figsize=(HALF, full))
    size = (left / HALF, foot / full, 1 - (left + 0.06) / HALF, TALL * len(names) / full)
    return figure, figure.add_axes(size)
