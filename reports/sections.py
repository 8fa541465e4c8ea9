"""The sections of the report in their printing order."""

from __future__ import annotations

from reports.blocks import Section
from reports.facts import Facts
from reports.geometry import geometry
from reports.grid import layers, poolings
from reports.probing import downstream, lexical
from reports.record import caveats, downloads, glossary, provenance, training

SECTIONS = (downstream, geometry, poolings, layers, lexical, training, caveats, provenance, downloads, glossary)


def build(facts: Facts) -> list[Section]:
    """Return all sections; one that has nothing to show says why."""
    return [section(facts) for section in SECTIONS]
