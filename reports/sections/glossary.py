"""Section: formula, range, direction and source of every metric that occurs."""

from __future__ import annotations

from geomprobe.common.text import flat, term, words
from geomprobe.reports.document.blocks import Section, section_of
from geomprobe.results.summary.facts import Facts

PLACE = 110


def section(facts: Facts) -> Section:
    """Formula, range, direction and source of every metric that occurs."""
    items = []
    for name in dict.fromkeys(metric for part in (facts, facts.variants) if part for metric, _ in part.metrics):
        entry = {key: flat(facts.entry(name).get(key) or "") for key in ("formula", "range", "direction", "source")}
        entry["formula"] = entry["formula"] or "not recorded"
        items.append({"id": term(name), "name": words(name)} | entry)
    lead = "The definition of every metric in this report."
    return section_of("glossary", "Glossary", lead, [{"type": "terms", "items": items}])
