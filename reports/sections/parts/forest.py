"""The forest plot of the differences of a pair."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.differences import judgement
from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Figure, figure
from geomprobe.reports.document.formats import listed
from geomprobe.reports.document.ids import slug
from geomprobe.reports.wording.failed import absent
from geomprobe.reports.wording.words import title

PANELS = 6


def forest(facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str) -> Figure | None:
    """The forest plot of the differences of the pair, a panel a metric (the first six), a line a task."""
    if not facts.pair:
        return None
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        found = {task: facts.difference(task, pooling, metric, view) or {} for task in facts.tasks}
        lines = [
            {"name": task, "diff": row.get("diff"), "low": row.get("ci_low"), "high": row.get("ci_high"),
             "judgement": judgement(row)}
            for task, row in found.items()
        ]  # fmt: skip
        if any(entry["diff"] is not None for entry in lines):
            margin = next(filter(None, (row.get("margin") for row in found.values())), None)
            panels.append({"title": title(facts, metric, view), "rows": lines, "margin": margin})
    panels = panels[:PANELS]
    if not panels:
        return None
    caption = "B − A for each task"
    if any(entry["low"] is not None for panel in panels for entry in panel["rows"]):
        caption += " with its 95 % interval; the grey band is the equivalence margin."
    else:
        caption += "; hollow points have no interval, so any of these differences may be chance."
    a, b = facts.pair
    what = listed([panel["title"] for panel in panels])
    alt = f"Forest plot, {pooling} pooling: {b} minus {a}, {what} on {listed(facts.tasks)}."
    data = {"panels": panels, "x_label": "B − A"}
    key = slug("forest", id, pooling)
    return figure(key, "forest", "Differences by task", caption + absent(facts, pooling), alt, data)
