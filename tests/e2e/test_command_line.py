"""The whole way through the command: text in, two checkpoints, geometry, a report out; and what goes wrong.

`run` starts the real command: for each step of the way, and for each exit code. `inside` gives the same words to the
same command in this process, where nothing need be imported again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from geomprobe.cli.main import app

GEOMPROBE = Path(sys.executable).parent / "geomprobe"
WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state"]


def run(command, cwd, cache, check=True, **env):
    """Run `geomprobe <command>` in `cwd` without a hub and return the finished process."""
    done = subprocess.run(
        [str(GEOMPROBE), *shlex.split(command)],
        cwd=cwd,
        env={**os.environ, "GEOMPROBE_CACHE": str(cache), "HF_HUB_OFFLINE": "1", **env},
        capture_output=True,
        text=True,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def inside(command, cwd, cache, check=True, **env):
    """The same as `run` in this process."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, shlex.split(command), env={"GEOMPROBE_CACHE": str(cache), **env})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert not check or done.exit_code == 0, done.output
    return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)


def fails(done, code, *said):
    """Assert an exit code, a short message with the given parts, and no traceback."""
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    errors = done.stderr[done.stderr.index("rror") :] if "rror" in done.stderr else done.stderr
    assert len(errors.splitlines()) <= 6, done.stderr
    for part in said:
        assert re.search(part, done.stderr), f"{part!r} not in {done.stderr!r}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of text: 300 documents of random sentences over a small vocabulary."""
    import random

    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("text")
    documents = [
        " ".join(
            f"The {rng.choice(WORDS)} of the {rng.choice(WORDS)} saw a {rng.choice(WORDS)} number {i}."
            for _ in range(12)
        )
        for i in range(300)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    return folder


TINY = (
    "--preset demo --tokenizer train:512 --set hidden=32 --set heads=2 --set intermediate=32 "
    "--set row_length=32 --set batch_rows=8 --set compile=no"
)
COMPARE = "compare mlm hybrid --task controlled --pool mean,attention --limit 60 --baseline random-init --out results"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, corpus, cache):
    """Two tiny checkpoints made by the command."""
    folder = tmp_path_factory.mktemp("runs")
    for kind, make in (("hybrid", run), ("mlm", inside)):
        make(f"pretrain --objective {kind} --corpus {corpus} --out {kind} --budget 30-steps {TINY}", folder, cache)
    return folder


@pytest.fixture(scope="module")
def compared(checkpoints, cache):
    """A results folder with both reports, made by the command."""
    run(COMPARE, checkpoints, cache)
    return checkpoints / "results"


def test_help_lists_the_commands(tmp_path, cache):
    done = run("--help", tmp_path, cache)
    for command in ("pretrain", "analyze", "compare", "report", "card", "demo", "ls", "doctor", "corpus", "cache"):
        assert re.search(rf"^\s+{command}\b", done.stdout, re.M)


@pytest.mark.parametrize("kind", ["tasks", "metrics", "poolings", "objectives", "presets"])
def test_ls_prints_json(tmp_path, kind, cache):
    rows = json.loads(inside(f"ls {kind} --json", tmp_path, cache).stdout)["results"]
    assert len(rows) >= 3


def test_doctor_finds_nothing_broken(tmp_path, cache):
    rows = json.loads(run("doctor --json", tmp_path, cache).stdout)["results"]
    assert not [row for row in rows if row["state"] == "broken"]


def test_compare_writes_the_whole_results_folder(compared):
    names = {path.name for path in compared.iterdir()}
    assert {
        "results.parquet", "results.csv", "comparisons.parquet", "curves.parquet", "examples.parquet",
        "similarities.parquet", "definitions.json", "training", "run.json", "report.html", "report.pdf", "report.json",
    } <= names  # fmt: skip
    run_json = json.loads((compared / "run.json").read_text())
    assert [model["objective"] for model in run_json["models"]] == ["mlm", "hybrid", None]
    assert run_json["failed_cells"] == 0
    assert "/" not in run_json["models"][0]["source"]
    assert (compared / "report.pdf").read_bytes().startswith(b"%PDF")


