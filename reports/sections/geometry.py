"""Section: spectra, cosine histograms, the uniformity decomposition, what poolings learned, the table."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Block, Section
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.curves import histograms, other_curves, spectra, token_weights
from geomprobe.reports.sections.parts.failed import unmeasured
from geomprobe.reports.sections.parts.forest import forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.tables import value_table
from geomprobe.reports.sections.parts.uniformity import decomposition

PLACE = 20


def section(facts: Facts) -> Section:
    """Spectra, cosine histograms, the uniformity decomposition, the table."""
    metrics = facts.part("geometry")

    def make(pooling: str) -> list[Block]:
        made: list[Block] = []
        plots = (decomposition(facts, pooling), spectra(facts, pooling), histograms(facts, pooling))
        made += [plot for plot in plots if plot]
        if facts.pair and (plot := forest(facts, "geometry", [mv for mv in facts.headline if mv in metrics], pooling)):
            made.insert(0, plot)
        made += other_curves(facts, pooling)
        if learned := token_weights(facts, pooling):
            made.append(learned)
        if metrics:
            made.append(
                value_table(
                    facts,
                    slug("geometry", pooling),
                    f"Geometry at the deepest layer, {pooling} pooling.",
                    metrics,
                    pooling,
                )
            )
        return made

    lead = (
        "How the embeddings fill their space: how many directions they use, and how evenly they spread over the sphere."
    )
    blocks = by_pooling(facts, make) or [unmeasured(facts, "No geometry was measured.")]
    return {"id": "geometry", "title": "Geometry", "lead": lead, "blocks": blocks}
