"""What run.json says of the code that ran."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pretrain

SHOW = "from pretrain.runlog import git_revision; print(git_revision())"


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_only_the_checkout_of_the_code_itself_is_recorded(tmp_path):
    package = tmp_path / "pretrain"
    shutil.copytree(Path(pretrain.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "other.txt").write_text("a")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "-qm", "a repository around an installed package")

    def recorded():
        return subprocess.run(
            [sys.executable, "-c", SHOW], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert recorded() == "None"
    git(tmp_path, "add", "pretrain/runlog.py")
    git(tmp_path, "commit", "-qm", "a checkout")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert recorded() == commit
    (tmp_path / "other.txt").write_text("b")
    assert recorded() == f"{commit}-dirty"
