"""A user's own file through `geomprobe analyze` and `compare`: what is measured, what is refused and how."""

from __future__ import annotations

import csv
import html
import json

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from geomprobe.cli.analyze import analyze
from geomprobe.cli.compare import compare
from geomprobe.cli.errors import guard
from geomprobe.cli.report import report
from geomprobe.inference import intervals
from geomprobe.results import read_results

NOUNS = ["cat", "dog", "mat", "tree", "bird"]
WORDS = [*NOUNS, "the", "a", "sat", "on", "small", "and", "not", "who", "saw"]


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    app.command()(guard(analyze))
    app.command()(guard(compare))
    app.command()(guard(report))
    return app


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEOMPROBE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def run(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(n=80):
    rng = np.random.default_rng(0)
    said = [" ".join(["the", *rng.choice(NOUNS, 3), rng.choice(["red", "big"])]) + f" {i}" for i in range(n)]
    return pd.DataFrame({"said": said, "mood": [("good", "bad")[i % 2] for i in range(n)]})


def measured(app, model_folder, frame, tmp_path, *options):
    """Write the frame, analyse it and return its results; nothing may fail."""
    frame.to_csv(tmp_path / "my.csv", index=False)
    arguments = [
        "analyze",
        model_folder("bert"),
        "--task",
        "my.csv",
        "--text",
        "said",
        *options,
        "--out",
        "r",
        "--json",
    ]
    done = run(app, *arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["failed_cells"] == 0
    return read_results(tmp_path / "r")


def number(results, metric):
    found = results.results
    (row,) = found[(found["metric"] == metric) & found["control"].isna() & (found["view"] == "raw")].to_dict("records")
    return row


def test_columns_by_name(app, model_folder, tmp_path):
    results = measured(app, model_folder, rows(), tmp_path, "--label", "mood")
    assert number(results, "semantic_accuracy")["status"] == "ok"
    assert number(results, "lexical_bow_r2")["status"] == "ok"
    controls = results.results.loc[results.results["metric"] == "semantic_skill", "control"]
    assert {"majority", "bow", "bow_projection", "length"} <= set(controls.dropna())


def test_a_column_may_be_called_auto(app, model_folder, tmp_path):
    frame = rows().assign(auto=[("one", "two")[i % 2] for i in range(80)], label="same")
    results = measured(app, model_folder, frame, tmp_path, "--label", "auto")
    assert any("label 'auto'" in note for note in results.run["tasks"][0]["notes"])


def test_missing_labels_are_counted(app, model_folder, tmp_path):
    frame = rows()
    frame.loc[::8, "mood"] = ""
    results = measured(app, model_folder, frame, tmp_path, "--label", "mood")
    entry = results.run["tasks"][0]
    assert entry["rows"] + entry["train_rows"] == 70
    assert any("10 rows without text or label" in note for note in entry["notes"])


def test_scores_with_nan_of_pairs(app, model_folder, tmp_path):
    frame = rows().assign(other=rows()["said"][::-1].to_numpy(), score=np.linspace(0, 5, 80).round(2))
    frame.loc[:3, "score"] = np.nan
    results = measured(app, model_folder, frame, tmp_path, "--text", "other", "--label", "score", "--positive", "4")
    assert results.run["tasks"][0]["rows"] + results.run["tasks"][0]["train_rows"] == 76
    for metric in ("sts_cosine_spearman", "partial_spearman_gold", "partial_spearman_overlap"):
        row = number(results, metric)
        assert row["ci_low"] < row["value"] < row["ci_high"], metric


def test_what_was_read_is_said_and_recorded(app, model_folder, tmp_path):
    frame = rows().assign(gold=[("good", "bad", "-", "so-so")[i % 4] for i in range(80)])
    frame.loc[5, "said"] = '"the cat'
    frame[["said", "gold"]].to_csv(tmp_path / "my.tsv", index=False, sep="\t", quoting=csv.QUOTE_NONE, quotechar="'")
    options = ["--task", "my.tsv", "--text", "said", "--label", "gold", "--out", "r"]
    done = run(app, "analyze", model_folder("bert"), *options)
    assert done.exit_code == 0, done.output
    said = [
        "task my (my.tsv): text 'said'; label 'gold' (classification, 3 classes: bad, good, so-so); ids by row number; "
        "60 rows",
        "quotes read as text: as quotes, the quote at line 7 never closes",
        "20 rows without text or label left out (20 labelled '-')",
    ]
    assert all(each in done.stderr for each in said)
    entry = read_results(tmp_path / "r").run["tasks"][0]
    assert (entry["rows"] + entry["train_rows"], entry["source"]) == (60, "my.tsv")
    assert run(app, "report", "r", "--html").exit_code == 0
    page = html.unescape((tmp_path / "r" / "report.html").read_text())
    assert all(any(each in note for note in entry["notes"]) and each in page for each in said[1:])


def test_paths_with_commas_and_tasks_of_one_name(app, model_folder, tmp_path):
    for name in ("a, b/t.csv", "c/t.csv"):
        (tmp_path / name).parent.mkdir()
        rows(20).to_csv(tmp_path / name, index=False)
    columns = ["--text", "said", "--label", "mood"]
    done = run(
        app, "analyze", model_folder("bert"), "--task", "a, b/t.csv", "--task", "c/t.csv", *columns, "--out", "r"
    )
    assert done.exit_code == 0, done.output
    assert [entry["name"] for entry in read_results(tmp_path / "r").run["tasks"]] == ["a, b-t", "c-t"]
    done = run(app, "analyze", model_folder("bert"), "--task", "c/t.csv,./c/t.csv", *columns)
    assert (done.exit_code, "are the same file" in done.output) == (2, True)


STRANGE = ["", "Grüße 猫", "🙂", "cat " * 10_000, "\u202eabc", "the cat"]
STRANGE += [f"{text} {i}" for i in range(10) for text in STRANGE[1:]]


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (rows().assign(mood="same"), "not applicable"),
        (rows(3), "too few rows"),  # too few to split, so there is nothing to fit on
        (pd.DataFrame({"said": STRANGE, "mood": list("ab") * 28}), "ok"),
    ],
    ids=["one class", "three rows", "empty, other scripts, 10,000 words"],
)
def test_awkward_rows_are_measured(app, model_folder, tmp_path, frame, status):
    results = measured(app, model_folder, frame, tmp_path, "--label", "mood")
    assert set(results.results["status"]) <= {"ok", "too few rows", "not applicable"}
    assert number(results, "semantic_accuracy")["status"] == status


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--text", "sad", "--label", "mood"], 3, "Did you mean 'said'"),
        (["--text", "said", "--label", "mod"], 3, "Did you mean 'mood'"),
        (["--text", "said", "--label", "mood", "--id", "key"], 3, "'7' occurs more than once"),
        (["--text", "said", "--label", "mood", "--kind", "regression"], 3, "not numbers"),
        (["--text", "said", "--label", "mood", "--positive", "good"], 2, "for pairs"),
        (["--text", "said", "--label", "said"], 2, "as the text and as the label"),
        (["--text", "said", "--label", "mood", "--split", "dev"], 3, "has no splits"),
    ],
)
def test_what_is_refused(app, model_folder, tmp_path, options, code, said):
    rows().assign(key=[7, 7, *range(78)]).to_csv(tmp_path / "my.csv", index=False)
    done = run(app, "analyze", model_folder("bert"), "--task", "my.csv", *options)
    assert (done.exit_code, "Traceback" in done.output) == (code, False)
    assert said in done.output
    assert not (tmp_path / "runs").exists()


