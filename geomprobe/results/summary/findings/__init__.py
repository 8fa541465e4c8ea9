"""Findings: rules that read the facts and say one thing each, with a code, a severity and a link to the evidence."""

from __future__ import annotations

from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.findings import comparison, models, rows
from geomprobe.results.summary.findings.rules import RULES, Finding

MODULES = (comparison, models, rows)
"""Their functions register themselves in `RULES`."""

ORDER = ("issue", "tip", "passed", "not applicable")
SHOWN = 7
KEPT_SECTIONS = ("provenance", "caveats")


def findings(facts: Facts) -> list[Finding]:
    """The findings of all rules, issues first."""
    found = [result for check in RULES.values() if (result := check(facts)) is not None]
    if facts.kind == "series":  # its report has no sections that set models side by side
        found = [{**each, "link": each["link"] if each["link"] in KEPT_SECTIONS else "series"} for each in found]
    return sorted(found, key=lambda f: ORDER.index(f["severity"]))
