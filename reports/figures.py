"""Figure data of the view model → SVG, with colours that a page can restyle. Each kind of figure is one function."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure

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
WIDTH = 7.2  # inches: printed at its own size on A4, scaled up on a screen

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "geomprobe",
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
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
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}


def render(kind: str, data: Mapping[str, Any]) -> str:
    """Return a figure as an ``<svg>`` element; the same data give the same bytes.

    Parameters
    ----------
    kind : str
        A key of `DRAW`.
    data : mapping
        The figure's ``data`` in the view model.
    """
    with mpl.rc_context(STYLE):
        figure = DRAW[kind](data)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _tidy(out.getvalue())


def _tidy(svg: str) -> str:
    """Drop what a page does not need: prolog, metadata, idle ids, decimals."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    parts = re.split(r"(<text.*?</text>)", svg, flags=re.S)  # a number inside a text element is content
    parts[::2] = [re.sub(r"(?<![#\w])(-?\d+\.\d{2})\d+", r"\1", part) for part in parts[::2]]
    return re.sub(r"\n\s*", "\n", "".join(parts)).strip() + "\n"


def colour(index: int) -> str:
    """Return the colour of a series; past the palette the markers and lines go on telling them apart."""
    return SERIES[index % len(SERIES)]


def _line(index: int) -> Any:
    return LINES[(index + index // len(SERIES)) % len(LINES)]


def _grid(n: int, columns: int, height: float, legend: Sequence[Mapping[str, Any]] = ()) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``n`` panels, ``columns`` a row, with a legend of the series above them."""
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    top = 0.32 * math.ceil(len(legend) / 4) if legend else 0.05
    figure = Figure(figsize=(WIDTH, rows * height + top), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - top / (rows * height + top)), w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr]
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(n)]
    if legend:
        handles = [
            mpl.lines.Line2D([], [], color=colour(s["series"]), linestyle=s.get("line", _line(s["series"])),
                             marker=s.get("marker", MARKERS[s["series"] % len(MARKERS)]), label=s["name"])
            for s in legend
        ]  # fmt: skip
        figure.legend(
            handles=handles, loc="upper left", ncols=min(4, len(handles)), borderaxespad=0.2, handlelength=2.6
        )
    return figure, axes


def _curves(data: Mapping[str, Any], logarithmic: bool) -> Figure:
    figure, axes = _grid(len(data["panels"]), 3, 1.75, data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(panel["title"])
        for line in panel["lines"]:
            i = line["series"]
            axis.plot(line["x"], line["y"], color=colour(i), linestyle=_line(i), linewidth=1.4)
            if not logarithmic:
                axis.fill_between(line["x"], line["y"], color=colour(i), alpha=0.12, linewidth=0)
        if logarithmic:
            axis.set_xscale("log")
            axis.set_yscale("log")
            _plain_log(axis)
        else:
            axis.set_ylim(bottom=0)
        if panel.get("x"):
            axis.set_xlim(*panel["x"])
    _outer_labels(axes, 3, data["x_label"], data["y_label"])
    return figure


def _plain_log(axis: Axes) -> None:
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(mpl.ticker.LogLocator(numticks=6))
        side.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        side.set_minor_formatter(mpl.ticker.NullFormatter())


def _outer_labels(axes: list[Axes], columns: int, x_label: str, y_label: str) -> None:
    for i, axis in enumerate(axes):
        if i % columns == 0:
            axis.set_ylabel(y_label)
        if i + columns >= len(axes):
            axis.set_xlabel(x_label)


def spectra(data: Mapping[str, Any]) -> Figure:
    """Share of the variance against rank, log-log, a panel a task."""
    return _curves(data, logarithmic=True)


def histograms(data: Mapping[str, Any]) -> Figure:
    """Density of the cosine of two rows, a panel a task."""
    return _curves(data, logarithmic=False)


def decomposition(data: Mapping[str, Any]) -> Figure:
    """Uniformity raw and centred as a dumbbell a model and task, against the Jensen bounds and the reference."""
    groups = data["groups"]
    lines = sum(len(g["rows"]) for g in groups)
    figure, (axis,) = _grid(1, 1, 0.55 + 0.19 * lines + 0.12 * len(groups), data["legend"])
    y, ticks = 0.0, []
    for group in groups:
        start = y
        for row in group["rows"]:
            c = colour(row["series"])
            marker = MARKERS[row["series"] % len(MARKERS)]
            raw, centred = row["raw"], row["centred"]
            if raw is not None and centred is not None:
                axis.plot([centred, raw], [y, y], color=c, linewidth=1.4, alpha=0.55, solid_capstyle="round")
            if raw is not None:
                axis.plot(raw, y, marker, color=c, markersize=5.5)
            if centred is not None:
                axis.plot(centred, y, marker, color=c, markerfacecolor=PAPER, markersize=5.5, markeredgewidth=1.3)
            for bound in (row["raw_bound"], row["centred_bound"]):
                if bound is not None:
                    axis.plot([bound, bound], [y - 0.34, y + 0.34], color=INK, linewidth=1.1)
            y += 1
        ticks.append(((start + y - 1) / 2, group["name"]))
        y += 0.7
    if data["reference"] is not None:
        axis.axvline(data["reference"], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
    axis.set_ylim(y - 0.9, -0.8)
    axis.set_yticks([t for t, _ in ticks], [name for _, name in ticks])
    axis.tick_params(axis="y", labelcolor=INK)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(
        "uniformity (lower: more spread out)   ● raw   ○ centred   | Jensen bound   ┊ uniform on the sphere"
    )
    return figure


def heat(data: Mapping[str, Any]) -> Figure:
    """Pooling × task: one map a model, and the differences where there are any, with the numbers printed."""
    panels = data["panels"]
    rows, columns = len(data["rows"]), len(data["columns"])
    across = min(len(panels), 3)
    figure, axes = _grid(len(panels), across, max(0.62 + 0.27 * rows, 1.1))
    shared = [
        c["value"] for p in panels if not p["difference"] for r in p["cells"] for c in r if c["value"] is not None
    ]
    wide = columns <= 6 and across * columns <= 16
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        values = [c["value"] for r in panel["cells"] for c in r if c["value"] is not None]
        if panel["difference"]:
            reach = max((abs(v) for v in values), default=0) or 1
            norm, cmap = TwoSlopeNorm(0, -reach, reach), mpl.colormaps["RdBu"]
        else:
            low, high = min(shared, default=0), max(shared, default=1)
            norm, cmap = Normalize(low, high if high > low else low + 1), mpl.colormaps["cividis"]
        for r, line in enumerate(panel["cells"]):
            for c, cell in enumerate(line):
                _cell(axis, c, r, cell, norm, cmap, wide)
        axis.set_title(panel["title"], color=colour(panel["series"]) if panel["series"] is not None else INK)
        axis.set_xlim(0, columns)
        axis.set_ylim(rows, 0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if max(map(len, data["columns"])) > 6 else {}
        axis.set_xticks([k + 0.5 for k in range(columns)], data["columns"], **turn)
        axis.set_yticks([k + 0.5 for k in range(rows)], data["rows"] if i % across == 0 else [""] * rows)
    return figure


def _cell(axis: Axes, x: int, y: int, cell: Mapping[str, Any], norm: Normalize, cmap: Any, numbers: bool) -> None:
    if cell["value"] is None:
        hatch = "////" if cell["failed"] else None
        axis.add_patch(mpl.patches.Rectangle((x, y), 1, 1, facecolor="none", edgecolor=MUTED if hatch else GRID,
                                             hatch=hatch, linewidth=0.5))  # fmt: skip
        return
    face = cmap(norm(cell["value"]))
    axis.add_patch(mpl.patches.Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, facecolor=face, linewidth=0))
    if numbers:
        ink = "#000001" if luminance(face[:3]) > 0.3 else "#fffffd"
        axis.text(x + 0.5, y + 0.52, cell["text"], ha="center", va="center", fontsize=5.6, color=ink)


def luminance(rgb: Sequence[float] | str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(rgb)]  # type: ignore[arg-type]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def forest(data: Mapping[str, Any]) -> Figure:
    """Differences with their intervals, a panel a metric, a line a task or cell; hollow where there is no interval."""
    panels = data["panels"]
    lines = max(len(p["rows"]) for p in panels)
    figure, axes = _grid(len(panels), 3, 0.75 + 0.2 * lines)
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        axis.axvline(0, color=INK, linewidth=0.9)
        for y, row in enumerate(panel["rows"]):
            if row["diff"] is None:
                continue
            known = row["low"] is not None
            c = colour(1) if row["judgement"] == "higher" else colour(0) if row["judgement"] == "lower" else MUTED
            if known:
                axis.plot([row["low"], row["high"]], [y, y], color=c, linewidth=1.6, solid_capstyle="butt")
            axis.plot(row["diff"], y, "o", color=c, markersize=4.5, markerfacecolor=c if known else PAPER)
            if panel.get("margin"):
                axis.axvspan(-panel["margin"], panel["margin"], color=MUTED, alpha=0.02, linewidth=0)
        axis.set_title(panel["title"])
        axis.set_ylim(len(panel["rows"]) - 0.4, -0.6)
        axis.set_yticks(
            range(len(panel["rows"])), [r["name"] for r in panel["rows"]] if i % 3 == 0 else [""] * len(panel["rows"])
        )
        axis.tick_params(axis="y", labelcolor=INK)
        axis.grid(axis="y", visible=False)
        axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, symmetric=True))
        reach = max(
            (abs(v) for r in panel["rows"] for v in (r["diff"], r["low"], r["high"]) if v is not None), default=1
        )
        axis.set_xlim(-1.12 * (reach or 1), 1.12 * (reach or 1))
        axis.set_xlabel(data["x_label"])
    return figure


def profiles(data: Mapping[str, Any]) -> Figure:
    """A metric against relative depth, a panel a task, a line a model, a band where there are intervals."""
    figure, axes = _grid(len(data["panels"]), 3, 1.55, data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(panel["title"])
        for line in panel["lines"]:
            i = line["series"]
            axis.plot(
                line["x"],
                line["y"],
                color=colour(i),
                linestyle=_line(i),
                marker=MARKERS[i % len(MARKERS)],
                markersize=3,
            )
            if line.get("low"):
                axis.fill_between(line["x"], line["low"], line["high"], color=colour(i), alpha=0.18, linewidth=0)
        axis.set_xlim(-0.03, 1.03)
    _outer_labels(axes, 3, "relative depth (0 embeddings, 1 last layer)", "")
    return figure


def training(data: Mapping[str, Any]) -> Figure:
    """Training curves, a panel a quantity, a line a model."""
    figure, axes = _grid(len(data["panels"]), 3, 1.55, data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(panel["title"])
        for line in panel["lines"]:
            i = line["series"]
            axis.plot(line["x"], line["y"], color=colour(i), linestyle=_line(i), linewidth=1.3)
        axis.margins(y=0.12)
        axis.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: _si(v)))
        axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: _si(v)))
        axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    _outer_labels(axes, 3, data["x_label"], "")
    return figure


def _si(v: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= size:
            return f"{v / size:g}{letter}"
    return f"{v:g}"


def controls(data: Mapping[str, Any]) -> Figure:
    """Scores of the models beside their controls, a panel a metric, a line a task."""
    panels = data["panels"]
    lines = max(len(p["rows"]) for p in panels)
    legend = [*data["legend"]]
    figure, axes = _grid(len(panels), 3, 0.72 + 0.22 * lines, legend)
    glyphs = ("|", "x", "+", "1", "*", "2", "3", "4")
    seen: dict[str, Any] = {}
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        for y, row in enumerate(panel["rows"]):
            for point in row["controls"]:
                glyph = glyphs[data["controls"].index(point["name"]) % len(glyphs)]
                mark = axis.plot(point["value"], y, glyph, color=INK, markersize=5.5, markeredgewidth=1.1)[0]
                seen.setdefault(point["name"], mark)
            for point in row["points"]:
                s = point["series"]
                offset = 0.14 * (s % 2 * 2 - 1) if len(row["points"]) > 1 else 0
                axis.plot(point["value"], y + offset, MARKERS[s % len(MARKERS)], color=colour(s), markersize=4.8)
                if point["low"] is not None:
                    axis.plot([point["low"], point["high"]], [y + offset] * 2, color=colour(s), linewidth=1.4)
        axis.set_title(panel["title"])
        axis.set_ylim(len(panel["rows"]) - 0.4, -0.6)
        axis.set_yticks(
            range(len(panel["rows"])), [r["name"] for r in panel["rows"]] if i % 3 == 0 else [""] * len(panel["rows"])
        )
        axis.tick_params(axis="y", labelcolor=INK)
    if seen:
        figure.legend(seen.values(), seen.keys(), loc="upper right", ncols=min(5, len(seen)), handlelength=1, columnspacing=1.2,
                      borderaxespad=0.2)  # fmt: skip
    return figure


DRAW: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "spectra": spectra,
    "histograms": histograms,
    "decomposition": decomposition,
    "heat": heat,
    "forest": forest,
    "profiles": profiles,
    "training": training,
    "controls": controls,
}
