"""The files of a results folder that a report offers."""

from __future__ import annotations

AUDIT_FILE = "audit.json"

FILES = {
    "results.parquet": "every number, a row each",
    "results.csv": "the same as CSV",
    "comparisons.parquet": "every difference, a row each",
    "curves.parquet": "spectra and histograms",
    "examples.parquet": "probe scores of each example",
    "definitions.json": "the definition of each metric",
    "run.json": "provenance",
    "audit.json": "every number of an audit",
}
