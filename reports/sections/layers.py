"""Section: metrics against relative depth, and the similarity of models and of layers."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from geomprobe.common.text import count, decimals, finite, interval, listed, number, p_value, slug, words
from geomprobe.reports.document.blocks import Block, Cell, Figure, Section, Table, cell, figure, fold, line, table, text
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.questions import asked
from geomprobe.reports.sections.parts.sides import by_task, legend, lettered
from geomprobe.reports.sections.parts.statements import statements
from geomprobe.results.record import WIDE
from geomprobe.results.summary.facts import Facts, Row, judgement
from geomprobe.results.summary.words import HATCHED, absent, title

PLACE = 60
FRONT = 2
"""Metrics whose profile is open at first."""


def section(facts: Facts) -> Section:
    """Metrics against relative depth, and how alike the models and their layers are."""
    blocks: list[Block] = []
    if _depths(facts) < 2:
        blocks.append(text("One layer was measured; geomprobe analyze --layer all gives the profile.", "note"))
    else:
        first, rest = facts.headline[:FRONT], facts.headline[FRONT:]
        blocks += by_pooling(facts, lambda pooling: [profile(facts, *number, pooling) for number in first])
        further = by_pooling(facts, lambda pooling: [profile(facts, *number, pooling) for number in rest])
        blocks += fold("layers-further", "More metrics by layer", further)
    blocks += similarity_table(facts)
    blocks += fold("layers-maps", "How alike every two layers are", [*layer_maps(facts)])
    return {
        "id": "layers",
        "title": asked(facts, "Where in the network?", "Where in the network?", "What changes through the layers?"),
        "answer": _answer(facts),
        "lead": "How each metric changes over the layers, and how alike the models are on the same rows.",
        "blocks": blocks,
    }


def _depths(facts: Facts) -> int:
    """The most layers that were measured of one model."""
    return max(map(len, facts.layers.values()), default=0)


def _answer(facts: Facts) -> str:
    """At which layers the first difference that was found holds; of models alone, where the first number is largest."""
    if _depths(facts) < 2:
        own = {layer for model, layers in facts.layers.items() if model in facts.own for layer in layers}
        which = f" ({own.pop()})" if len(own) == 1 else " of each model" if own else ""
        return f"Not measured: all numbers are of one layer{which}."
    if facts.pair:
        return _holds_at(facts)
    metric, view = facts.headline[0]
    model, pooling = facts.own[0], facts.pooling
    for task in facts.tasks:
        layers = range(facts.last_layer[model] + 1)
        rows = {layer: facts.cell(model, task, pooling, metric, view, layer) for layer in layers}
        found = {layer: row["value"] for layer, row in rows.items() if row and row["value"] is not None}
        if len(found) > 1:
            most, least = max(found, key=found.__getitem__), min(found, key=found.__getitem__)
            name = title(facts, metric, view)
            return (
                f"{name} of {model} is largest at layer {most} ({number(found[most])}) and smallest at layer {least} "
                f"({number(found[least])}), on {task}, {pooling} pooling."
            )
    return "Not measured."


def _holds_at(facts: Facts) -> str:
    """Layers at which the leading difference is found in most cells; of the first metric where none differs."""
    found = statements(facts, facts.headline)
    each = next((s for s in found if s.judgement in ("higher", "lower")), None)
    compared = sorted({key[1] for key in facts.by_difference})
    if each is None or len(compared) < 2:
        what = (
            "No headline difference was found at the deepest layer" if each is None else "Only one layer was compared"
        )
        return f"{what}; the profiles show both models."
    holds = []
    for layer in compared:
        rows = [facts.difference(t, p, each.metric, each.view, layer) for t in facts.tasks for p in facts.poolings]
        known = [judgement(row) for row in rows if row]
        if known and known.count(each.judgement) >= len(known) / 2:
            holds.append(str(layer))
    where = f"{'layer' if len(holds) == 1 else 'layers'} {listed(holds)}" if holds else "no layer"
    return (
        f"{each.judgement} {each.title} of {facts.pair[1] if facts.pair else ''} is found at {where} of the "
        f"{len(compared)} that were compared, in at least half of the cells."
    )


def profile(facts: Facts, metric: str, view: str, pooling: str) -> Figure | None:
    """A metric against relative depth, a panel a task; None where it has no value."""
    depths = sorted({row["layer"] for row in facts.rows})

    def made(task: str, model: str) -> tuple[dict[str, Any], list[Cell]] | None:
        found = {k: facts.cell(model, task, pooling, metric, view, k) for k in depths}
        known = {k: row for k, row in found.items() if row and row["value"] is not None}
        if not known:
            return None
        places = decimals([row["value"] for row in known.values()])
        cells = []
        for k in depths:
            if k in known:
                cells.append(cell(number(known[k]["value"], places), known[k]["value"]))
            else:
                failed = facts.missing(model, task, pooling, metric, view, k)
                cells.append(cell("failed", tone="failed") if failed else cell("–"))
        return _line(facts, model, known), cells

    panels, rows = by_task(facts, facts.models, made, pooling)
    if not panels:
        return None
    name, key = title(facts, metric, view), slug("profile", metric, view, pooling)
    what = f"{name} by layer, {pooling} pooling"
    heads = [("task", False), ("model", False), *((f"layer {k}", True) for k in depths)]
    side = table(f"{key}-table", f"{what}.", heads, rows, folded=True)
    where = listed([panel["title"] for panel in panels])
    alt = f"{name} of {listed(facts.models)} against relative depth on {where}, {pooling} pooling."
    caption = f"{what}; the band is the 95 % interval where there is one.{absent(facts, pooling)}"
    data = {"panels": panels, "legend": legend(facts, facts.models)}
    return figure(key, "profiles", name, caption, alt, data, side)


def _line(facts: Facts, model: str, known: dict[int, Row]) -> dict[str, Any]:
    """A model's values against relative depth, with a band where every layer has an interval."""
    rows, depth = known.values(), facts.depth[model] or 1
    found = {"x": [round(k / depth, 4) for k in known], "y": [row["value"] for row in rows]}
    if all(row["ci_low"] is not None and row["ci_high"] is not None for row in rows):
        found |= {"low": [row["ci_low"] for row in rows], "high": [row["ci_high"] for row in rows]}
    return found


