"""`geomprobe doctor`: answers from metadata alone, and asks the hub that the environment names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

HEAVY = ("torch", "transformers", "datasets", "sklearn", "huggingface_hub")
ASK = f"""
import sys
from geomprobe.__main__ import main
sys.argv = ["geomprobe", "doctor", "--json"]
try:
    main()
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def doctor(**env):
    clean = {k: v for k, v in os.environ.items() if not k.upper().endswith(("_PROXY", "_OFFLINE", "HF_ENDPOINT"))}
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, env={**clean, **env}, check=False
    )
    assert done.stderr.strip() == "[]"
    return {row["check"]: row for row in json.loads(done.stdout)["results"]}, done.returncode


@pytest.fixture
def hub():
    """A server on the loopback that counts what it is asked; yields its address and the paths asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_it_asks_the_endpoint_that_is_set_and_imports_nothing_heavy(hub):
    endpoint, asked = hub
    rows, code = doctor(HF_ENDPOINT=endpoint)
    assert code == 0
    assert rows["hub"] == {"check": "hub", "state": "ok", "detail": f"{endpoint} answers"}
    assert len(asked) == 1


def test_it_goes_through_the_proxy_that_is_set(hub):
    proxy, asked = hub
    rows, _ = doctor(HF_ENDPOINT="http://hub.invalid", http_proxy=proxy)
    assert rows["hub"]["state"] == "ok"
    assert [path.rstrip("/") for path in asked] == ["http://hub.invalid"]


def test_offline_it_asks_nobody(hub):
    endpoint, asked = hub
    rows, code = doctor(HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="1")
    assert (rows["hub"]["state"], code, asked) == ("absent", 0, [])


def test_a_version_below_the_declared_one_is_broken(monkeypatch):
    from geomprobe.cli import doctor

    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=99", "nosuchpackage>=1", "tomli; extra == 'test'"])
    rows = {row["check"]: row for row in doctor._packages()}
    assert rows["numpy"]["state"] == "broken"
    assert ">=99" in rows["numpy"]["detail"]
    assert rows["nosuchpackage"]["state"] == "broken"
    assert set(rows) == {"numpy", "nosuchpackage"}


def test_the_bounds_it_compares_with_are_those_of_the_installed_metadata(tmp_path):
    """A package named geomprobe with other bounds, first on the path: no copied list takes part."""
    info = tmp_path / "geomprobe-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: geomprobe\nVersion: 9.9\nRequires-Dist: packaging>=9999\n", encoding="utf-8"
    )
    rows, code = doctor(PYTHONPATH=str(tmp_path), HF_HUB_OFFLINE="1")
    assert code == 1
    assert rows["packaging"]["state"] == "broken"
    assert ">=9999 is needed" in rows["packaging"]["detail"]
    assert "torch" not in rows
