"""Section: where a conclusion holds, pooling × task; the pooling that is recommended; the failed cells."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from geomprobe.common.text import count, counted, decimals, listed, number, slug, term
from geomprobe.reports.document.blocks import (
    Block,
    Figure,
    Option,
    Section,
    Table,
    cell,
    choice,
    figure,
    fold,
    line,
    table,
    text,
)
from geomprobe.reports.sections.parts.curves import token_weights
from geomprobe.reports.sections.parts.poolings import pooling_note
from geomprobe.reports.sections.parts.questions import asked
from geomprobe.reports.sections.parts.recommended import RULE, recommended
from geomprobe.reports.sections.parts.sides import lettered, measured, sides
from geomprobe.reports.sections.parts.statements import statements
from geomprobe.reports.sections.parts.tables import failed_table, unmeasured
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.model import Statement
from geomprobe.results.summary.words import HATCHED, WORDS, meaning, sentence, tally, title

PLACE = 50


def section(facts: Facts) -> Section:
    """Verdicts over the grid, heat maps, the pooling and layer that are recommended, the cells that failed."""
    found = statements(facts, facts.headline) if facts.pair else []
    advice = recommended(facts, [(each.metric, each.view, each.judgement) for each in found])
    blocks: list[Block] = [text(advice.evidence)]
    if facts.untrained:
        notes = [f"{pooling} ({pooling_note(facts, pooling).partition(': ')[2]})" for pooling in facts.untrained]
        blocks.append(text(f"Not trained: {listed(notes)}.", "warning"))
    options: list[Option] = []
    for metric, view in facts.headline:
        if plot := heat(facts, metric, view):
            options.append({"name": title(facts, metric, view), "note": "", "blocks": [plot]})
    if len(options) > 1:
        blocks.append(choice("metric", options))
    else:
        blocks += options[0]["blocks"] if options else [unmeasured(facts, "No number to map.")]
    blocks += [*verdict_table(facts), *failed_table(facts)]
    weights = [made for pooling in facts.poolings if (made := token_weights(facts, pooling))]
    blocks += fold("poolings-rule", "How the pooling is chosen, and what it weighs", [text(RULE), *weights])
    return {
        "id": "poolings",
        "title": asked(
            facts,
            "Under which pooling, on which task?",
            "Does the order depend on the pooling?",
            "Does the pooling matter?",
        ),
        "answer": f"{_holds(facts, found)}{advice.short}.",
        "lead": "A conclusion that holds under one pooling, or on one task, is about that pooling or task.",
        "blocks": blocks,
    }


def _holds(facts: Facts, found: list[Statement]) -> str:
    """How many of the verdicts on headline metrics are the same in all cells, and where one changes its sign."""
    if not found:
        return f"{counted(len(facts.poolings), 'pooling')} and {counted(len(facts.tasks), 'task')} were measured. "
    cells = len(facts.tasks) * len(facts.poolings)
    if cells == 1:
        return f"One pooling and one task were compared ({facts.pooling}, {facts.tasks[0]}). "
    same = [each for each in found if len(each.counts) == 1]
    head = f"{len(same)} of {len(found)} headline verdicts hold in all cells"
    if turned := [each.title for each in found if each.judgement == "mixed"]:
        head += f"; the sign depends on the cell for {listed(turned)}"
    return f"{head} ({counted(len(facts.tasks), 'task')} × {counted(len(facts.poolings), 'pooling')}). "


def verdict_table(facts: Facts) -> list[Table]:
    """In how many cells each verdict on each headline metric holds."""
    tallies = {each: tally(facts, *each) for each in (facts.headline if facts.pair else ())}
    occurring = [code for code in WORDS if any(found[code] for found in tallies.values())]
    rows = []
    for (metric, view), found in tallies.items():
        if total := found.total():
            cells = [cell(title(facts, metric, view), link=term(metric))]
            cells += [
                cell(count(found[k]) if found[k] else "·", found[k], k if found[k] else "none") for k in occurring
            ]
            rows.append(line([*cells, cell(count(total), total)]))
    heads = [("B against A", False), *((" ".join(WORDS[code]), True) for code in occurring), ("cells", True)]
    caption = "Number of task × pooling cells with each verdict, at the deepest layer."
    return [table("claims", caption, heads, rows)] if rows else []


def heat(facts: Facts, metric: str, view: str) -> Figure | None:
    """The maps of a metric, one a model, and for a pair the map of the differences."""
    names, name = sides(facts), title(facts, metric, view)
    found = {
        (side, task, pooling): measured(facts, side, task, pooling, metric, view)
        for side, task, pooling in product(names, facts.tasks, facts.poolings)
    }
    known = [value for value, _ in found.values() if value is not None]
    if not known:
        return None
    places = min(decimals(known), 2 if max(map(abs, known)) >= 1 else 3)

    def of_side(side: str, task: str, pooling: str) -> dict[str, Any]:
        value, failed = found[side, task, pooling]
        return {"value": value, "text": number(value, places), "failed": failed}

    def of_pair(task: str, pooling: str) -> dict[str, Any]:
        row = facts.difference(task, pooling, metric, view) or {}
        text = number(row["diff"], places, signed=True) if row else ""
        failed = any(found[side, task, pooling][1] for side in names)
        return {"value": row.get("diff"), "text": text, "failed": failed}

    panels = [_panel(facts, lettered(facts, side), facts.series.get(side, 0), partial(of_side, side)) for side in names]
    panels += [_panel(facts, "B − A", None, of_pair)] if facts.pair else []
    rows = []
    for i, pooling in enumerate(facts.poolings):
        for panel in panels:
            cells = [
                cell("failed" if c["failed"] else c["text"] or "–", c["value"], "failed" if c["failed"] else "")
                for c in panel["cells"][i]
            ]
            rows.append(line([cell(pooling), cell(panel["title"]), *cells], "", pooling))
    key = slug("heat", metric, view)
    heads = [("pooling", False), ("", False), *((task, True) for task in facts.tasks)]
    numbers = table(f"{key}-table", f"{name} by pooling and task.", heads, rows, folded=True)
    every_cell = [c for panel in panels for row in panel["cells"] for c in row]
    caption = sentence(meaning(facts, metric))
    caption += "Red: B is higher; blue: A is higher." if facts.pair else ""
    caption += " * not trained." if facts.untrained else ""
    caption += HATCHED if any(c["failed"] for c in every_cell) else ""
    if any(c["value"] is None and not c["failed"] for c in every_cell):
        caption += f" Empty: {'no group mean, or ' if facts.kind == 'groups' else ''}no such number."
    axes = f"poolings {listed(facts.poolings)} by tasks {listed(facts.tasks)}"
    alt = f"Heat map of {name} for {listed(names)}: {axes}."
    labels = [pooling + "*" * (pooling in facts.untrained) for pooling in facts.poolings]
    data = {"rows": labels, "columns": facts.tasks, "panels": panels}
    return figure(key, "heat", name, caption.strip(), alt, data, numbers)


def _panel(facts: Facts, title: str, series: int | None, cell_of: Callable[[str, str], Any]) -> dict[str, Any]:
    """One map, pooling × task; the map of differences has no series."""
    cells = [[cell_of(task, pooling) for task in facts.tasks] for pooling in facts.poolings]
    return {"title": title, "series": series, "difference": series is None, "cells": cells}
