"""Finished results folders compared: the numbers of one run, what is left out, what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from typer.testing import CliRunner

from geomprobe.analysis.analyze import analyze
from geomprobe.cli.main import app
from geomprobe.common import InputError, UsageError, hash_file
from geomprobe.comparison.folders import compare_results
from geomprobe.comparison.groups import compare_groups
from geomprobe.comparison.table import add_comparisons
from geomprobe.predict_reconstruct.protocol import PAPER
from geomprobe.results import folder_and_name, means_results, read_results, write_results
from geomprobe.tasks import load_file

NOUNS = ["cat", "dog", "mat", "tree", "bird"]


def own_file(folder, name, rows=60):
    """Return a file of labelled sentences."""
    rng = np.random.default_rng(rows)
    lines = [f"the {' '.join(rng.choice(NOUNS, 4))} {i},{i % 2}" for i in range(rows)]
    (folder / name).write_text("text,label\n" + "\n".join(lines) + "\n")
    return folder / name


@pytest.fixture(scope="module")
def runs(model_folder, tmp_path_factory):
    """Return a folder of results: a and b of one model each, and both of the two models in one run."""
    folder = tmp_path_factory.mktemp("runs")
    tasks = [load_file(own_file(folder, "own.csv")), load_file(own_file(folder, "more.csv", 48))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        for name, kinds in {"both": ["bert", "roberta"], "a": ["bert"], "b": ["roberta"]}.items():
            models, how = [model_folder(kind) for kind in kinds], {"baselines": ["bow"], "cells": folder / "cells"}
            analyze(models, tasks, ["mean", "max"], (0, -1), out=folder / name, **how)
    return folder


def changed(folder, to, **edits):
    """Return a copy of a results folder with fields of run.json set, and tables changed by functions."""
    results = read_results(folder)
    for name, edit in edits.items():
        if callable(edit):
            setattr(results, name, edit(getattr(results, name)))
        else:
            results.run[name] = edit
    return write_results(to, results)


def assert_same_numbers(found, expected):
    for kind in ("comparisons", "results", "curves", "examples"):
        pd.testing.assert_frame_equal(getattr(found, kind), getattr(expected, kind), check_exact=True, obj=kind)


def test_two_folders_give_the_numbers_of_one_run(runs):
    expected = read_results(runs / "both")
    names = [entry["name"] for entry in expected.run["models"][:2]]
    add_comparisons(expected, *names)
    found = compare_results([runs / "a", runs / "b"])
    assert found.comparisons[["task", "layer", "pooling"]].drop_duplicates().shape[0] == 8
    assert_same_numbers(found, expected)
    for name in ("neighbours", "neighbour_overlap", "texts"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name), check_exact=True, obj=name)
    pd.testing.assert_frame_equal(found.maps, expected.maps, atol=1e-9, rtol=0)  # turned once more
    assert len(found.maps)
    assert len(found.moved_pairs) == 0  # which need vectors
    for mine, theirs in zip(found.run["maps"], expected.run["maps"], strict=True):
        assert mine == theirs | {name: mine[name] for name in ("overlap", "shown")}
        for model, shares in theirs["shown"].items():
            assert mine["shown"][model] == pytest.approx(shares)
    for key in ("models", "baselines", "tasks", "poolings", "protocol", "seed", "limit", "layers", "compared"):
        assert found.run[key] == expected.run[key], key
    assert found.run["notes"] == []
    assert [
        (source["folder"], source["hash"], source["models"]["tiny-bert"]) for source in found.run["sources"][:1]
    ] == [("a", hash_file(runs / "a" / "run.json"), "tiny-bert")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        "--task controlled,{own} --limit 60 --pool mean,attention --layer 0,last --baseline tfidf --precision int8",
        "--task {own},{more} --pool mean,max,weighted --protocol paper",
    ],
)
def test_separate_commands_give_the_numbers_of_one(model_folder, tmp_path, monkeypatch, options):
    own, more = own_file(tmp_path, "own.csv", 200), own_file(tmp_path, "more.csv", 90)
    chosen = options.format(own=own, more=more).split()
    models = [str(model_folder(kind)) for kind in ("bert", "roberta")]
    for out, command in {
        "a": ["analyze", models[0]],
        "b": ["analyze", models[1]],
        "both": ["compare", *models],
    }.items():
        monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / f"cache-{out}"))
        done = CliRunner().invoke(app, [*command, *chosen, "--out", str(tmp_path / out)])
        assert done.exit_code == 0, done.output
    assert run(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "compared").exit_code == 0
    assert_same_numbers(read_results(tmp_path / "compared"), read_results(tmp_path / "both"))


def test_two_models_of_one_folder_are_compared_by_name(runs):
    found = compare_results([f"{runs / 'both'}#tiny-roberta", f"{runs / 'both'}#tiny-bert"])
    assert found.run["compared"] == ["tiny-roberta", "tiny-bert"]
    back = compare_results([runs / "b", runs / "a"])
    pd.testing.assert_frame_equal(found.comparisons, back.comparisons, check_exact=True)
    with pytest.raises(UsageError, match="2 models: tiny-bert, tiny-roberta") as refused:
        compare_results([runs / "both", runs / "a"])
    assert refused.value.hint == f"Name one of them: '{runs / 'both'}#tiny-bert'"
    with pytest.raises(UsageError, match="Unknown model of"):
        compare_results([f"{runs / 'both'}#bert", runs / "a"])


def test_a_baseline_can_be_a_side(runs):
    baseline = next(iter(read_results(runs / "a").run["baselines"]))
    found = compare_results([f"{runs / 'a'}#{baseline}", runs / "b"])
    assert found.run["compared"] == [baseline, "tiny-roberta"]
    assert found.run["baselines"] == {}
    assert set(found.comparisons.query("b == 'tiny-roberta'")["metric"]) > {"effective_rank", "uniformity"}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, model_folder):
    """Return six results folders of models with the same name, and the results of all in one run."""
    folder = tmp_path_factory.mktemp("seeds")
    task = load_file(own_file(folder, "own.csv"))
    paths = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        for seed in range(6):
            paths.append(folder / f"seed-{seed}" / "encoder")
            shutil.copytree(model_folder("bert"), paths[-1])
            torch.manual_seed(seed)
            transformers.BertModel(transformers.BertConfig.from_pretrained(paths[-1])).save_pretrained(paths[-1])
            analyze([paths[-1]], [task], ["mean"], out=folder / f"run-{seed}")
        whole = analyze(paths, [task], ["mean"])
    return folder, whole


def test_groups_of_folders_give_the_numbers_of_one_run(seeds):
    folder, whole = seeds
    members = [entry["name"] for entry in whole.run["models"]]
    compare_groups(whole, {"old": members[:3], "new": members[3:]})
    runs = [folder / f"run-{seed}" for seed in range(6)]
    found = compare_results({"old": runs[:3], "new": runs[3:]})
    pd.testing.assert_frame_equal(found.comparisons, whole.comparisons, check_exact=True)
    assert found.comparisons["level"].eq("objective").all()
    # the models have one name, so their folders are named too
    assert found.run["groups"]["new"] == [f"run-{seed}/encoder" for seed in (3, 4, 5)]


def test_no_seed_counts_twice(seeds, tmp_path):
    folder, _ = seeds
    shutil.copytree(folder / "run-0", tmp_path / "again")
    runs = [folder / f"run-{seed}" for seed in range(6)]
    with pytest.raises(UsageError, match="given twice"):
        compare_results({"old": [*runs[:2], tmp_path / "again"], "new": runs[3:]})
    with pytest.raises(UsageError, match="given twice"):
        compare_results([runs[0], runs[0]])
    # two copies of a checkpoint, as a check of the method
    assert set(compare_results([runs[0], tmp_path / "again"]).comparisons["verdict"]) == {"no difference"}


def test_what_one_side_lacks_is_left_out_and_said(runs, tmp_path):
    def without(frame):
        return frame[(frame["task"] != "more") & (frame["layer"] != 0)]

    tables = ("results", "curves", "examples", "influences")
    less = changed(runs / "b", tmp_path / "b", **dict.fromkeys(tables, without))
    found = compare_results([runs / "a", less])
    assert set(found.results["task"]) == {"own"}
    assert [entry["name"] for entry in found.run["tasks"]] == ["own"]
    alone, layers = found.run["notes"]
    assert alone == "task more is left out: tiny-bert alone has it"
    assert layers.endswith("numbers of tiny-bert have no counterpart, among them all of layer 0")
    whole = compare_results([runs / "a", runs / "b"]).comparisons
    kept = without(whole).reset_index(drop=True)
    unadjusted = ["task", "layer", "pooling", "metric", "view", "diff", "se", "ci_low", "ci_high", "p", "mdd"]
    pd.testing.assert_frame_equal(found.comparisons[unadjusted], kept[unadjusted], check_exact=True)


def test_other_poolings_definitions_sizes_and_versions_are_left_out_or_said(runs, tmp_path):
    results = read_results(runs / "b")
    results.definitions["rankme"] |= {"formula": "something else"}
    results.definitions["uniformity"] |= {"order": 9999, "headline": {"order": 1, "views": ["raw"]}}
    results.run["poolings"][1] |= {"trained": True}
    results.run["geomprobe_version"] = "0.0.9"
    results.run["tasks"][0]["notes"] = ["text: text"]
    results.results.loc[results.results["metric"] == "effective_rank_n_matched", "n"] += 1
    found = compare_results([runs / "a", write_results(tmp_path / "b", results)])
    assert {"rankme", "effective_rank_n_matched"} & set(found.results["metric"]) == set()
    assert "uniformity" in set(found.comparisons["metric"])
    assert "rankme_n_matched" in set(found.results["metric"])
    assert "rankme" not in found.definitions
    assert set(found.results["pooling"]) == {"mean"}
    metric, version = "effective_rank_n_matched", read_results(runs / "a").run["geomprobe_version"]
    assert found.run["notes"] == [
        f"measured by different versions: geomprobe {version}, geomprobe 0.0.9",
        "the rows of task own are the same, but the folders say different things of it",
        "left out, for it was trained in one folder and not in another: pooling max",
        "left out, for the folders define it in different ways: rankme",
        f"left out, for its sample size differs: {metric} on more, {metric} on own",
    ]


def test_maps_of_other_rows_are_left_out(runs, tmp_path):
    def without_first(frame):
        return frame[frame["row_id"] != frame.groupby("task")["row_id"].transform("first")]

    found = compare_results([runs / "a", changed(runs / "b", tmp_path / "b", maps=without_first)])
    assert found.run["maps"] == []
    assert len(found.maps) == len(found.neighbours) == len(found.texts) == 0
    why = "the folders show other rows, or other poolings"
    assert found.run["notes"] == [f"no maps of task {task}: {why}" for task in ("own", "more")]


def test_a_published_folder_without_influences_has_no_intervals_and_says_so(runs, tmp_path):
    shutil.copytree(runs / "b", tmp_path / "b")
    (tmp_path / "b" / "influences.parquet").unlink()
    found = compare_results([runs / "a", tmp_path / "b"])
    whole = compare_results([runs / "a", runs / "b"]).comparisons
    pd.testing.assert_series_equal(found.comparisons["diff"], whole["diff"])
    geometry = found.comparisons.query("metric == 'effective_rank'")
    assert geometry["se"].isna().all()
    assert set(geometry["ci_method"]) == {"no valid interval: no contributions are kept"}
    assert set(geometry["verdict"]) == {"no valid interval, no verdict"}
    (note,) = found.run["notes"]
    assert note.startswith("tiny-roberta: its folder has no influences.parquet")
    # scores of probes are paired from examples.parquet
    assert found.comparisons.query("metric == 'semantic_accuracy'")["ci_low"].notna().all()


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"protocol": PAPER.name}, "with protocol strict, .* with protocol paper: the numbers are not comparable"),
        ({"seed": 1}, "with seed 0, .* with seed 1"),
        (
            {"results": lambda frame: frame.assign(task_hash="0" * 64)},
            "rows of own are not the same: [0-9]+ .* in .*a#tiny",
        ),
        (
            {"results": lambda frame: frame.assign(task=frame["task"] + "2")},
            "no task in common: tiny-bert has own, more",
        ),
        ({"results": lambda frame: frame.assign(pooling="cls")}, "no pooling in common"),
        (
            {"results": lambda frame: frame[frame["layer"] == 0].assign(layer=7)},
            "share no number .*: tiny-bert has layers 0",
        ),
    ],
)
def test_numbers_that_are_not_comparable_are_refused(runs, tmp_path, edits, said):
    other = changed(runs / "b", tmp_path / "b", **edits)
    with pytest.raises(UsageError, match=said) as refused:
        compare_results([runs / "a", other])
    assert refused.value.hint


def test_the_folder_and_the_name_are_told_apart(tmp_path):
    folder = tmp_path / "a#1"
    folder.mkdir()
    assert folder_and_name(folder) == (folder, "")
    assert folder_and_name(f"{folder}#org/m#2") == (folder, "org/m#2")
    assert folder_and_name(f"{tmp_path}/none#m") == (tmp_path / "none#m", "")


def test_a_results_folder_is_known_by_its_content(runs, model_folder, tmp_path):
    assert means_results(runs / "a")
    assert means_results(f"{runs / 'both'}#tiny-bert")
    assert not means_results(model_folder("bert"))
    assert not means_results("sentence-transformers/all-MiniLM-L6-v2")
    # a checkpoint of `geomprobe pretrain` has a run.json, too
    shutil.copytree(model_folder("bert"), tmp_path / "m")
    shutil.copy(runs / "a" / "run.json", tmp_path / "m")
    assert not means_results(tmp_path / "m")


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_the_command_writes_a_folder_and_a_report(runs, tmp_path):
    done = run(runs / "a", runs / "b", "--margin", "uniformity=0.5", "--json", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert {"results", "html", "pdf", "summary"} <= set(document)
    found = read_results(tmp_path / "out")
    assert found.run["compared"] == ["tiny-bert", "tiny-roberta"]
    assert set(found.comparisons.query("metric == 'uniformity'")["margin"]) == {0.5}
    assert len(found.similarities) == 0
    assert done.stderr.count("needs vectors") == 1


@pytest.mark.parametrize("option", ["--task=controlled", "--pool=mean", "--device=cpu", "--seed=0", "--baseline=bow"])
def test_options_of_a_measurement_are_refused(runs, tmp_path, option):
    done = run(runs / "a", runs / "b", option, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert f"error: {option.partition('=')[0]} describes a measurement" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_folder_of_data_may_be_set_in_the_environment(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_DATA", str(tmp_path))
    monkeypatch.setattr("geomprobe.cli.compare.write_reports", lambda output, folder: {})
    assert run(runs / "a", runs / "b", "--out", tmp_path / "out").exit_code == 0


def test_a_folder_and_a_model_are_refused_with_both_readings(runs, model_folder, tmp_path):
    done = run(runs / "a", model_folder("bert"), "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "is a results folder and" in done.stderr
    assert "is a model" in done.stderr
    assert "geomprobe analyze" in done.stderr
    done = run("--group", f"x={runs / 'a'},{model_folder('bert')}", "--group", f"y={runs / 'b'}")
    assert done.exit_code == 2


def test_one_folder_unfinished_folders_and_audits_are_refused(runs, tmp_path):
    done = run(runs / "both")
    assert done.exit_code == 2
    assert f"geomprobe compare '{runs / 'both'}#tiny-bert' '{runs / 'both'}#tiny-roberta'" in done.stderr
    shutil.copytree(runs / "b", tmp_path / "b")
    (tmp_path / "b" / "run.json").unlink()
    with pytest.raises(InputError, match="no finished results"):
        compare_results([runs / "a", tmp_path / "b"])
    assert run(runs / "a", tmp_path / "b").exit_code == 3
    (tmp_path / "b" / "audit.json").write_text('{"schema_version": 1}')
    done = run(runs / "a", tmp_path / "b")
    assert done.exit_code == 3
    assert "It is an audit" in done.stderr


def test_results_are_not_written_over_a_side(runs):
    before = hash_file(runs / "a" / "run.json")
    assert run(runs / "a", runs / "b", "--out", runs / "a").exit_code == 2
    assert hash_file(runs / "a" / "run.json") == before
