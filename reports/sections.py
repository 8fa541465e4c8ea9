"""The sections of the report in their printing order."""

from __future__ import annotations

from geomprobe.reports.blocks import Section
from geomprobe.reports.facts import Facts
from geomprobe.reports.geometry import geometry
from geomprobe.reports.grid import layers, poolings
from geomprobe.reports.probing import downstream, lexical
from geomprobe.reports.record import caveats, downloads, glossary, provenance, training
from geomprobe.reports.variants import variants

SECTIONS = (downstream, geometry, poolings, layers, lexical, training, caveats, provenance, downloads, glossary)


def build(facts: Facts) -> list[Section]:
    """Return all sections; one that has nothing to show says why. Variants have one where they were asked for."""
    found = [section(facts) for section in SECTIONS]
    if facts.variants:
        found.insert(SECTIONS.index(training), variants(facts, facts.variants))
    return found
