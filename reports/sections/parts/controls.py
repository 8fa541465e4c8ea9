"""The figure of scores and the controls that need no encoder."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Figure, Line, cell, figure, line, table
from geomprobe.reports.document.formats import listed, number
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.forest import PANELS
from geomprobe.reports.sections.parts.sides import legend
from geomprobe.reports.wording.failed import absent
from geomprobe.reports.wording.words import title


def controls(
    facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str, heading: str = "Scores"
) -> Figure | None:
    """The scores of all models with the controls, a panel a metric (the first six), a line a task."""
    levels: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for row in facts.rows:
        shared = row["control"] and row["control"] != "control_task" and row["model"] in facts.own
        if shared and row["pooling"] == pooling and row["value"] is not None:  # the control task is each encoder's own
            levels[row["task"], row["metric"], row["view"]][row["control"]] = row["value"]
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        scores: list[dict[str, Any]] = []
        for task in facts.tasks:
            found = {name: facts.cell(name, task, pooling, metric, view) for name in facts.models}
            points = [
                {"series": facts.series[name], "value": row["value"], "low": row["ci_low"], "high": row["ci_high"]}
                for name, row in found.items()
                if row and row["value"] is not None
            ]
            levels_here = [{"name": c, "value": v} for c, v in levels[task, metric, view].items()]
            if points:
                scores.append({"name": task, "points": points, "controls": levels_here})
        if any(score["controls"] for score in scores):
            panels.append({"title": title(facts, metric, view), "rows": scores})
    panels = panels[:PANELS]
    if not panels:
        return None
    rows: list[Line] = []
    names: dict[str, None] = {}
    for panel in panels:
        for score in panel["rows"]:
            for control in score["controls"]:
                names[control["name"]] = None
                cells = map(cell, (score["name"], panel["title"], control["name"]))
                value = cell(number(control["value"]), control["value"])
                rows.append(line([*cells, value], score["name"]))
    key = slug("controls", id, pooling)
    heads = [("task", False), ("metric", False), ("control", False), ("value", True)]
    side = table(f"{key}-table", "Values of the controls.", heads, rows, folded=True)
    where = listed([score["name"] for score in panels[0]["rows"]])
    shown = listed([*names])
    alt = f"Scores of {listed(facts.models)} on {where} with the controls {shown}, {pooling} pooling."
    caption = f"Scores with their controls ({shown}): only a score beyond the controls is attributed to the encoder."
    data = {"panels": panels, "legend": legend(facts, facts.models), "controls": [*names]}
    name = f"{heading}, with controls that need no encoder"
    return figure(key, "controls", name, caption + absent(facts, pooling), alt, data, side)
