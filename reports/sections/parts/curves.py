"""Figures of `curves`: spectra, cosine histograms, further curves, and the token weights of attention pooling."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts, Row
from geomprobe.reports.document.blocks import Figure, Line, Table, cell, figure, line, table
from geomprobe.reports.document.formats import capitalised, clean, count, listed, number, words
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.sides import legend, lettered
from geomprobe.reports.wording.failed import absent

SPECTRUM_POINTS = 60
TOKEN_WEIGHT = "pooling_token_weight"
X_LABELS = {"rarefaction": "rows", "pooling": "position"}  # by the first word of a curve's name


SPECTRUM_RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def _curve(facts: Facts, kind: str, pooling: str) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """(task, model) -> x, y of one kind of curve at the deepest layer."""
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for row in facts.curves_by_kind.get((kind, pooling), []):
        x, y = found.setdefault((row["task"], row["model"]), ([], []))
        x.append(row["x"])
        y.append(row["y"])
    return found


def spectra(facts: Facts, pooling: str) -> Figure | None:
    curves = _curve(facts, "spectrum", pooling)
    bands = [_curve(facts, f"spectrum_{end}", pooling) for end in ("low", "high")]
    panels: list[dict[str, Any]] = []
    rows: list[Line] = []
    for task in facts.tasks:
        lines = []
        for model in facts.models:
            if (task, model) not in curves:
                continue
            x, y = curves[task, model]
            keep = [i for i in _thin(len(x), SPECTRUM_POINTS) if y[i] > 1e-12]
            entry: dict[str, Any] = {"series": facts.series.get(model, 0)}
            for name, values in {"x": x, "y": y, **_band(bands, task, model, len(x))}.items():
                entry[name] = [float(f"{values[i]:.6g}") for i in keep]
            lines.append(entry)
            at = dict(zip(x, y, strict=True))
            rows.append(
                line(
                    [
                        cell(task),
                        cell(lettered(facts, model)),
                        *(cell(f"{at[k]:.2g}" if k in at else "–", at.get(k)) for k in SPECTRUM_RANKS),
                    ],
                    task,
                    pooling,
                )
            )
        if lines:
            panels.append({"title": task, "lines": lines})
    if not panels:
        return None
    side = table(
        slug("spectra", pooling, "table"),
        "Share of the variance at selected ranks.",
        [("task", False), ("model", False), *((f"k = {k}", True) for k in SPECTRUM_RANKS)],
        rows,
        folded=True,
    )
    caption = (
        "Share of the variance in the k-th direction, both axes logarithmic. A flatter curve uses more directions."
    )
    caption += absent(facts, pooling)
    where = listed([p["title"] for p in panels])
    alt = f"Spectra of {listed(facts.models)} on {where}, {pooling} pooling: share of variance against rank."
    data = {
        "panels": panels,
        "legend": legend(facts, facts.models),
        "x_label": "rank k",
        "y_label": "share of variance",
    }
    return figure(slug("spectra", pooling), "spectra", "Spectra", caption, alt, data, side)


def other_curves(facts: Facts, pooling: str) -> list[Figure]:
    """A figure for every further kind of curve, such as rarefaction; ``_low`` and ``_high`` are its band."""
    kinds = dict.fromkeys(row["curve"] for row in facts.curves if row["pooling"] == pooling)
    known = {"spectrum", "cosine_histogram", TOKEN_WEIGHT}
    found = []
    for kind in kinds:
        stem = kind.removesuffix("_low").removesuffix("_high")
        if kind in known or (stem != kind and stem in kinds):
            continue
        curves = _curve(facts, kind, pooling)
        bands = [_curve(facts, f"{kind}_{end}", pooling) for end in ("low", "high")]
        panels: list[dict[str, Any]] = []
        rows: list[Line] = []
        for task in facts.tasks:
            lines = []
            for model in facts.models:
                if (task, model) not in curves:
                    continue
                x, y = curves[task, model]
                entry: dict[str, Any] = {"series": facts.series.get(model, 0), "x": x, "y": y}
                entry |= _band(bands, task, model, len(x))
                lines.append(entry)
                first, last = (f"{count(x[i])}: {number(y[i])}" for i in (0, -1))
                rows.append(line([cell(task), cell(lettered(facts, model)), cell(first), cell(last)], task))
            if lines:
                panels.append({"title": task, "lines": lines})
        name = words(kind)
        heads = [("task", False), ("model", False), ("first point", False), ("last point", False)]
        side = table(slug("curve", kind, pooling, "table"), f"Ends of the curves, {name}.", heads, rows, folded=True)
        x_label = X_LABELS.get(kind.partition("_")[0], "")
        where = listed([p["title"] for p in panels])
        alt = f"Curves of {name} for {listed(facts.models)} on {where}, {pooling} pooling."
        data = {"panels": panels, "legend": legend(facts, facts.models), "x_label": x_label, "y_label": ""}
        caption = f"{capitalised(name)}, with its band where there is one.{absent(facts, pooling)}"
        found.append(figure(slug("curve", kind, pooling), "curves", name, caption, alt, data, side))
    return found


def token_weights(facts: Facts, pooling: str) -> Table | None:
    """The tokens that a trained attention pooling weighs most and least, a line a task and model."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in facts.curves_by_kind.get((TOKEN_WEIGHT, pooling), []):
        found.setdefault((row["task"], row["model"]), []).append(row)
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


