"""The section on geometry: the uniformity decomposition, spectra, cosines, what poolings learned, the table."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.blocks import Block, Figure, Line, Section, Table, cell, figure, line, table
from geomprobe.reports.facts import Facts, Row
from geomprobe.reports.failed import HATCHED, absent, unmeasured
from geomprobe.reports.formats import clean, count, finite, interval, listed, number, p_value, words
from geomprobe.reports.tables import by_pooling, forest, legend, lettered, measured, sides, value_table
from geomprobe.reports.wording import slug

DECOMPOSITION = {
    "raw": ("uniformity", "raw"),
    "centred": ("uniformity", "centred"),
    "raw_bound": ("uniformity_jensen", "raw"),
    "centred_bound": ("uniformity_jensen", "centred"),
    "mean_cosine": ("mean_cosine", "raw"),
}
SPECTRUM_POINTS = 60
SIMILARITY_LINES = 12
TOKEN_WEIGHT = "pooling_token_weight"
X_LABELS = {"rarefaction": "rows", "pooling": "position"}  # by the first word of a curve's name


SPECTRUM_RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def geometry(facts: Facts) -> Section:
    """Spectra, cosine histograms, the uniformity decomposition, the table."""
    metrics = facts.part("geometry")

    def make(pooling: str) -> list[Block]:
        made: list[Block] = []
        plots = (_decomposition(facts, pooling), _spectra(facts, pooling), _histograms(facts, pooling))
        made += [plot for plot in plots if plot]
        if facts.pair and (plot := forest(facts, "geometry", [mv for mv in facts.headline if mv in metrics], pooling)):
            made.insert(0, plot)
        made += _other_curves(facts, pooling)
        if learned := _token_weights(facts, pooling):
            made.append(learned)
        if metrics:
            made.append(
                value_table(
                    facts,
                    slug("geometry", pooling),
                    f"Geometry at the deepest layer, {pooling} pooling.",
                    metrics,
                    pooling,
                )
            )
        return made

    lead = (
        "How the embeddings fill their space: how many directions they use, and how evenly they spread over the sphere."
    )
    blocks = by_pooling(facts, make) or [unmeasured(facts, "No geometry was measured.")]
    return {"id": "geometry", "title": "Geometry", "lead": lead, "blocks": blocks}


def _decomposition(facts: Facts, pooling: str) -> Figure | None:
    groups: list[dict[str, Any]] = []
    rows: list[Line] = []
    for task in facts.tasks:
        lines = []
        for name in sides(facts):
            found = {
                key: measured(facts, name, task, pooling, metric, view)[0]
                for key, (metric, view) in DECOMPOSITION.items()
            }
            if found["raw"] is None and found["centred"] is None:
                continue
            shown = lettered(facts, name)
            lines.append({"series": facts.series.get(name, 0), "name": shown} | found)
            rows.append(line([cell(task), cell(shown), *(cell(number(v, 3), v) for v in found.values())], task))
        if lines:
            groups.append({"name": task, "rows": lines})
    if not groups:
        return None
    names = ("raw", "centred", "Jensen bound, raw", "Jensen bound, centred", "mean cosine")
    heads = [("task", False), ("model", False), *((name, True) for name in names)]
    caption = "Uniformity and what it is made of."
    reference = _reference(facts, pooling)
    if reference is not None:
        caption += f" Vectors spread evenly over the sphere have {number(reference, 3)}."
    side = table(slug("decomposition", pooling, "table"), caption, heads, rows, folded=True)
    caption = (
        "Filled: uniformity of the vectors as they are. Hollow: after the common mean vector is removed. A tick is the "
        "Jensen bound, which the mean vector alone sets; dashes mark vectors spread evenly over the sphere. Where the "
        "filled points of two models differ and the hollow ones do not, what differs is their mean vector."
    )
    caption += absent(facts, pooling)
    where = listed([g["name"] for g in groups])
    who = listed(sides(facts))
    alt = f"Dumbbell plot, {pooling} pooling: raw and centred uniformity of {who} on {where}; see the table."
    entries = [{**s, "line": "none"} for s in legend(facts, sides(facts))]
    data = {"groups": groups, "reference": reference, "legend": entries}
    name = "What uniformity is made of"
    return figure(slug("decomposition", pooling), "decomposition", name, caption, alt, data, side)


def _reference(facts: Facts, pooling: str) -> float | None:
    """Return the uniformity of the uniform distribution on the sphere, from the first cell that has it."""
    for (_, _, _, cell_pooling, metric, _), row in facts.by_cell.items():
        if metric == "uniformity_reference" and cell_pooling == pooling and row["value"] is not None:
            return row["value"]
    return None


def _curve(facts: Facts, kind: str, pooling: str) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """Return (task, model) -> x, y of one kind of curve at the deepest layer."""
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for row in _curve_index(facts).get((kind, pooling), []):
        x, y = found.setdefault((row["task"], row["model"]), ([], []))
        x.append(row["x"])
        y.append(row["y"])
    return found


def _curve_index(facts: Facts) -> dict[tuple[str, str], list[Row]]:
    index = facts.__dict__.get("_curve_index")
    if index is None:
        index = {}
        deepest: dict[str, int] = {}
        views: dict[tuple[str, str], str] = {}
        for row in facts.curves:
            deepest[row["model"]] = max(row["layer"], deepest.get(row["model"], row["layer"]))
            views.setdefault((row["model"], row["curve"]), row["view"])
        for row in facts.curves:
            if row["x"] is None or row["y"] is None or row["layer"] != deepest[row["model"]]:
                continue
            if row["view"] == views[row["model"], row["curve"]]:
                index.setdefault((row["curve"], row["pooling"]), []).append(row)
        facts.__dict__["_curve_index"] = index
    return index


def _spectra(facts: Facts, pooling: str) -> Figure | None:
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
    caption = "Share of the variance carried by the k-th direction, both axes logarithmic. Flatter is more directions."
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


def _other_curves(facts: Facts, pooling: str) -> list[Figure]:
    """Return a figure for every further kind of curve, such as rarefaction; ``_low`` and ``_high`` are its band."""
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
        caption = f"{name[:1].upper()}{name[1:]}, with its band where there is one.{absent(facts, pooling)}"
        found.append(figure(slug("curve", kind, pooling), "curves", name, caption, alt, data, side))
    return found


def _token_weights(facts: Facts, pooling: str) -> Table | None:
    """Return the tokens that a trained attention pooling weighs most and least, a line a task and model."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in _curve_index(facts).get((TOKEN_WEIGHT, pooling), []):
        found.setdefault((row["task"], row["model"]), []).append(row)
    if not found:
        return None

    def named(rows: list[Row]) -> str:
        return ", ".join(f"{clean(row['label'] or '', 20)} {number(row['y'], 2)}" for row in rows)

    lines = [
        line([cell(c) for c in (task, lettered(facts, model), named(rows[:8]), named(rows[-8:][::-1]))], task, pooling)
        for (task, model), rows in found.items()
    ]
    heads = [("task", False), ("model", False), ("weighed most", False), ("weighed least", False)]
    caption = "Mean weight of a token under the trained attention pooling; 1 is its weight under mean pooling."
    return table(slug("token-weights", pooling), caption, heads, lines, folded=True)


