"""The record of every metric that can occur in results, and the family of claims that each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geomprobe.analysis import variants
from geomprobe.analysis.protocols import Protocol
from geomprobe.comparison.records import OTHERS
from geomprobe.metrics import REGISTRY

UNTESTED = ("similarity", "pooling")
"""Families without comparisons."""


def of_results(used: Sequence[str], protocol: Protocol) -> dict[str, dict[str, Any]]:
    """Definitions of the metrics that occur in results, as definitions.json holds them.

    Parameters
    ----------
    used : sequence of str
        Metrics; a name that is none (a stage that failed) is left out.
    protocol : Protocol
        A published analysis has metrics of its own, and other formulas for some.
    """
    known = records()
    if protocol.published:
        known |= protocol.published.definitions(known, used)
    return {name: known[name] for name in used if name in known}


def records() -> dict[str, dict[str, Any]]:
    """Copy of the record of every metric of geomprobe, by name."""
    return {name: record.entry() for name, record in {**REGISTRY, **OTHERS, **variants.RECORDS}.items()}
