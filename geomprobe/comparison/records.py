"""The records that decide how numbers are compared: those that travel with results, completed from the present ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geomprobe.embedding import trained_pooling
from geomprobe.metrics import REGISTRY, sample_size, similarity
from geomprobe.probes import definitions as probes

RECORDS = {
    **REGISTRY,
    **sample_size.RECORDS,
    **probes.RECORDS,
    **similarity.SIMILARITIES,
    **trained_pooling.RECORDS,
}


def known(definitions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Entries of definitions.json, with what an earlier version did not write from the present records."""
    return {name: (RECORDS[name].entry() if name in RECORDS else {}) | entry for name, entry in definitions.items()}


def sibling(definitions: Mapping[str, Any], metric: str, score: str) -> str | None:
    """Metric that is another score of the same probe, None where there is none."""
    probe = definitions.get(metric, {}).get("probe")
    same = (name for name, entry in definitions.items() if probe is not None and entry.get("probe") == probe)
    return next((name for name in same if definitions[name].get("score") == score), None)
