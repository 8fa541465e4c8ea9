"""Figures of curves: spectra, histograms of cosines, others as they are; the tokens that a trained pooling weighs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geomprobe.common.text import capitalised, clean, count, listed, number, slug, words
from geomprobe.reports.document.blocks import Cell, Figure, Table, cell, figure, line, table
from geomprobe.reports.sections.parts.sides import by_task, legend, lettered
from geomprobe.results import CURVES
from geomprobe.results.schema import Curve as CurveRecord
from geomprobe.results.summary.facts import Facts, Row
from geomprobe.results.summary.words import absent, sentence

SPECTRUM_POINTS = 60
SPECTRUM_RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
TOKEN_WEIGHT = "pooling_token_weight"
Numbers = list[float]
Curve = dict[str, Numbers]


@dataclass(frozen=True)
class Look:
    """How a kind of curve is shown.

    Attributes
    ----------
    id, plot, title, caption : str
        Of the figure; `plot` is a key of `geomprobe.reports.render.figures.DRAW`.
    words : tuple of str
        Its words for those who cannot see it: what comes before the models, and at the end.
    axes : tuple of str
        Labels of x and y.
    drawn : callable
        From a curve (x, y and where there is a band low and high) to what is drawn of it.
    table : str
        Caption of its table.
    heads, cells : tuple, callable
        Columns of that table after task and model, and a curve's cells in them.
    by_pooling : bool
        Whether the table's rows are of the pooling.
    """

    id: str
    plot: str
    title: str
    caption: str
    words: tuple[str, str]
    axes: tuple[str, str]
    drawn: Callable[[Curve], Curve]
    table: str
    heads: tuple[tuple[str, bool], ...]
    cells: Callable[[Numbers, Numbers], list[Cell]]
    by_pooling: bool = True


def further_curves(facts: Facts, pooling: str) -> list[Figure]:
    """A figure for every kind of curve that has no figure of its own; ``_low`` and ``_high`` are its band."""
    kinds = dict.fromkeys(row["curve"] for row in facts.curves if row["pooling"] == pooling)
    stems = {kind: kind.removesuffix("_low").removesuffix("_high") for kind in kinds}
    further = [kind for kind, stem in stems.items() if kind not in KNOWN and (stem == kind or stem not in kinds)]
    return [made for kind in further if (made := curve_figure(facts, kind, pooling, _plain(kind)))]


def curve_figure(facts: Facts, kind: str, pooling: str, look: Look) -> Figure | None:
    """The figure of a kind of curve at the deepest layer, a panel a task; None without any."""
    found, low, high = (_points(facts, f"{kind}{end}", pooling) for end in ("", "_low", "_high"))

    def made(task: str, model: str) -> tuple[dict[str, Any], list[Cell]] | None:
        if (task, model) not in found:
            return None
        x, y = found[task, model]
        band = {"low": low[task, model][1], "high": high[task, model][1]}
        curve = {"x": x, "y": y} | (band if {len(values) for values in band.values()} == {len(x)} else {})
        return look.drawn(curve), look.cells(x, y)

    panels, rows = by_task(facts, facts.models, made, pooling if look.by_pooling else "")
    if not panels:
        return None
    key, (start, end), (x_label, y_label) = slug(look.id, pooling), look.words, look.axes
    side = table(f"{key}-table", look.table, [("task", False), ("model", False), *look.heads], rows, folded=True)
    where = listed([panel["title"] for panel in panels])
    alt = f"{start} {listed(facts.models)} on {where}, {pooling} pooling{end}."
    data = {"panels": panels, "legend": legend(facts, facts.models), "x_label": x_label, "y_label": y_label}
    return figure(key, look.plot, look.title, look.caption + absent(facts, pooling), alt, data, side)


def _points(facts: Facts, kind: str, pooling: str) -> dict[tuple[str, str], tuple[Numbers, Numbers]]:
    """(task, model) -> x, y of one kind of curve."""
    found: dict[tuple[str, str], tuple[Numbers, Numbers]] = defaultdict(lambda: ([], []))
    for row in facts.curves_by_kind.get((kind, pooling), []):
        x, y = found[row["task"], row["model"]]
        x.append(row["x"])
        y.append(row["y"])
    return found


def _thinned(curve: Curve) -> Curve:
    """A spectrum at ranks that are evenly spaced on a logarithmic scale, both ends kept, without what is zero."""
    n = len(curve["x"])
    even = {round(n ** (i / (SPECTRUM_POINTS - 1))) - 1 for i in range(SPECTRUM_POINTS)}
    keep = [i for i in (range(n) if n <= SPECTRUM_POINTS else sorted(even)) if curve["y"][i] > 1e-12]
    return {name: [float(f"{values[i]:.6g}") for i in keep] for name, values in curve.items()}


def _filled(curve: Curve) -> Curve:
    """A histogram without its empty ends (below a thousandth of its peak), one bin kept on either side."""
    y = curve["y"]
    full = [i for i, v in enumerate(y) if v > 0.001 * max(y)]
    keep = slice(max(full[0] - 1, 0), full[-1] + 2) if full else slice(None)
    return {"x": [round(v, 4) for v in curve["x"][keep]], "y": [float(f"{v:.4g}") for v in y[keep]]}


def _shares(x: Numbers, y: Numbers) -> list[Cell]:
    at = dict(zip(x, y, strict=True))
    return [cell(f"{at[k]:.2g}" if k in at else "–", at.get(k)) for k in SPECTRUM_RANKS]


def _bins(x: Numbers, y: Numbers) -> list[Cell]:
    filled = [i for i, v in enumerate(y) if v > 0]
    peak = max(range(len(y)), key=y.__getitem__)
    return [cell(number(v, 2), v) for v in ([x[filled[0]], x[peak], x[filled[-1]]] if filled else [None] * 3)]


KNOWN = ("spectrum", "cosine_histogram", TOKEN_WEIGHT)
SPECTRUM = Look(
    id="spectra",
    plot="spectra",
    title="Spectra",
    caption="Share of the variance in the k-th direction, both axes logarithmic. A flatter curve uses more directions.",
    words=("Spectra of", ": share of variance against rank"),
    axes=CURVES["spectrum"][1:3],
    drawn=_thinned,
    table="Share of the variance at selected ranks.",
    heads=tuple((f"k = {k}", True) for k in SPECTRUM_RANKS),
    cells=_shares,
)
HISTOGRAM = Look(
    id="histograms",
    plot="histograms",
    title="Cosines between rows",
    caption="Cosine of two different rows. A peak far from zero means that all vectors share a direction.",
    words=("Histograms of the cosine between rows for", ""),
    axes=CURVES["cosine_histogram"][1:3],
    drawn=_filled,
    table="Range and peak of the cosines (bin centres).",
    heads=(("lowest bin", True), ("fullest bin", True), ("highest bin", True)),
    cells=_bins,
)


def _plain(kind: str) -> Look:
    """The look of a further kind of curve, such as rarefaction."""
    known = CURVES.get(kind, CurveRecord(words(kind), "", ""))
    name = known.title
    return Look(
        id=slug("curve", kind),
        plot="curves",
        title=capitalised(name),
        caption=f"{capitalised(name)}, with its band where there is one. {sentence(known.note)}".rstrip(),
        words=(f"Curves of {name} for", ""),
        axes=(known.x, known.y),
        drawn=lambda curve: curve,
        table=f"Ends of the curves, {name}.",
        heads=(("first point", False), ("last point", False)),
        cells=lambda x, y: [cell(f"{count(x[i])}: {number(y[i])}") for i in (0, -1)],
        by_pooling=False,
    )


def token_weights(facts: Facts, pooling: str) -> Table | None:
    """The tokens that a trained attention pooling weighs most and least, a line a task and model."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in facts.curves_by_kind.get((TOKEN_WEIGHT, pooling), []):
        found[row["task"], row["model"]].append(row)
    if not found:
        return None

    def named(rows: list[Row]) -> str:
        return ", ".join(f"{clean(row['label'] or '', 20)} {number(row['y'], 2)}" for row in rows)

    lines = [
        line([cell(c) for c in (task, lettered(facts, model), named(rows[:8]), named(rows[-8:][::-1]))], task, pooling)
        for (task, model), rows in found.items()
    ]
    heads = [("task", False), ("model", False), ("largest weights", False), ("smallest weights", False)]
    caption = "Mean weight of a token under the trained attention pooling; 1 is its weight under mean pooling."
    return table(slug("token-weights", pooling), caption, heads, lines, folded=True)
