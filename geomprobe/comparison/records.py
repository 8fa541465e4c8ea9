"""The records that decide how numbers are compared: those that travel with results, completed from the present ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geomprobe.embedding import trained_pooling
from geomprobe.metrics import REGISTRY, sample_size, similarity
from geomprobe.probes import definitions as probes
from geomprobe.results.record import Record

OTHERS = {
    **sample_size.RECORDS,
    **probes.RECORDS,
    **similarity.SIMILARITIES,
    **trained_pooling.RECORDS,
}


def record(name: str) -> Record | None:
    """Record of a metric that models may be compared by; None where the name is none."""
    return OTHERS.get(name) or REGISTRY.get(name)


def known(definitions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Entries of definitions.json, with what an earlier version did not write from the present records."""
    present = {name: record(name) for name in definitions}
    return {name: (found.entry() if (found := present[name]) else {}) | entry for name, entry in definitions.items()}


def sibling(definitions: Mapping[str, Any], metric: str, score: str) -> str | None:
    """Metric that is another score of the same probe, None where there is none."""
    probe = definitions.get(metric, {}).get("probe")
    same = (name for name, entry in definitions.items() if probe is not None and entry.get("probe") == probe)
    return next((name for name in same if definitions[name].get("score") == score), None)
