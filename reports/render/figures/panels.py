"""Panels, legends and labels that the kinds of figures share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from geomprobe.reports.render.figures.axes import ink, scaled, short_label
from geomprobe.reports.render.figures.style import MARKERS, WIDTH, colour, line_style


def panels_of(
    n: int,
    columns: int,
    height: float,
    *,
    legend: Sequence[Mapping[str, Any]] = (),
    keys: Mapping[str, Mapping[str, Any]] | None = None,
    names: Sequence[str] = (),
    left: float | None = None,
    gap: float = 0.45,
    bottom: float = 0.4,
    widest: float = WIDTH,
) -> tuple[Figure, list[Axes]]:
    """A figure of ``n`` panels and their axes, laid out in inches.

    Each kind of figure sets another few of the many parameters, by name.

    Parameters
    ----------
    n, columns : int
        Panels, and how many stand in a row.
    height : float
        Height of the axes of one panel.
    legend : sequence of mapping
        Series (name, series), drawn above the panels.
    keys : mapping, optional
        Further legend entries: name -> look of the marker.
    names : sequence of str
        Labels of the y axis of the first column, which set the left margin.
    left : float, optional
        Left margin.
    gap, bottom : float
        Room between columns, and below the axes of a row.
    widest : float
        Greatest width of one panel.
    """
    columns = max(1, min(columns, n))
    rows = math.ceil(n / columns)
    left = left or max(0.64, 0.2 + 0.062 * max((len(short_label(name)) for name in names), default=0))
    legends = [
        (series_handles(legend), 4, 2.6),
        (key_handles(keys or {}), 6, 1.4),
    ]
    lines = [math.ceil(len(handles) / most) for handles, most, _ in legends]
    head, title = 0.2 * sum(lines) + 0.04, 0.26
    full = head + rows * (title + height + bottom)
    width = min((WIDTH - left - gap * (columns - 1) - 0.12) / columns, widest)
    figure = Figure(figsize=(WIDTH, full))
    axes = []
    for i in range(n):
        row, column = divmod(i, columns)
        x = left + column * (width + gap)
        y = full - head - (row + 1) * (title + height) - row * bottom
        axes.append(figure.add_axes((x / WIDTH, y / full, width / WIDTH, height / full)))
    top = 1.0
    for (handles, most, length), n_lines in zip(legends, lines, strict=True):
        if handles:
            place, across = (0.005, top), min(len(handles), most)
            figure.legend(handles=handles, bbox_to_anchor=place, ncols=across, handlelength=length)
            top -= 0.2 * n_lines / full
    return figure, axes


def series_handles(legend: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    """What a legend shows of series (name, series, and line where it is not the series' own)."""
    return [
        _handle(
            entry["name"],
            color=colour(i := entry["series"]),
            linestyle=entry.get("line", line_style(i)),
            marker=MARKERS[i % len(MARKERS)],
        )
        for entry in legend
    ]


def key_handles(keys: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
    """What a legend shows of kinds of marks: name -> look."""
    return [_handle(name, **{"color": ink(), "linestyle": "none", **look}) for name, look in keys.items()]


def _handle(name: str, **look: Any) -> Line2D:
    return Line2D([], [], **{"markersize": scaled(4), "label": short_label(name, 30), **look})


def outer_labels(axes: list[Axes], columns: int, x_label: str, y_label: str) -> None:
    for i, axis in enumerate(axes):
        if i % columns == 0:
            axis.set_ylabel(y_label)
        if i + columns >= len(axes):
            axis.set_xlabel(x_label)
