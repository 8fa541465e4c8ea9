"""How alike models are: the table at the deepest layer, and maps between layers."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Figure, Table, cell, figure, line, table
from geomprobe.reports.document.formats import count, finite, interval, number, p_value, words
from geomprobe.reports.sections.parts.sides import lettered
from geomprobe.reports.wording.failed import HATCHED

SIMILARITY_LINES = 12


def similarity_table(facts: Facts) -> list[Table]:
    """Similarity of the models at the deepest layer that was compared, with the similarity expected by chance."""
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
    caption = "Similarity of the models on the same rows, at the deepest layer. By chance: rows of one model shuffled."
    if failed:
        caption += HATCHED
    elif any(r["status"] == "failed" for r in facts.similarities):
        caption += " Pairs with a seed that failed are left out of the means."
    if within:
        caption += " The similarity of two seeds of one objective is the ceiling for two objectives."
    return [table("similarities", caption, heads, lines, folded=len(lines) > SIMILARITY_LINES)]


def layer_maps(facts: Facts) -> list[Figure]:
    """A map layers × layers for every entry of ``similarity`` in run.json (see docs/reference/reports.md)."""
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
        alt = f"Map of {name} between layers of {a} and layers of {b}, {where}."
        found.append(figure(key, "heat", f"{name} between layers", f"On {where}.", alt, data, side))
    return found
