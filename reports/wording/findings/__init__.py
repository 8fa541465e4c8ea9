"""Findings: rules that read the facts and say one thing each, with a code, a severity and a link to the evidence."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.model import Finding
from geomprobe.reports.wording.findings import comparison, models, rows
from geomprobe.reports.wording.findings.rules import RULES

MODULES = (comparison, models, rows)
"""Their functions register themselves in `RULES`."""

ORDER = ("issue", "tip", "passed", "not applicable")
SHOWN = 7


def findings(facts: Facts) -> list[Finding]:
    """The findings of all rules, issues first."""
    found = [result for check in RULES.values() if (result := check(facts)) is not None]
    return sorted(found, key=lambda f: ORDER.index(f["severity"]))
