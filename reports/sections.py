"""The sections of the report, each a function of the facts: selecting, sorting and formatting, never computing."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from reports.blocks import (
    Block,
    Cell,
    Figure,
    Line,
    Option,
    Section,
    Table,
    cell,
    choice,
    figure,
    line,
    table,
    text,
)
from reports.facts import REFERENCES, Facts, Row, judgement, part_of
from reports.formats import amount, clean, count, decimals, duration, interval, listed, number, p_value, power, words

WORDS = {
    "higher": "▲ higher",
    "lower": "▼ lower",
    "equivalent": "≈ equivalent",
    "unclear": "○ no clear difference",
    "none": "– no interval",
}
SPECTRUM_POINTS = 60
SPECTRUM_RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def build(facts: Facts) -> list[Section]:
    """Return all sections in their printing order."""
    parts = [downstream, geometry, poolings, layers, lexical, training, caveats, provenance, downloads, glossary]
    return [part(facts) for part in parts]


# ---------------------------------------------------------------- words and counts


def title(facts: Facts, metric: str, view: str) -> str:
    """Return a metric's name in plain words, with its view where the metric has several."""
    views = {v for m, v in facts.metrics if m == metric}
    return words(metric) + (f" ({view})" if view and (len(views) > 1 or view != "raw") else "")


def meaning(facts: Facts, metric: str) -> str:
    """Return what a larger or smaller value means, from the metric's definition."""
    entry = facts.definitions.get(metric)
    direction = clean(entry.get("direction"), 90) if isinstance(entry, dict) else ""
    return "" if direction in ("none", "higher", "lower") else direction


def quality(facts: Facts, metric: str, code: str) -> str:
    """Return a judgement in words; only scores of a task are better or worse, geometry is higher or lower."""
    entry = facts.definitions.get(metric)
    direction = str(entry.get("direction") or "") if isinstance(entry, dict) else ""
    if part_of(metric) == "semantic" and code in ("higher", "lower") and direction.startswith(("higher", "lower")):
        return "better" if direction.startswith(code) else "worse"
    return {"unclear": "no clear difference", "none": "no verdict"}.get(code, code)


def tally(facts: Facts, metric: str, view: str) -> Counter[str]:
    """Return how many task × pooling cells of the deepest layer carry each judgement."""
    found: Counter[str] = Counter(dict.fromkeys(WORDS, 0))
    for task in facts.tasks:
        for pooling in facts.poolings:
            if row := facts.difference(task, pooling, metric, view):
                found[judgement(row)] += 1
    return found


def signs(facts: Facts, metric: str, view: str) -> tuple[int, int, int]:
    """Return how many cells of the deepest layer have a positive difference, a negative one, and how many there are."""
    rows = [facts.difference(t, p, metric, view) for t in facts.tasks for p in facts.poolings]
    diffs = [r["diff"] for r in rows if r and r["diff"] is not None]
    return sum(d > 0 for d in diffs), sum(d < 0 for d in diffs), len(diffs)


def claims(facts: Facts) -> Table | None:
    """Return the table of verdicts: a headline metric a row, counted over the task × pooling cells."""
    if not facts.pair:
        return None
    rows = []
    for metric, view in facts.headline:
        found = tally(facts, metric, view)
        total = sum(found.values())
        if not total:
            continue
        cells = [cell(title(facts, metric, view))]
        cells += [cell(count(found[code]) if found[code] else "·", found[code], code) for code in WORDS]
        rows.append(line([*cells, cell(count(total), total)]))
    heads = [("B against A", False), *((label, True) for label in WORDS.values()), ("cells", True)]
    return table("claims", "In how many task × pooling cells of the deepest layer each verdict holds.", heads, rows)


def _models(facts: Facts) -> list[str]:
    """The names whose values stand side by side: the pair where there is one, with the groups' names for groups."""
    return list(facts.pair) if facts.pair else facts.models


def _letter(facts: Facts, name: str) -> str:
    return f"{'AB'[facts.pair.index(name)]} · {name}" if facts.pair and name in facts.pair else name


def _legend(facts: Facts, names: list[str]) -> list[dict[str, Any]]:
    return [{"name": _letter(facts, n), "series": facts.series.get(n, 0)} for n in names]


def _measured(facts: Facts, name: str, task: str, pooling: str, metric: str, view: str) -> tuple[float | None, bool]:
    """Return a value at the deepest layer and whether its cell failed; a group's value comes from its comparison."""
    if facts.kind == "groups" and facts.pair and name in facts.pair:
        row = facts.difference(task, pooling, metric, view)
        return (row["value_a" if name == facts.pair[0] else "value_b"] if row else None), False
    found = facts.cell(name, task, pooling, metric, view)
    if found is None:
        return None, (name, task, pooling) in _failed(facts)
    return found["value"], found["status"] == "failed"


def _failed(facts: Facts) -> set[tuple[Any, Any, Any]]:
    return {(f.get("model"), f.get("task"), f.get("pooling")) for f in facts.failed()}


