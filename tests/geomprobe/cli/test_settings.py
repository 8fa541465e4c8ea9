"""Options from a file, the version, shell completion, and a terminal without colours."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import geomprobe
from geomprobe.cli.main import app
from geomprobe.common import UsageError


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Return what `analyze` asked the grid for, and be in an empty folder."""
    seen = {}

    def run(models, tasks, poolings, layers, **more):
        seen.update(models=models, tasks=tasks, poolings=poolings, layers=layers, **more)
        raise UsageError("enough")

    monkeypatch.setattr("geomprobe.analysis.analyze.analyze", run)
    monkeypatch.chdir(tmp_path)
    return seen


def analyze(*words):
    return CliRunner().invoke(app, ["analyze", "m", *words])


FILE = """
[analyze]
task = ["sst2", "cola"]
pool = "mean,max"
limit = 90
device = "cpu"
texts = false
[gate]
baseline = "b"
"""


@pytest.mark.parametrize("name", ["geomprobe.toml", "pyproject.toml"])
def test_options_come_from_a_file(asked, tmp_path, name):
    prefix = "" if name == "geomprobe.toml" else "tool.geomprobe."
    text = FILE.replace("[analyze]", f"[{prefix}analyze]").replace("[gate]", f"[{prefix}gate]")
    (tmp_path / name).write_text(text)
    done = analyze("--limit", "9")
    where = name if name == "geomprobe.toml" else "[tool.geomprobe] of pyproject.toml"
    assert f"options of analyze from {where}: task, pool, limit, device, texts" in done.stderr
    assert (asked["tasks"], asked["poolings"]) == (["sst2", "cola"], ["mean", "max"])
    assert (asked["device"], asked["texts"]) == ("cpu", False)
    assert asked["limit"] == 9, "the command line wins"


def test_its_own_file_is_the_only_one_read(asked, tmp_path):
    (tmp_path / "geomprobe.toml").write_text('[analyze]\ntask = "sst2"\n')
    (tmp_path / "pyproject.toml").write_text("[tool.geomprobe.analyze]\nlimit = 3\n")
    analyze()
    assert (asked["tasks"], asked["limit"]) == (["sst2"], None)


@pytest.mark.parametrize(
    ("name", "text", "code", "says"),
    [
        ("geomprobe.toml", "[analyse]\nlimit = 3", 2, "Did you mean 'analyze'?"),
        ("geomprobe.toml", "[gate]\nbaselin = 'x'", 2, ""),  # another command's table is its own affair
        ("geomprobe.toml", "[analyze]\nlimti = 3", 2, "Did you mean 'limit'?"),
        ("geomprobe.toml", "[analyze]\nhelp = true", 2, "Unknown key"),
        ("geomprobe.toml", "[analyze]\nlimit = 2.5", 2, "'--limit'"),
        ("geomprobe.toml", "[analyze]\nlimit = true", 2, "[analyze] limit must be text or a number"),
        ("geomprobe.toml", "[analyze]\nlimit = [3]", 2, "[analyze] limit must be text or a number"),
        ("geomprobe.toml", "[analyze]\ntexts = 'no'", 2, "[analyze] texts must be true or false"),
        ("geomprobe.toml", "[analyze]\ntask = ''", 2, "the text is empty"),
        ("geomprobe.toml", "[analyze]\nlimit = 1979-05-27", 2, "must be text or a number"),
        ("geomprobe.toml", "analyze = 3", 2, "analyze must be a table"),
        ("geomprobe.toml", "[analyze", 3, "geomprobe.toml is not TOML"),
        ("pyproject.toml", "[tool]\ngeomprobe = 3", 2, "tool.geomprobe must be a table"),
        ("pyproject.toml", "[tool.geomprobe.other]", 2, "Unknown table 'other'"),
        ("pyproject.toml", "tool = 3", 2, ""),
    ],
)
def test_what_is_wrong_is_named(asked, tmp_path, name, text, code, says):
    (tmp_path / name).write_text(text)
    done = analyze()
    assert (done.exit_code, says in done.output) == (code, True), done.output
    assert ("enough" in done.output) == (not says)
    assert CliRunner().invoke(app, ["analyze", "--help"]).exit_code == 0


def test_a_required_option_may_stand_in_the_file(asked, tmp_path):
    (tmp_path / "geomprobe.toml").write_text("[gate]\nbaseline = 'nowhere/at/all'\n")
    done = CliRunner().invoke(app, ["gate", "nowhere/else/x"])
    assert "Missing option" not in done.output
    (tmp_path / "geomprobe.toml").unlink()
    assert "Missing option '--baseline'" in CliRunner().invoke(app, ["gate", "nowhere/else/x"]).output


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option):
    assert CliRunner().invoke(app, [option]).stdout == f"geomprobe {geomprobe.__version__}\n"


def program(tmp_path, **more):
    env = {**os.environ, "HOME": str(tmp_path), "TERM": "xterm-256color", **more}
    return {key: value for key, value in env.items() if value}


@pytest.mark.parametrize(
    ("words", "expected"),
    [("geomprobe ga", "gate"), ("geomprobe analyze --bas", "--baseline")],
)
def test_completion(tmp_path, words, expected):
    """What bash asks for at the tab key; nothing heavy is imported, and a broken settings file is no hindrance."""
    (tmp_path / "geomprobe.toml").write_text("[broken")
    env = program(tmp_path, _GEOMPROBE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    command = [sys.executable, "-m", "geomprobe"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [expected], "")


def test_completion_is_shown_and_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="geomprobe")
    assert "_GEOMPROBE_COMPLETE=complete_bash" in shown.stdout
    done = CliRunner().invoke(app, ["--install-completion", "bash"], prog_name="geomprobe")
    assert done.exit_code == 0
    assert "geomprobe" in (tmp_path / ".bashrc").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are of POSIX")
@pytest.mark.parametrize(("no_color", "styled"), [("1", False), pytest.param("", True, marks=pytest.mark.thorough)])
def test_no_color(tmp_path, no_color, styled):
    """On a terminal a table is styled, with NO_COLOR it is not."""
    import pty

    ours, theirs = pty.openpty()
    env = program(tmp_path, NO_COLOR=no_color)
    child = subprocess.Popen(
        [sys.executable, "-m", "geomprobe", "ls", "objectives"], stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert child.wait() == 0
    assert b"hybrid" in shown
    assert bool(re.search(rb"\x1b\[[0-9;]*m", shown)) == styled
