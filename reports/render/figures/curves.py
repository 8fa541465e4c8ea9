"""Figures of lines: spectra, histograms, other curves, layer profiles, training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.panels import outer_labels, panels_of, short_label
from geomprobe.reports.render.figures.style import MARKERS, colour, line_style

Data = Mapping[str, Any]


def spectra(data: Data) -> Figure:
    """Share of the variance against rank, log-log, a panel a task."""

    def logarithmic(axis: Axes) -> None:
        axis.set_xscale("log")
        axis.set_yscale("log")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(ticker.LogLocator(numticks=6))
            side.set_minor_locator(ticker.NullLocator())
            side.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))

    return _figure(data, logarithmic)


def histograms(data: Data) -> Figure:
    """Density of the cosine of two rows, a panel a task."""
    return _figure(data, lambda axis: axis.set_ylim(bottom=0), filled=True)


def curves(data: Data) -> Figure:
    """Any other curve, a panel a task, a band where there is one."""
    return _figure(data, lambda axis: axis.xaxis.set_major_locator(ticker.MaxNLocator(4)))


def training(data: Data) -> Figure:
    """Training curves, a panel a quantity, a line a model."""

    def short_numbers(axis: Axes) -> None:
        axis.margins(y=0.12)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter(ticker.FuncFormatter(lambda v, _: _short(v)))
            side.set_major_locator(ticker.MaxNLocator(4))

    return _figure(data, short_numbers, height=1.1, title=34, width=1.3)


def _figure(
    data: Data, finish: Callable[[Axes], Any], height: float = 1.2, title: int = 30, width: float = 1.4,
    filled: bool = False,
) -> Figure:  # fmt: skip
    """Three panels in a row, each of the lines of a panel of the data; ``finish`` sets scales and ticks."""
    figure, axes = panels_of(len(data["panels"]), 3, height, legend=data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(short_label(panel["title"], title))
        for line in panel["lines"]:
            if filled:
                axis.fill(line["x"], line["y"], color=colour(line["series"]), alpha=0.12, linewidth=0)
            _draw(axis, line, alpha=0.18, linewidth=width)
        finish(axis)
    outer_labels(axes, 3, data["x_label"], data.get("y_label", ""))
    return figure


def profiles(data: Data) -> Figure:
    """A metric against relative depth, a panel a task, a line a model, a band where there are intervals."""
    across = 5
    figure, axes = panels_of(len(data["panels"]), across, 0.9, legend=data["legend"], gap=0.14)
    for i, (axis, panel) in enumerate(zip(axes, data["panels"], strict=True)):
        if i:
            axis.sharey(axes[0])  # one scale, so that the panels can be read against one another
        axis.set_title(short_label(panel["title"], 20))
        for line in panel["lines"]:
            marker = MARKERS[line["series"] % len(MARKERS)]
            _draw(axis, line, alpha=0.2, linewidth=1.2, marker=marker, markersize=2.6)
        axis.set_xlim(-0.04, 1.04)
        axis.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        axis.yaxis.set_major_locator(ticker.MaxNLocator(4))
        axis.tick_params(labelleft=i % across == 0)
    outer_labels(axes, across, "relative depth", "")
    return figure


def _draw(axis: Axes, line: Data, alpha: float, **look: Any) -> None:
    """A line, and its band where there is one."""
    x, i = line["x"], line["series"]
    if line.get("low"):
        axis.fill_between(x, line["low"], line["high"], color=colour(i), alpha=alpha, linewidth=0)
    axis.plot(x, line["y"], color=colour(i), linestyle=line_style(i), **look)


def _short(v: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= size:
            return f"{v / size:g}{letter}"
    return f"{v:g}"