def _band(bands: list[Any], task: str, model: str, n: int) -> dict[str, list[float]]:
    """Return the lower and upper curve of a band, where both are there with as many points as the curve."""
    low, high = (band.get((task, model), ([], []))[1] for band in bands)
    return {"low": low, "high": high} if len(low) == len(high) == n else {}


def similarity_table(facts: Facts) -> list[Table]:
    """Return how alike the models are at the deepest layer that was compared, beside what chance gives."""
    pairs = [r for r in facts.similarities if r["a"] != r["b"] and r["level"] == facts.level]
    rows = [r for r in pairs if r["value"] is not None and r["null_mean"] is not None]
    failed = [r for r in pairs if r["status"] == "failed"]
    if not rows and not failed:
        return []
    keys = ("task", "pooling", "layer_a", "layer_b", "metric")
    within = {
        (r["a"], *(r[k] for k in keys)): r["value"]
        for r in facts.similarities
        if r["level"] == "objective" and r["a"] == r["b"]
    }
    deepest = {(r["a"], r["b"]): max(x["layer_a"] for x in rows if (x["a"], x["b"]) == (r["a"], r["b"])) for r in rows}
    known = any(r["ci_low"] is not None for r in rows)
    lines = []
    for r in rows:
        if r["layer_a"] != deepest[r["a"], r["b"]]:
            continue
        ceilings = [within.get((side, *(r[k] for k in keys))) for side in (r["a"], r["b"])] if within else []
        chance = number(r["null_mean"], 3) + (f" ± {number(r['null_sd'], 3)}" if r["null_sd"] is not None else "")
        shown = interval(r["ci_low"], r["ci_high"], 3) + (
            " conservative" if "conservative" in (r["ci_method"] or "") else ""
        )
        numbers = [cell(number(r["value"], 3), r["value"]), *([cell(shown or "none", r["ci_low"])] if known else [])]
        numbers += [cell(number(v, 3), v) for v in ceilings]
        names = (r["task"], r["pooling"], lettered(facts, r["a"]), lettered(facts, r["b"]), words(r["metric"]))
        lines.append(
            line(
                [*map(cell, names), *numbers, cell(chance, r["null_mean"]), cell(p_value(r["p"])), cell(count(r["n"]))],
                r["task"],
                r["pooling"],
            )
        )
    for r in failed:
        sides_of = (r["task"], r["pooling"], lettered(facts, r["a"]), lettered(facts, r["b"]))
        rest = [cell("all"), cell("failed", tone="failed"), *[cell("–")] * (known + 2 * bool(within) + 3)]
        lines.append(line([*map(cell, sides_of), *rest], r["task"], r["pooling"]))
    heads = [("task", False), ("pooling", False), ("of", False), ("and", False), ("similarity", False), ("value", True)]
    heads += [("95 % interval", True)] if known else []
    heads += [("seeds of the first", True), ("seeds of the second", True)] if within else []
    heads += [("by chance", True), ("p", True), ("n", True)]
    caption = "How alike the models are on the same rows, at the deepest layer. By chance: rows of one side shuffled."
    if failed:
        caption += HATCHED
    elif any(r["status"] == "failed" for r in facts.similarities):
        caption += " Pairs with a seed that failed are left out of the means."
    if within:
        caption += " Two seeds of one objective are as alike as two objectives can be."
    return [table("similarities", caption, heads, lines, folded=len(lines) > SIMILARITY_LINES)]


