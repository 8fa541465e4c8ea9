"""Maps of rows: a panel a model, the same rows in each, in the colour of their class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.axes import literal, scaled, short_label
from geomprobe.reports.render.figures.panels import panels_of
from geomprobe.reports.render.figures.style import MUTED, TONES

Data = Mapping[str, Any]
SIDE = 1000
"""Side of the square that the points lie in."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")


def places(points: str) -> list[list[float]]:
    """Rows of numbers from their text: commas inside a row, spaces between rows."""
    return [[float(value) for value in row.split(",")] for row in points.split()]


def look(colour: Data, k: int) -> dict[str, Any]:
    """Colour and marker of a class: colour is not the only sign of it."""
    tone = colour["tones"][k]
    marker = MARKERS[k % len(MARKERS)] if tone.startswith("c") else "o"
    return {"color": TONES.get(tone, MUTED), "marker": marker, "markeredgewidth": 0}


def cloud(axis: Axes, points: str, colour: Data) -> None:
    """One map: its points (text, as `places` reads it), in the colours of their classes."""
    at, classes = places(points), [int(row) for row in colour["values"].split()]
    for k in range(len(colour["names"])):
        some = [point for point, found in zip(at, classes, strict=True) if found == k]
        x, y = [x for x, _ in some], [-y for _, y in some]
        axis.plot(x, y, linestyle="none", markersize=scaled(2.6), alpha=0.85, **look(colour, k))
    axis.set(xlim=(0, SIDE), ylim=(-SIDE, 0), aspect="equal", xticks=[], yticks=[])
    axis.spines[["top", "right"]].set_visible(True)


def scatter(data: Data) -> Figure:
    """The first kind of map of each model in the first colours, two in a row."""
    kind, colour, panels = data["kinds"][0]["key"], data["colours"][0], data["panels"]
    keys = {name: look(colour, k) for k, name in enumerate(colour["names"])}
    figure, axes = panels_of(len(panels), 2, 3.2, keys=keys, left=0.1, gap=0.25, bottom=0.1, widest=3.2)
    for axis, panel in zip(axes, panels, strict=True):
        cloud(axis, panel["maps"][kind], colour)
        axis.set_title(short_label(panel["title"], 44))
        literal(axis.title)
    return figure
