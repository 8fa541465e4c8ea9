"""Measure and compare the representation geometry of text encoders."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that `geomprobe --help` and `geomprobe.common` pull in nothing heavy.
_HOME = {
    "load_encoder": "geomprobe.encoders",
    "embed": "geomprobe.embedding.embed",
    "measure": "geomprobe.api",
    "summary": "geomprobe.api",
    "similarity": "geomprobe.inference.similarity",
    "confidence_sequence": "geomprobe.inference.sequences",
    "similarity_difference": "geomprobe.inference.similarity",
    "quantise": "geomprobe.vectors.storage",
    "truncate": "geomprobe.vectors.storage",
    "Moments": "geomprobe.vectors.moments",
    "Metric": "geomprobe.metrics.records",
    "Value": "geomprobe.metrics.records",
    "Margin": "geomprobe.results.record",
    "NotApplicable": "geomprobe.metrics.undefined",
    "register_metric": "geomprobe.api",
    "check_metric": "geomprobe.inference.checks",
    "calibrate": "geomprobe.inference.calibration",
    "Task": "geomprobe.tasks",
    "Split": "geomprobe.tasks",
    "InputError": "geomprobe.common",
    "compare": "geomprobe.comparison.table",
    "compare_results": "geomprobe.comparison.folders",
    "plan": "geomprobe.comparison.pilot",
    "analyze": "geomprobe.analysis.analyze",
    "track": "geomprobe.analysis.track",
    "audit": "geomprobe.api",
    "read_results": "geomprobe.results",
    "write_results": "geomprobe.results",
    "write_report": "geomprobe.reports",
    "plot": "geomprobe.reports",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'geomprobe' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