def similarity(facts: Facts) -> list[Figure]:
    """Return a map layers × layers for every entry of ``similarity`` in run.json (see docs/reference/reports.md)."""
    found = []
    for i, entry in enumerate(facts.run.get("similarity", [])):
        if not entry["values"]:
            continue
        grid = [[finite(v) for v in row] for row in entry["values"]]
        sizes = ((entry.get("layers_a"), len(grid)), (entry.get("layers_b"), len(grid[0])))
        down, across = ([f"layer {k}" for k in layers or range(n)] for layers, n in sizes)
        a, b, name = entry["a"], entry["b"], words(entry["metric"])
        cells = [[{"value": v, "text": number(v, 2), "failed": False} for v in row] for row in grid]
        where = f"{entry['task']}, {entry['pooling']} pooling"
        panel = {"title": f"{b} across, {a} down", "series": None, "difference": False, "cells": cells}
        rows = [
            line([cell(layer), *(cell(str(c["text"]), finite(c["value"])) for c in row)])
            for layer, row in zip(down, cells, strict=True)
        ]
        heads = [(str(a), False), *((layer, True) for layer in across)]
        key = f"similarity-{i}"
        what = f"{name} of the layers of {a} (down) and {b} (across), {where}."
        side = table(f"{key}-table", what, heads, rows, folded=True)
        data = {"rows": down, "columns": across, "panels": [panel]}
        alt = f"Map of {name} between the layers of {a} and those of {b}, {where}."
        found.append(figure(key, "heat", f"{name} between layers", f"On {where}.", alt, data, side))
    return found


def _thin(n: int, points: int) -> list[int]:
    """Return at most about ``points`` indices below n, evenly spaced on a logarithmic scale, both ends kept."""
    if n <= points:
        return list(range(n))
    return sorted({round(n ** (i / (points - 1))) - 1 for i in range(points)})


def _filled(curve: dict[str, Any]) -> dict[str, Any]:
    """Return a histogram without its empty ends (below a thousandth of its peak), one bin kept on either side."""
    y = curve["y"]
    full = [i for i, v in enumerate(y) if v > 0.001 * max(y)]
    keep = slice(max(full[0] - 1, 0), full[-1] + 2) if full else slice(None)
    return {**curve, "x": [round(v, 4) for v in curve["x"][keep]], "y": [float(f"{v:.4g}") for v in y[keep]]}


def _histograms(facts: Facts, pooling: str) -> Figure | None:
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
    side = table(slug("histograms", pooling, "table"), "Where the cosines lie (bin centres).", heads, rows, folded=True)
    caption = "Cosine of two different rows. A hump far from zero is a common direction that all vectors share."
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
