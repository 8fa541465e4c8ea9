"""The models' own pooling through analyses, comparisons and reports: what is chosen, measured, kept and said."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.cli.analyze import analyze
from geomprobe.cli.compare import compare
from geomprobe.cli.errors import guard
from geomprobe.common import InputError, UsageError
from geomprobe.predict_reconstruct.protocol import PAPER, choose
from geomprobe.results import read_results
from geomprobe.tasks import load_file
from geomprobe.tasks.base import Split, Task

NOUNS = ["cat", "dog", "mat", "tree", "bird", "the", "a", "big", "small", "red", "who", "saw"]
FEW = ["effective_rank", "participation_ratio", "uniformity", "mean_cosine"]


def sentences(n, seed):
    rng = np.random.default_rng(seed)
    return tuple(dict.fromkeys(" ".join(rng.choice(NOUNS, 6)) for _ in range(2 * n)))[:n]


def split(name, n, seed, *, pairs=False):
    first, second = sentences(n, seed), sentences(n, seed + 7)[::-1] if pairs else None
    if second:
        second = (*first[1:3], *second[2:])  # two sentences are first and second
    return Split(name, first, second, np.arange(n) % 2, tuple(f"{name}/{i}" for i in range(n)))


@pytest.fixture(scope="module")
def task():
    return Task("toy", "classification", split("train", 30, 0), split("validation", 24, 1), ("a", "b"), "accuracy")


@pytest.fixture(scope="module")
def pair_task():
    made = split("validation", 24, 2, pairs=True)
    return Task("pairs", "classification", None, made, ("a", "b"), "accuracy", positive_label=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEOMPROBE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def values(results, pooling="model", model=None, view="raw"):
    """Return metric -> value at the last layer."""
    rows = results.results
    rows = rows[
        (rows["pooling"] == pooling) & (rows["view"] == view) & rows["metric"].isin(FEW) & rows["control"].isna()
    ]
    rows = rows[(rows["definition"] == "standard") & (rows["layer"] == rows["layer"].max())]
    if model is not None:
        rows = rows[rows["model"] == model]
    return rows.set_index("metric")["value"].astype(float)


def expected(Z):
    rows = gp.measure(Z, metrics=FEW)
    rows = rows[(rows["view"] == "raw") & (rows["definition"] == "standard")]
    return rows.set_index("metric")["value"].astype(float)


def assert_same(found, wanted):
    assert sorted(found.index) == sorted(FEW)
    for metric, value in found.items():
        assert value == pytest.approx(wanted[metric], rel=1e-4, abs=1e-5), metric


def test_a_model_that_declares_more_is_measured_as_it_encodes(matryoshka, model_folder, task, tmp_path):
    texts = list(task.geometry_rows.texts)
    alone = gp.analyze([tmp_path / "m"], [task])
    assert set(alone.results["pooling"]) == {"model"}
    assert alone.results["d"].dropna().unique().tolist() == [4]
    assert_same(values(alone), expected(matryoshka.encode(texts)))
    both = gp.analyze([tmp_path / "m", model_folder("bert")], [task], similarity=True)
    names = [entry["name"] for entry in both.run["models"]]
    assert set(both.results["pooling"]) == {"model"}
    plain = gp.embed(gp.load_encoder(model_folder("bert")), texts)
    assert_same(values(both, model=names[1]), expected(plain))
    notes = {entry["name"]: "; ".join(entry["notes"]) for entry in both.run["models"]}
    assert "truncate_dim 4" in notes["m"]
    assert "declares nothing more" in notes[names[1]]
    assert "m declares more than the mean" in both.run["poolings"][0]["note"]
    assert set(both.similarities["pooling"]) == {"model"}


def test_a_plain_model_keeps_the_mean(model_folder, built, task, tmp_path):
    built().save_pretrained(str(tmp_path / "mean"))
    results = gp.analyze([model_folder("bert"), tmp_path / "mean"], [task])
    assert [entry["name"] for entry in results.run["poolings"]] == ["mean"]
    own = gp.analyze([model_folder("bert")], [task], ["mean", "model"])
    assert_same(values(own), values(own, "mean"))
    assert own.run["poolings"][1]["equals"] == "mean"


def test_mean_of_a_model_that_declares_more_says_so(matryoshka, task, tmp_path):
    results = gp.analyze([tmp_path / "m"], [task], ["mean"])
    assert results.results["d"].dropna().unique().tolist() == [16]
    assert "not what its own `encode` gives" in "; ".join(results.run["models"][0]["notes"])


def test_layers_below_the_last_have_the_mean(matryoshka, task, tmp_path):
    results = gp.analyze([tmp_path / "m"], [task], layers="all", similarity=True)
    cells = results.results[["layer", "pooling"]].drop_duplicates()
    assert sorted(map(tuple, cells.to_numpy())) == [(0, "mean"), (1, "mean"), (2, "mean"), (2, "model")]
    first = gp.analyze([tmp_path / "m"], [task], layers=[0])
    assert [entry["name"] for entry in first.run["poolings"]] == ["mean"]
    with pytest.raises(UsageError, match="last layer"):
        gp.analyze([tmp_path / "m"], [task], ["model"], [0])


def test_prompts_and_cuts_are_cells_of_their_own(matryoshka, task, tmp_path):
    texts = list(task.geometry_rows.texts)
    config = tmp_path / "m" / "config_sentence_transformers.json"
    kept = tmp_path / "cells"
    options = {"cells": kept, "maps": False}
    default = gp.analyze([tmp_path / "m"], [task], **options)
    for prompt, own in (("passage", {"prompt_name": "passage"}), ("a tree ", {"prompt": "a tree "})):
        found = gp.analyze([tmp_path / "m"], [task], prompt=prompt, **options)
        assert_same(values(found), expected(matryoshka.encode(texts, **own)))
        assert "another prompt" not in "; ".join(found.run["models"][0]["notes"])
        assert found.results["model_hash"].iloc[0] != default.results["model_hash"].iloc[0]
    n_cells = len(list(kept.iterdir()))
    assert n_cells == 3
    again = gp.analyze([tmp_path / "m"], [task], **options)
    assert len(list(kept.iterdir())) == n_cells
    pd.testing.assert_frame_equal(again.results, default.results)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncate_dim": 6}))
    wider = gp.analyze([tmp_path / "m"], [task], **options)
    assert wider.results["d"].dropna().unique().tolist() == [6]


def test_the_first_text_of_a_pair_is_the_query(matryoshka, pair_task, tmp_path):
    found = gp.analyze([tmp_path / "m"], [pair_task], prompt="passage", query_prompt="query")
    texts, side = list(pair_task.geometry_rows.texts), pair_task.validation
    role = {}
    for first, second in zip(side.first, side.second, strict=True):
        role.setdefault(first, "query")
        role.setdefault(second, "passage")
    rows = [matryoshka.encode([text], prompt_name=role[text])[0] for text in texts]
    assert_same(values(found), expected(np.stack(rows)))
    assert "2 sentences are both" in "; ".join(found.run["tasks"][0]["notes"])
    same = gp.analyze([tmp_path / "m"], [pair_task], prompt="query", query_prompt="query")
    assert_same(values(same), expected(matryoshka.encode(texts)))


def test_choices_that_do_not_fit_are_refused(matryoshka, task, pair_task, tmp_path):
    refused = [
        ({"poolings": ["model"], "protocol": PAPER}, "published"),
        ({"prompt": "query", "protocol": PAPER}, "no prompts"),
        ({"query_prompt": "query"}, "pairs"),
        (
            {"tasks": [pair_task], "query_prompt": "query", "protocol": choose("strict", ["protocol.pairs=joined"])},
            "query",
        ),
        ({"tasks": [pair_task], "query_prompt": "query", "poolings": ["weighted"]}, "cannot be trained"),
        ({"prompt": "pasage"}, "Did you mean"),
    ]
    for options, words in refused:
        with pytest.raises(UsageError, match=words):
            gp.analyze([tmp_path / "m"], **({"tasks": [task]} | options))
    assert {e["name"] for e in gp.analyze([tmp_path / "m"], [task], protocol=PAPER).run["poolings"]} == {"mean"}


def test_a_trained_pooling_sees_the_prompt(matryoshka, task, tmp_path):
    task = Task("toy", "classification", split("train", 60, 0), task.validation, ("a", "b"), "accuracy")
    plain = gp.analyze([tmp_path / "m"], [task], ["weighted"])
    asked = gp.analyze([tmp_path / "m"], [task], ["weighted"], prompt="the big red bird ")
    assert values(plain, "weighted")["effective_rank"] != values(asked, "weighted")["effective_rank"]


def test_baselines_of_a_model_with_a_head(matryoshka, task, tmp_path):
    results = gp.analyze([tmp_path / "m"], [task], baselines=["random-init", "static"])
    widths = results.results.dropna(subset="d").groupby("model")["d"].unique().map(list)
    assert widths["m"] == widths["random-init of m"] == [4]
    assert widths["static words of m"] == [16]
    assert results.run["failed_cells"] == 0


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    app.command()(guard(analyze))
    app.command()(guard(compare))
    return app


def run(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_what_cannot_be_applied_ends_with_3_and_the_way_out(app, matryoshka, tmp_path):
    (tmp_path / "m" / "2_Dense" / "model.safetensors").rename(tmp_path / "m" / "2_Dense" / "pytorch_model.bin")
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(f"{t},{i % 2}" for i, t in enumerate(sentences(30, 3))))
    done = run(app, "analyze", "m", "--task", "t.csv", "--out", "o")
    assert done.exit_code == 3
    assert "pytorch_model.bin" in done.output
    assert "--pool mean" in done.output
    assert not (tmp_path / "o").exists()
    assert run(app, "analyze", "m", "--task", "t.csv", "--out", "o", "--pool", "mean").exit_code == 0
    with pytest.raises(InputError, match="pytorch_model"):
        gp.embed("m", ["a"], pooling="model")


def test_a_comparison_and_its_report_are_of_what_encode_gives(app, matryoshka, minilm, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(f"{t},{i % 2}" for i, t in enumerate(sentences(120, 3))))
    done = run(app, "compare", "m", minilm, "--task", "t.csv", "--out", "o")
    assert done.exit_code == 0, done.output
    for words in (
        "cls pooling; Dense (16 → 8, Tanh()); Normalize; truncate_dim 4",
        "pooling model: what each model's own",
    ):
        assert words in done.stderr
    results = read_results(tmp_path / "o")
    task = load_file("t.csv")
    texts = list(task.geometry_rows.texts)
    own = sentence_transformers.SentenceTransformer(str(minilm), device="cpu")
    names = [entry["name"] for entry in results.run["models"]]
    wanted = [expected(matryoshka.encode(texts)), expected(own.encode(texts))]
    rows = results.results
    for name, each in zip(names, wanted, strict=True):
        only = results.results[rows["model"] == name]
        found = only[(only["view"] == "raw") & (only["definition"] == "standard") & only["metric"].isin(FEW)]
        assert_same(found.set_index("metric")["value"].astype(float), each)
    differences = results.comparisons.query("level == 'checkpoint' and view == 'raw' and definition == 'standard'")
    for metric, diff in differences.set_index("metric")["diff"].items():
        if metric in FEW:
            assert diff == pytest.approx(wanted[1][metric] - wanted[0][metric], rel=1e-3, abs=1e-5)
    page = (tmp_path / "o" / "report.html").read_text()
    assert "model pooling" in page
    assert "truncate_dim 4" in page
    assert "taken for all models" in page
