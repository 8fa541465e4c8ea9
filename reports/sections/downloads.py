"""Section: the files behind the report."""

from __future__ import annotations

from geomprobe.common.text import count
from geomprobe.reports.data.files import FILES
from geomprobe.reports.document.blocks import Section, section_of
from geomprobe.results.summary.facts import Facts

PLACE = 100


def section(facts: Facts) -> Section:
    """The files behind the report."""
    items = [{"name": name, "text": what} for name, what in FILES.items() if name != "audit.json"]
    parts = [part for part in (facts, facts.variants) if part]
    numbers, differences = sum(len(p.rows) for p in parts), sum(len(p.comparisons) for p in parts)
    lead = f"{count(numbers)} numbers, {count(differences)} differences."
    return section_of("downloads", "Data", lead, [{"type": "downloads", "items": items}])
