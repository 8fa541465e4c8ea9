"""Entry points of other packages: what is broken or taken is refused in one line, and nothing else notices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.analysis.plan import check_request
from geomprobe.cli.main import app
from geomprobe.common import InputError, UsageError
from geomprobe.embedding.pooling import POOLINGS, make_pooler, pool
from geomprobe.metrics import REGISTRY
from geomprobe.results import Results
from geomprobe.tasks import TASKS, is_file_task, load_task

METRIC = """
import numpy as np
import geomprobe as gp
def metric(name, compute=lambda e: float(np.abs(e.vectors).max())):
    return gp.Metric(name=name, family="own", compute=compute, needs="rows", formula="f", range="[0, ∞)",
                     direction="larger: larger", invariances=(), source="here")
LARGEST = metric("largest")
UNIFORMITY = metric("uniformity")
ACCURACY = metric("semantic_accuracy")
RAISES = metric("raises", lambda e: 1 / 0)
TEXT = "no metric"
"""
ROOT = Path(__file__).parents[3]
Z = np.random.default_rng(0).normal(size=(40, 4))


def listed(kind: str) -> tuple[dict[str, str], list[str]]:
    """Names and packages that `ls` prints, and its warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        done = CliRunner().invoke(app, ["ls", kind, "--json"])
    assert done.exit_code == 0
    return {row[kind[:-1]]: row["package"] for row in json.loads(done.stdout)["results"]}, [
        str(each.message) for each in said
    ]


def checks() -> dict[str, tuple[str, str]]:
    """What `doctor` says of each plug-in."""
    done = CliRunner().invoke(app, ["doctor", "--json"], env={"HF_HUB_OFFLINE": "1"})
    rows = json.loads(done.stdout)["results"]
    assert done.exit_code == int(any(row["state"] == "broken" for row in rows))
    kinds = ("metric ", "task ", "pooling ")
    return {row["check"]: (row["state"], row["detail"]) for row in rows if row["check"].startswith(kinds)}


def test_a_plug_in_is_loaded_when_it_is_asked_for(install):
    install("lazy", "1.0", METRIC, metrics={"largest": "LARGEST"})
    gp.measure(Z, metrics=["effective_rank"], intervals=False)
    assert "lazy" in REGISTRY.owner("largest").package
    assert "lazy" not in sys.modules
    assert gp.measure(Z, metrics=["largest"]).loc[0, "value"] == np.abs(Z).max()
    assert "largest" in set(gp.measure(Z, intervals=False)["metric"])
    assert listed("metrics")[0]["largest"] == "lazy 1.0"
    assert checks() == {"metric largest": ("ok", "lazy 1.0")}


def test_a_plug_in_that_cannot_be_imported_is_named_in_one_line_and_breaks_no_other_run(install):
    points = {"metrics": {"gone": "METRIC"}, "tasks": {"also": "TASK"}, "poolings": {"too": "POOLING"}}
    install("broken", "2.1", "import no_such_module", **points)
    line = "of broken 2.1 (geomprobe.{}: broken:{}) is refused: ModuleNotFoundError: No module named 'no_such_module'"
    said = {
        "metric gone": "the metric 'gone' " + line.format("metrics", "METRIC"),
        "task also": "the task 'also' " + line.format("tasks", "TASK"),
        "pooling too": "the pooling 'too' " + line.format("poolings", "POOLING"),
    }
    assert checks() == {name: ("refused", text) for name, text in said.items()}
    for kind, name in (("metrics", "metric gone"), ("tasks", "task also"), ("poolings", "pooling too")):
        names, warned = listed(kind)
        assert set(names.values()) == {"geomprobe"}
        assert warned == [said[name]]
    for asked, name in (
        (lambda: gp.measure(Z, metrics=["gone"]), "metric gone"),
        (lambda: check_request(["also"]), "task also"),
        (lambda: check_request([], ["too"]), "pooling too"),
    ):
        with pytest.raises(UsageError) as error:
            asked()
        assert error.value.message == said[name]
    install("broken", "2.1", "import no_such_module", **points)
    with pytest.warns(UserWarning, match="'gone' of broken 2.1"):
        assert "effective_rank" in set(gp.measure(Z, intervals=False)["metric"])
    check_request(["controlled"], ["mean"])


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("uniformity", "UNIFORMITY", "geomprobe has one of this name"),
        ("semantic_accuracy", "ACCURACY", "geomprobe has one of this name"),
        ("other", "LARGEST", "ValueError: its record is called 'largest'"),
        ("text", "TEXT", "TypeError: it is of type str, not geomprobe.Metric"),
        ("missing", "MISSING", "AttributeError: module 'pack' has no attribute 'MISSING'"),
        ("a:b", "LARGEST", "a name is of letters, digits, _, - and dots"),
    ],
)
def test_metrics_that_are_refused(install, name, value, reason):
    install("pack", "1.0", METRIC, metrics={name: value})
    names, warned = listed("metrics")
    assert names.get(name, "geomprobe") == "geomprobe"
    assert warned == [f"the metric '{name}' of pack 1.0 (geomprobe.metrics: pack:{value}) is refused: {reason}"]


