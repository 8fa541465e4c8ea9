"""How a finding is registered: a function from facts to what it finds or None, under its code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypedDict

from geomprobe.results.summary.facts import Facts, Row

Severity = Literal["issue", "tip", "passed", "not applicable"]


class Finding(TypedDict):
    """One finding; ``link`` is the id of the section that holds the evidence."""

    code: str
    severity: Severity
    sentence: str
    number: str
    link: str


RULES: dict[str, Callable[[Facts], Finding | None]] = {}


class Found(NamedTuple):
    """What a rule finds; ``link`` is the section with the evidence, where it is not the one of the rule."""

    severity: Severity
    sentence: str
    number: str = ""
    link: str = ""


def rule(code: str, link: str) -> Callable[[Callable[[Facts], Found | None]], Callable[[Facts], Finding | None]]:
    """Register a rule under its code; ``link`` is the section that holds its evidence."""

    def register(find: Callable[[Facts], Found | None]) -> Callable[[Facts], Finding | None]:
        def check(facts: Facts) -> Finding | None:
            found = find(facts)
            if found is None:
                return None
            severity, sentence, number, own_link = found
            return {
                "code": code,
                "severity": severity,
                "sentence": sentence,
                "number": number,
                "link": own_link or link,
            }

        RULES[code] = check
        return check

    return register


def compared_models(facts: Facts) -> list[Row]:
    """The model entries that a comparison is about; all but the baselines where there is none."""
    named = facts.pair if facts.kind == "pair" and facts.pair else facts.own
    return [m for m in facts.model_entries if m["name"] in named]


def compared_numbers(facts: Facts) -> list[Row]:
    """The numbers of the models that a comparison is about, with their rows counted."""
    names = {m["name"] for m in compared_models(facts)}
    found = facts.by_cell.values()
    return [row for row in found if row["model"] in names and row["n"] and row["value"] is not None]
