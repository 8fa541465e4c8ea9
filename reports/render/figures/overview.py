"""The whole comparison in one picture: each headline metric's difference in units of its margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.axes import Plain, ink, names_down, paper, scaled, short_label
from geomprobe.reports.render.figures.panels import panels_of
from geomprobe.reports.render.figures.style import MUTED, WIDTH, colour

Data = Mapping[str, Any]
LINEAR = 6
"""Margins up to which the axis is linear throughout; a larger reach is drawn logarithmic beyond one margin."""
LINE = 32
"""Characters of a metric's name."""
KEYS: dict[str, dict[str, Any]] = {
    "typical cell, 95 % interval": {"marker": "o"},
    "each cell": {"marker": "|", "markersize": 7, "alpha": 0.6},
    "negligible": {"marker": "s", "color": MUTED, "alpha": 0.3, "markersize": 7},
}
"""What a legend says of the marks."""


def margins(axis: Axes, data: Data) -> None:
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
            _heading(axis, y, before)
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
        steps = [step * 10**power for power in range(9) for step in (1, 2, 5)]
        shown = [step for step in steps if step <= reach and (reach < 20 or str(step)[0] == "1")]
        axis.xaxis.set_major_locator(ticker.FixedLocator([*(-s for s in reversed(shown)), 0, *shown]))
        axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(Plain()))
    axis.set_xlim(-reach, reach)


def overview(data: Data) -> Figure:
    """The picture with its legend, and room for the names of the lists at its right."""
    names = [short_label(row["name"], LINE) for row in data["rows"]]
    left = 0.3 + 0.062 * max(map(len, names))
    figure, (axis,) = panels_of(1, 1, 0.1 + 0.2 * len(names), keys=KEYS, left=left, widest=WIDTH - left - 0.9)
    margins(axis, data)
    axis.set_xlabel(data["x_label"])
    return figure
