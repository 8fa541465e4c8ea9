"""What the sections that answer a question share: their titles, and the fold with every number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from geomprobe.reports.document.blocks import Block, fold
from geomprobe.reports.sections.parts.poolings import by_pooling
from geomprobe.reports.sections.parts.tables import unmeasured
from geomprobe.results.summary.facts import Facts

UNMEASURED = "Not measured."


def asked(facts: Facts, pair: str, many: str, single: str) -> str:
    """The title of a section: its question for two sides, for several models, for one."""
    return pair if facts.pair else many if facts.kind == "many" else single


def every_number(facts: Facts, id: str, make: Callable[[str], Sequence[Block | None]]) -> list[Block]:
    """The fold with what ``make(pooling)`` gives for each pooling; nothing where it gives nothing."""
    return fold(f"{id}-numbers", "Every number, by task and pooling", by_pooling(facts, make))


def or_unmeasured(facts: Facts, blocks: list[Block], what: str) -> list[Block]:
    """The blocks, or the paragraph that says why there are none."""
    return blocks or [unmeasured(facts, what)]
