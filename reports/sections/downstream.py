"""Section: scores on the tasks' own labels, with their controls."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Block, Section
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.controls import controls
from geomprobe.reports.sections.parts.failed import unmeasured
from geomprobe.reports.sections.parts.forest import forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.tables import value_table

PLACE = 10


def section(facts: Facts) -> Section:
    """Scores on the tasks' own labels."""
    metrics = facts.part("semantic")
    blocks: list[Block] = []
    if metrics:

        def make(pooling: str) -> list[Block]:
            made: list[Block] = []
            if facts.pair and (plot := forest(facts, "downstream", metrics, pooling)):
                made.append(plot)
            if plot := controls(facts, "downstream", metrics, pooling):
                made.append(plot)
            made.append(
                value_table(
                    facts,
                    slug("downstream", pooling),
                    f"Scores on the labels of the tasks, {pooling} pooling.",
                    metrics,
                    pooling,
                )
            )
            return made

        blocks += by_pooling(facts, make)
    else:
        blocks.append(unmeasured(facts, "No probe of the tasks' labels was run."))
    lead = "How well probes predict the labels of each task, compared with controls that need no encoder."
    return {"id": "downstream", "title": "Downstream tasks", "lead": lead, "blocks": blocks}
