"""The sections of a report, one module each. A new module is a new section; what sections share is in `parts`.

A section's module has `PLACE`, its place in the printing order, and `section(facts)`, which gives the section, or None
where the report has no such section. A section that has nothing to show says why.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from geomprobe.reports.document.blocks import Section
from geomprobe.results.summary.facts import Facts

OF_SERIES = ("series", "caveats", "provenance", "downloads", "glossary")
"""Sections of a series of checkpoints: the others set models side by side, which here are many and of one training."""


def sections(facts: Facts) -> list[Section]:
    """All sections in printing order."""
    names = [found.name for found in iter_modules(__path__) if not found.ispkg]
    chosen = [name for name in names if facts.kind != "series" or name in OF_SERIES]
    modules = [import_module(f"{__name__}.{name}") for name in chosen]
    made = (module.section(facts) for module in sorted(modules, key=lambda module: module.PLACE))
    return [section for section in made if section]
