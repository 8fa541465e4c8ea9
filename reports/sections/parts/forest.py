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


def forest(facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str) -> Figure | None:
    """The forest plot of the differences of the pair, a panel a metric (the first six), a line a task."""
    assert facts.pair
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        rows = [(t, facts.difference(t, pooling, metric, view)) for t in facts.tasks]
        lines: list[dict[str, Any]] = [
            {"name": t, "diff": r["diff"], "low": r["ci_low"], "high": r["ci_high"], "judgement": judgement(r)} if r
            else {"name": t, "diff": None, "low": None, "high": None, "judgement": "none"}
            for t, r in rows
        ]  # fmt: skip
        if any(entry["diff"] is not None for entry in lines):
            margin = next((r["margin"] for _, r in rows if r and r["margin"]), None)
            panels.append({"title": title(facts, metric, view), "rows": lines, "margin": margin})
    if not panels:
        return None
    panels = panels[:6]
    with_interval = any(entry["low"] is not None for p in panels for entry in p["rows"])
    caption = "B − A for each task" + (
        " with its 95 % interval; the grey band is the equivalence margin." if with_interval
        else "; hollow points have no interval, so any of these differences may be chance."
    )  # fmt: skip
    caption += absent(facts, pooling)
    what = listed([p["title"] for p in panels])
    alt = f"Forest plot, {pooling} pooling: {facts.pair[1]} minus {facts.pair[0]}, {what} on {listed(facts.tasks)}."
    data = {"panels": panels, "x_label": "B − A"}
    return figure(slug("forest", id, pooling), "forest", "Differences by task", caption, alt, data)
