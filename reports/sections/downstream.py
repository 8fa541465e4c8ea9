"""Section: scores on the tasks' own labels, with their controls."""

from __future__ import annotations

from geomprobe.reports.document.blocks import Block, Section
from geomprobe.reports.sections.parts.points import controls, forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.tables import unmeasured, value_table
from geomprobe.results.summary.facts import Facts

PLACE = 10


def section(facts: Facts) -> Section:
    """Scores on the tasks' own labels."""
    metrics = facts.part("semantic")

    def make(pooling: str) -> list[Block | None]:
        return [
            forest(facts, "downstream", metrics, pooling),
            controls(facts, "downstream", metrics, pooling),
            value_table(facts, "downstream", "Scores on the labels of the tasks", metrics, pooling),
        ]

    blocks = by_pooling(facts, make) if metrics else [unmeasured(facts, "No probe of the tasks' labels was run.")]
    lead = "How well probes predict the labels of each task, compared with controls that need no encoder."
    return {"id": "downstream", "title": "Downstream tasks", "lead": lead, "blocks": blocks}
