"""Section: metrics against relative depth, and similarity between layers."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.data.failed import missing
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.sides import legend, lettered
from geomprobe.reports.sections.parts.similarity import layer_maps, similarity_table
from geomprobe.reports.view.blocks import Block, Figure, Line, Section, cell, figure, line, table, text
from geomprobe.reports.view.formats import decimals, listed, number
from geomprobe.reports.view.ids import slug
from geomprobe.reports.wording.failed import absent
from geomprobe.reports.wording.words import title

PLACE = 40


def section(facts: Facts) -> Section:
    """Metrics against relative depth."""
    lead = "Where in the network the geometry takes its shape."
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
