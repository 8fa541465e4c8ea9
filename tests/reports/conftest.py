"""Made-up results, built once for the tests of reports."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("reports_synthetic", Path(__file__).with_name("synthetic.py"))
assert _spec is not None
assert _spec.loader is not None
synthetic_module = importlib.util.module_from_spec(_spec)
sys.modules["reports_synthetic"] = synthetic_module
_spec.loader.exec_module(synthetic_module)


@pytest.fixture(scope="session")
def make_results():
    """The generator of made-up results."""
    return synthetic_module.make_results