def _band(bands: list[Any], task: str, model: str, n: int) -> dict[str, list[float]]:
    """The lower and upper curve of a band, where both are there with as many points as the curve."""
    low, high = (band.get((task, model), ([], []))[1] for band in bands)
    return {"low": low, "high": high} if len(low) == len(high) == n else {}


def _thin(n: int, points: int) -> list[int]:
    """At most about ``points`` indices below n, evenly spaced on a logarithmic scale, both ends kept."""
    if n <= points:
        return list(range(n))
    return sorted({round(n ** (i / (points - 1))) - 1 for i in range(points)})


def _filled(curve: dict[str, Any]) -> dict[str, Any]:
    """A histogram without its empty ends (below a thousandth of its peak), one bin kept on either side."""
    y = curve["y"]
    full = [i for i, v in enumerate(y) if v > 0.001 * max(y)]
    keep = slice(max(full[0] - 1, 0), full[-1] + 2) if full else slice(None)
    return {**curve, "x": [round(v, 4) for v in curve["x"][keep]], "y": [float(f"{v:.4g}") for v in y[keep]]}


def histograms(facts: Facts, pooling: str) -> Figure | None:
    curves = _curve(facts, "cosine_histogram", pooling)
    panels: list[dict[str, Any]] = []
    rows: list[Line] = []
    for task in facts.tasks:
        lines: list[dict[str, Any]] = []
        for model in facts.models:
            if (task, model) not in curves:
                continue
            x, y = curves[task, model]
            lines.append({"series": facts.series.get(model, 0), "x": x, "y": y})
            filled = [i for i, v in enumerate(y) if v > 0]
            peak = max(range(len(y)), key=y.__getitem__)
            ends = [x[filled[0]], x[peak], x[filled[-1]]] if filled else [None] * 3
            rows.append(
                line([cell(task), cell(lettered(facts, model)), *(cell(number(v, 2), v) for v in ends)], task, pooling)
            )
        if lines:
            panels.append({"title": task, "lines": [_filled(entry) for entry in lines]})
    if not panels:
        return None
    heads = [("task", False), ("model", False), ("lowest bin", True), ("fullest bin", True), ("highest bin", True)]
    side = table(
        slug("histograms", pooling, "table"), "Range and peak of the cosines (bin centres).", heads, rows, folded=True
    )
    caption = "Cosine of two different rows. A peak far from zero means that all vectors share a direction."
    caption += absent(facts, pooling)
    where = listed([p["title"] for p in panels])
    alt = f"Histograms of the cosine between rows for {listed(facts.models)} on {where}, {pooling} pooling."
    data = {
        "panels": panels,
        "legend": legend(facts, facts.models),
        "x_label": "cosine of two rows",
        "y_label": "density",
    }
    return figure(slug("histograms", pooling), "histograms", "Cosines between rows", caption, alt, data, side)
