"""The picture of the first screen: differences in units of their margins, models by value, one model against others."""

from __future__ import annotations

from geomprobe.common.text import decimals, number
from geomprobe.reports.document.blocks import Figure, figure
from geomprobe.reports.sections.parts.points import overview, ranking
from geomprobe.reports.sections.parts.statements import standing
from geomprobe.reports.sections.parts.trajectories import FRONT, trajectories
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.model import Summary


def picture(facts: Facts, found: Summary) -> Figure | None:
    """The one picture of the first screen; None where there is nothing to draw."""
    if facts.kind == "series":
        return trajectories(facts, "first", facts.headline[:FRONT])
    if facts.kind == "many":
        return ranking(facts, "first", facts.headline, facts.pooling)
    return overview(facts, found) if facts.pair else _alone(facts, found)


def _alone(facts: Facts, found: Summary) -> Figure | None:
    rows = []
    for each in found.values:
        at, others = each.typical, list(standing(facts, each.metric, each.view, each.typical).items())
        every = [
            *(c.value for c in each.cells),
            *(v for v in (at.low, at.high) if v is not None),
            *(v for _, v in others),
        ]
        places = decimals([min(every), max(every)])
        rows.append(
            {"name": each.title, "value": at.value, "low": at.low, "high": at.high,
             "marks": [c.value for c in each.cells],
             "others": [{"name": name, "value": value} for name, value in others],
             "least": number(min(every), places), "most": number(max(every), places)}
        )  # fmt: skip
    if not rows:
        return None
    caption = (
        "Each headline number on its own scale, from the least to the largest of what is shown. Filled: the typical "
        "cell, with its 95 % interval; faint marks: all cells; black: baselines, controls and the uniform "
        "distribution, where they were measured."
    )
    alt = f"Headline numbers of {facts.own[0]} against baselines and controls; the list has each figure."
    data = {"rows": rows, "x_label": "each line has its own scale"}
    return figure("overview", "standing", "The model at a glance", caption, alt, data)
