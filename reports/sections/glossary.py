"""Section: formula, range, direction and source of every metric that occurs."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Section
from geomprobe.reports.document.formats import flat, words
from geomprobe.reports.document.ids import term

PLACE = 110


def section(facts: Facts) -> Section:
    """Formula, range, direction and source of every metric that occurs."""
    items = []
    occurring = dict.fromkeys(m for part in (facts, facts.variants) if part for m, _ in part.metrics)
    for name in occurring:
        entry = facts.definitions.get(name, {})
        found = {k: flat(entry.get(k) or "") for k in ("formula", "range", "direction", "source")}
        found["formula"] = found["formula"] or "not recorded"
        items.append({"id": term(name), "name": words(name)} | found)
    return {
        "id": "glossary",
        "title": "Glossary",
        "lead": "The definition of every metric in this report.",
        "blocks": [{"type": "terms", "items": items}],
    }
