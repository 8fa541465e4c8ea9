"""Section: spectra, cosine histograms, the uniformity decomposition, what poolings learned, the table."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Block, Section
from geomprobe.reports.sections.parts.curves import curves, token_weights
from geomprobe.reports.sections.parts.failed import unmeasured
from geomprobe.reports.sections.parts.forest import forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.tables import value_table
from geomprobe.reports.sections.parts.uniformity import decomposition

PLACE = 20


def section(facts: Facts) -> Section:
    """Spectra, cosine histograms, the uniformity decomposition, the table."""
    metrics = facts.part("geometry")
    headline = [number for number in facts.headline if number in metrics]

    def make(pooling: str) -> list[Block | None]:
        return [
            forest(facts, "geometry", headline, pooling),
            decomposition(facts, pooling),
            *curves(facts, pooling),
            token_weights(facts, pooling),
            value_table(facts, "geometry", "Geometry at the deepest layer", metrics, pooling) if metrics else None,
        ]

    lead = (
        "How the embeddings fill their space: how many directions they use, and how evenly they spread over the sphere."
    )
    blocks = by_pooling(facts, make) or [unmeasured(facts, "No geometry was measured.")]
    return {"id": "geometry", "title": "Geometry", "lead": lead, "blocks": blocks}
