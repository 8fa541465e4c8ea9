"""The uniformity decomposition: raw and centred values, and their Jensen bounds."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Figure, Line, cell, figure, line, table
from geomprobe.reports.document.formats import listed, number
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.sides import legend, lettered, measured, sides
from geomprobe.reports.wording.failed import absent

DECOMPOSITION = {
    "raw": ("uniformity", "raw"),
    "centred": ("uniformity", "centred"),
    "raw_bound": ("uniformity_jensen", "raw"),
    "centred_bound": ("uniformity_jensen", "centred"),
    "mean_cosine": ("mean_cosine", "raw"),
}


def decomposition(facts: Facts, pooling: str) -> Figure | None:
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
    caption = "Uniformity, its Jensen bounds and the mean cosine."
    reference = _reference(facts, pooling)
    if reference is not None:
        caption += f" The uniform distribution on the sphere has uniformity {number(reference, 3)}."
    side = table(slug("decomposition", pooling, "table"), caption, heads, rows, folded=True)
    caption = (
        "Filled: uniformity of the raw vectors. Hollow: after centring. Tick: the Jensen bound, which the mean vector "
        "alone sets. Dashed line: the uniform distribution on the sphere. Where the filled points of two models differ "
        "and the hollow points do not, the models differ in their mean vectors."
    )
    caption += absent(facts, pooling)
    where = listed([g["name"] for g in groups])
    who = listed(sides(facts))
    alt = f"Dumbbell plot, {pooling} pooling: raw and centred uniformity of {who} on {where}; see the table."
    entries = [{**s, "line": "none"} for s in legend(facts, sides(facts))]
    data = {"groups": groups, "reference": reference, "legend": entries}
    name = "Uniformity, raw and centred"
    return figure(slug("decomposition", pooling), "decomposition", name, caption, alt, data, side)


def _reference(facts: Facts, pooling: str) -> float | None:
    """The uniformity of the uniform distribution on the sphere, from the first cell that has it."""
    for (_, _, _, cell_pooling, metric, _), row in facts.by_cell.items():
        if metric == "uniformity_reference" and cell_pooling == pooling and row["value"] is not None:
            return row["value"]
    return None
