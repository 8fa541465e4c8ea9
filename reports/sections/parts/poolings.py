"""Blocks for each pooling, as a choice where there are several."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from geomprobe.reports.document.blocks import Block, Option, choice
from geomprobe.results.summary.facts import Facts


def by_pooling(facts: Facts, make: Callable[[str], Sequence[Block | None]]) -> list[Block]:
    """The blocks that ``make(pooling)`` gives, as a choice where there are several poolings."""
    options: list[Option] = []
    for pooling in facts.poolings:
        if blocks := [block for block in make(pooling) if block]:
            options.append({"name": pooling, "note": pooling_note(facts, pooling), "blocks": blocks})
    if len(options) > 1 or (options and options[0]["note"]):
        return [choice("pooling", options)]
    return options[0]["blocks"] if options else []


def pooling_note(facts: Facts, pooling: str) -> str:
    """What a reader has to know of a pooling that was not trained; empty for others."""
    if pooling not in facts.untrained:
        return ""
    return "not trained: equals mean" if pooling == "weighted" else "not trained: random softmax weights"