def test_two_packages_with_one_name_are_both_refused_and_both_named(install):
    install("one", "1.0", METRIC, metrics={"largest": "LARGEST"})
    install("two", "2.0", METRIC, metrics={"largest": "LARGEST"})
    with pytest.raises(UsageError, match=r"one 1\.0 .* two 2\.0 has one of this name|two 2\.0 .* one 1\.0 has one"):
        gp.measure(Z, metrics=["largest"])
    assert "largest" not in listed("metrics")[0]


def test_a_metric_that_raises_is_a_failed_row_and_no_more(install):
    install("pack", "1.0", METRIC, metrics={"raises": "RAISES"})
    frame = gp.measure(Z).set_index("metric")
    assert frame.loc["raises", "status"] == "failed"
    assert frame.loc["raises", "note"] == "raises of pack: ZeroDivisionError: division by zero"
    assert frame.index[frame["status"] == "failed"].tolist() == ["raises"]
    assert frame["se"].notna().sum() > 10


def test_metrics_of_other_packages_that_nobody_asked_for_are_named(install, model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    install("pack", "1.0", METRIC + TASK, metrics={"largest": "LARGEST"}, tasks={"few": "few"})
    np.save(tmp_path / "vectors.npy", Z)
    line = "also measured: largest (pack 1.0)\n"

    def said(*command: str) -> str:
        done = CliRunner().invoke(app, [str(part) for part in command])
        assert done.exit_code == 0, done.output
        return done.stderr

    assert line in said("measure", tmp_path / "vectors.npy")
    assert line not in said("measure", tmp_path / "vectors.npy", "--metric", "largest")
    assert line in said("analyze", model_folder("bert"), "--task", "few", "--limit", 3, "--out", tmp_path / "out")
    install("pack", "1.0", "", tasks={})
    assert "also measured" not in said("measure", tmp_path / "vectors.npy")


POOLING = """
import torch
def both(states, mask):
    '''First state and largest.'''
    return torch.cat([states[:, 0], states.amax(1)], 1)
def wrong(states, mask):
    return states
"""


def test_a_pooling_is_a_function_and_may_be_wider_than_the_states(install):
    install("pack", "1.0", POOLING, poolings={"both": "both", "wrong": "wrong"})
    states, mask = torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    both, mean = make_pooler("both", 4), make_pooler("mean", 4)
    assert [vectors.shape for vectors in pool(states, mask, [mean, both])] == [(2, 4), (2, 8)]
    assert (both.width(4), POOLINGS["both"].about) == (8, "First state and largest.")
    before = both.fingerprint
    install("pack", "1.1", POOLING, poolings={"both": "both"})
    assert before != make_pooler("both", 4).fingerprint
    assert make_pooler("mean", 4).fingerprint == "mean"
    install("pack", "1.2", POOLING, poolings={"wrong": "wrong"})
    with pytest.raises(InputError, match=r"'wrong' of pack 1\.2 failed: TypeError: it gave Tensor \(2, 3, 4\), not"):
        pool(states, mask, [make_pooler("wrong", 4)])


def test_what_a_pooling_writes_to_its_arguments_reaches_no_other(install):
    source = "def writes(states, mask):\n    mask[:, 1:] = False\n    return states.mul_(0).sum(1)"
    install("pack", "1.0", source, poolings={"writes": "writes"})
    states, mask = torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    written, largest = pool(states, mask, [make_pooler("writes", 4), make_pooler("max", 4)])
    assert not written.any()
    assert torch.equal(largest, torch.ones(2, 4))
    assert torch.equal(states, torch.ones(2, 3, 4))
    assert mask.all()


def test_a_pooling_that_fails_leaves_the_others(install, model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    install("pack", "1.0", POOLING + TASK, tasks={"few": "few"}, poolings={"both": "both", "wrong": "wrong"})
    poolings = ["mean", "both", "wrong", "max"]
    results = gp.analyze([model_folder("bert")], ["few"], poolings, limit=3, dims=[4])
    failed = results.results.query("status == 'failed'")
    assert set(failed["pooling"]) == {"wrong"}
    assert failed["note"].str.startswith("The pooling 'wrong' of pack 1.0 failed").all()
    sound = results.results.query("metric == 'stable_rank' and view == 'raw' and status == 'ok'")
    assert sound.groupby("pooling").size().to_dict() == {
        "mean": 3,
        "both": 3,
        "max": 3,
    }  # as they are, cut, renormalised


TASK = """
import numpy as np
import geomprobe as gp
def named(name):
    def load(data_dir):
        split = gp.Split("validation", ("the cat", "a dog", "the tree"), None, np.array([0, 1, 0]), ("a", "b", "c"))
        return gp.Task(name, "classification", None, split, ("0", "1"), "accuracy")
    return load
few, other = named("few"), named("few")
def short(data_dir):
    return gp.Task("short", "classification", None, gp.Split("v", ("a", "b"), None, [0, 1], ("a",)), (), "accuracy")
def raises(data_dir):
    raise KeyError("text")
def hint(data_dir):
    raise gp.InputError("No data.", "Download them.")
"""


def test_a_task_is_a_function(install, tmp_path, monkeypatch):
    install("pack", "1.0", TASK, tasks={"few": "few", "other": "other", "raises": "raises", "short": "short"})
    monkeypatch.chdir(tmp_path)
    assert load_task("few").validation.first[0] == "the cat"
    with pytest.raises(InputError, match=r"'other' of pack 1\.0 failed: TypeError: it gave 'few', not a Task"):
        load_task("other")
    with pytest.raises(InputError, match=r"'raises' of pack 1\.0 failed: KeyError: 'text'"):
        load_task("raises")
    with pytest.raises(InputError, match=r"'short' of pack 1\.0 failed: ValueError: the split 'v': labels are a numpy"):
        load_task("short")
    for name in ("few:large", "fewer"):
        with pytest.raises(UsageError, match="Unknown task"):
            load_task(name)
    assert TASKS.added(["few", "sst2"]) == [{"kind": "task", "name": "few", "package": "pack", "version": "1.0"}]


def test_a_file_stays_a_file_whatever_tasks_are_called(install, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    install("pack", "1.0", TASK, tasks={"few": "few", "few.csv": "few", "gone": "gone"})
    assert is_file_task("few.csv")  # a task's name has no dots
    assert not is_file_task("few")
    for name in ("few", "gone", "sst2"):
        (tmp_path / name).mkdir()
    assert is_file_task("gone")  # a task that cannot be used takes no name
    assert is_file_task("./few")
    assert not is_file_task("sst2")
    with pytest.raises(UsageError, match=r"'few' is a path here and the name of a task of pack 1\.0") as error:
        load_task("few")
    assert "./few" in error.value.hint


def test_doctor_says_all_else_where_a_room_cannot_be_imported(install, tmp_path):
    install("pack", "1.0", METRIC, metrics={"largest": "LARGEST"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("raise AttributeError('half installed')")
    path = os.pathsep.join(map(str, (tmp_path / "broken", tmp_path / "site", ROOT)))
    env = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "geomprobe", "doctor", "--json"], capture_output=True, text=True, env=env, check=False
    )
    rows = {row["check"]: row for row in json.loads(done.stdout)["results"]}
    assert done.returncode == 1
    assert rows["metrics"] == {"check": "metrics", "state": "broken", "detail": "half installed"}
    assert {"numpy", "cache", "hub"} < set(rows)


def test_what_a_plug_in_prints_when_it_is_imported_is_no_result(install):
    install("pack", "1.0", "print('hello')\n" + METRIC, metrics={"largest": "LARGEST"})
    assert listed("metrics")[0]["largest"] == "pack 1.0"


def test_an_analysis_names_the_plug_ins_that_it_used_and_measures_anew_under_another_version(
    install, model_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    points = {
        "metrics": {"largest": "LARGEST", "raises": "RAISES"},
        "tasks": {"few": "few", "other": "other"},
        "poolings": {"both": "both"},
    }

    def analyze(version: str) -> tuple[Results, set[str]]:
        install("pack", version, METRIC + POOLING + TASK, **points)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            results = gp.analyze([model_folder("bert")], ["few"], ["mean", "both"], out=tmp_path / "out", limit=3)
        return results, {path.name for path in (tmp_path / "out" / "cells").glob("*")}

    results, kept = analyze("1.0")
    assert results.run["plugins"] == [
        {"kind": kind, "name": name, "package": "pack", "version": "1.0"}
        for kind, name in (("metric", "largest"), ("metric", "raises"), ("task", "few"), ("pooling", "both"))
    ]
    frame = results.results.query("pooling == 'both' and metric in ['largest', 'raises', 'stable_rank']")
    assert frame.set_index("metric")["status"].to_dict() == {"largest": "ok", "raises": "failed", "stable_rank": "ok"}
    assert results.run["failed_cells"] == 2
    assert results.definitions["largest"]["family"] == "own"
    assert kept == set()  # a cell with a failed row is not

    del points["metrics"]["raises"]
    first, again, newer = (analyze(version)[1] for version in ("1.0", "1.0", "2.0"))
    assert len(first) == 2
    assert first == again < newer
    assert len(newer) == 4

    results = gp.analyze([model_folder("bert")], [load_task("few")], ["mean"], out=tmp_path / "own", limit=3)
    assert {entry["kind"] for entry in results.run["plugins"]} == {"metric"}  # the task is the user's own


def test_names_are_taken_whatever_is_imported(install, tmp_path):
    install("pack", "1.0", METRIC, metrics={"semantic_accuracy": "ACCURACY"})
    ask = "from geomprobe.metrics import REGISTRY; print('semantic_accuracy' in REGISTRY)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "False\n"
