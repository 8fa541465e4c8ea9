"""Figures of lines: spectra, histograms, other curves, layer profiles, training.

What is drawn of one panel is a function of an axes and the panel's data; a figure lays its panels out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.axes import linear, logarithmic, scaled, short_label
from geomprobe.reports.render.figures.panels import outer_labels, panels_of
from geomprobe.reports.render.figures.style import MARKERS, colour, line_style

Data = Mapping[str, Any]
MARKED = 8
"""Points of a line that carry its marker, about."""


def spectrum(axis: Axes, panel: Data) -> None:
    """Share of the variance against rank, log-log."""
    for line in panel["lines"]:
        _draw(axis, line)
    logarithmic(axis)


def histogram(axis: Axes, panel: Data) -> None:
    """Density of the cosine of two rows."""
    for line in panel["lines"]:
        axis.fill_between(line["x"], line["y"], color=colour(line["series"]), alpha=0.12, linewidth=0)
        _draw(axis, line)
    axis.set_ylim(bottom=0)
    linear(axis.xaxis, 5)
    linear(axis.yaxis, 4)


def curve(axis: Axes, panel: Data) -> None:
    """Any other curve, a band where there is one."""
    for line in panel["lines"]:
        _draw(axis, line)
    linear(axis.xaxis, 4)
    linear(axis.yaxis, 5)


def quantity(axis: Axes, panel: Data) -> None:
    """A quantity along training."""
    for line in panel["lines"]:
        _draw(axis, line, width=1.3)
    axis.margins(y=0.12)
    linear(axis.xaxis, 4)
    linear(axis.yaxis, 4)


def profile(axis: Axes, panel: Data) -> None:
    """A metric against relative depth, a line a model, a band where there are intervals."""
    for line in panel["lines"]:
        _draw(axis, line, width=1.2)
    axis.set_xlim(-0.04, 1.04)
    axis.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    linear(axis.yaxis, 4)


def _draw(axis: Axes, line: Data, width: float = 1.4) -> None:
    """A line with its marker, at every point of a few and at some of many; and its band where there is one."""
    x, i = line["x"], line["series"]
    if line.get("low"):
        axis.fill_between(x, line["low"], line["high"], color=colour(i), alpha=0.18, linewidth=0)
    apart = max(len(x) // MARKED, 1)
    marks: dict[str, Any] = {"marker": MARKERS[i % len(MARKERS)], "markevery": (i % apart, apart)}
    look: dict[str, Any] = {"color": colour(i), "linestyle": line_style(i), "linewidth": scaled(width)}
    axis.plot(x, line["y"], markersize=scaled(2.6), **look, **marks)


def spectra(data: Data) -> Figure:
    """Spectra, a panel a task."""
    return _figure(data, spectrum)


def histograms(data: Data) -> Figure:
    """Histograms, a panel a task."""
    return _figure(data, histogram)


def curves(data: Data) -> Figure:
    """Other curves, a panel a task."""
    return _figure(data, curve)


def training(data: Data) -> Figure:
    """Training curves, a panel a quantity, a line a model."""
    return _figure(data, quantity, height=1.1, title=34)


def _figure(data: Data, draw: Callable[[Axes, Data], None], height: float = 1.2, title: int = 30) -> Figure:
    """Three panels in a row."""
    figure, axes = panels_of(len(data["panels"]), 3, height, legend=data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(short_label(panel["title"], title))
        draw(axis, panel)
    outer_labels(axes, 3, data["x_label"], data.get("y_label", ""))
    return figure


def profiles(data: Data) -> Figure:
    """Layer profiles, a panel a task."""
    across = 5
    figure, axes = panels_of(len(data["panels"]), across, 0.9, legend=data["legend"], gap=0.14)
    for i, (axis, panel) in enumerate(zip(axes, data["panels"], strict=True)):
        if i:
            axis.sharey(axes[0])  # one scale, so that the panels can be read against one another
        axis.set_title(short_label(panel["title"], 20))
        profile(axis, panel)
        axis.tick_params(labelleft=i % across == 0)
    outer_labels(axes, across, "relative depth", "")
    return figure