def test_differences_of_wording_and_meaning_have_verdicts(app, model_folder, tmp_path):
    rng = np.random.default_rng(1)

    def sentence(i):
        return " ".join([*rng.choice(WORDS, rng.integers(3, 10)), *rng.choice(["red", "big", "very"], i % 3)])

    frame = pd.DataFrame({"one": [sentence(i) for i in range(400)]})
    frame["two"] = [sentence(i) if i % 2 else text + " tree" for i, text in enumerate(frame["one"])]
    wrong = rng.random(400) < 0.25  # else a few rows decide the log loss, and an interval is refused
    frame["same"] = np.where(wrong ^ (np.arange(400) % 2 == 0), "yes", "no")
    frame.to_csv(tmp_path / "my.csv", index=False)
    models = [model_folder("bert"), model_folder("modernbert")]
    columns = ["--task", "my.csv", "--text", "one,two", "--label", "same", "--positive", "yes"]
    done = run(app, "compare", *models, *columns, "--out", "r", "--json")
    assert done.exit_code == 0, done.output
    found = read_results(tmp_path / "r").comparisons.set_index(["metric", "view"])
    for metric in (
        "lexical_top_word_accuracy",
        "lexical_bow_r2",
        "lexical_length_spearman",
        "lexical_overlap_spearman",
        "semantic_skill",
        "semantic_usable_bits",
        "semantic_conditional_bits",
        "semantic_selectivity",
        "semantic_code_length",
        "partial_spearman_gold",
        "partial_spearman_overlap",
    ):
        row = found.loc[(metric, "raw")]
        assert row["verdict"] not in (intervals.NO_INTERVAL, intervals.FEW_SEEDS), metric
        assert row["ci_low"] <= row["diff"] <= row["ci_high"], metric


def test_two_readings_end_in_exit_3_and_an_option_settles_it(app, model_folder, tmp_path):
    (tmp_path / "my.tsv").write_text("text\tlabel\n" + "".join(f'"the cat {i}"\t{i % 2}\n' for i in range(20)))
    done = run(app, "analyze", model_folder("bert"), "--task", "my.tsv")
    assert (done.exit_code, "--no-quotes" in done.output, (tmp_path / "runs").exists()) == (3, True, False)
    assert run(app, "analyze", model_folder("bert"), "--task", "my.tsv", "--no-quotes", "--out", "r").exit_code == 0
    assert "quotes read as text, as asked" in read_results(tmp_path / "r").run["tasks"][0]["notes"]


def test_options_of_files_need_a_file(app, model_folder):
    done = run(app, "analyze", model_folder("bert"), "--task", "controlled", "--split", "test")
    assert (done.exit_code, "--task FILE" in done.output) == (2, True)


@pytest.mark.parametrize("option", ["--task", "--text", "--label", "--id", "--split", "--kind", "--positive"])
def test_empty_options_are_refused(app, model_folder, tmp_path, option):
    rows(20).to_csv(tmp_path / "my.csv", index=False)
    for empty in ("", " ", ","):
        done = run(app, "analyze", model_folder("bert"), "--task", "my.csv", option, empty)
        assert (done.exit_code, f"{option}'" in done.output, "is empty" in done.output) == (2, True, True)
    assert not (tmp_path / "runs").exists()


def test_a_task_given_twice_is_refused(app, model_folder, tmp_path):
    rows(20).to_csv(tmp_path / "my.csv", index=False)
    done = run(app, "analyze", model_folder("bert"), "--task", "my.csv,my.csv", "--text", "said", "--label", "mood")
    assert (done.exit_code, "given twice" in done.output) == (2, True)
