"""Colours, markers, line styles and fonts of all figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.colors import to_rgb

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
LINES = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)))
INK, MUTED, GRID, PAPER = "#1b1e23", "#5c6570", "#d5dae0", "#fffffe"
# What an HTML page replaces by custom properties, so that figures follow the light or dark theme.
THEMED = {
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES)},
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
}
CLASSES = (*SERIES[:3], "#b04a94", "#8a6d00", "#3b8fc4", "#7a4a21", "#6a51a3")
BANDS = ("#b27710", "#c4573f", "#9c3370", "#5d2a8c", "#1f2168")
"""Colours of points by class, and by band, from light to dark; the next two on a dark page."""
DARK_CLASSES = ("#4ba3dc", "#f08a3c", "#2fbf95", "#e08cc8", "#d9bd4a", "#9fd3f5", "#c99a6b", "#b3a1e6")
DARK_BANDS = ("#f7dc8c", "#f09a70", "#d46a9a", "#a77ad9", "#7f8bea")


def tones(classes: Sequence[str], bands: Sequence[str]) -> dict[str, str]:
    """Colours of points by the name of their tone: c0, c1, … of classes, l0, l1, … of bands."""
    return {f"c{i}": tone for i, tone in enumerate(classes)} | {f"l{i}": tone for i, tone in enumerate(bands)}


TONES, DARK_TONES = tones(CLASSES, BANDS), tones(DARK_CLASSES, DARK_BANDS)
WIDTH = 7.2  # inches: printed at its own size on A4, scaled up on a screen

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "geomprobe",
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # else each title is measured against the ticks, a fifth of the time of drawing
    "axes.labelsize": 7,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.bottom": False,
    "ytick.left": False,
    "xtick.minor.bottom": False,
    "ytick.minor.left": False,
    "legend.frameon": False,
    "legend.loc": "upper left",
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.1,
    "legend.labelspacing": 0.3,
    "legend.columnspacing": 1.4,
    "legend.fontsize": 7,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}


def colour(index: int) -> str:
    """The colour of a series; past the palette, markers and line styles still differ."""
    return SERIES[index % len(SERIES)]


def line_style(index: int) -> Any:
    return LINES[(index + index // len(SERIES)) % len(LINES)]


def luminance(rgb: Any) -> float:
    """The relative luminance of a colour (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
