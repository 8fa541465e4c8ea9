"""Figure data of the view model → SVG, with colours that a page can restyle. Each kind of figure is one function."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

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
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # text stays text, so the reader's fonts decide
        figure = DRAW[kind](data)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _tidy(out.getvalue())


def _tidy(svg: str) -> str:
    """Drop what a page does not need: prolog, metadata, idle ids and groups, decimals below a hundredth of a point."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = svg.replace(' transform="rotate(-0 ', ' transform="rotate(0 ')
    svg = re.sub(r' transform="rotate\(0 [^)]*\)"', "", svg)
    parts = re.split(r"(<text[^>]*>[^<]*</text>)", svg)  # what stands inside a text element is content
    parts[::2] = [re.sub(r"(?<![#\w])(-?\d+\.\d{2})\d+", r"\1", part) for part in parts[::2]]
    return re.sub(r"\s*\n\s*", "\n", _without_idle_groups("".join(parts))).strip() + "\n"


def _without_idle_groups(svg: str) -> str:
    """Drop every ``<g>`` that has no attribute, with the end tag that belongs to it."""
    stack: list[bool] = []

    def keep(tag: re.Match[str]) -> str:
        if tag[0] == "</g>":
            return tag[0] if stack.pop() else ""
        stack.append(tag[0] != "<g>")
        return tag[0] if stack[-1] else ""

    return re.sub(r"</g>|<g(?: [^>]*)?>", keep, svg)


def colour(index: int) -> str:
    """Return the colour of a series; past the palette the markers and lines go on telling them apart."""
    return SERIES[index % len(SERIES)]


def _line(index: int) -> Any:
    return LINES[(index + index // len(SERIES)) % len(LINES)]


def _label(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _grid(
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
    """Return a figure of ``n`` panels and their axes, laid out in inches.

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
    left = max(0.64, 0.2 + 0.062 * max((len(_label(name)) for name in names), default=0))
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
    common: dict[str, Any] = {
        "loc": "upper left",
        "borderaxespad": 0.0,
        "borderpad": 0.1,
        "labelspacing": 0.3,
        "columnspacing": 1.4,
    }
    if legend:
        handles = [
            _handle(
                s["name"],
                color=colour(s["series"]),
                linestyle=s.get("line", _line(s["series"])),
                marker=MARKERS[s["series"] % len(MARKERS)],
            )
            for s in legend
        ]
        figure.legend(handles=handles, bbox_to_anchor=(0.005, top), ncols=across[0], handlelength=2.6, **common)
        top -= 0.2 * math.ceil(len(legend) / across[0]) / full
    if keys:
        handles = [_handle(name, **({"color": INK, "linestyle": "none"} | dict(look))) for name, look in keys.items()]
        figure.legend(handles=handles, bbox_to_anchor=(0.005, top), ncols=across[1], handlelength=1.4, **common)
    return figure, axes


def _handle(name: str, **look: Any) -> Line2D:
    settings: dict[str, Any] = {"markersize": 4, "label": _label(name, 30)} | look
    return Line2D([], [], **settings)


def _names(axis: Axes, names: Sequence[str], shown: bool = True) -> None:
    """Write names down the y axis, the first on top."""
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_yticks(range(len(names)), [_label(n) for n in names] if shown else [""] * len(names))
    axis.tick_params(axis="y", labelcolor=INK)


def _curves(data: Mapping[str, Any], logarithmic: bool) -> Figure:
    figure, axes = _grid(len(data["panels"]), 3, 1.2, legend=data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(_label(panel["title"], 30))
        for line in panel["lines"]:
            i = line["series"]
            if line.get("low"):
                axis.fill_between(line["x"], line["low"], line["high"], color=colour(i), alpha=0.18, linewidth=0)
            if not logarithmic:
                axis.fill(line["x"], line["y"], color=colour(i), alpha=0.12, linewidth=0)
            axis.plot(line["x"], line["y"], color=colour(i), linestyle=_line(i), linewidth=1.4)
        if logarithmic:
            axis.set_xscale("log")
            axis.set_yscale("log")
            _plain_log(axis)
        else:
            axis.set_ylim(bottom=0)
    _outer_labels(axes, 3, data["x_label"], data["y_label"])
    return figure


def _plain_log(axis: Axes) -> None:
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(ticker.LogLocator(numticks=6))
        side.set_minor_locator(ticker.NullLocator())
        side.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))


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


def curves(data: Mapping[str, Any]) -> Figure:
    """Any other curve, a panel a task, a band where there is one."""
    figure, axes = _grid(len(data["panels"]), 3, 1.2, legend=data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(_label(panel["title"], 30))
        for line in panel["lines"]:
            i = line["series"]
            if line.get("low"):
                axis.fill_between(line["x"], line["low"], line["high"], color=colour(i), alpha=0.18, linewidth=0)
            axis.plot(line["x"], line["y"], color=colour(i), linestyle=_line(i), linewidth=1.4)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
    _outer_labels(axes, 3, data["x_label"], data["y_label"])
    return figure


def decomposition(data: Mapping[str, Any]) -> Figure:
    """Uniformity raw and centred as a dumbbell a model and task, against the Jensen bounds and the reference."""
    groups = data["groups"]
    lines = sum(len(g["rows"]) for g in groups)
    height = 0.2 + 0.17 * lines + 0.12 * len(groups)
    names = [g["name"] for g in groups]
    keys: dict[str, dict[str, Any]] = {
        "raw": {"marker": "o"},
        "centred": {"marker": "o", "markerfacecolor": PAPER},
        "Jensen bound": {"marker": "|", "markersize": 7},
        "spread evenly over the sphere": {"linestyle": (0, (2, 2)), "color": MUTED},
    }
    figure, (axis,) = _grid(1, 1, height, legend=data["legend"], keys=keys, names=names)
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
        ticks.append((start + y - 1) / 2)
        y += 0.7
    if data["reference"] is not None:
        axis.axvline(data["reference"], color=MUTED, linestyle=(0, (2, 2)), linewidth=1)
    axis.set_ylim(y - 0.9, -0.8)
    axis.set_yticks(ticks, [_label(n) for n in names])
    axis.tick_params(axis="y", labelcolor=INK)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("uniformity (lower: spread out more evenly)")
    return figure


def heat(data: Mapping[str, Any]) -> Figure:
    """Pooling × task: one map a model, and the differences where there are any, with the numbers printed."""
    panels = data["panels"]
    rows, columns = len(data["rows"]), len(data["columns"])
    across = min(len(panels), 3)
    long = max(map(len, data["columns"])) > 8 or columns > 6
    figure, axes = _grid(
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
        axis.set_title(_label(panel["title"], 30))
        axis.set_xlim(0, columns)
        axis.set_ylim(rows, 0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        turn: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
        axis.set_xticks([k + 0.5 for k in range(columns)], [_label(n) for n in data["columns"]], **turn)
        shown = i % across == 0
        axis.set_yticks([k + 0.5 for k in range(rows)], [_label(n) for n in data["rows"]] if shown else [""] * rows)
    return figure


def _cell(axis: Axes, x: int, y: int, cell: Mapping[str, Any], norm: Normalize, cmap: Any, width: float) -> None:
    if cell["value"] is None:
        failed = cell["failed"]
        look: dict[str, Any] = {
            "edgecolor": MUTED if failed else GRID,
            "hatch": "////" if failed else None,
            "linewidth": 0.5,
        }
        axis.add_artist(Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, facecolor="none", **look))
        return
    face = cmap(norm(cell["value"]))
    axis.add_artist(Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, facecolor=face, linewidth=0))
    if width >= 0.055 * len(cell["text"]):  # else the number is in the table alone
        ink = "#000001" if luminance(face[:3]) > 0.18 else "#fffffd"
        axis.text(x + 0.5, y + 0.53, cell["text"], ha="center", va="center", fontsize=5.8, color=ink)


def luminance(rgb: Any) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def forest(data: Mapping[str, Any]) -> Figure:
    """Differences with their intervals, a panel a metric, a line a task; hollow where there is no interval."""
    panels = data["panels"]
    names = [r["name"] for r in panels[0]["rows"]]
    figure, axes = _grid(len(panels), 3, 0.12 + 0.2 * len(names), names=names, gap=0.25)
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        if panel["margin"]:
            axis.axvspan(-panel["margin"], panel["margin"], color=MUTED, alpha=0.16, linewidth=0)
        axis.axvline(0, color=INK, linewidth=0.9)
        for y, row in enumerate(panel["rows"]):
            if row["diff"] is None:
                continue
            known = row["low"] is not None
            clear = {"higher": colour(1), "lower": colour(0)}.get(row["judgement"])
            if known:
                axis.plot([row["low"], row["high"]], [y, y], color=clear or MUTED, linewidth=1.6, solid_capstyle="butt")
            axis.plot(row["diff"], y, "o", color=clear or MUTED, markersize=4.5, markerfacecolor=clear or PAPER)
        axis.set_title(_label(panel["title"], 30))
        _names(axis, [r["name"] for r in panel["rows"]], shown=i % 3 == 0)
        axis.grid(axis="y", visible=False)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(3, symmetric=True))
        ends = [abs(v) for r in panel["rows"] for v in (r["diff"], r["low"], r["high"]) if v is not None]
        reach = 1.12 * max(ends, default=0) or 1
        axis.set_xlim(-reach, reach)
        axis.set_xlabel(data["x_label"])
    return figure


def profiles(data: Mapping[str, Any]) -> Figure:
    """A metric against relative depth, a panel a task, a line a model, a band where there are intervals."""
    across = 5
    figure, axes = _grid(len(data["panels"]), across, 0.9, legend=data["legend"], gap=0.14)
    for i, (axis, panel) in enumerate(zip(axes, data["panels"], strict=True)):
        if i:
            axis.sharey(axes[0])  # one scale, so that the panels can be read against one another
        axis.set_title(_label(panel["title"], 20))
        for line in panel["lines"]:
            s = line["series"]
            if line.get("low"):
                axis.fill_between(line["x"], line["low"], line["high"], color=colour(s), alpha=0.2, linewidth=0)
            look = {"linestyle": _line(s), "marker": MARKERS[s % len(MARKERS)], "markersize": 2.6, "linewidth": 1.2}
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
    figure, axes = _grid(len(data["panels"]), 3, 1.1, legend=data["legend"])
    for axis, panel in zip(axes, data["panels"], strict=True):
        axis.set_title(_label(panel["title"], 34))
        for line in panel["lines"]:
            i = line["series"]
            axis.plot(line["x"], line["y"], color=colour(i), linestyle=_line(i), linewidth=1.3)
        axis.margins(y=0.12)
        axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: _short(v)))
        axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: _short(v)))
        axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
        axis.yaxis.set_major_locator(ticker.MaxNLocator(4))
    _outer_labels(axes, 3, data["x_label"], "")
    return figure


def _short(v: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= size:
            return f"{v / size:g}{letter}"
    return f"{v:g}"


CONTROL_MARKERS = ("|", "x", "+", "1", "*", "2", "3", "4")


def controls(data: Mapping[str, Any]) -> Figure:
    """Scores of the models beside their controls, a panel a metric, a line a task."""
    panels = data["panels"]
    tasks = list(dict.fromkeys(r["name"] for p in panels for r in p["rows"]))
    keys = {name: {"marker": CONTROL_MARKERS[i % len(CONTROL_MARKERS)]} for i, name in enumerate(data["controls"])}
    figure, axes = _grid(
        len(panels), 3, 0.12 + 0.22 * len(tasks), legend=data["legend"], keys=keys, names=tasks, gap=0.25, bottom=0.3
    )
    for i, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        for row in panel["rows"]:
            y = tasks.index(row["name"])
            for point in row["controls"]:
                axis.plot(
                    point["value"], y, keys[point["name"]]["marker"], color=INK, markersize=5.5, markeredgewidth=1.1
                )
            for k, point in enumerate(row["points"]):
                s, at = point["series"], y + 0.36 * (k + 0.5 - len(row["points"]) / 2) / max(len(row["points"]) - 1, 1)
                axis.plot(point["value"], at, MARKERS[s % len(MARKERS)], color=colour(s), markersize=4.6)
                if point["low"] is not None:
                    axis.plot([point["low"], point["high"]], [at, at], color=colour(s), linewidth=1.4)
        axis.set_title(_label(panel["title"], 34))
        _names(axis, tasks, shown=i % 3 == 0)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
    return figure


DRAW: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "spectra": spectra,
    "histograms": histograms,
    "curves": curves,
    "decomposition": decomposition,
    "heat": heat,
    "forest": forest,
    "profiles": profiles,
    "training": training,
    "controls": controls,
}