def _by_pooling(facts: Facts, make: Any) -> list[Block]:
    """Return the blocks that ``make(pooling)`` gives, as a choice where there are several poolings."""
    options: list[Option] = []
    for pooling in facts.poolings:
        if blocks := make(pooling):
            options.append({"name": pooling, "note": _pooling_note(facts, pooling), "blocks": blocks})
    if len(options) > 1 or (options and options[0]["note"]):
        return [choice("pooling", options)]
    return options[0]["blocks"] if options else []


def _pooling_note(facts: Facts, pooling: str) -> str:
    if pooling not in facts.untrained:
        return ""
    return "not trained: equals mean" if pooling == "weighted" else "not trained: random softmax weights"


# ---------------------------------------------------------------- tables


def value_table(
    facts: Facts, id: str, caption: str, metrics: list[tuple[str, str]], pooling: str, folded: bool = False
) -> Table:
    """Return tasks × metrics with the value of each model and, for a pair, difference, interval, verdict and n."""
    names = _models(facts)
    heads = [("task", False), ("metric", False), *((_letter(facts, n), True) for n in names)]
    if facts.pair:
        heads += [("B − A", True), ("95 % interval", True), ("p (Holm)", True), ("verdict", False)]
    heads.append(("n", True))
    rows = []
    for task in facts.tasks:
        for metric, view in metrics:
            if made := _value_line(facts, names, task, metric, view, pooling):
                rows.append(made)
    if facts.pair and not any(r["ci_low"] is not None for r in facts.by_difference.values()):
        drop = {heads.index(("95 % interval", True)), heads.index(("p (Holm)", True))}
        heads = [h for i, h in enumerate(heads) if i not in drop]
        for made in rows:
            made["cells"] = [c for i, c in enumerate(made["cells"]) if i not in drop]
    return table(id, caption, heads, rows, folded)


def _value_line(facts: Facts, names: list[str], task: str, metric: str, view: str, pooling: str) -> Line | None:
    found = [_measured(facts, n, task, pooling, metric, view) for n in names]
    if all(value is None and not failed for value, failed in found):
        return None
    row = facts.difference(task, pooling, metric, view) if facts.pair else None
    own = [facts.cell(n, task, pooling, metric, view) for n in names]
    half = _half(row) if row else next((h for h in map(_half, own) if h), None)
    places = decimals([v for v, _ in found], half)
    cells = [cell(task), cell(title(facts, metric, view))]
    for (value, failed), measured in zip(found, own, strict=True):
        shown = "failed" if failed else number(value, places)
        if not facts.pair and measured and measured["ci_low"] is not None:
            shown += " " + interval(measured["ci_low"], measured["ci_high"], places)
        cells.append(cell(shown, value, "failed" if failed else ""))
    n = next((m["n"] for m in own if m and m["n"]), row["n"] if row else None)
    if facts.pair:
        if row is None:
            why = "reference" if metric in REFERENCES else "not compared"
            cells += [cell("–"), cell(""), cell("–"), cell(why)]
        else:
            code = judgement(row)
            cells += [
                cell(number(row["diff"], places, signed=True), row["diff"]),
                cell(interval(row["ci_low"], row["ci_high"], places) or "none", row["ci_low"]),
                cell(p_value(row["p_holm"] if row["p_holm"] is not None else row["p"]), row["p_holm"]),
                cell(WORDS[code], code, code),
            ]
    cells.append(cell(count(n), n))
    return line(cells, task, pooling)


def _half(row: Row | None) -> float | None:
    if not row or row["ci_low"] is None or row["ci_high"] is None:
        return None
    return (row["ci_high"] - row["ci_low"]) / 2 or None


# ---------------------------------------------------------------- 4 downstream


def downstream(facts: Facts) -> Section:
    """Scores on the tasks' own labels."""
    metrics = facts.part("semantic")
    blocks: list[Block] = []
    if metrics:

        def make(pooling: str) -> list[Block]:
            made: list[Block] = []
            if facts.pair and (plot := _forest(facts, "downstream", metrics, pooling)):
                made.append(plot)
            if plot := _controls(facts, "downstream", metrics, pooling):
                made.append(plot)
            made.append(
                value_table(
                    facts,
                    f"downstream-{pooling}",
                    f"Scores on the labels of the tasks, {pooling} pooling.",
                    metrics,
                    pooling,
                )
            )
            return made

        blocks += _by_pooling(facts, make)
    else:
        blocks.append(text("No probe of the tasks' labels was run.", "note"))
    lead = "How well the labels of each task can be read from the embeddings, beside what needs no encoder at all."
    return {"id": "downstream", "title": "Downstream tasks", "lead": lead, "blocks": blocks}


