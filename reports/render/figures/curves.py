"""Figures of lines: spectra, histograms, other curves, layer profiles, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.panels import outer_labels, panels_of, short_label
from geomprobe.reports.render.figures.style import MARKERS, colour, line_style


def _curves(data: Mapping[str, Any], logarithmic: bool) -> Figure:
    figure, axes = panels_of(len(data["panels"]), 3, 1.2, legend=data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(short_label(panel["title"], 30))
        for line in panel["lines"]:
            i = line["series"]
            if line.get("low"):
                axis.fill_between(line["x"], line["low"], line["high"], color=colour(i), alpha=0.18, linewidth=0)
            if not logarithmic:
                axis.fill(line["x"], line["y"], color=colour(i), alpha=0.12, linewidth=0)
            axis.plot(line["x"], line["y"], color=colour(i), linestyle=line_style(i), linewidth=1.4)
        if logarithmic:
            axis.set_xscale("log")
            axis.set_yscale("log")
            _plain_log(axis)
        else:
            axis.set_ylim(bottom=0)
    outer_labels(axes, 3, data["x_label"], data["y_label"])
    return figure


def _plain_log(axis: Axes) -> None:
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(ticker.LogLocator(numticks=6))
        side.set_minor_locator(ticker.NullLocator())
        side.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))


def spectra(data: Mapping[str, Any]) -> Figure:
    """Share of the variance against rank, log-log, a panel a task."""
    return _curves(data, logarithmic=True)


def histograms(data: Mapping[str, Any]) -> Figure:
    """Density of the cosine of two rows, a panel a task."""
    return _curves(data, logarithmic=False)


def curves(data: Mapping[str, Any]) -> Figure:
    """Any other curve, a panel a task, a band where there is one."""
    figure, axes = panels_of(len(data["panels"]), 3, 1.2, legend=data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(short_label(panel["title"], 30))
        for line in panel["lines"]:
            i = line["series"]
            if line.get("low"):
                axis.fill_between(line["x"], line["low"], line["high"], color=colour(i), alpha=0.18, linewidth=0)
            axis.plot(line["x"], line["y"], color=colour(i), linestyle=line_style(i), linewidth=1.4)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
    outer_labels(axes, 3, data["x_label"], data["y_label"])
    return figure


def profiles(data: Mapping[str, Any]) -> Figure:
    """A metric against relative depth, a panel a task, a line a model, a band where there are intervals."""
    across = 5
    figure, axes = panels_of(len(data["panels"]), across, 0.9, legend=data["legend"], gap=0.14)
    for i, (axis, panel) in enumerate(zip(axes, data["panels"], strict=True)):
        if i:
            axis.sharey(axes[0])  # one scale, so that the panels can be read against one another
        axis.set_title(short_label(panel["title"], 20))
        for line in panel["lines"]:
            s = line["series"]
            if line.get("low"):
                axis.fill_between(line["x"], line["low"], line["high"], color=colour(s), alpha=0.2, linewidth=0)
            look = {
                "linestyle": line_style(s),
                "marker": MARKERS[s % len(MARKERS)],
                "markersize": 2.6,
                "linewidth": 1.2,
            }
            axis.plot(line["x"], line["y"], color=colour(s), **look)
        axis.set_xlim(-0.04, 1.04)
        axis.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        axis.yaxis.set_major_locator(ticker.MaxNLocator(4))
        axis.tick_params(labelleft=i % across == 0)
        if i + across >= len(axes):
            axis.set_xlabel("relative depth")
    return figure


def training(data: Mapping[str, Any]) -> Figure:
    """Training curves, a panel a quantity, a line a model."""
    figure, axes = panels_of(len(data["panels"]), 3, 1.1, legend=data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(short_label(panel["title"], 34))
        for line in panel["lines"]:
            i = line["series"]
            axis.plot(line["x"], line["y"], color=colour(i), linestyle=line_style(i), linewidth=1.3)
        axis.margins(y=0.12)
        axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: _short(v)))
        axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: _short(v)))
        axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
        axis.yaxis.set_major_locator(ticker.MaxNLocator(4))
    outer_labels(axes, 3, data["x_label"], "")
    return figure


def _short(v: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= size:
            return f"{v / size:g}{letter}"
    return f"{v:g}"
