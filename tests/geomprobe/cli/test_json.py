"""`--json`: one document in one envelope from every command, whether it ends well or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer.main
from typer.testing import CliRunner

import geomprobe
from geomprobe.cli.main import app
from geomprobe.results import write_results
from tests.synthetic import make_results

ENVELOPE = ["command", "geomprobe_version", "exit_code", "error"]
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "json.md"


def with_json(group=None, name: str = "") -> Iterator[str]:
    """Names of all commands that have --json."""
    for word, command in (group or typer.main.get_command(app)).commands.items():
        here = f"{name} {word}".strip()
        if hasattr(command, "commands"):
            yield from with_json(command, here)
        elif any("--json" in parameter.opts for parameter in command.params):
            yield here


COMMANDS = sorted(with_json())
ENDS_WELL = {
    "ls": ["ls"],
    "doctor": ["doctor"],
    "cache ls": ["cache", "ls"],
    "cache prune": ["cache", "prune"],
    "measure": ["measure", "v.npy", "--metric=effective_rank,uniformity"],
    "audit": ["audit", "--published=numbers.json"],
    "corpus build": ["corpus", "build", "text.txt", "--tokenizer=train:100"],
}
FAILS = {
    "analyze": ["analyze", "nosuch/folder/model", "--task=controlled"],
    "compare": ["compare", "one"],
    "audit": ["audit", "--published=nosuch.json"],
    "measure": ["measure", "nosuch.npy"],
    "gate": ["gate", "nosuch/folder/model", "--baseline=nosuch", "--task=controlled"],
    "track": ["track", "nosuch/folder/model"],
    "card": ["card", "nosuch"],
    "plan": ["plan", "--pilot=nosuch"],
    "report": ["report", "nosuch"],
    "replicate": ["replicate", "nosuch.toml"],
    "corpus build": ["corpus", "build", "nosuch.txt"],
    "corpus info": ["corpus", "info", "nosuch"],
    "pretrain": ["pretrain", "--preset=nosuch"],
    "demo": ["demo", "--out=v.npy"],
    "ls": ["ls", "nosuch"],
    "cache prune": ["cache", "prune", "--kind=nosuch"],
}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """The folder that commands run in: vectors, texts, a results folder and a file of published numbers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    np.save("v.npy", np.random.default_rng(0).normal(size=(20, 4)))
    Path("text.txt").write_text("".join(f"the cat {i} sat on the mat\n" for i in range(200)), encoding="utf-8")
    numbers = {f"sst2/{model}/mean": {"uniformity": -2.0, "effective_rank": 20.0} for model in ("mlm", "hybrid")}
    Path("numbers.json").write_text(json.dumps(numbers), encoding="utf-8")
    return tmp_path


def run(*words: str) -> tuple[dict, int, str]:
    done = CliRunner().invoke(app, [*words, "--json"])
    document = json.loads(done.stdout)
    assert list(document)[:4] == ENVELOPE
    assert document["exit_code"] == done.exit_code
    assert document["geomprobe_version"] == geomprobe.__version__
    return document, done.exit_code, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_an_error_of_that_command(command):
    document, code, stderr = run(*command.split(), "--no-such-option")
    assert (document["command"], code) == (command, 2)
    assert "--no-such-option" in document["error"]["message"]
    assert document["error"]["message"] in stderr
    assert list(document) == ENVELOPE


@pytest.mark.parametrize("command", FAILS)
def test_what_fails_says_why_in_the_document_and_on_stderr(stage, command):
    document, code, stderr = run(*FAILS[command])
    assert document["command"] == command
    assert code in (2, 3)
    assert f"error: {document['error']['message']}\n" in stderr
    assert document["error"]["hint"] is None or document["error"]["hint"] in stderr


@pytest.mark.parametrize("command", ENDS_WELL)
def test_what_ends_well_has_the_keys_of_the_page(stage, command):
    document, code, _ = run(*ENDS_WELL[command])
    assert document["command"] == command
    assert document["error"] is None
    assert code == 0
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    keys = next(set(re.findall(r"`(\w+)`", row[2])) for row in rows if f"`{command}`" in row[1])
    assert keys & set(document)
    if command in ("cache prune", "measure"):
        assert keys == set(document) - set(ENVELOPE)
    if command in ("ls", "doctor", "cache ls", "measure"):
        assert isinstance(document["results"], list)


def test_every_command_is_on_the_page_and_tried():
    page = PAGE.read_text(encoding="utf-8")
    assert {name for name in COMMANDS if f"`{name}`" not in page} == set()
    assert set(COMMANDS) == {*FAILS, *ENDS_WELL}


def test_an_error_after_the_result_keeps_the_result(stage, monkeypatch):
    def gone(path):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(typer, "launch", gone)
    write_results(stage / "results", make_results(tasks=("sst2",), poolings=("mean",)))
    document, code, _ = run("report", "results", "--html", "--open")
    assert code == 1
    assert "disk is full" in document["error"]["message"]
    assert document["html"].endswith("report.html")


@pytest.mark.parametrize("words", [["nosuch"], [], ["cache"], ["--nosuch", "measure"]])
def test_a_line_that_names_no_command(words):
    document, code, _ = run(*words)
    assert code == 2
    assert document["command"] == ("cache" if words == ["cache"] else "")


def test_help_is_no_document():
    done = CliRunner().invoke(app, ["measure", "--json", "--help"])
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage:")


def test_only_the_first_process_of_a_job_prints_an_error(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    done = CliRunner().invoke(app, ["measure", "nosuch.npy", "--json"])
    assert (done.exit_code, done.stdout) == (3, "")
