"""The registry of metrics of embeddings: the records of all families, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import geomprobe.metrics.dimension as dimension
import geomprobe.metrics.hypersphere as hypersphere
import geomprobe.metrics.isotropy as isotropy
import geomprobe.metrics.spectrum as spectrum
from geomprobe.common import unknown_name
from geomprobe.metrics.records import Metric

REGISTRY: dict[str, Metric] = {
    record.name: record for record in (*spectrum.METRICS, *dimension.METRICS, *hypersphere.METRICS, *isotropy.METRICS)
}


def metric(name: str) -> Metric:
    """A metric by name; raises UsageError with the nearest name where it is unknown."""
    if name not in REGISTRY:
        raise unknown_name("metric", name, list(REGISTRY))
    return REGISTRY[name]


def definitions(names: Iterable[str] | None = None) -> dict[str, Any]:
    """Registry's entries of the given metrics (default: all), JSON-ready; names outside it are left out."""
    return {name: REGISTRY[name].entry() for name in (REGISTRY if names is None else names) if name in REGISTRY}
