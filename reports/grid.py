"""Sections across the grid: heat maps pooling × task, and profiles over the layers."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.blocks import Block, Figure, Line, Option, Section, cell, choice, figure, line, table, text
from geomprobe.reports.facts import Facts, Row
from geomprobe.reports.failed import HATCHED, absent, failed_table, missing, unmeasured
from geomprobe.reports.formats import decimals, listed, number
from geomprobe.reports.geometry import similarity, similarity_table
from geomprobe.reports.tables import by_pooling, legend, lettered, measured, pooling_note, sides
from geomprobe.reports.wording import WORDS, meaning, sentence, signs, slug, tally, title


def poolings(facts: Facts) -> Section:
    """Heat maps pooling × task."""
    options: list[Option] = []
    for metric, view in facts.headline:
        if plot := _heat(facts, metric, view):
            options.append({"name": title(facts, metric, view), "note": "", "blocks": [plot]})
    lead = "Does a conclusion hold whatever the pooling and the task?"
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
        else [unmeasured(facts, "Nothing to map.")]
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
                way = "higher" if up >= down else "lower"
                parts.append(f"{title(facts, metric, view)} is {way} in {max(up, down)} of {total}")
            continue
        code = max(found, key=lambda c: found[c])
        parts.append(f"{title(facts, metric, view)}: “{WORDS[code][2:]}” holds in {found[code]} of {total} cells")
    return f"From A to B, {'; '.join(parts)}." if parts else ""


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


def layers(facts: Facts) -> Section:
    """Metrics against relative depth."""
    lead = "Where in the network the geometry takes its shape."
    if len({r["layer"] for r in facts.rows}) < 2:
        blocks: list[Block] = [text("One layer was measured; geomprobe analyze --layer all gives the profile.", "note")]
    else:

        def make(pooling: str) -> list[Block]:
            return [p for mv in facts.headline if (p := _profile(facts, *mv, pooling))]

        blocks = by_pooling(facts, make)
    blocks += similarity_table(facts)
    blocks += similarity(facts)
    return {"id": "layers", "title": "Layers", "lead": lead, "blocks": blocks}


def _profile(facts: Facts, metric: str, view: str, pooling: str) -> Figure | None:
    depths = sorted({r["layer"] for r in facts.rows})
    panels: list[dict[str, Any]] = []
    rows: list[Line] = []
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
                        cell(lettered(facts, model)),
                        *(
                            cell(
                                number(values[k]["value"], places),
                                values[k]["value"],
                            )
                            if k in values
                            else cell("failed", tone="failed")
                            if missing(facts, model, task, pooling, metric, view, k)
                            else cell("–")
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
    key = slug("profile", metric, view, pooling)
    side = table(
        f"{key}-table",
        f"{name} by layer, {pooling} pooling.",
        [("task", False), ("model", False), *((f"layer {k}", True) for k in depths)],
        rows,
        folded=True,
    )
    where = listed([p["title"] for p in panels])
    alt = f"{name} of {listed(facts.models)} against relative depth on {where}, {pooling} pooling."
    data = {"panels": panels, "legend": legend(facts, facts.models)}
    return figure(
        key,
        "profiles",
        name,
        f"{name} by layer, {pooling} pooling; the band is the 95 % interval where there is one."
        + absent(facts, pooling),
        alt,
        data,
        side,
    )
