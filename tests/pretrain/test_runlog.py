"""What run.json says of the code that ran, and what of a log is kept on resume."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import geomprobe.pretrain
from geomprobe.common.training_log import TrainingLog


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_only_the_checkout_of_the_code_itself_is_recorded(tmp_path):
    package = tmp_path / "pretrain"
    shutil.copytree(Path(geomprobe.pretrain.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "other.txt").write_text("a")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "-qm", "a repository around an installed package")

    spec = importlib.util.spec_from_file_location("copied_runlog", package / "runlog.py")
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    recorded = copied.git_revision
    assert recorded() is None
    git(tmp_path, "add", "pretrain/runlog.py")
    git(tmp_path, "commit", "-qm", "a checkout")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert recorded() == commit
    (tmp_path / "other.txt").write_text("b")
    assert recorded() == f"{commit}-dirty"


def test_lines_without_a_peak_of_memory_are_kept_on_resume(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = [{"step": 1, "loss": 2.0, "peak_memory_gb": None}, {"step": 2, "loss": 1.5, "peak_memory_gb": None}]
    others = ['{"step": 1, "loss": NaN}', '{"step": 3, "loss": 1.0}', '{"step": 2, "lo']
    path.write_text("\n".join([json.dumps(whole[0]), *others[:2], json.dumps(whole[1]), others[2]]))
    assert TrainingLog(path, step=2).last == whole[1]
    assert [json.loads(line) for line in path.read_text().splitlines()] == whole
