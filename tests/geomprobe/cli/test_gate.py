"""`geomprobe gate`: four candidates, their exit codes and documents; rows, policies and files that are refused."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from geomprobe.analysis.analyze import analyze
from geomprobe.cli.main import app
from geomprobe.tasks import load_file
from tests.geomprobe.conftest import WORDS, tiny_model, word_tokenizer

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs" / "examples" / "gate"


def candidates():
    """Return the baseline and its candidates: rounded to bfloat16, collapsed into a cone, slightly other weights."""
    base = tiny_model("bert")
    rounded, collapsed, other = (copy.deepcopy(base) for _ in range(3))
    for parameter in rounded.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(torch.float32)
    norm = collapsed.encoder.layer[-1].output.LayerNorm
    norm.weight.data *= 0.05
    norm.bias.data += 1.0
    torch.manual_seed(1)
    for parameter in other.parameters():
        parameter.data += 0.1 * parameter.std() * torch.randn_like(parameter)
    return {"base": base, "rounded": rounded, "collapsed": collapsed, "other": other}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with models, rows and results: of each model on 240 rows, of two on the first 60 (-60)."""
    folder = tmp_path_factory.mktemp("gate")
    rng, words = np.random.default_rng(0), [word for word in WORDS if word.isalpha()]
    texts = list(dict.fromkeys(" ".join(rng.choice(words, 8)) for _ in range(260)))[:240]
    lines = [f"{text},{int('cat' in text.split())}\n" for text in texts]
    (folder / "reviews.csv").write_text("text,label\n" + "".join(lines))
    task = load_file(str(folder / "reviews.csv"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        for name, model in candidates().items():
            model.save_pretrained(folder / name)
            word_tokenizer().save_pretrained(folder / name)
            how = {"cells": folder / "cells", "maps": False}
            analyze([folder / name], [task], ["mean"], out=folder / f"{name}-results", **how)
            if name in ("base", "other"):
                analyze([folder / name], [task], ["mean"], out=folder / f"{name}-60", limit=60, **how)
    return folder


@pytest.fixture
def gate(place, monkeypatch, tmp_path):
    """Return a function that runs the gate in the folder with the results, and a folder for what it writes."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("GEOMPROBE_CACHE", str(place / "cache"))

    def run(*words, out=tmp_path / "out"):
        done = CliRunner().invoke(app, ["gate", *map(str, words), "--out", str(out)])
        assert not isinstance(done.exception, Exception), done.exception
        return done

    return run


FOUR = {
    "itself": ("base-results", "base-results", 0, "passed"),
    "rounded to bfloat16": ("base-results", "rounded-results", 0, "passed"),
    "collapsed": ("base-results", "collapsed-results", 5, "failed"),
    "60 rows of another": ("base-60", "other-60", 6, "cannot tell"),
}


@pytest.mark.parametrize("case", FOUR)
def test_four_candidates(gate, case, tmp_path):
    baseline, candidate, code, outcome = FOUR[case]
    done = gate("--baseline", baseline, candidate, "--format", "md")
    assert done.exit_code == code
    assert done.stdout.startswith(f"**Gate {outcome}: ")
    table = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    page = (ROOT / "docs" / "how-to" / "gate-a-release.md").read_text(encoding="utf-8")
    assert done.stdout.splitlines()[0] in page, "the page shows each outcome"
    assert len(table) == 5
    assert (tmp_path / "out" / "gate.md").read_text(encoding="utf-8").strip() == done.stdout.strip()
    document = json.loads((tmp_path / "out" / "gate.json").read_text(encoding="utf-8"))
    assert (document["outcome"], document["exit_code"]) == (outcome, code)
    assert sum(document["counts"].values()) == len(document["checks"]) == 5
    if case == "collapsed":
        failed = [check["metric"] for check in document["checks"] if check["outcome"] == "failed"]
        assert "uniformity" in failed
        assert "mean_cosine" in failed
        assert table[0].startswith("| **failed** |"), "what failed stands first"
        assert "| **failed** | uniformity (raw) |" in page
    if case == "itself":
        assert all(check["estimate"] == check["ci_low"] == check["ci_high"] == 0 for check in document["checks"])


def test_junit_and_json_say_the_same(gate):
    xml = gate("--baseline", "base-results", "collapsed-results", "--format", "junit")
    document = json.loads(gate("--baseline", "base-results", "collapsed-results", "--json").stdout)
    root = ElementTree.fromstring(xml.stdout)
    counts = document["counts"]
    assert (root.get("tests"), root.get("failures")) == (str(sum(counts.values())), str(counts["failed"]))
    assert len(root.findall(".//failure")) == counts["failed"]
    assert len(root.findall(".//error")) == counts["cannot tell"]
    (task,) = document["tasks"]
    assert task["fingerprint"] in load_file("reviews.csv").fingerprint


def test_the_terminal_gets_twenty_lines_at_most(gate):
    done = gate("--baseline", "base-results", "collapsed-results")
    lines = done.stdout.splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines[:-1])) <= 120
    assert "failed (collapsed − base, 95 % intervals):" in lines


def test_a_counted_look_is_said_everywhere(gate):
    done = gate("--baseline", "base-results", "rounded-results", "--look", 7)
    assert done.exit_code == 0, done.output
    assert "rounded against base, look 7, 5 checks" in done.stdout
    assert "99.911 % intervals" in done.stdout
    document = json.loads(gate("--baseline", "base-results", "rounded-results", "--look", 7, "--json").stdout)
    assert (document["look"], document["level"]) == (7, pytest.approx(1 - 0.05 / 56))
    page = gate("--baseline", "base-results", "rounded-results", "--look", 1000, "--format", "md").stdout
    assert "look 1,000" in page
    assert "estimate, 99.9999950 %" in page
    assert gate("--baseline", "base-results", "rounded-results", "--look", 0).exit_code == 2


def test_a_model_is_measured_as_the_finished_side_was(gate, tmp_path):
    done = gate("--baseline", "base-60", "base", "--task", "reviews.csv")
    assert done.exit_code == 0, done.output
    assert "as base-60 was measured: --limit 60 --pool mean --layer -1" in done.stderr
    assert (tmp_path / "out" / "measured" / "run.json").is_file()
    assert json.loads((tmp_path / "out" / "gate.json").read_text())["counts"]["passed"] == 5


def test_long_texts_are_read_as_those_of_the_finished_side(gate, place, tmp_path):
    """Windows on one side and cut texts on the other would be a difference of the reading, not of the models."""
    text = (place / "reviews.csv").read_text().replace(",", f"{' the cat' * 40},").splitlines()[:60]
    (tmp_path / "long.csv").write_text("\n".join(["text,label", *text[1:]]) + "\n")
    task = load_file(str(tmp_path / "long.csv"))
    analyze([place / "base"], [task], ["mean"], long="chunk", maps=False, out=tmp_path / "base-long")
    words = ["--baseline", str(tmp_path / "base-long"), "base", "--task", str(tmp_path / "long.csv")]
    done = gate(*words)
    assert done.exit_code == 0, done.output
    assert "--long chunk" in done.stderr
    refused = gate(*words, "--long", "cut")
    assert refused.exit_code == 2
    assert "was measured with --long chunk, not cut" in refused.stderr


def test_two_models_are_measured_and_may_be_the_same(gate):
    done = gate("--baseline", "base", "base", "--task", "reviews.csv", "--limit", "60")
    assert done.exit_code == 0, done.output


def test_other_rows_are_refused_before_anything_is_measured(gate, monkeypatch, tmp_path):
    monkeypatch.setattr("geomprobe.cli.gate.run_grid", lambda *_, **__: pytest.fail("it measures"))
    done = gate("--baseline", "base-results", "base", "--task", "reviews.csv", "--limit", "60")
    assert done.exit_code == 2
    assert "Differences are paired row by row" in done.output
    assert "made by:" in done.output
    assert not (tmp_path / "out").exists()
    done = gate("--baseline", "base-results", "base")
    assert done.exit_code == 2
    assert "not built in" in done.output
    done = gate("--baseline", "base-results", "base", "--task", "controlled")
    assert done.exit_code == 2
    assert "has none of the tasks controlled" in done.output
    done = gate("--baseline", "base-results", "base-60")
    assert (done.exit_code, "The rows of reviews are not the same" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("[uniformty]\nequivalent_within = 0.1", "Did you mean 'uniformity'?"),
        ("[uniformity.row]\nequivalent_within = 0.1", "Did you mean 'raw'?"),
        ("[uniformity]\nequivalent_witin = 0.1", "Did you mean 'equivalent_within'?"),
        ("[uniformity]\nequivalent_within = -0.1", "[uniformity] equivalent_within must be a positive number"),
        ("[uniformity]\nequivalent_within = nan", "must be a positive number"),
        ("[uniformity]\nequivalent_within = true", "must be a positive number"),
        ('[effective_rank]\nequivalent_within = "90%"', "too wide"),
        ("[uniformity]\nno_worse_than = 0.1", "neither better nor worse"),
        ('[uniformity]\nno_worse_than = 0.1\nworse = "up"', '"lower" or "higher"'),
        ('[uniformity]\nequivalent_within = 0.1\nworse = "lower"', "no rule asks for it"),
        ('[hubness_skew]\nequivalent_within = "declared"', "no margin is declared"),
        ("[semantic_accuracy]\nnot_below = '0.7'", "must be a number"),
        ("[uniformity_reference]\nnot_below = 1", "not compared by"),
        ("[uniformity]\nequivalent_within = 0.1\n[uniformity.raw]\nequivalent_within = 0.1", "single views, too"),
        ("[uniformity]\nif_measured = true", "has no rule"),
        ("uniformity = 3", "must be a table"),
        ("", "no rule"),
        ("[uniformity", "is not TOML"),
    ],
)
def test_a_policy_is_refused_by_name(gate, tmp_path, policy, says):
    (tmp_path / "p.toml").write_text(policy)
    done = gate("--baseline", "base-results", "base-results", "--policy", tmp_path / "p.toml")
    assert done.exit_code == (3 if "TOML" in says else 2)
    assert says in done.output
    assert "p.toml" in done.output
    assert not (tmp_path / "out").exists()


def test_a_policy_of_ones_own(gate, tmp_path):
    done = gate("--baseline", "base-results", "collapsed-results", "--policy", EXAMPLES / "policy.toml", "--json")
    checks = {(each["metric"], each["rule"]): each for each in json.loads(done.stdout)["checks"]}
    assert checks["mean_cosine", "no_worse_than"]["outcome"] == "failed"
    assert checks["mean_cosine", "no_worse_than"]["least"] is None
    assert checks["semantic_accuracy", "not_below"]["least"] == 0.5
    assert done.exit_code == 5
    (tmp_path / "p.toml").write_text("[lidar]\nnot_below = 3\n")
    done = gate("--baseline", "base-results", "base-results", "--policy", tmp_path / "p.toml")
    assert done.exit_code == 6, "what no cell has is not passed in silence"
    assert "no cell has it" in done.output


def test_what_has_no_interval_is_skipped_and_counted(gate, tmp_path):
    (tmp_path / "p.toml").write_text("[hubness_skew]\nequivalent_within = 9\n[mean_cosine]\nequivalent_within = 0.1")
    words = ("--baseline", "base-results", "rounded-results", "--policy", tmp_path / "p.toml", "--json")
    document = json.loads(gate(*words).stdout)
    assert document["counts"]["skipped"] == 1
    assert document["exit_code"] == 0
    (tmp_path / "p.toml").write_text("[hubness_skew]\nequivalent_within = 9\n")
    done = gate(*words)
    assert done.exit_code == 6, "nothing was decided"


def test_formats_and_missing_files(gate):
    assert "Unknown format" in gate("--baseline", "base-results", "base-results", "--format", "xml").output
    done = gate("--baseline", "base-results", "base-results", "--format", "junit", "--json")
    assert (done.exit_code, "--json and --format junit" in done.output) == (2, True)
    assert gate("--baseline", "base-results", "nowhere/x/y").exit_code in (2, 3)
    assert gate("--baseline", "base-results", "base-results", "--policy", "none.toml").exit_code == 3
    assert gate("--baseline", "base-results", "base-60", out="base-60").exit_code == 2
    assert gate("--baseline", "base-results", "base-results", "--limit", "9").exit_code == 2


def program(place, tmp_path):
    """Return an environment in which `geomprobe` is a command."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "geomprobe").write_text(f'#!/bin/sh\nexec {sys.executable} -m geomprobe "$@"\n')
    (tools / "geomprobe").chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "GEOMPROBE_CACHE": str(place / "cache")}


@pytest.mark.parametrize(
    ("candidate", "code"),
    [pytest.param("rounded-results", 0, marks=pytest.mark.thorough), ("collapsed-results", 5)],
)
@pytest.mark.skipif(not shutil.which("bash"), reason="the action's shell is bash")
def test_the_github_action(place, tmp_path, candidate, code):
    """Its step is run as GitHub runs it, with inputs in the environment."""
    yaml = pytest.importorskip("yaml")
    action = yaml.safe_load((EXAMPLES / "action.yml").read_text())
    workflow = yaml.safe_load((EXAMPLES / "workflow.yml").read_text())
    (use,) = (step for step in workflow["jobs"]["gate"]["steps"] if step.get("uses") == "./.github/actions/gate")
    assert set(use["with"]) <= set(action["inputs"])
    assert {name for name, entry in action["inputs"].items() if entry.get("required")} <= set(use["with"])
    (step,) = action["runs"]["steps"]
    given = {"candidate": candidate, "baseline": "base-results", "arguments": "", "out": str(tmp_path / "a b")}
    inputs = {
        key: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], text)
        for key, text in step["env"].items()
    }
    summary = tmp_path / "summary.md"
    env = {**program(place, tmp_path), **inputs, "GITHUB_STEP_SUMMARY": str(summary)}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(shell, cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert summary.read_text(encoding="utf-8").startswith("**Gate ")
    assert (tmp_path / "a b" / "gate.xml").is_file()


@pytest.mark.thorough
def test_the_pre_commit_hook(place, tmp_path):
    """The example in a repository of its own: a commit with a collapsed model is refused."""
    pytest.importorskip("pre_commit", reason="pre-commit is not installed (extra lint)")
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    repository = tmp_path / "repository"
    shutil.copytree(place / "base-60", repository / "gate" / "baseline")
    shutil.copytree(place / "collapsed", repository / "model")
    shutil.copy(place / "reviews.csv", repository / "gate")
    shutil.copy(EXAMPLES / "policy.toml", repository / "gate")
    shutil.copy(EXAMPLES / "pre-commit-config.yaml", repository / ".pre-commit-config.yaml")
    env = {**program(place, tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}

    def run(*words):
        return subprocess.run(words, cwd=repository, env=env, capture_output=True, text=True)

    run("git", "init", "-q")
    run("git", "add", "-A")
    done = run(sys.executable, "-m", "pre_commit", "run", "geomprobe-gate")
    assert done.returncode == 1
    assert "exit code: 5" in done.stdout, done.stdout
    assert "failed: " in done.stdout
