"""Section: metrics against relative depth, and similarity between layers."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts, Row
from geomprobe.reports.data.failed import missing
from geomprobe.reports.document.blocks import Block, Cell, Figure, Line, Section, cell, figure, line, table, text
from geomprobe.reports.document.formats import decimals, listed, number
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.sides import legend, lettered
from geomprobe.reports.sections.parts.similarity import layer_maps, similarity_table
from geomprobe.reports.wording.failed import absent
from geomprobe.reports.wording.words import title

PLACE = 40


def section(facts: Facts) -> Section:
    """Metrics against relative depth."""
    lead = "How each metric changes over the layers."
    if len({r["layer"] for r in facts.rows}) < 2:
        blocks: list[Block] = [text("One layer was measured; geomprobe analyze --layer all gives the profile.", "note")]
    else:

        def make(pooling: str) -> list[Block]:
            return [p for mv in facts.headline if (p := _profile(facts, *mv, pooling))]

        blocks = by_pooling(facts, make)
    blocks += similarity_table(facts)
    blocks += layer_maps(facts)
    return {"id": "layers", "title": "Layers", "lead": lead, "blocks": blocks}


def _profile(facts: Facts, metric: str, view: str, pooling: str) -> Figure | None:
    depths = sorted({r["layer"] for r in facts.rows})
    panels: list[dict[str, Any]] = []
    rows: list[Line] = []
    for task in facts.tasks:
        lines = []
        for model in facts.models:
            found = [(k, facts.cell(model, task, pooling, metric, view, k)) for k in depths]
            known = {k: row for k, row in found if row and row["value"] is not None}
            if not known:
                continue
            lines.append(_line(facts, model, known))
            failed = {k for k in depths if k not in known and missing(facts, model, task, pooling, metric, view, k)}
            cells = _cells(known, failed, depths)
            rows.append(line([cell(task), cell(lettered(facts, model)), *cells], task, pooling))
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


def _line(facts: Facts, model: str, known: dict[int, Row]) -> dict[str, Any]:
    """A model's values against relative depth, with a band where every layer has an interval."""
    rows = known.values()
    found: dict[str, Any] = {
        "series": facts.series.get(model, 0),
        "x": [round(k / (facts.depth.get(model) or 1), 4) for k in known],
        "y": [row["value"] for row in rows],
    }
    if all(row["ci_low"] is not None and row["ci_high"] is not None for row in rows):
        found |= {"low": [row["ci_low"] for row in rows], "high": [row["ci_high"] for row in rows]}
    return found


def _cells(known: dict[int, Row], failed: set[int], depths: list[int]) -> list[Cell]:
    """A table cell for each layer."""
    places = decimals([row["value"] for row in known.values()])
    return [
        cell(number(known[k]["value"], places), known[k]["value"])
        if k in known
        else cell("failed", tone="failed")
        if k in failed
        else cell("–")
        for k in depths
    ]