def test_every_number_has_its_definition(compared):
    import pandas as pd

    frame = pd.read_parquet(compared / "results.parquet")
    definitions = json.loads((compared / "definitions.json").read_text())
    assert set(frame["metric"]) <= set(definitions)
    for entry in definitions.values():
        assert entry["formula"]
        assert entry["source"]
    assert set(frame["pooling"]) == {"mean", "attention"}
    assert set(frame["status"]) <= {"ok", "not applicable", "too few rows"}
    probes = frame[frame["metric"] == "semantic_accuracy"]
    assert {"majority"} <= set(probes["control"].dropna())


def test_differences_are_b_minus_a_without_a_verdict_that_has_no_interval(compared):
    import pandas as pd

    frame = pd.read_parquet(compared / "comparisons.parquet")
    assert len(frame) > 50
    wanted = frame["value_b"] - frame["value_a"]
    rounding = wanted.abs() <= 1e-9 * frame[["value_a", "value_b"]].abs().max(axis=1)
    assert ((frame["diff"] == wanted) | ((frame["diff"] == 0) & rounding))[wanted.notna()].all()
    # a score interval, of accuracies that few examples tell apart, has no standard error
    assert set(frame.loc[frame["ci_low"].isna(), "verdict"]) <= {"no valid interval, no verdict"}
    without = frame["se"].isna() & frame["ci_low"].notna()
    assert frame.loc[without, "ci_method"].str.startswith("score interval").all()


def test_what_training_gave_is_compared_too(compared):
    import pandas as pd

    frame = pd.read_parquet(compared / "comparisons.parquet")
    sides = list(frame.groupby(["a", "b"], sort=False).groups)
    assert sides == [("mlm", "hybrid"), ("random-init", "mlm"), ("random-init", "hybrid")]
    spread = frame[(frame["metric"] == "uniformity") & (frame["view"] == "centred")]
    assert spread.groupby(["a", "b"])["ci_low"].apply(lambda low: low.notna().all()).to_list() == [True] * 3
    assert json.loads((compared / "run.json").read_text())["compared"] == ["mlm", "hybrid"]


def test_same_command_again_reuses_every_cell(compared, checkpoints, cache):
    import pandas as pd

    before = pd.read_parquet(compared / "results.parquet")
    stamps = {p: p.stat().st_mtime_ns for p in (compared / "cells").rglob("*.parquet")}
    inside(COMPARE, checkpoints, cache)
    assert {p: p.stat().st_mtime_ns for p in (compared / "cells").rglob("*.parquet")} == stamps
    pd.testing.assert_frame_equal(pd.read_parquet(compared / "results.parquet"), before)


def test_report_is_rebuilt_from_the_folder_alone(compared, tmp_path, cache):
    copy = tmp_path / "copy"
    shutil.copytree(compared, copy, ignore=shutil.ignore_patterns("cells", "report.*"))
    inside(f"report {copy} --html --pdf", tmp_path, cache)
    assert (copy / "report.html").read_bytes() == (compared / "report.html").read_bytes()
    assert (copy / "report.pdf").read_bytes() == (compared / "report.pdf").read_bytes()


def test_analyze_json_is_one_document(checkpoints, tmp_path, cache):
    done = inside(f"analyze {checkpoints / 'mlm'} --task controlled --limit 40 --out r --json", tmp_path, cache)
    assert json.loads(done.stdout)["failed_cells"] == 0


@pytest.mark.thorough
def test_all_poolings(checkpoints, tmp_path, cache):
    import pandas as pd

    inside(f"analyze {checkpoints / 'hybrid'} --pool all --task controlled --limit 80 --out r", tmp_path, cache)
    frame = pd.read_parquet(tmp_path / "r" / "results.parquet")
    assert set(frame["pooling"]) == {"mean", "max", "weighted", "attention", "cls", "last"}
    assert set(frame["status"]) <= {"ok", "not applicable", "too few rows"}


def test_real_sentence_transformer(minilm, tmp_path, cache):
    inside(f"analyze {minilm} --pool max --task controlled --limit 30 --out r", tmp_path, cache)
    run_json = json.loads((tmp_path / "r" / "run.json").read_text())
    assert run_json["models"][0]["dim"] == 384


# ---- what goes wrong ----


def test_missing_model_folder(tmp_path, cache):
    fails(run("analyze no/such/folder --task controlled", tmp_path, cache, check=False), 3, "no/such/folder")
    assert not (tmp_path / "runs").exists()


def test_no_hub(tmp_path, cache):
    done = inside("analyze some-org/some-model --task controlled", tmp_path, cache, check=False)
    fails(done, 3, "some-org/some-model", "hub")
    assert not (tmp_path / "runs").exists()


