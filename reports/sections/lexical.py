"""Section: probes of wording and meaning, and the crossed design, with their controls."""

from __future__ import annotations

import math
from collections.abc import Iterable

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Block, Section
from geomprobe.reports.document.ids import slug
from geomprobe.reports.sections.parts.controls import controls
from geomprobe.reports.sections.parts.failed import unmeasured
from geomprobe.reports.sections.parts.forest import forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.tables import value_table

PLACE = 50


def section(facts: Facts) -> Section:
    """Probes of wording, probes of meaning, and the crossed design, each with its controls."""
    found = facts.part("lexical")
    lead = "How much wording, and how much meaning beyond wording, probes read from the embeddings."
    if not found:
        return {
            "id": "lexical",
            "title": "Lexical against semantic",
            "lead": lead,
            "blocks": [unmeasured(facts, "No probe of wording was run.")],
        }
    part = {mv: facts.entry(mv[0]).get("against", {"part": "wording", "order": math.inf}) for mv in facts.metrics}

    def of(name: str, metrics: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The (metric, view) of a part in its order, the raw view before others."""
        mine = [mv for mv in metrics if part[mv]["part"] == name]
        return sorted(mine, key=lambda mv: (mv[1] not in ("", "raw"), part[mv]["order"]))

    parts = (
        ("wording", "Wording in the embeddings", of("wording", found)),
        ("meaning", "Meaning, and meaning beyond wording", of("meaning", facts.metrics)),
        ("crossed", "Meaning, words and syntax in the crossed design", of("crossed", found)),
    )

    def make(pooling: str) -> list[Block]:
        made: list[Block] = []
        for name, heading, metrics in parts:
            id = slug("lexical", name)
            if not metrics:
                continue
            if plot := controls(facts, id, metrics, pooling, heading):
                made.append(plot)
            if facts.pair and (plot := forest(facts, id, metrics, pooling)):
                made.append(plot)
            made.append(value_table(facts, slug(id, pooling), f"{heading}, {pooling} pooling.", metrics, pooling))
        return made

    return {"id": "lexical", "title": "Lexical against semantic", "lead": lead, "blocks": by_pooling(facts, make)}
