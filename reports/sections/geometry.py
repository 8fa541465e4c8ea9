"""Section: how evenly the embeddings spread, and how much of that is their common mean vector."""

from __future__ import annotations

from geomprobe.reports.document.blocks import Block, Section, section_of
from geomprobe.reports.sections.parts.curves import HISTOGRAM, curve_figure
from geomprobe.reports.sections.parts.points import decomposition, forest
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.questions import UNMEASURED, asked, every_number, or_unmeasured
from geomprobe.reports.sections.parts.statements import answer, clause, statement_table
from geomprobe.reports.sections.parts.tables import value_table
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.model import Statement
from geomprobe.results.summary.summarise import CENTRED, statement

PLACE = 10
DIRECTIONS = ("spectrum", "dimension")
"""Families of the section on directions; all other geometry is here."""
CHANGED = ("higher", "lower")


def section(facts: Facts) -> Section:
    """Uniformity raw and centred, cosines, and what else is no matter of directions."""
    metrics = [each for each in facts.part("geometry") if facts.entry(each[0]).get("family") not in DIRECTIONS]

    def figures(pooling: str) -> list[Block | None]:
        return [decomposition(facts, pooling), curve_figure(facts, "cosine_histogram", pooling, HISTOGRAM)]

    def numbers(pooling: str) -> list[Block | None]:
        headline = [number for number in facts.headline if number in metrics]
        return [
            forest(facts, "geometry", headline, pooling),
            value_table(facts, "geometry", "Spread", metrics, pooling) if metrics else None,
        ]

    blocks = or_unmeasured(facts, by_pooling(facts, figures), "No geometry was measured.")
    if metrics:
        blocks += [*statement_table(facts, "spread", metrics), *every_number(facts, "geometry", numbers)]
    title = asked(
        facts,
        "Is one more spread out, or only shifted?",
        "Which is more spread out?",
        "How evenly are the embeddings spread?",
    )
    lead = (
        "Vectors that share a direction lie in a narrow cone, and raw uniformity is then mostly that direction. With "
        "the mean vector removed (centred), uniformity says how evenly they spread around it."
    )
    both = {view: statement(facts, "uniformity", view) for view in ("raw", CENTRED)} if facts.pair else {}
    raw, centred = both.get("raw"), both.get(CENTRED)
    said = spread(facts, raw, centred) if raw and centred else answer(facts, metrics)
    return section_of("geometry", title, lead, blocks, said or UNMEASURED)


def spread(facts: Facts, raw: Statement, centred: Statement) -> str:
    """Whether raw and centred uniformity differ, and what both together say."""
    assert facts.pair is not None
    b = facts.pair[1]
    evidence = f"{clause(facts, raw)}; {clause(facts, centred)}"
    if centred.judgement in CHANGED:
        way = "more" if centred.judgement == "lower" else "less"
        if raw.judgement == centred.judgement:
            head = f"{b} is {way} spread out, and not only shifted"
        elif raw.judgement in CHANGED:
            head = f"In opposite ways: {b} is {way} spread out around its mean, and raw uniformity says the reverse"
        else:
            head = f"{b} is {way} spread out around its mean, which raw uniformity does not show"
    elif raw.judgement in CHANGED:
        equal = centred.judgement == "equivalent"
        head = "Only shifted" if equal else "Shifted; whether the spread around the mean differs, too, is not shown"
    elif raw.judgement == centred.judgement == "equivalent":
        head = "Neither"
    elif "mixed" in (raw.judgement, centred.judgement):
        head = "It depends on the task or the pooling"
    else:
        head = "No verdict" if raw.judgement == centred.judgement == "none" else "Neither is shown"
    return f"{head}: {evidence}."