def test_tasks_without_data_and_hub(checkpoints, tmp_path, cache):
    model = checkpoints / "mlm"
    done = inside(f"analyze {model}", tmp_path, cache, check=False, GEOMPROBE_DATA="")
    fails(done, 3, "hub", "--data|controlled")
    fails(inside(f"analyze {model} --data nowhere", tmp_path, cache, check=False), 3, "nowhere")


def test_unknown_names(checkpoints, tmp_path, cache):
    model = checkpoints / "mlm"
    wrong = {
        f"analyze {model} --pool meen --task controlled": "'mean'",
        f"analyze {model} --task controled": "'controlled'",
        f"analyze {model} --task controlled --layer 99": "layer 99",
        f"analyze {model} --task controlled --layer top": "--layer",
        f"analyze {model} --task controlled --device warp": "warp",
        "pretrain --objective mlmm": "mlm",
        "pretrain --preset smal": "'small'",
        "pretrain --set learning=1": "learning",
        "ls poolngs": "'poolings'",
    }
    for command, said in wrong.items():
        fails(inside(command, tmp_path, cache, check=False), 2, said)
    fails(run("ls poolngs", tmp_path, cache, check=False), 2, "'poolings'")
    assert list(tmp_path.iterdir()) == []


def test_damaged_weights(checkpoints, tmp_path, cache):
    broken = tmp_path / "broken"
    shutil.copytree(checkpoints / "mlm", broken)
    weights = broken / "model-00001-of-00002.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = inside("analyze broken --task controlled --out r", tmp_path, cache, check=False)
    fails(done, 3, weights.name, "damaged|incomplete")
    assert not (tmp_path / "r").exists()


def test_corpora_that_are_none(tmp_path, cache):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_text("A single document of a few words.")
    for corpus in ("absent", "empty", "one"):
        done = inside(f"pretrain --corpus ./{corpus} --out ckpt {TINY}", tmp_path, cache, check=False)
        fails(done, 3, corpus)
        assert not (tmp_path / "ckpt").exists()


def test_files_called_pretrain_and_reports_in_the_current_folder_are_not_run(tmp_path, cache):
    for name in ("pretrain", "reports"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong file ran')\n")
    run("ls objectives", tmp_path, cache, PYTHONPATH=str(tmp_path))
    code = "import geomprobe as gp; print(gp.write_report.__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "geomprobe.reports.write\n"


def test_unfinished_and_foreign_folders_make_no_report(tmp_path, cache):
    (tmp_path / "r").mkdir()
    fails(inside("report r", tmp_path, cache, check=False), 3, "run.json")
    fails(inside("report absent", tmp_path, cache, check=False), 3, "absent")
    assert list((tmp_path / "r").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk(checkpoints, corpus, tmp_path, cache):
    """On a file system of 1 MB the commands say that the disk is full and leave nothing that looks finished."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        train = f"pretrain --objective mlm --corpus {corpus} --out disk/ckpt --budget 2-steps {TINY} --set hidden=256"
        fails(inside(train, tmp_path, cache, check=False), 1, "disk is full|No space")
        assert not list((disk / "ckpt").glob("*.safetensors"))
        (disk / "filler").write_bytes(b"0" * 900_000)
        measure = f"analyze {checkpoints / 'mlm'} --task controlled --limit 60 --out disk/r"
        fails(inside(measure, tmp_path, cache, check=False), 1, "disk is full|No space")
        assert not (disk / "r" / "run.json").exists()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


# Ctrl-C while step 7 is written to the log, whatever else the machine does.
INTERRUPTED = """
import os, signal
from geomprobe.common import training_log
from geomprobe.__main__ import main

write = training_log.TrainingLog.write
def write_and_interrupt(log, line):
    write(log, line)
    if line["step"] == 6:
        os.kill(os.getpid(), signal.SIGINT)
training_log.TrainingLog.write = write_and_interrupt
main()
"""


def test_an_interrupted_training_exits_with_130_and_goes_on(tmp_path, corpus, cache):
    command = f"pretrain --objective mlm --corpus {corpus} --out run --budget 60-steps {TINY} --set log_every=1"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *shlex.split(command)],
        cwd=tmp_path,
        env={**os.environ, "GEOMPROBE_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "Stopped at step 7 of 60; the state is saved. Go on with --resume" in done.stderr
    again = inside(f"{command} --resume", tmp_path, cache)
    assert "run" in again.stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"]
