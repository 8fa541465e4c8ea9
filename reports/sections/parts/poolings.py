"""Blocks for each pooling, as a choice where there are several."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Block, Option, choice


def by_pooling(facts: Facts, make: Any) -> list[Block]:
    """The blocks that ``make(pooling)`` gives, as a choice where there are several poolings."""
    options: list[Option] = []
    for pooling in facts.poolings:
        if blocks := make(pooling):
            options.append({"name": pooling, "note": pooling_note(facts, pooling), "blocks": blocks})
    if len(options) > 1 or (options and options[0]["note"]):
        return [choice("pooling", options)]
    return options[0]["blocks"] if options else []


def pooling_note(facts: Facts, pooling: str) -> str:
    if pooling not in facts.untrained:
        return ""
    return "not trained: equals mean" if pooling == "weighted" else "not trained: random softmax weights"