def _forest(facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str) -> Figure | None:
    assert facts.pair
    panels = []
    for metric, view in metrics:
        rows = [(t, facts.difference(t, pooling, metric, view)) for t in facts.tasks]
        lines = [
            {"name": t, "diff": r["diff"], "low": r["ci_low"], "high": r["ci_high"], "judgement": judgement(r)} if r
            else {"name": t, "diff": None, "low": None, "high": None, "judgement": "none"}
            for t, r in rows
        ]  # fmt: skip
        if any(entry["diff"] is not None for entry in lines):
            margin = next((r["margin"] for _, r in rows if r and r["margin"]), None)
            panels.append({"title": title(facts, metric, view), "rows": lines, "margin": margin})
    if not panels:
        return None
    panels = panels[:6]
    with_interval = any(entry["low"] is not None for p in panels for entry in p["rows"])
    caption = "B − A for each task" + (
        " with its 95 % interval; the grey band is the margin of equivalence." if with_interval
        else "; hollow points have no interval, so their distance from zero says nothing of certainty."
    )  # fmt: skip
    alt = f"Forest plot, {pooling} pooling: differences {facts.pair[1]} minus {facts.pair[0]} of {listed([p['title'] for p in panels])} on {listed(facts.tasks)}."
    data = {"panels": panels, "x_label": "B − A"}
    return figure(f"forest-{id}-{pooling}", "forest", "Differences, task by task", caption, alt, data)


def _controls(facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str) -> Figure | None:
    levels: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in facts.rows:
        if row["control"] and row["pooling"] == pooling and row["value"] is not None:
            levels.setdefault((row["task"], row["metric"], row["view"]), {})[row["control"]] = row["value"]
    panels = []
    for metric, view in metrics:
        rows = []
        for task in facts.tasks:
            points = []
            for name in facts.models:
                found = facts.cell(name, task, pooling, metric, view)
                if found and found["value"] is not None:
                    points.append(
                        {
                            "series": facts.series.get(name, 0),
                            "value": found["value"],
                            "low": found["ci_low"],
                            "high": found["ci_high"],
                        }
                    )
            held = [{"name": c, "value": v} for c, v in levels.get((task, metric, view), {}).items()]
            if points:
                rows.append({"name": task, "points": points, "controls": held})
        if any(r["controls"] for r in rows):
            panels.append({"title": title(facts, metric, view), "rows": rows})
    if not panels:
        return None
    panels = panels[:6]
    names = list(dict.fromkeys(c["name"] for p in panels for r in p["rows"] for c in r["controls"]))
    rows = [
        line([cell(r["name"]), cell(p["title"]), cell(c["name"]), cell(number(c["value"]), c["value"])], r["name"], pooling)
        for p in panels for r in p["rows"] for c in r["controls"]
    ]  # fmt: skip
    heads = [("task", False), ("metric", False), ("control", False), ("value", True)]
    side = table(f"controls-{id}-{pooling}-table", "The controls behind the figure.", heads, rows, folded=True)
    alt = f"Scores of {listed(facts.models)} on {listed([r['name'] for r in panels[0]['rows']])} beside the controls {listed(names)}, {pooling} pooling."
    caption = f"Scores beside their controls ({listed(names)}): only what lies beyond the controls is the encoder's."
    data = {"panels": panels, "legend": _legend(facts, facts.models), "controls": names}
    return figure(f"controls-{id}-{pooling}", "controls", "Beside what needs no encoder", caption, alt, data, side)


# ---------------------------------------------------------------- 5 geometry


def geometry(facts: Facts) -> Section:
    """Spectra, cosine histograms, the uniformity decomposition, the table."""
    metrics = facts.part("geometry")

    def make(pooling: str) -> list[Block]:
        made: list[Block] = []
        for plot in (_decomposition(facts, pooling), _spectra(facts, pooling), _histograms(facts, pooling)):
            if plot:
                made.append(plot)
        if metrics:
            made.append(
                value_table(
                    facts, f"geometry-{pooling}", f"Geometry at the deepest layer, {pooling} pooling.", metrics, pooling
                )
            )
        return made

    lead = (
        "How the embeddings fill their space: how many directions they use, and how evenly they spread over the sphere."
    )
    blocks = _by_pooling(facts, make) or [text("No geometry was measured.", "note")]
    return {"id": "geometry", "title": "Geometry", "lead": lead, "blocks": blocks}


