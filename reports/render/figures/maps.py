"""Heat maps with their numbers printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from geomprobe.reports.render.figures.axes import literal, names_down, scaled, short_label
from geomprobe.reports.render.figures.panels import panels_of
from geomprobe.reports.render.figures.style import GRID, MUTED, luminance

Data = Mapping[str, Any]


def cells(axis: Axes, panel: Data, data: Data) -> None:
    """One map of a heat map with its numbers, where there is room for them.

    The values of all models have one scale of colours; differences have their own, even on both sides of zero.
    """
    rows, columns = data["rows"], data["columns"]
    norm, cmap = _colours(panel, data["panels"])
    room = axis.bbox.width / axis.figure.dpi / len(columns)
    for r, line in enumerate(panel["cells"]):
        for c, cell in enumerate(line):
            _cell(axis, c, r, cell, norm, cmap, room)
    axis.set_xlim(0, len(columns))
    axis.set_ylim(len(rows), 0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    turn: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if _long(columns) else {}
    axis.set_xticks([k + 0.5 for k in range(len(columns))], [short_label(name) for name in columns], **turn)
    literal(*axis.get_xticklabels())
    names_down(axis, rows, [k + 0.5 for k in range(len(rows))])


def _colours(panel: Data, panels: Sequence[Data]) -> tuple[Normalize, Any]:
    def known(*panels: Data) -> list[float]:
        return [cell["value"] for p in panels for row in p["cells"] for cell in row if cell["value"] is not None]

    if panel["difference"]:
        reach = max(map(abs, known(panel)), default=0) or 1
        return TwoSlopeNorm(0, -reach, reach), mpl.colormaps["RdBu_r"]
    values = known(*(p for p in panels if not p["difference"]))
    low, high = min(values, default=0), max(values, default=1)
    return Normalize(low, high if high > low else low + 1), mpl.colormaps["cividis"]


def _long(columns: Sequence[str]) -> bool:
    """Whether the names of columns are turned, for they have no room side by side."""
    return max(map(len, columns)) > 8 or len(columns) > 6


def _cell(axis: Axes, x: int, y: int, cell: Data, norm: Normalize, cmap: Any, room: float) -> None:
    square = Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, facecolor="none", edgecolor=GRID, linewidth=0.5)
    axis.add_artist(square)
    if cell["failed"] and cell["value"] is None:
        square.set(edgecolor=MUTED, hatch="////")
    if cell["value"] is None:
        return
    face = cmap(norm(cell["value"]))
    square.set(facecolor=face, linewidth=0)
    if room >= scaled(0.055) * len(cell["text"]):  # else the number is in the table alone
        tone = "#000001" if luminance(face[:3]) > 0.18 else "#fffffd"
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": scaled(5.8), "color": tone}
        literal(axis.text(x + 0.5, y + 0.53, cell["text"], **look))


def heat(data: Data) -> Figure:
    """Pooling × task: one map a model, and the differences where there are any, with the numbers printed."""
    panels = data["panels"]
    across = min(len(panels), 3)
    bottom = 0.75 if _long(data["columns"]) else 0.3
    height = 0.27 * len(data["rows"])
    figure, axes = panels_of(len(panels), across, height, names=data["rows"], gap=0.14, bottom=bottom, widest=3.4)
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        cells(axis, panel, data)
        axis.set_title(short_label(panel["title"], 30))
        axis.tick_params(labelleft=i % across == 0)
    return figure
