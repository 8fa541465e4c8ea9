"""Section: probes of wording and meaning, and the crossed design, with their controls."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.sections.parts.controls import controls
from geomprobe.reports.sections.parts.failed import unmeasured
from geomprobe.reports.sections.parts.forest import forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.tables import value_table
from geomprobe.reports.view.blocks import Block, Section
from geomprobe.reports.view.ids import slug

PLACE = 50
WORDING = (
    "lexical_word_content_skill", "lexical_bow_r2", "lexical_top_word_skill", "lexical_top_token_skill",
    "lexical_length_spearman", "lexical_overlap_spearman", "lexical_word_content_accuracy", "lexical_top_word_accuracy",
    "lexical_top_token_accuracy",
)  # fmt: skip
BEYOND = (
    "semantic_skill", "semantic_usable_bits", "semantic_conditional_bits", "semantic_selectivity",
    "partial_spearman_gold", "partial_spearman_overlap", "semantic_lexical_balance", "semantic_lexical_skill_gap",
)  # fmt: skip
CROSSED = (
    "meaning_share", "words_share", "syntax_share", "triplet_accuracy", "triplet_margin", "meaning_words_share",
    "meaning_syntax_share", "words_syntax_share", "meaning_words_syntax_share",
)  # fmt: skip
"""What each part of the section holds, the first ones first; the figures draw no more than six."""


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
    crossed = [mv for mv in found if mv[0] in CROSSED]
    beyond = [mv for mv in facts.metrics if mv[0] in BEYOND]
    wording = [mv for mv in found if mv not in crossed and mv not in beyond]
    parts = (
        ("wording", "Wording in the embeddings", _first(WORDING, wording)),
        ("meaning", "Meaning, and meaning beyond wording", _first(BEYOND, beyond)),
        ("crossed", "Meaning, words and syntax in the crossed design", _first(CROSSED, crossed)),
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


def _first(wanted: tuple[str, ...], found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The (metric, view) found, the wanted ones first and in their order, the raw view before others."""
    place = {name: i for i, name in enumerate(wanted)}
    return sorted(found, key=lambda mv: (mv[1] not in ("", "raw"), place.get(mv[0], len(place))))