def _decomposition(facts: Facts, pooling: str) -> Figure | None:
    names, groups, rows = _models(facts), [], []
    reference = None
    for task in facts.tasks:
        lines = []
        for name in names:

            def get(metric: str, view: str, task: str = task, name: str = name) -> float | None:
                return _measured(facts, name, task, pooling, metric, view)[0]

            entry = {
                "series": facts.series.get(name, 0), "name": _letter(facts, name),
                "raw": get("uniformity", "raw"), "centred": get("uniformity", "centred"),
                "raw_bound": get("uniformity_jensen", "raw"), "centred_bound": get("uniformity_jensen", "centred"),
            }  # fmt: skip
            if entry["raw"] is None and entry["centred"] is None:
                continue
            at = [
                facts.cell(m, task, pooling, "uniformity_reference", v)
                for m in facts.models
                for v in ("raw", "centred", "")
            ]
            at = [r["value"] for r in at if r and r["value"] is not None]
            reference = at[0] if at and reference is None else reference
            lines.append(entry)
            cosine = get("mean_cosine", "raw")
            figures = [
                entry["raw"],
                entry["raw_bound"],
                entry["centred"],
                entry["centred_bound"],
                cosine,
                at[0] if at else None,
            ]
            rows.append(
                line([cell(task), cell(entry["name"]), *(cell(number(v, 3), v) for v in figures)], task, pooling)
            )
        if lines:
            groups.append({"name": task, "rows": lines})
    if not groups:
        return None
    heads = [
        ("task", False),
        ("model", False),
        *(
            (h, True)
            for h in ("raw", "Jensen bound, raw", "centred", "Jensen bound, centred", "mean cosine", "reference")
        ),
    ]
    side = table(f"decomposition-{pooling}-table", "Uniformity and what it is made of.", heads, rows, folded=True)
    caption = (
        "Filled: uniformity of the vectors as they are. Hollow: after the common mean vector is removed. A tick is the Jensen bound, "
        "which the mean vector alone sets; dashes mark vectors spread evenly over the sphere. Where the filled points of two models "
        "differ and the hollow ones do not, the models differ in their mean vector and in nothing else."
    )
    alt = f"Dumbbell plot, {pooling} pooling: raw and centred uniformity of {listed(names)} on {listed([g['name'] for g in groups])}, with Jensen bounds and reference; the numbers are in the table."
    data = {"groups": groups, "reference": reference, "legend": [{**s, "line": "none"} for s in _legend(facts, names)]}
    return figure(f"decomposition-{pooling}", "decomposition", "What uniformity is made of", caption, alt, data, side)


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
    panels, rows = [], []
    for task in facts.tasks:
        lines = []
        for model in facts.models:
            if (task, model) not in curves:
                continue
            x, y = curves[task, model]
            keep = [i for i in _thin(len(x), SPECTRUM_POINTS) if y[i] > 1e-12]
            lines.append(
                {
                    "series": facts.series.get(model, 0),
                    "x": [x[i] for i in keep],
                    "y": [float(f"{y[i]:.6g}") for i in keep],
                }
            )
            at = dict(zip(x, y, strict=True))
            rows.append(
                line(
                    [
                        cell(task),
                        cell(_letter(facts, model)),
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
        f"spectra-{pooling}-table",
        "Share of the variance at selected ranks.",
        [("task", False), ("model", False), *((f"k = {k}", True) for k in SPECTRUM_RANKS)],
        rows,
        folded=True,
    )
    caption = "Share of the variance carried by the k-th direction, both axes logarithmic. A flatter line uses more directions."
    alt = f"Spectra of {listed(facts.models)} on {listed([p['title'] for p in panels])}, {pooling} pooling: share of variance against rank."
    data = {
        "panels": panels,
        "legend": _legend(facts, facts.models),
        "x_label": "rank k",
        "y_label": "share of variance",
    }
    return figure(f"spectra-{pooling}", "spectra", "Spectra", caption, alt, data, side)


def _thin(n: int, points: int) -> list[int]:
    """Return at most about ``points`` indices below n, evenly spaced on a logarithmic scale, both ends kept."""
    if n <= points:
        return list(range(n))
    return sorted({round(n ** (i / (points - 1))) - 1 for i in range(points)})


def _histograms(facts: Facts, pooling: str) -> Figure | None:
    curves = _curve(facts, "cosine_histogram", pooling)
    panels, rows = [], []
    for task in facts.tasks:
        lines: list[dict[str, Any]] = []
        for model in facts.models:
            if (task, model) not in curves:
                continue
            x, y = curves[task, model]
            lines.append({"series": facts.series.get(model, 0), "x": x, "y": [float(f"{v:.4g}") for v in y]})
            filled = [i for i, v in enumerate(y) if v > 0]
            peak = max(range(len(y)), key=y.__getitem__)
            ends = [x[filled[0]], x[peak], x[filled[-1]]] if filled else [None] * 3
            rows.append(
                line([cell(task), cell(_letter(facts, model)), *(cell(number(v, 2), v) for v in ends)], task, pooling)
            )
        if lines:
            shown = [x for entry in lines for x, y in zip(entry["x"], entry["y"], strict=True) if y > 0.003]
            panels.append({"title": task, "lines": lines, "x": [min(shown, default=-1), max(shown, default=1)]})
    if not panels:
        return None
    heads = [("task", False), ("model", False), ("lowest bin", True), ("fullest bin", True), ("highest bin", True)]
    side = table(f"histograms-{pooling}-table", "Where the cosines lie (bin centres).", heads, rows, folded=True)
    caption = "Cosine of two different rows. A hump far from zero is a common direction that all vectors share."
    alt = f"Histograms of the cosine between rows for {listed(facts.models)} on {listed([p['title'] for p in panels])}, {pooling} pooling."
    data = {
        "panels": panels,
        "legend": _legend(facts, facts.models),
        "x_label": "cosine of two rows",
        "y_label": "density",
    }
    return figure(f"histograms-{pooling}", "histograms", "Cosines between rows", caption, alt, data, side)


# ---------------------------------------------------------------- 6 poolings


def poolings(facts: Facts) -> Section:
    """Heat maps pooling × task."""
    options: list[Option] = []
    for metric, view in facts.headline:
        if plot := _heat(facts, metric, view):
            options.append({"name": title(facts, metric, view), "note": "", "blocks": [plot]})
    lead = "Does a conclusion hold whatever the pooling and the task?"
    blocks: list[Block] = (
        [text(f"Not trained: {listed([f'{p} ({_pooling_note(facts, p)[13:]})' for p in facts.untrained])}.", "warning")]
        if facts.untrained
        else []
    )
    if facts.pair:
        blocks += [text(sentence) for sentence in [_holds(facts)] if sentence]
    blocks += (
        [choice("metric", options)]
        if len(options) > 1
        else options[0]["blocks"]
        if options
        else [text("Nothing to map.", "note")]
    )
    return {"id": "poolings", "title": "Pooling × task", "lead": lead, "blocks": blocks}


def _holds(facts: Facts) -> str:
    parts = []
    for metric, view in facts.headline:
        found = tally(facts, metric, view)
        total = sum(found.values())
        if not total or found["none"] == total:
            up, down, total = signs(facts, metric, view)
            if total:
                parts.append(
                    f"{title(facts, metric, view)} goes {'up' if up >= down else 'down'} in {max(up, down)} of {total} cells"
                )
            continue
        code = max(found, key=lambda c: found[c])
        parts.append(f"{title(facts, metric, view)}: “{WORDS[code][2:]}” holds in {found[code]} of {total} cells")
    return f"From A to B, {'; '.join(parts)}." if parts else ""


def _heat(facts: Facts, metric: str, view: str) -> Figure | None:
    names = _models(facts)
    found = {n: [[_measured(facts, n, t, p, metric, view) for t in facts.tasks] for p in facts.poolings] for n in names}
    every = [v for grid in found.values() for r in grid for v, _ in r if v is not None]
    if not every:
        return None
    places = min(decimals(every), 2 if max(map(abs, every)) >= 1 else 3)
    panels: list[dict[str, Any]] = [
        {"title": _letter(facts, n), "series": facts.series.get(n, 0), "difference": False,
         "cells": [[{"value": v, "text": number(v, places), "failed": f} for v, f in r] for r in found[n]]}
        for n in names
    ]  # fmt: skip
    if facts.pair:
        diffs = [[facts.difference(t, p, metric, view) for t in facts.tasks] for p in facts.poolings]
        failed = [
            [any(found[n][i][j][1] for n in names) for j in range(len(facts.tasks))] for i in range(len(facts.poolings))
        ]
        panels.append(
            {"title": "B − A", "series": None, "difference": True,
             "cells": [[{"value": d["diff"] if d else None, "text": number(d["diff"], places, signed=True) if d else "", "failed": failed[i][j]}
                        for j, d in enumerate(r)] for i, r in enumerate(diffs)]}
        )  # fmt: skip
    rows = []
    for i, pooling in enumerate(facts.poolings):
        for panel in panels:
            cells = [
                cell("failed" if c["failed"] else c["text"] or "–", c["value"], "failed" if c["failed"] else "")
                for c in panel["cells"][i]
            ]
            rows.append(line([cell(pooling), cell(panel["title"]), *cells], "", pooling))
    slug = f"{metric}-{view or 'value'}"
    side = table(
        f"heat-{slug}-table",
        f"{title(facts, metric, view)} by pooling and task.",
        [("pooling", False), ("", False), *((t, True) for t in facts.tasks)],
        rows,
        folded=True,
    )
    labels = [p + "*" * (p in facts.untrained) for p in facts.poolings]
    star = " * not trained." if facts.untrained else ""
    hatched = " Hatched: the cell failed." if any(c["failed"] for p in panels for r in p["cells"] for c in r) else ""
    caption = (
        f"{meaning(facts, metric).capitalize()}{'. ' if meaning(facts, metric) else ''}Blue: B is higher; red: B is lower.{star}{hatched}"
        if facts.pair
        else f"{meaning(facts, metric).capitalize()}.{star}{hatched}"
    )
    alt = f"Heat map of {title(facts, metric, view)} for {listed(names)}: poolings {listed(facts.poolings)} by tasks {listed(facts.tasks)}."
    data = {"rows": labels, "columns": facts.tasks, "panels": panels}
    return figure(f"heat-{slug}", "heat", title(facts, metric, view), caption.strip(), alt, data, side)


# ---------------------------------------------------------------- 7 layers


def layers(facts: Facts) -> Section:
    """Metrics against relative depth."""
    lead = "Where in the network the geometry takes its shape."
    if len({r["layer"] for r in facts.rows}) < 2:
        blocks: list[Block] = [text("One layer was measured; geomprobe analyze --layer all gives the profile.", "note")]
    else:

        def make(pooling: str) -> list[Block]:
            return [p for mv in facts.headline if (p := _profile(facts, *mv, pooling))]

        blocks = _by_pooling(facts, make)
    return {"id": "layers", "title": "Layers", "lead": lead, "blocks": blocks}


def _profile(facts: Facts, metric: str, view: str, pooling: str) -> Figure | None:
    depths = sorted({r["layer"] for r in facts.rows})
    panels, rows = [], []
    for task in facts.tasks:
        lines = []
        for model in facts.models:
            found = [(k, facts.cell(model, task, pooling, metric, view, k)) for k in depths]
            known = [(k, r) for k, r in found if r and r["value"] is not None]
            if not known:
                continue
            entry: dict[str, Any] = {
                "series": facts.series.get(model, 0),
                "x": [round(k / (facts.depth.get(model) or 1), 4) for k, _ in known],
                "y": [r["value"] for _, r in known],
            }
            if all(r["ci_low"] is not None and r["ci_high"] is not None for _, r in known):
                entry |= {"low": [r["ci_low"] for _, r in known], "high": [r["ci_high"] for _, r in known]}
            lines.append(entry)
            values = dict(known)
            places = decimals([r["value"] for _, r in known])
            rows.append(
                line(
                    [
                        cell(task),
                        cell(_letter(facts, model)),
                        *(
                            cell(
                                number(values[k]["value"], places) if k in values else "–",
                                values[k]["value"] if k in values else None,
                            )
                            for k in depths
                        ),
                    ],
                    task,
                    pooling,
                )
            )
        if lines:
            panels.append({"title": task, "lines": lines})
    if not panels:
        return None
    name = title(facts, metric, view)
    slug = f"profile-{metric}-{view or 'value'}-{pooling}"
    side = table(
        f"{slug}-table",
        f"{name} by layer, {pooling} pooling.",
        [("task", False), ("model", False), *((f"layer {k}", True) for k in depths)],
        rows,
        folded=True,
    )
    alt = f"{name} of {listed(facts.models)} against relative depth on {listed([p['title'] for p in panels])}, {pooling} pooling."
    data = {"panels": panels, "legend": _legend(facts, facts.models)}
    return figure(
        slug,
        "profiles",
        name,
        f"{name} by layer, {pooling} pooling; the band is the 95 % interval where there is one.",
        alt,
        data,
        side,
    )


# ---------------------------------------------------------------- 8 lexical against semantic


def lexical(facts: Facts) -> Section:
    """Probes of wording, beside their controls."""
    metrics = facts.part("lexical")
    lead = "How much of the wording, and how much of the meaning beyond it, can be read from the embeddings."
    if not metrics:
        return {
            "id": "lexical",
            "title": "Lexical against semantic",
            "lead": lead,
            "blocks": [text("No probe of wording was run.", "note")],
        }

    def make(pooling: str) -> list[Block]:
        made: list[Block] = []
        if plot := _controls(facts, "lexical", metrics, pooling):
            made.append(plot)
        if facts.pair and (plot := _forest(facts, "lexical", metrics, pooling)):
            made.append(plot)
        made.append(
            value_table(facts, f"lexical-{pooling}", f"Wording in the embeddings, {pooling} pooling.", metrics, pooling)
        )
        return made

    return {"id": "lexical", "title": "Lexical against semantic", "lead": lead, "blocks": _by_pooling(facts, make)}


# ---------------------------------------------------------------- 9 training

TRAINING_ORDER = ("loss", "mlm_loss", "jepa_loss", "held_out_loss", "lambda", "lr", "tokens_per_s", "grad_norm")
TRAINING_SKIP = ("step", "steps", "tokens", "flops", "eta_s", "time", "wall_seconds", "epoch", "seconds")
TRAINING_POINTS = 120


def training(facts: Facts) -> Section:
    """Losses, balance, throughput and monitors over training."""
    lead = "What the training of the checkpoints looked like."
    section: Section = {"id": "training", "title": "Training", "lead": lead, "blocks": []}
    logs = {m: [r for r in facts.training.get(m, []) if isinstance(r.get("step"), int | float)] for m in facts.models}
    logs = {m: records for m, records in logs.items() if records}
    if not logs:
        section["blocks"].append(text("No model came with a training log, so there is nothing to draw here.", "note"))
        return section
    if absent := [m for m in facts.models if m not in logs]:
        section["blocks"].append(text(f"No training log came with {listed(absent)}.", "note"))
    keys = dict.fromkeys(
        k
        for records in logs.values()
        for r in records
        for k, v in r.items()
        if isinstance(v, int | float) and not isinstance(v, bool)
    )
    keys = [k for k in keys if k not in TRAINING_SKIP]
    keys.sort(key=lambda k: (TRAINING_ORDER.index(k) if k in TRAINING_ORDER else len(TRAINING_ORDER), k))
    by_tokens = all("tokens" in r for records in logs.values() for r in records)
    panels, rows = [], []
    for key in keys[:18]:
        lines = []
        for model, records in logs.items():
            points = [
                (r["tokens" if by_tokens else "step"], r[key]) for r in records if isinstance(r.get(key), int | float)
            ]
            if not points:
                continue
            keep = [
                points[i]
                for i in sorted(
                    {
                        round(i * (len(points) - 1) / max(min(len(points), TRAINING_POINTS) - 1, 1))
                        for i in range(min(len(points), TRAINING_POINTS))
                    }
                )
            ]
            lines.append(
                {
                    "series": facts.series.get(model, 0),
                    "x": [x for x, _ in keep],
                    "y": [float(f"{y:.6g}") for _, y in keep],
                }
            )
            ends = [points[0][1], points[len(points) // 2][1], points[-1][1]]
            rows.append(
                line([cell(words(clean(key, 40))), cell(_letter(facts, model)), *(cell(number(v), v) for v in ends)])
            )
        if lines:
            panels.append({"title": "λ (weight of JEPA)" if key == "lambda" else words(clean(key, 40)), "lines": lines})
    heads = [("quantity", False), ("model", False), ("first", True), ("middle", True), ("last", True)]
    side = table("training-table", "First, middle and last record of each quantity.", heads, rows, folded=True)
    alt = f"Training curves of {listed(list(logs))}: {listed([p['title'] for p in panels])}."
    data = {"panels": panels, "legend": _legend(facts, list(logs)), "x_label": "tokens" if by_tokens else "step"}
    section["blocks"].append(
        figure(
            "training-curves",
            "training",
            "Training curves",
            "As logged by the trainer. Losses of different objectives are different quantities: compare a curve with itself.",
            alt,
            data,
            side,
        )
    )
    return section


# ---------------------------------------------------------------- 10 to 13


def caveats(facts: Facts) -> Section:
    """What the comparison cannot say, from facts."""
    items = []
    if facts.kind == "pair":
        items.append(
            "One checkpoint a side. Another seed of the same objective may differ as much as these two do; several seeds a group (--group) are needed for a claim about objectives."
        )
    if facts.by_difference and all(judgement(r) == "none" for r in facts.by_difference.values()):
        items.append("No interval, no verdict: the numbers carry no standard errors, so a difference may be chance.")
    if facts.untrained:
        items.append(
            f"The {listed(facts.untrained)} pooling is at initialisation: weighted equals mean, attention weighs tokens at random."
        )
    sizes = [
        f"{t['name']} {count(t.get('geometry_rows') or t.get('rows'))}"
        for t in facts.task_entries
        if t.get("geometry_rows") or t.get("rows")
    ]
    if sizes:
        items.append(
            f"Rows: {listed(sizes)}. Ranks grow with the number of rows, so they compare models on one task, not tasks."
        )
    for entry in facts.task_entries:
        cut = (
            {m: n for m, n in (entry.get("truncated") or {}).items() if n}
            if isinstance(entry.get("truncated"), dict)
            else {}
        )
        if cut:
            items.append(
                f"{entry['name']}: " + listed([f"{count(n)} texts were cut for {m}" for m, n in cut.items()]) + "."
            )
        items += [f"{entry['name']}: {clean(n)}" for n in entry.get("notes") or []]
    for entry in facts.model_entries:
        items += [f"{entry['name']}: {clean(n)}" for n in entry.get("notes") or []]
    for failed in facts.failed():
        place = " / ".join(str(failed[k]) for k in ("model", "task", "pooling") if failed.get(k))
        items.append(
            f"Not measured: {place}{' / layer ' + str(failed['layer']) if failed.get('layer') is not None else ''}: {clean(failed.get('note')) or 'no reason given'}.".replace(
                "..", "."
            )
        )
    notes = dict.fromkeys((r["metric"], r["note"]) for r in facts.rows if r["note"] and r["status"] != "failed")
    items += [f"{words(m)}: {n}" for m, n in list(notes)[:12]]
    methods = sorted(
        {r["ci_method"] for r in facts.rows if r["ci_method"]}
        | {r["ci_method"] for r in facts.comparisons if r["ci_method"]}
    )
    if methods:
        items.append(f"Intervals: {listed([clean(m, 80) for m in methods[:6]])}.")
    if facts.run.get("protocol"):
        items.append(
            f"Protocol {facts.run['protocol']}: the estimand is the expected value of each statistic at this number of rows."
        )
    return {
        "id": "caveats",
        "title": "What this cannot say",
        "lead": "Limits that follow from how the numbers were made.",
        "blocks": [{"type": "items", "items": items}],
    }


def _pairs(id: str, caption: str, heads: tuple[str, ...], rows: list[list[str]]) -> Table:
    return table(id, caption, [(h, False) for h in heads], [line([cell(c) for c in r]) for r in rows])


def provenance(facts: Facts) -> Section:
    """Hashes, versions, hardware, command."""
    run, blocks = facts.run, []
    shared = "yes" if len(facts.models) > 1 and _same_rows(facts) else "no" if len(facts.models) > 1 else ""
    if shared:
        sizes = listed([f"{t['name']} {count(t.get('geometry_rows') or t.get('rows'))}" for t in facts.task_entries])
        blocks.append(text(f"All models saw the same rows: {shared} ({sizes})."))
    if run.get("command"):
        blocks.append({"type": "code", "label": "Made with", "text": clean(run["command"], 2000)})
    rows = []
    for m in facts.model_entries:
        t = m.get("training") or {}
        budget = ", ".join(
            x
            for x in (
                f"{count(t['tokens'])} tokens" if t.get("tokens") else "",
                f"{count(t['steps'])} steps" if t.get("steps") else "",
                f"{power(t['flops'])} FLOPs" if t.get("flops") else "",
                f"seed {t['seed']}" if t.get("seed") is not None else "",
            )
            if x
        )
        size = f"{count(m.get('parameters'))}; {m.get('n_layers', '–')} × {m.get('dim', '–')}"
        rows.append(
            [
                m["name"],
                clean(m.get("source") or "–", 120),
                clean(m.get("kind") or "–", 40),
                clean(m.get("objective") or "–", 40),
                size,
                clean(m.get("dtype") or "–", 20),
                budget or "–",
                str(m.get("hash") or "–")[:16],
            ]
        )
    blocks.append(
        _pairs(
            "models",
            "Models.",
            ("model", "source", "kind", "objective", "parameters; layers × width", "type", "training", "content hash"),
            rows,
        )
    )
    rows = [
        [
            t["name"],
            clean(t.get("source") or "–", 120),
            count(t.get("rows")),
            count(t.get("geometry_rows")),
            str(t.get("fingerprint") or "–")[:16],
            str(t.get("row_ids_hash") or "–")[:16],
        ]
        for t in facts.task_entries
    ]
    blocks.append(
        _pairs(
            "tasks",
            "Tasks: rows of the split, unique sentences on which geometry is measured.",
            ("task", "source", "rows", "unique sentences", "fingerprint", "row ids"),
            rows,
        )
    )
    rest = {
        "created": run.get("created"), "geomprobe": run.get("geomprobe_version"), "protocol": run.get("protocol"), "seed": run.get("seed"),
        "wall time": duration(run.get("wall_seconds")), "versions": run.get("versions"), "hardware": run.get("hardware"),
    }  # fmt: skip
    rows = [[key, _flat(value)] for key, value in rest.items() if value not in (None, "", {}, "–")]
    blocks.append(_pairs("environment", "Where and with what.", ("", "value"), rows))
    known = {
        "schema_version",
        "created",
        "command",
        "geomprobe_version",
        "versions",
        "hardware",
        "wall_seconds",
        "models",
        "tasks",
        "failed_cells",
        "verdict",
    }
    config = {k: v for k, v in run.items() if k not in known}
    if config:
        blocks.append(
            {
                "type": "code",
                "label": "Resolved configuration",
                "text": json.dumps(config, indent=1, ensure_ascii=False)[:6000],
            }
        )
    return {"id": "provenance", "title": "Provenance", "lead": "Enough to make every number again.", "blocks": blocks}


def _same_rows(facts: Facts) -> bool:
    return all(len({r["task_hash"] for r in facts.rows if r["task"] == t and r["task_hash"]}) <= 1 for t in facts.tasks)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_flat, value))
    return clean(value, 300)


FILES = {
    "results.parquet": "every number, a row each",
    "results.csv": "the same as text",
    "comparisons.parquet": "every difference, a row each",
    "curves.parquet": "spectra and histograms",
    "examples.parquet": "scores of the probes, example by example",
    "definitions.json": "what each metric is",
    "run.json": "provenance",
}


def downloads(facts: Facts) -> Section:
    """The files behind the report."""
    items = [{"name": name, "text": what} for name, what in FILES.items()]
    lead = f"{count(len(facts.rows))} numbers, {count(len(facts.comparisons))} differences."
    return {"id": "downloads", "title": "Data", "lead": lead, "blocks": [{"type": "downloads", "items": items}]}


def glossary(facts: Facts) -> Section:
    """Formula, range, direction and source of every metric that occurs."""
    items = []
    occurring = dict.fromkeys(m for m, _ in facts.metrics)
    for name in occurring:
        entry = facts.definitions.get(name)
        entry = entry if isinstance(entry, dict) else {}
        items.append(
            {"id": f"term-{name}", "name": words(name), "formula": _flat(entry.get("formula") or "not recorded"), "range": _flat(entry.get("range") or ""),
             "direction": _flat(entry.get("direction") or ""), "source": _flat(entry.get("source") or entry.get("reference") or "")}
        )  # fmt: skip
    return {
        "id": "glossary",
        "title": "Glossary",
        "lead": "One name, one definition.",
        "blocks": [{"type": "terms", "items": items}],
    }


__all__ = ["Cell", "amount", "build"]
