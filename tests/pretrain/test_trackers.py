"""`geomprobe pretrain --report-to`: what each tracker holds in its own files, and that a resumed run goes on in it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from geomprobe.common import InputError, UsageError
from geomprobe.integrations import trackers as module
from geomprobe.integrations.trackers import NAMES, RUNS, Tracker, Trackers, check_trackers
from geomprobe.pretrain.loop import train
from tests.pretrain.conftest import TINY


def logged(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def run(config, names, *, resume=False, stop=0):
    """Train with trackers, as the command does; with a step, interrupted after it."""
    warned: list[str] = []

    def progress(record):
        trackers(record)
        if stop and record.get("step") == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    with Trackers(names, config.folder, asdict(config), resume, warned.append) as trackers:
        train(config, resume=resume, progress=progress)
    return warned


def interrupted_and_resumed(tiny, name):
    """Return the folder of a run that was interrupted after step 4 of 12 and resumed, with a tracker."""
    config = tiny(objective="mlm")
    with pytest.raises(KeyboardInterrupt):
        run(config, [name], stop=4)
    assert run(config, [name], resume=True) == []
    assert [line["step"] for line in logged(config.folder)][-1] == 12
    return config.folder


def expected(out: Path, key: str) -> dict[int, float]:
    return {line["step"]: line[key] for line in logged(out) if line.get(key) is not None}


def test_tensorboard(tiny):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    out = interrupted_and_resumed(tiny, "tensorboard")
    read = events.EventAccumulator(str(out / "tensorboard")).Reload()
    for key in ("loss", "held_out_mlm", "lr"):
        points = {event.step: event.value for event in read.Scalars(key)}
        assert points == pytest.approx(expected(out, key))


def test_wandb(tiny, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    out = interrupted_and_resumed(tiny, "wandb")
    wandb.teardown()  # its service has then written all
    files = sorted(out.glob("trainer/wandb/offline-run-*/run-*.wandb"))
    run_id = json.loads((out / RUNS).read_text())["wandb"]
    assert len(files) == 2
    assert {file.stem for file in files} == {f"run-{run_id}"}  # both parts belong to one run
    assert b"held_out_mlm" in b"".join(file.read_bytes() for file in files)


def test_trackio(tiny, tmp_path):
    """In a process of its own: it reads its folder when it is imported."""
    pytest.importorskip("trackio", reason="trackio is not installed")
    config = tiny(objective="mlm")
    command = [sys.executable, "-m", "geomprobe", "pretrain", "--objective", "mlm", "--preset", "demo"]
    command += ["--corpus", config.corpus, "--out", str(config.folder), "--report-to", "trackio", "--json"]
    command += [f"--set={key}={value}" for key, value in TINY.items()]
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 12  # nothing but the result on stdout
    database = sqlite3.connect(next((tmp_path / "trackio").rglob("geomprobe.db")))
    rows = [(step, json.loads(metrics)) for step, metrics in database.execute("select step, metrics from metrics")]
    database.close()
    assert {step: values["loss"] for step, values in rows} == pytest.approx(expected(config.folder, "loss"))


def test_mlflow(tiny, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    out = interrupted_and_resumed(tiny, "mlflow")
    (found,) = mlflow.search_runs(output_format="list")
    history = mlflow.MlflowClient().get_metric_history(found.info.run_id, "loss")
    assert {point.step: point.value for point in history} == pytest.approx(expected(out, "loss"))
    assert found.info.status == "FINISHED"
    assert found.data.params["objective"] == "mlm"


def test_what_is_missing_is_said_before_any_work(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="tensorbord") as caught:
        check_trackers(["tensorbord"])
    assert "tensorboard" in caught.value.message
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    for name in NAMES:
        with pytest.raises(UsageError, match="not installed") as caught:
            Trackers([name], tmp_path, {}, False, print)
        assert caught.value.hint == f"pip install {name}"
    assert list(tmp_path.iterdir()) == []


def test_no_tracker_is_the_default(tmp_path):
    with Trackers([], tmp_path, {}, False, print) as trackers:
        trackers({"stage": "training mlm", "done": 0, "total": 2})
        trackers({"step": 1, "loss": 2.0})
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_fails_costs_no_training(tmp_path, monkeypatch):
    def broken(values, step):
        raise ConnectionError("gone\naway")

    heard: list = []
    good = Tracker(lambda values, step: heard.append((step, values)), heard.append)
    monkeypatch.setitem(module.START, "wandb", lambda *_: ("a", Tracker(broken, heard.append)))
    monkeypatch.setitem(module.START, "mlflow", lambda *_: ("b", good))
    monkeypatch.setattr(module, "check_trackers", lambda names: None)
    warned: list[str] = []
    with Trackers(["wandb", "mlflow"], tmp_path, {}, False, warned.append) as trackers:
        trackers({"stage": "training mlm", "done": 0, "total": 2})
        trackers({"step": 1, "loss": 2.0, "peak_memory_gb": None})
        trackers({"warning": "no line of the log"})
        trackers({"step": 2, "loss": 1.0})
    assert heard == [(1, {"loss": 2.0}), (2, {"loss": 1.0}), False]
    assert warned == ["wandb failed, and is left out from now on: gone."]


def test_one_that_cannot_start_stops_before_the_first_step(tmp_path, monkeypatch):
    def refused(*_):
        raise RuntimeError("no API key")

    monkeypatch.setitem(module.START, "wandb", refused)
    monkeypatch.setattr(module, "check_trackers", lambda names: None)
    trackers = Trackers(["wandb"], tmp_path, {}, False, print)
    with pytest.raises(InputError, match="wandb could not start: RuntimeError: no API key") as caught:
        trackers({"stage": "training mlm", "done": 0, "total": 2})
    assert "--resume" in caught.value.hint
