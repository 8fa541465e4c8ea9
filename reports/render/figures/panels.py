"""Panels, legends and labels that the kinds of figures share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from geomprobe.reports.render.figures.style import INK, MARKERS, WIDTH, colour, line_style


def short_label(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def panels_of(
    n: int,
    columns: int,
    height: float,
    *,
    legend: Sequence[Mapping[str, Any]] = (),
    keys: Mapping[str, Mapping[str, Any]] | None = None,
    names: Sequence[str] = (),
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
    gap, bottom : float
        Room between columns, and below the axes of a row.
    widest : float
        Greatest width of one panel.
    """
    columns = max(1, min(columns, n))
    rows = math.ceil(n / columns)
    left = max(0.64, 0.2 + 0.062 * max((len(short_label(name)) for name in names), default=0))
    across = [max(1, min(len(legend), 4)), max(1, min(len(keys or ()), 6))]
    lines = math.ceil(len(legend) / across[0]) + math.ceil(len(keys or ()) / across[1])
    head, title = 0.2 * lines + 0.04, 0.26
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
    if legend:
        _legend(figure, [_series(entry) for entry in legend], top, across[0], 2.6)
        top -= 0.2 * math.ceil(len(legend) / across[0]) / full
    if keys:
        markers = [_handle(name, **({"color": INK, "linestyle": "none"} | dict(look))) for name, look in keys.items()]
        _legend(figure, markers, top, across[1], 1.4)
    return figure, axes


def _series(entry: Mapping[str, Any]) -> Line2D:
    """Legend handle of a series."""
    i = entry["series"]
    line = entry.get("line", line_style(i))
    return _handle(entry["name"], color=colour(i), linestyle=line, marker=MARKERS[i % len(MARKERS)])


def _legend(figure: Figure, handles: list[Line2D], top: float, columns: int, length: float) -> None:
    figure.legend(
        handles=handles,
        bbox_to_anchor=(0.005, top),
        ncols=columns,
        handlelength=length,
        loc="upper left",
        borderaxespad=0.0,
        borderpad=0.1,
        labelspacing=0.3,
        columnspacing=1.4,
    )


def _handle(name: str, **look: Any) -> Line2D:
    settings: dict[str, Any] = {"markersize": 4, "label": short_label(name, 30)} | look
    return Line2D([], [], **settings)


def names_down(axis: Axes, names: Sequence[str], shown: bool = True) -> None:
    """Write names down the y axis, the first on top."""
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_yticks(range(len(names)), [short_label(n) for n in names] if shown else [""] * len(names))
    axis.tick_params(axis="y", labelcolor=INK)


def outer_labels(axes: list[Axes], columns: int, x_label: str, y_label: str) -> None:
    for i, axis in enumerate(axes):
        if i % columns == 0:
            axis.set_ylabel(y_label)
        if i + columns >= len(axes):
            axis.set_xlabel(x_label)
