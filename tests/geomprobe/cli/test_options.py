"""Options that commands share: each declared once, folders of other requests apart, errors that say what to do."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from geomprobe.cli.analyze import analyze, run_grid
from geomprobe.cli.compare import compare
from geomprobe.cli.main import app
from geomprobe.cli.options import GridOptions, folder_name
from geomprobe.cli.output import Output
from geomprobe.common import UsageError, torchrun_place
from geomprobe.results import check_folder


def test_both_commands_take_every_option():
    names = {field.name for field in fields(GridOptions)}
    for command in (analyze, compare):
        assert names <= set(inspect.signature(command).parameters)


def test_options_reach_the_grid(monkeypatch):
    seen = {}

    def run(models, tasks, poolings, layers, **more):
        seen.update(models=models, tasks=tasks, poolings=poolings, layers=layers, **more)
        raise UsageError("enough")

    monkeypatch.setattr("geomprobe.analysis.analyze.analyze", run)
    words = "analyze m --pool mean,max --task sst2 --task cola --layer 0,last --baseline static --limit 9 --seed 3"
    words += " --protocol paper --set protocol.pairs=separate --device cpu --out o --no-texts"
    done = CliRunner().invoke(app, words.split())
    assert "enough" in done.output
    assert (seen["models"], seen["tasks"], seen["poolings"]) == (["m"], ["sst2", "cola"], ["mean", "max"])
    assert (seen["layers"], seen["baselines"], seen["limit"], seen["seed"]) == ([0, -1], ["static"], 9, 3)
    assert (seen["protocol"].name, seen["device"], seen["out"]) == ("paper, pairs=separate", "cpu", Path("o"))
    assert seen["texts"] is False


def test_all_poolings_are_those_of_states_and_what_is_named_beside():
    assert GridOptions(pool=["all"]).poolings == ["mean", "max", "weighted", "attention", "cls", "last"]
    assert GridOptions(pool=["cls,all", "model"]).poolings[6:] == ["model"]


@pytest.mark.parametrize(
    "other",
    [
        {"pool": ["max"]},
        {"pool": ["mean"]},  # without it, a model may decide
        {"prompt": "query: "},
        {"prompt": ""},
        {"prompt_query": "query"},
        {"untrained": True},
        {"texts": False},
        {"task": ["sst2"]},
        {"layer": ["all"]},
        {"baseline": ["static"]},
        {"protocol": "paper"},
        {"set_": ["protocol.rows=100"]},
        {"limit": 10},
        {"seed": 1},
        {"label": "y"},
    ],
)
def test_other_requests_go_to_other_folders(other):
    plain = folder_name(["a"], *GridOptions().asked)
    assert folder_name(["a"], *GridOptions(**other).asked) != plain
    assert folder_name(["a"], *GridOptions(device="cpu").asked) == plain


def test_a_comparison_does_not_take_the_folder_of_another(tmp_path, monkeypatch):
    """Nor that of an analysis of the same models, which would take its differences away."""
    from geomprobe.cli import compare

    seen = []
    monkeypatch.setattr(compare, "run_grid", lambda *_, asked, **__: seen.append(tuple(asked)) or 1 / 0)
    requests = [
        ({}, None),
        ({}, {"uniformity": (0.1, False)}),
        ({"x": ["a", "b"], "y": ["c"]}, None),
        ({"x": ["a"], "y": ["b", "c"]}, None),
    ]
    for groups, margins in requests:
        with pytest.raises(ZeroDivisionError):
            compare.compare_models(Output(False), [] if groups else ["a", "b"], groups, GridOptions(), margins)
    assert len({*seen, ()}) == len(requests) + 1


@pytest.mark.parametrize("place", ["/proc/none/here", "/dev/null/here", "x" * 300])
def test_a_folder_that_cannot_be_made(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["analyze", "m", "--out", place])
    assert done.exit_code == 2
    assert "--out" in done.output
    assert "Internal error" not in done.output


def test_any_command_says_which_file_it_could_not_make(tmp_path):
    from geomprobe.cli.errors import explain

    for place in (Path("/proc/none"), tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"No such|too long") as raised:
            place.mkdir()
        code, message, hint = explain(raised.value)
        assert code == 3
        assert str(place) in message
        assert hint
    assert explain(OSError("no file"))[0] == 1


def test_checking_a_folder_leaves_no_trace(tmp_path):
    check_folder(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        check_folder(tmp_path / "file" / "b")
    check_folder(tmp_path)
    assert tmp_path.is_dir()


TORCHRUN = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.fixture
def environment(monkeypatch):
    def of(**values):
        for name in TORCHRUN:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return of


def test_place_among_processes(environment):
    environment()
    assert torchrun_place() == (0, 1)
    environment(**TORCHRUN)
    assert torchrun_place() == (1, 2)


@pytest.mark.parametrize("wrong", [{"RANK": ""}, {"MASTER_ADDR": ""}, {"RANK": "2"}, {"WORLD_SIZE": "two"}])
@pytest.mark.parametrize("command", [["analyze", "m"], ["audit", "a", "b"]])
def test_half_of_what_torchrun_sets(environment, wrong, command):
    environment(**TORCHRUN | wrong)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "torchrun" in done.output


def test_all_ranks_end_as_the_first_does(monkeypatch, tmp_path):
    results = SimpleNamespace(run={"failed_cells": 1})
    processes = SimpleNamespace(first=False)
    monkeypatch.setattr("geomprobe.distributed.join", lambda: contextlib.nullcontext(processes))
    monkeypatch.setattr("geomprobe.analysis.analyze.analyze", lambda *a, **k: results)
    for failed, code in ((1, 4), (0, 0)):
        results.run["failed_cells"] = failed
        with pytest.raises(typer.Exit) as end, run_grid(Output(), ["m"], GridOptions(out=tmp_path)):
            pass
        assert end.value.exit_code == code


def test_the_limit_takes_the_first_rows(data_dir):
    from geomprobe.analysis.plan import prepare
    from geomprobe.analysis.protocols import STRICT
    from geomprobe.tasks import load_task

    task = load_task("sst2", data_dir=data_dir)
    limited = prepare(task, STRICT, 10, 0)
    assert limited.validation.first == task.validation.first[:10]
    assert limited.train.first == task.train.first[:10]
    assert "the first N rows" in " ".join(CliRunner().invoke(app, ["analyze", "--help"]).output.split())