SIMILARITY_LINES = 12


def similarity_table(facts: Facts) -> list[Table]:
    """Similarity of the models at the deepest layer that was compared, with the similarity expected by chance."""
    pairs = [r for r in facts.similarities if r["a"] != r["b"] and r["level"] == facts.level]
    rows = [r for r in pairs if r["value"] is not None and r["null_mean"] is not None]
    failed = [r for r in pairs if r["status"] == "failed"]
    if not rows and not failed:
        return []
    place = itemgetter("task", "pooling", "layer_a", "layer_b", "metric")
    seeds = [r for r in facts.similarities if r["level"] == "objective" and r["a"] == r["b"]]
    ceilings = {(r["a"], *place(r)): r["value"] for r in seeds}
    deepest: dict[tuple[str, str], int] = {}
    for r in rows:
        pair = r["a"], r["b"]
        deepest[pair] = max(r["layer_a"], deepest.get(pair, r["layer_a"]))
    intervals = any(r["ci_low"] is not None for r in rows)
    lines = []
    for r in [*(r for r in rows if r["layer_a"] == deepest[r["a"], r["b"]]), *failed]:
        cells = [*map(cell, (r["task"], r["pooling"], lettered(facts, r["a"]), lettered(facts, r["b"])))]
        if r["status"] == "failed":
            cells += [cell("all"), cell("failed", tone="failed")]
            cells += [cell("–")] * (intervals + 2 * bool(ceilings) + 3)
        else:
            cells += _similarity_cells(r, intervals, [ceilings.get((r[side], *place(r))) for side in "ab" if ceilings])
        lines.append(line(cells, r["task"], r["pooling"]))
    heads = [("task", False), ("pooling", False), ("of", False), ("and", False), ("similarity", False), ("value", True)]
    heads += [("95 % interval", True)] if intervals else []
    heads += [("seeds of the first", True), ("seeds of the second", True)] if ceilings else []
    heads += [("by chance", True), ("p", True), ("n", True)]
    caption = "Similarity of the models on the same rows, at the deepest layer. By chance: rows of one model shuffled."
    if failed:
        caption += HATCHED
    elif any(r["status"] == "failed" for r in facts.similarities):
        caption += " Pairs with a seed that failed are left out of the means."
    if ceilings:
        caption += " The similarity of two seeds of one objective is the ceiling for two objectives."
    return [table("similarities", caption, heads, lines, folded=len(lines) > SIMILARITY_LINES)]


def _similarity_cells(row: Row, intervals: bool, ceilings: list[float | None]) -> list[Cell]:
    """A similarity's cells from its name on: value, interval, similarity of the seeds, chance, p, n."""
    cells = [cell(words(row["metric"])), cell(number(row["value"], 3), row["value"])]
    if intervals:
        wide = f" {WIDE}" if WIDE in (row["ci_method"] or "") else ""
        shown = interval(row["ci_low"], row["ci_high"], 3) + wide
        cells.append(cell(shown or "none", row["ci_low"]))
    cells += [cell(number(value, 3), value) for value in ceilings]
    chance = number(row["null_mean"], 3) + (f" ± {number(row['null_sd'], 3)}" if row["null_sd"] is not None else "")
    return [*cells, cell(chance, row["null_mean"]), cell(p_value(row["p"])), cell(count(row["n"]))]


def layer_maps(facts: Facts) -> list[Figure]:
    """A map layers × layers for every entry of ``similarity`` in run.json (see docs/reference/reports.md)."""
    found = []
    for i, entry in enumerate(facts.run.get("similarity", [])):
        if not entry["values"]:
            continue
        cells: list[list[dict[str, Any]]] = [
            [{"value": finite(v), "text": number(v, 2), "failed": False} for v in row] for row in entry["values"]
        ]
        down, across = (
            [f"layer {k}" for k in entry.get(f"layers_{side}") or range(n)]  # type: ignore[attr-defined]
            for side, n in (("a", len(cells)), ("b", len(cells[0])))
        )
        rows = [
            line([cell(layer), *(cell(c["text"], c["value"]) for c in row)])
            for layer, row in zip(down, cells, strict=True)
        ]
        a, b, name, key = entry["a"], entry["b"], words(entry["metric"]), f"similarity-{i}"
        where = f"{entry['task']}, {entry['pooling']} pooling"
        what = f"{name} of the layers of {a} (down) and {b} (across), {where}."
        heads = [(a, False), *((layer, True) for layer in across)]
        side = table(f"{key}-table", what, heads, rows, folded=True)
        panel = {"title": f"{b} across, {a} down", "series": None, "difference": False, "cells": cells}
        data = {"rows": down, "columns": across, "panels": [panel]}
        alt = f"Map of {name} between layers of {a} and layers of {b}, {where}."
        found.append(figure(key, "heat", f"{name} between layers", f"On {where}.", alt, data, side))
    return found
