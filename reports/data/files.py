"""The files of a results folder that a report offers."""

from __future__ import annotations

AUDIT_FILE = "audit.json"

FILES = {
    "results.parquet": "every number, a row each",
    "results.csv": "the same as text",
    "comparisons.parquet": "every difference, a row each",
    "curves.parquet": "spectra and histograms",
    "examples.parquet": "scores of the probes, example by example",
    "definitions.json": "what each metric is",
    "run.json": "provenance",
    "audit.json": "every number of an audit",
}
