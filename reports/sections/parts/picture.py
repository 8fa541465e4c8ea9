"""The picture of the first screen: differences in units of their margins, models by value, one model against others."""

from __future__ import annotations

from typing import Any

from geomprobe.common.text import decimals, listed, number
from geomprobe.reports.document.blocks import Figure, figure
from geomprobe.reports.sections.parts.points import ranking
from geomprobe.reports.sections.parts.statements import standing
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.model import Statement, Summary

NO_MARGIN = {
    "none": "no interval, so no verdict",
    "": "no margin: it is in the lists",
}
MARKS = 4
"""Baselines and controls that are drawn of a metric."""


def picture(facts: Facts, found: Summary) -> Figure | None:
    """The one picture of the first screen; None where there is nothing to draw."""
    if facts.kind == "many":
        return ranking(facts, "first", facts.headline, facts.pooling)
    return _differences(facts, found) if facts.pair else _alone(facts, found)


def _differences(facts: Facts, found: Summary) -> Figure | None:
    statements = [*found.differs, *found.equal, *found.cannot_tell]
    rows = [_row(each) for each in statements]
    if all(row["value"] is None for row in rows):
        return None
    a, b = found.sides
    caption = (
        "Shaded: differences that count as none. Large mark: the typical cell with its 95 % interval; faint marks: "
        "every cell. A square is shown equal; a hollow circle cannot be told."
    )
    if bare := [each.title for each, row in zip(statements, rows, strict=True) if row["value"] is None]:
        caption += f" Without a margin, so not drawn: {listed(bare)}."
    said = [f"{row['name']} {number(row['value'], 1, signed=True)}" for row in rows if row["value"] is not None]
    alt = f"Differences of {b} against {a} in units of their margins: {listed(said)}; the lists have each figure."
    data = {"rows": rows, "x_label": "difference B − A, in units of its margin", "a": a, "b": b}
    return figure("summary", "summary", "The whole comparison", caption, alt, data)


def _row(each: Statement) -> dict[str, Any]:
    """A metric's typical difference, its interval and all its cells in units of their own margins."""
    at = each.typical
    unit = at.margin or None

    def scaled(value: float | None) -> float | None:
        return None if value is None or unit is None else float(f"{value / unit:.4g}")

    cells = [float(f"{c.value / c.margin:.4g}") for c in each.cells if c.margin]
    note = NO_MARGIN["none" if each.judgement == "none" else ""]
    row = {"name": each.title, "judgement": each.judgement, "value": scaled(at.value)}
    return row | {"low": scaled(at.low), "high": scaled(at.high), "dots": cells, "note": note}


def _alone(facts: Facts, found: Summary) -> Figure | None:
    rows = []
    for each in found.values:
        at, marks = each.typical, list(standing(facts, each.metric, each.view, each.typical).items())[:MARKS]
        every = [
            *(c.value for c in each.cells),
            *(v for v in (at.low, at.high) if v is not None),
            *(v for _, v in marks),
        ]
        places = decimals([min(every), max(every)])
        rows.append(
            {"name": each.title, "value": at.value, "low": at.low, "high": at.high,
             "dots": [c.value for c in each.cells],
             "marks": [{"name": name, "value": value} for name, value in marks],
             "least": number(min(every), places), "most": number(max(every), places)}
        )  # fmt: skip
    if not rows:
        return None
    caption = (
        "Each headline number on its own scale, from the least to the largest of what is shown. Filled: the typical "
        "cell, with its 95 % interval; faint marks: all cells; crosses: baselines, controls and the uniform "
        "distribution, where they were measured."
    )
    alt = f"Headline numbers of {facts.own[0]} against baselines and controls; the list has each figure."
    data = {"rows": rows, "x_label": "each line has its own scale"}
    return figure("summary", "standing", "The model at a glance", caption, alt, data)
