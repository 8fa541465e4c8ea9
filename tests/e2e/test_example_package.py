"""The example package of docs/examples, installed offline into a folder of its own and used by the real commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.geomprobe.conftest import tiny_model, word_tokenizer

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "geomprobe-example"


@pytest.mark.slow
def test_the_example_package_is_installed_listed_and_used(tmp_path):
    pytest.importorskip("setuptools", minversion="70.1", reason="the example is built by setuptools 70.1 or later")
    pytest.importorskip("pip")
    shutil.copytree(EXAMPLE, tmp_path / "source")  # building leaves files beside it
    place = {"PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1", "GEOMPROBE_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | place, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    offline = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run("pip", "install", *offline, "--target", "site", "./source")
    for kind, name in (("metrics", "mean_length"), ("tasks", "plurals"), ("poolings", "median")):
        listed = {
            row[kind[:-1]]: row["package"] for row in json.loads(run("geomprobe", "ls", kind, "--json"))["results"]
        }
        assert listed.pop(name) == "geomprobe-example 0.1"
        assert set(listed.values()) == {"geomprobe"}

    tiny_model("bert").save_pretrained(tmp_path / "encoder")
    word_tokenizer().save_pretrained(tmp_path / "encoder")
    run("geomprobe", "analyze", "encoder", "--task", "plurals", "--pool", "median", "--out", "results")
    run_json = json.loads((tmp_path / "results" / "run.json").read_text())
    package = {"package": "geomprobe-example", "version": "0.1"}
    assert [entry["kind"] for entry in run_json["plugins"]] == ["metric", "task", "pooling"]
    assert all(entry | package == entry for entry in run_json["plugins"])
    found = pd.read_parquet(tmp_path / "results" / "results.parquet").query("metric == 'mean_length'").iloc[0]
    assert (found["task"], found["pooling"], found["ci_method"]) == ("plurals", "median", "influence function")

    Z = np.random.default_rng(0).normal(size=(50, 4))
    np.save(tmp_path / "vectors.npy", Z)
    measured = json.loads(run("geomprobe", "measure", "vectors.npy", "--metric", "mean_length", "--json"))
    assert measured["results"][0]["value"] == pytest.approx(np.linalg.norm(Z, axis=1).mean())
    assert measured["definitions"]["mean_length"]["formula"] == "mean ‖x‖"
    assert "3 passed" in run("pytest", "-q", "source/tests")
