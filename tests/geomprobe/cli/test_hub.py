"""Commands on models and data of a stand-in hub, through the real clients: each bad answer ends in a short message."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from geomprobe.cli.main import app
from tests.hub import CUT, GATED, Repository

COMMITS = {"step10": "1" * 40, "step20": "2" * 40, "step100": "3" * 40, "main": "3" * 40}
PRETRAIN = (
    "pretrain --objective mlm --preset demo --corpus me/data --tokenizer train:120 --budget 4-steps --out run "
    "--set layers=1 --set hidden=32 --set heads=2 --set intermediate=32 --set row_length=32 --set batch_rows=4 "
    "--set warmup_steps=1 --set compile=no --set eval_rows=4"
)
TRACK = "track me/bert --revisions 'step*' --task small.csv --out followed"


@pytest.fixture
def shop(hub, training, small_task, tmp_path, monkeypatch):
    """The hub with three revisions of me/bert, a corpus me/data and a task me/small; in a new working folder."""
    import datasets

    files = {}
    for commit, step in (("1" * 40, 10), ("2" * 40, 20), ("3" * 40, 100)):
        folder = training / f"checkpoint-{step}"
        files[commit] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    hub.repositories["me/bert"] = Repository(dict(COMMITS), files, tags=("step10",))
    lines = small_task.read_text().splitlines()
    texts_alone = "".join(line.partition(",")[0] + "\n" for line in lines).encode()  # without labels: no probes
    texts = pd.DataFrame({"text": [f"the cat saw bird {i} and a dog sat on the red mat" for i in range(200)]})
    data = {"data/train-00000-of-00001.parquet": texts.to_parquet()}
    hub.repositories["datasets/me/data"] = Repository({"main": "d" * 40}, {"d" * 40: data})
    hub.repositories["datasets/me/small"] = Repository({"main": "e" * 40}, {"e" * 40: {"validation.csv": texts_alone}})
    (tmp_path / "small.csv").write_bytes(texts_alone)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # clients wait between their tries
    return hub


def call(command: str, code: int = 0):
    """Run a command in this process; it must end with this code, without a traceback."""
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def run_of(folder: str) -> dict:
    return json.loads(Path(folder, "run.json").read_text(encoding="utf-8"))


def test_a_revision_is_analysed_and_found_again_offline(shop, monkeypatch):
    for revision, commit in (("step10", "1" * 40), ("main", "3" * 40)):
        call(f"analyze me/bert@{revision} --task me/small --out {revision}")
        entry = run_of(revision)["models"][0]
        assert (entry["revision"], entry["source"]) == (commit, f"me/bert@{revision}")
    assert run_of("step10")["models"][0]["hash"] != run_of("main")["models"][0]["hash"]
    assert run_of("main")["tasks"][0]["revision"] == "e" * 40
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = len(shop.asked)
    call("analyze me/bert@step10 --task me/small --out again")
    assert len(shop.asked) == asked
    assert run_of("again")["models"][0]["revision"] == "1" * 40
    said = call("analyze me/bert@step20 --task small.csv --out none", 3).stderr
    assert "is not on this machine, and the hub cannot be reached" in said


def test_a_series_of_revisions(shop, monkeypatch):
    done = call(TRACK)
    run = run_of("followed")
    assert run["series"][0]["steps"] == [10, 20, 100]
    assert [entry["revision"] for entry in run["models"]] == [COMMITS[f"step{n}"] for n in (10, 20, 100)]
    assert len(done.stdout.splitlines()) <= 20
    assert Path("followed/report.html").is_file()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("geomprobe.cli.track.write_reports", lambda output, folder: {})
    assert "these are the cached revisions" in call(f"{TRACK} --json").stderr


def test_a_corpus_is_streamed_and_found_again_offline(shop, monkeypatch):
    call(PRETRAIN)
    run = run_of("run")
    assert run["finished"]
    assert run["corpus"]["source"] == "me/data@" + "d" * 40
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    said = call(PRETRAIN.replace("--out run", "--out again")).stderr
    assert "taken as last seen" in said
    assert run_of("again")["corpus"]["fingerprint"] == run["corpus"]["fingerprint"]


ANALYZE = "analyze me/bert --task small.csv --out r"
FAULTS = [
    ({"api/": 404}, "that you can read", "hf auth login"),
    ({"api/": GATED}, "needs permission", "hf auth login"),
    ({"api/": 401}, "that you can read", "hf auth login"),
    ({"api/": 403}, "needs permission", "hf auth login"),
    ({"api/": 429}, "too many requests: 429", ""),
    ({"api/": 500}, "hub cannot be reached", ""),
    ({"api/": CUT}, "hub cannot be reached", ""),
]


@pytest.mark.parametrize(("faults", "what", "then"), FAULTS, ids=[str(each[0]["api/"]) for each in FAULTS])
@pytest.mark.parametrize("command", [ANALYZE, TRACK, PRETRAIN, "analyze me/bert --task me/small --out r"])
def test_an_answer_that_is_nothing_to_work_with(shop, command, faults, what, then):
    if "api/" in faults:  # which takes no part in the models that come before a data set
        kind = "api/datasets" if "me/small" in command or "corpus" in command else "api/models"
        shop.faults |= {kind: faults["api/"]}
    if faults["api/"] == 404:
        shop.faults.clear()
        shop.repositories.clear()
    said = call(command, 3).stderr
    assert what in said
    assert then in said
    errors = said[said.index("error:") :]
    assert len(errors.splitlines()) == 2
    assert len(errors) < 700


@pytest.mark.parametrize(("command", "fault"), [(ANALYZE, 429), (ANALYZE, CUT), (ANALYZE, 500), (TRACK, CUT)])
def test_a_download_that_breaks_off_goes_on(shop, monkeypatch, command, fault):
    monkeypatch.setattr("geomprobe.cli.track.write_reports", lambda output, folder: {})
    shop.faults["model.safetensors"] = fault
    said = call(command, 3).stderr
    assert "could not be downloaded" in said
    assert "Run the same command again" in said
    shop.faults.clear()
    call(command)


@pytest.mark.parametrize("fault", [429, CUT, 500])
def test_a_stream_that_breaks_off_goes_on(shop, fault):
    shop.faults["train-00000"] = fault
    assert "The connection to the hub broke at document 0" in call(PRETRAIN, 3).stderr
    shop.faults["train-00000"] = [fault, fault]
    call(PRETRAIN)
    assert run_of("run")["finished"]


def test_a_revision_that_is_not_there(shop):
    assert "has no revision 'v9'" in call("analyze me/bert@v9 --task small.csv --out r", 3).stderr
    said = call("track me/bert --revisions 'epoch*' --task small.csv", 2).stderr
    assert "no branch or tag that matches 'epoch*'" in said
    assert "step10, step100, step20" in said
    assert "has no revision 'v9'" in call(PRETRAIN.replace("me/data", "me/data@v9"), 3).stderr


@pytest.mark.slow
def test_the_command_finds_the_hub_by_its_environment(shop, tmp_path):
    found = Path(sys.executable).parent / "geomprobe"
    own = {"HF_ENDPOINT": shop.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    for command in (TRACK, PRETRAIN):
        done = subprocess.run([found, *shlex.split(command)], env=os.environ | own, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert run_of("followed")["series"][0]["steps"] == [10, 20, 100]
