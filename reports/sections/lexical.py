"""Section: probes of wording and meaning, and the crossed design, with their controls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from geomprobe.common.text import slug
from geomprobe.reports.document.blocks import Block, Section
from geomprobe.reports.sections.parts.points import controls, forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.questions import asked, every_number
from geomprobe.reports.sections.parts.statements import (
    Metrics,
    in_order,
    leading,
    statement_table,
    statements,
    told,
    valued,
)
from geomprobe.reports.sections.parts.tables import unmeasured, value_table
from geomprobe.results.summary.facts import Facts

PLACE = 30
PARTS = {
    "wording": "Wording in the embeddings",
    "meaning": "Meaning, and meaning beyond wording",
    "crossed": "Meaning, words and syntax in the crossed design",
}
ELSEWHERE: Any = {"part": "wording", "order": math.inf}
"""Place of a metric whose record gives none."""
MEANING = ("meaning_share", "sts_cosine_spearman", "semantic_conditional_bits", "partial_spearman_gold")
"""What is asked of meaning, as far as it was measured."""
NAMED = 2
"""Metrics of wording, and of meaning, that the answer names."""
SIDES = (("wording", "Wording"), ("meaning", "meaning"))


def section(facts: Facts) -> Section:
    """Probes of wording, probes of meaning, and the crossed design, each with its controls."""
    lexical = facts.part("lexical")

    def metrics_of(part: str) -> list[tuple[str, str]]:
        """The (metric, view) of a part in its order, the raw view before others."""
        candidates = facts.metrics if part == "meaning" else lexical
        found = {mv: facts.entry(mv[0]).get("against", ELSEWHERE) for mv in candidates}
        mine = [mv for mv, place in found.items() if place["part"] == part]
        return sorted(mine, key=lambda mv: (mv[1] not in ("", "raw"), found[mv]["order"]))

    def scores(part: str, pooling: str) -> Block | None:
        return controls(facts, slug("lexical", part), metrics_of(part), pooling, PARTS[part])

    shown = ("wording", "crossed" if metrics_of("crossed") else "meaning")

    def figures(pooling: str) -> list[Block | None]:
        return [scores(part, pooling) for part in shown]

    def numbers(pooling: str) -> list[Block | None]:
        made: list[Block | None] = [scores(part, pooling) for part in PARTS if part not in shown]
        for part, heading in PARTS.items():
            if metrics := metrics_of(part):
                id = slug("lexical", part)
                made += [forest(facts, id, metrics, pooling), value_table(facts, id, heading, metrics, pooling)]
        return made

    title = asked(
        facts,
        "Does one hold more wording, or more meaning?",
        "Which holds more wording, which more meaning?",
        "How much wording, and how much meaning?",
    )
    lead = (
        "Wording is which words a text has, in which order; meaning is what stays when the wording changes. Only a "
        "score beyond the controls is the encoder's."
    )
    said = {
        "wording": [each for each in facts.headline if each in metrics_of("wording")],
        "meaning": [each for each in facts.metrics if each[0] in MEANING and each[1] in ("", "raw")],
    }
    blocks: list[Block] = [unmeasured(facts, "No probe of wording was run.")]
    if lexical:
        every = [*said["wording"], *said["meaning"], *(each for part in PARTS for each in metrics_of(part))]
        blocks = [
            *by_pooling(facts, figures),
            *statement_table(facts, "wording-meaning", list(dict.fromkeys(every))),
            *every_number(facts, "lexical", numbers),
        ]
    return {"id": "lexical", "title": title, "answer": _answer(facts, said), "lead": lead, "blocks": blocks}


def _answer(facts: Facts, said: Mapping[str, Metrics]) -> str:
    """What was found of wording and of meaning, in one sentence."""
    parts = []
    for key, name in SIDES:
        found = statements(facts, leading(facts, said[key])[:NAMED])
        if facts.kind == "many":
            parts.append(f"{name}: {in_order(facts, said[key][:1]).rstrip('.') or 'not measured'}")
        elif not found:
            parts.append(f"{name}: not measured")
        else:
            whole = told(facts, found) if facts.pair else ", ".join(valued(facts, each) for each in found)
            parts.append(f"{name}: {whole}")
    return f"{'. '.join(parts[:1])}. {parts[1][:1].upper()}{parts[1][1:]}."
