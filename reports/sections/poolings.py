"""Section: heat maps pooling × task, and the failed cells."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts, Row
from geomprobe.reports.document.blocks import (
    Block,
    Figure,
    Line,
    Option,
    Section,
    cell,
    choice,
    figure,
    line,
    table,
    text,
)
from geomprobe.reports.document.formats import capitalised, decimals, listed, number
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.failed import failed_table, unmeasured
from geomprobe.reports.sections.parts.poolings import pooling_note
from geomprobe.reports.sections.parts.sides import lettered, measured, sides
from geomprobe.reports.wording.failed import HATCHED
from geomprobe.reports.wording.words import in_cells, meaning, sentence, signs, tally, title

PLACE = 30


def section(facts: Facts) -> Section:
    """Heat maps pooling × task."""
    options: list[Option] = []
    for metric, view in facts.headline:
        if plot := _heat(facts, metric, view):
            options.append({"name": title(facts, metric, view), "note": "", "blocks": [plot]})
    lead = "Does a conclusion hold for every pooling and task?"
    blocks: list[Block] = failed_table(facts)
    blocks += (
        [text(f"Not trained: {listed([f'{p} ({pooling_note(facts, p)[13:]})' for p in facts.untrained])}.", "warning")]
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
        else [unmeasured(facts, "No number to map.")]
    )
    return {"id": "poolings", "title": "Pooling × task", "lead": lead, "blocks": blocks}


def _holds(facts: Facts) -> str:
    """In how many cells each verdict on each headline metric holds; without verdicts, the signs of the differences."""
    parts = []
    for metric, view in facts.headline:
        name, found = title(facts, metric, view), tally(facts, metric, view)
        if found["none"] < sum(found.values()):
            parts.append(f"{capitalised(name)}: {in_cells(found)}.")
            continue
        up, down, total = signs(facts, metric, view)
        if total:
            way, n = ("higher", up) if up >= down else ("lower", down)
            parts.append(f"{capitalised(name)}: {way} in {n} of {total} cells, as measured.")
    return " ".join(["B compared with A.", *parts]) if parts else ""


def _difference_cell(row: Row | None, places: int, failed: bool) -> dict[str, Any]:
    diff = row["diff"] if row else None
    return {"value": diff, "text": number(diff, places, signed=True) if row else "", "failed": failed}


def _heat(facts: Facts, metric: str, view: str) -> Figure | None:
    names = sides(facts)
    found = {n: [[measured(facts, n, t, p, metric, view) for t in facts.tasks] for p in facts.poolings] for n in names}
    every = [v for grid in found.values() for r in grid for v, _ in r if v is not None]
    if not every:
        return None
    places = min(decimals(every), 2 if max(map(abs, every)) >= 1 else 3)
    panels: list[dict[str, Any]] = [
        {"title": lettered(facts, n), "series": facts.series.get(n, 0), "difference": False,
         "cells": [[{"value": v, "text": number(v, places), "failed": f} for v, f in r] for r in found[n]]}
        for n in names
    ]  # fmt: skip
    if facts.pair:
        diffs = [[facts.difference(t, p, metric, view) for t in facts.tasks] for p in facts.poolings]
        failed = [
            [any(found[n][i][j][1] for n in names) for j in range(len(facts.tasks))] for i in range(len(facts.poolings))
        ]
        changes = [
            [_difference_cell(d, places, f) for d, f in zip(*pair, strict=True)]
            for pair in zip(diffs, failed, strict=True)
        ]
        panels.append({"title": "B − A", "series": None, "difference": True, "cells": changes})
    rows: list[Line] = []
    for i, pooling in enumerate(facts.poolings):
        for panel in panels:
            cells = [
                cell("failed" if c["failed"] else c["text"] or "–", c["value"], "failed" if c["failed"] else "")
                for c in panel["cells"][i]
            ]
            rows.append(line([cell(pooling), cell(panel["title"]), *cells], "", pooling))
    key = slug("heat", metric, view)
    side = table(
        f"{key}-table",
        f"{title(facts, metric, view)} by pooling and task.",
        [("pooling", False), ("", False), *((t, True) for t in facts.tasks)],
        rows,
        folded=True,
    )
    labels = [p + "*" * (p in facts.untrained) for p in facts.poolings]
    star = " * not trained." if facts.untrained else ""
    every_cell = [c for p in panels for r in p["cells"] for c in r]
    hatched = HATCHED if any(c["failed"] for c in every_cell) else ""
    none = "no group mean, or no such number" if facts.kind == "groups" else "no such number"
    empty = f" Empty: {none}." if any(c["value"] is None and not c["failed"] for c in every_cell) else ""
    caption = (
        f"{sentence(meaning(facts, metric))}Blue: B is higher; red: B is lower.{star}{hatched}{empty}"
        if facts.pair
        else f"{sentence(meaning(facts, metric))}{star}{hatched}{empty}"
    )
    axes = f"poolings {listed(facts.poolings)} by tasks {listed(facts.tasks)}"
    alt = f"Heat map of {title(facts, metric, view)} for {listed(names)}: {axes}."
    data = {"rows": labels, "columns": facts.tasks, "panels": panels}
    return figure(key, "heat", title(facts, metric, view), caption.strip(), alt, data, side)
