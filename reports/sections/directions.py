"""Section: how many directions the embeddings use."""

from __future__ import annotations

from geomprobe.reports.document.blocks import Block, Section, section_of
from geomprobe.reports.sections.geometry import DIRECTIONS
from geomprobe.reports.sections.parts.curves import SPECTRUM, curve_figure, further_curves
from geomprobe.reports.sections.parts.points import forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.questions import UNMEASURED, asked, every_number
from geomprobe.reports.sections.parts.statements import answer, leading, statement_table
from geomprobe.reports.sections.parts.tables import value_table
from geomprobe.results.summary.facts import Facts

PLACE = 20


def section(facts: Facts) -> Section | None:
    """Spectra and ranks; None where no number is of them."""
    metrics = [each for each in facts.metrics if facts.entry(each[0]).get("family") in DIRECTIONS]

    def figures(pooling: str) -> list[Block | None]:
        return [curve_figure(facts, "spectrum", pooling, SPECTRUM)]

    def numbers(pooling: str) -> list[Block | None]:
        return [
            forest(facts, "directions", leading(facts, metrics), pooling),
            *further_curves(facts, pooling),
            value_table(facts, "directions", "Directions", metrics, pooling) if metrics else None,
        ]

    blocks = by_pooling(facts, figures)
    if not metrics and not blocks:
        return None
    blocks += [*statement_table(facts, "ranks", metrics), *every_number(facts, "directions", numbers)]
    title = asked(
        facts,
        "Does one use more directions?",
        "Which uses more directions?",
        "How many directions are used?",
    )
    lead = "Variance that a few directions hold alone makes the others idle: ranks count how many are used."
    return section_of("directions", title, lead, blocks, answer(facts, metrics) or UNMEASURED)
