"""How a finding is registered: a function from facts to a finding or None, under its code."""

from __future__ import annotations

from collections.abc import Callable

from geomprobe.reports.data.facts import Facts, Row
from geomprobe.reports.document.model import Finding, Severity

Rule = Callable[[Facts], Finding | None]
RULES: dict[str, Rule] = {}


def rule(code: str) -> Callable[[Rule], Rule]:
    """Register a rule under its code."""

    def register(function: Rule) -> Rule:
        RULES[code] = function
        return function

    return register


def finding(code: str, severity: Severity, sentence: str, link: str, figure: str = "") -> Finding:
    return {"code": code, "severity": severity, "sentence": sentence, "number": figure, "link": link}


def compared_models(facts: Facts) -> list[Row]:
    """The model entries that a comparison is about; all but the baselines where there is none."""
    named = facts.pair if facts.kind == "pair" and facts.pair else facts.own
    return [m for m in facts.model_entries if m["name"] in named]
