"""Heat maps with their numbers printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from geomprobe.reports.render.figures.panels import panels_of, short_label
from geomprobe.reports.render.figures.style import GRID, MUTED, WIDTH, luminance


def heat(data: Mapping[str, Any]) -> Figure:
    """Pooling × task: one map a model, and the differences where there are any, with the numbers printed."""
    panels = data["panels"]
    rows, columns = len(data["rows"]), len(data["columns"])
    across = min(len(panels), 3)
    long = max(map(len, data["columns"])) > 8 or columns > 6
    figure, axes = panels_of(
        len(panels), across, 0.27 * rows, names=data["rows"], gap=0.14, bottom=0.75 if long else 0.3, widest=3.4
    )
    known = [c["value"] for p in panels if not p["difference"] for r in p["cells"] for c in r if c["value"] is not None]
    width = axes[0].get_position().width * WIDTH / columns
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        values = [c["value"] for r in panel["cells"] for c in r if c["value"] is not None]
        if panel["difference"]:
            reach = max((abs(v) for v in values), default=0) or 1
            norm: Normalize = TwoSlopeNorm(0, -reach, reach)
            cmap = mpl.colormaps["RdBu"]
        else:
            low, high = min(known, default=0), max(known, default=1)
            norm, cmap = Normalize(low, high if high > low else low + 1), mpl.colormaps["cividis"]
        for r, line in enumerate(panel["cells"]):
            for c, cell in enumerate(line):
                _cell(axis, c, r, cell, norm, cmap, width)
        axis.set_title(short_label(panel["title"], 30))
        axis.set_xlim(0, columns)
        axis.set_ylim(rows, 0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        turn: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
        axis.set_xticks([k + 0.5 for k in range(columns)], [short_label(n) for n in data["columns"]], **turn)
        shown = i % across == 0
        axis.set_yticks(
            [k + 0.5 for k in range(rows)], [short_label(n) for n in data["rows"]] if shown else [""] * rows
        )
    return figure


def _cell(axis: Axes, x: int, y: int, cell: Mapping[str, Any], norm: Normalize, cmap: Any, width: float) -> None:
    square = Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, facecolor="none", edgecolor=GRID, linewidth=0.5)
    axis.add_artist(square)
    if cell["failed"] and cell["value"] is None:
        square.set(edgecolor=MUTED, hatch="////")
    if cell["value"] is None:
        return
    face = cmap(norm(cell["value"]))
    square.set(facecolor=face, linewidth=0)
    if width >= 0.055 * len(cell["text"]):  # else the number is in the table alone
        ink = "#000001" if luminance(face[:3]) > 0.18 else "#fffffd"
        axis.text(x + 0.5, y + 0.53, cell["text"], ha="center", va="center", fontsize=5.8, color=ink)
