"""Results for the tests of reports, measured on tiny encoders; each built once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


def _module(name: str):
    """Load a module of this folder under the name reports_NAME."""
    spec = importlib.util.spec_from_file_location(f"reports_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"reports_{name}"] = module
    spec.loader.exec_module(module)
    return module


measured_module = _module("measured")


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """A function from a case of measured.CASES to its results folder, report included, and the exit code."""
    return measured_module.maker(tmp_path_factory.mktemp("measured"))
