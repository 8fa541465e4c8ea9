"""Section: scores on the tasks' own labels, with their controls."""

from __future__ import annotations

from geomprobe.reports.document.blocks import Block, Section, section_of
from geomprobe.reports.sections.parts.points import controls, forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.questions import UNMEASURED, asked, every_number, or_unmeasured
from geomprobe.reports.sections.parts.statements import answer, leading, statement_table
from geomprobe.reports.sections.parts.tables import value_table
from geomprobe.results.summary.facts import Facts

PLACE = 40


def section(facts: Facts) -> Section:
    """Scores on the tasks' own labels."""
    metrics = facts.part("semantic")

    def figures(pooling: str) -> list[Block | None]:
        return [
            controls(facts, "downstream", metrics, pooling),
            forest(facts, "downstream", leading(facts, metrics), pooling),
        ]

    def numbers(pooling: str) -> list[Block | None]:
        return [value_table(facts, "downstream", "Scores on the labels of the tasks", metrics, pooling)]

    blocks: list[Block] = by_pooling(facts, figures) if metrics else []
    if metrics:
        blocks += [*statement_table(facts, "scores", metrics), *every_number(facts, "downstream", numbers)]
    title = asked(
        facts, "Does it matter downstream?", "Which is better downstream?", "How well does it serve the tasks?"
    )
    lead = "How well probes predict the labels of each task, compared with controls that need no encoder."
    blocks = or_unmeasured(facts, blocks, "No probe of the tasks' labels was run.")
    return section_of("downstream", title, lead, blocks, answer(facts, metrics) or UNMEASURED)
