"""The figure of scores and the controls that need no encoder."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Figure, Line, cell, figure, line, table
from geomprobe.reports.document.formats import listed, number
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.sides import legend
from geomprobe.reports.wording.failed import absent
from geomprobe.reports.wording.words import title


def controls(
    facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str, heading: str = "Scores"
) -> Figure | None:
    levels: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in facts.rows:
        shared = row["control"] and row["control"] != "control_task" and row["model"] in facts.own
        if shared and row["pooling"] == pooling and row["value"] is not None:  # the control task is each encoder's own
            levels.setdefault((row["task"], row["metric"], row["view"]), {})[row["control"]] = row["value"]
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        scores: list[dict[str, Any]] = []
        for task in facts.tasks:
            points = []
            for name in facts.models:
                found = facts.cell(name, task, pooling, metric, view)
                if found and found["value"] is not None:
                    ends = {"low": found["ci_low"], "high": found["ci_high"]}
                    points.append({"series": facts.series.get(name, 0), "value": found["value"]} | ends)
            held = [{"name": c, "value": v} for c, v in levels.get((task, metric, view), {}).items()]
            if points:
                scores.append({"name": task, "points": points, "controls": held})
        if any(r["controls"] for r in scores):
            panels.append({"title": title(facts, metric, view), "rows": scores})
    if not panels:
        return None
    panels = panels[:6]
    names = list(dict.fromkeys(c["name"] for p in panels for r in p["rows"] for c in r["controls"]))
    rows: list[Line] = [
        line([cell(r["name"]), cell(p["title"]), cell(c["name"]), cell(number(c["value"]), c["value"])], r["name"])
        for p in panels for r in p["rows"] for c in r["controls"]
    ]  # fmt: skip
    heads = [("task", False), ("metric", False), ("control", False), ("value", True)]
    side = table(slug("controls", id, pooling, "table"), "Values of the controls.", heads, rows, folded=True)
    where = listed([r["name"] for r in panels[0]["rows"]])
    alt = f"Scores of {listed(facts.models)} on {where} with the controls {listed(names)}, {pooling} pooling."
    caption = (
        f"Scores with their controls ({listed(names)}): only a score beyond the controls is attributed to the encoder."
    )
    caption += absent(facts, pooling)
    data = {"panels": panels, "legend": legend(facts, facts.models), "controls": names}
    return figure(
        slug("controls", id, pooling),
        "controls",
        f"{heading}, with controls that need no encoder",
        caption,
        alt,
        data,
        side,
    )
