"""`geomprobe track` on the command line: what it prints and writes, and how a mistake ends."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geomprobe.cli.main import app


@pytest.fixture
def place(training, small_task, tmp_path, monkeypatch):
    """A working folder with the training `mine` and the file small.csv."""
    (tmp_path / "mine").symlink_to(training)
    lines = small_task.read_text().splitlines()
    (tmp_path / "small.csv").write_text("\n".join(line.partition(",")[0] for line in lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def call(command: str, code: int = 0):
    """Run a command in this process; it must end with this code, without a traceback."""
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def test_a_training_is_followed(place):
    done = call("track mine --task small.csv --keep 'max effective_rank' --out r")
    assert len(done.stdout.splitlines()) <= 20
    assert "mine: keep checkpoint-10, the best in effective rank on small" in done.stdout
    assert "mine: 3 checkpoints by the step in their names: 10, 20 and 100" in done.stderr
    assert {"report.html", "report.pdf", "report.json", "trajectories.parquet", "changes.parquet"} <= {
        path.name for path in Path("r").iterdir()
    }
    view = json.loads(Path("r/report.json").read_text(encoding="utf-8"))
    assert view["kind"] == "series"
    assert [part["id"] for part in view["sections"]] == ["series", "caveats", "provenance", "downloads", "glossary"]
    assert "keep checkpoint-10" in call("report r --html --format md").stdout


def test_names_of_files_are_inert(place, monkeypatch):
    monkeypatch.setattr("geomprobe.cli.track.write_reports", lambda output, folder: {})
    name = "a<b>&\u202e\u200fé {{x}} #1"
    (place / "mine").rename(place / name)
    done = call(f"track '{name}' --task small.csv --json --keep 'min uniformity'")
    found = json.loads(done.stdout)
    assert found["summary"]["kind"] == "series"
    assert found["failed_cells"] == 0
    assert "\u202e" not in found["summary"]["sentence"]


@pytest.mark.parametrize(
    ("command", "code", "what"),
    [
        ("track", 2, "Nothing to follow was given"),
        ("track nothing/at/all", 3, "does not exist"),
        ("track mine/checkpoint-10", 2, "holds no checkpoints"),
        ("track owner/name", 2, "is one model, and a series has two or more"),
        ("track mine --revisions 'step*'", 2, "there is none"),
        ("track mine --keep 'max nonsense'", 2, "there is no metric 'nonsense'"),
        ("track mine --keep best", 2, "--keep takes max or min"),
        ("track mine --group g=mine", 2, "one training"),
        ("track mine mine", 2, "given twice"),
        ("track --group g", 2, "is not NAME=MODEL"),
        ("track mine --layer x", 2, "--layer takes"),
        ("track mine --task small.csv --out mine", 2, "is an input of this command"),
        ("track small.csv", 3, "is a file, not a model folder"),
        ("track ''", 2, "the text is empty"),
    ],
)
def test_a_mistake_ends_in_a_short_message(place, command, code, what):
    said = call(command, code).stderr
    assert what in said
    assert len(said.splitlines()) <= 6
    assert not (place / "runs").exists()


def test_a_checkpoint_that_cannot_be_read_is_named(place, training):
    (place / "mine").unlink()
    shutil.copytree(training, place / "mine")
    (place / "mine" / "checkpoint-20" / "model.safetensors").write_bytes(b"damaged")
    said = call("track mine --task small.csv --out r", 3).stderr
    assert "checkpoint-20" in said[said.index("error:") :]
    assert any((place / "r" / "cells").iterdir())  # what was finished is kept
