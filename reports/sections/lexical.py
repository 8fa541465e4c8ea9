"""Section: probes of wording and meaning, and the crossed design, with their controls."""

from __future__ import annotations

import math
from typing import Any

from geomprobe.common.text import slug
from geomprobe.reports.document.blocks import Block, Section
from geomprobe.reports.sections.parts.points import controls, forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.tables import unmeasured, value_table
from geomprobe.results.summary.facts import Facts

PLACE = 50
PARTS = {
    "wording": "Wording in the embeddings",
    "meaning": "Meaning, and meaning beyond wording",
    "crossed": "Meaning, words and syntax in the crossed design",
}
ELSEWHERE: Any = {"part": "wording", "order": math.inf}
"""Place of a metric whose record gives none."""


def section(facts: Facts) -> Section:
    """Probes of wording, probes of meaning, and the crossed design, each with its controls."""
    lexical = facts.part("lexical")

    def metrics_of(part: str) -> list[tuple[str, str]]:
        """The (metric, view) of a part in its order, the raw view before others."""
        candidates = facts.metrics if part == "meaning" else lexical
        found = {mv: facts.entry(mv[0]).get("against", ELSEWHERE) for mv in candidates}
        mine = [mv for mv, place in found.items() if place["part"] == part]
        return sorted(mine, key=lambda mv: (mv[1] not in ("", "raw"), found[mv]["order"]))

    def make(pooling: str) -> list[Block | None]:
        made: list[Block | None] = []
        for part, heading in PARTS.items():
            if metrics := metrics_of(part):
                id = slug("lexical", part)
                made += [
                    controls(facts, id, metrics, pooling, heading),
                    forest(facts, id, metrics, pooling),
                    value_table(facts, id, heading, metrics, pooling),
                ]
        return made

    lead = "How much wording, and how much meaning beyond wording, probes read from the embeddings."
    blocks = by_pooling(facts, make) if lexical else [unmeasured(facts, "No probe of wording was run.")]
    return {"id": "lexical", "title": "Lexical against semantic", "lead": lead, "blocks": blocks}
