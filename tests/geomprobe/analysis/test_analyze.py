"""The grid: every cell measured once, kept under its content, found again; a failed cell is a row."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.analysis import analyze as analyze_module
from geomprobe.analysis.cells import CellContext
from geomprobe.analysis.plan import unique_names
from geomprobe.analysis.protocols import STRICT
from geomprobe.analysis.texts import TaskTexts
from geomprobe.cli.main import app
from geomprobe.common import GeomprobeError, InputError, UsageError
from geomprobe.embedding.store import Store
from geomprobe.metrics import sample_size
from geomprobe.predict_reconstruct.protocol import PAPER
from geomprobe.probes import PROBES
from geomprobe.results import provenance, read_results
from geomprobe.results.summary.words import about_probe_intervals
from geomprobe.tasks.base import Split, Task

NOUNS = ["cat", "dog", "mat", "tree", "house", "bird", "river", "stone"]


def sentences(n, seed):
    rng = np.random.default_rng(seed)
    return tuple(" ".join(["the", *rng.choice(NOUNS, 4)]) + f" {i}" for i in range(n))


@pytest.fixture(scope="module")
def task():
    def split(name, n, seed):
        return Split(name, sentences(n, seed), None, np.arange(n) % 2, tuple(f"{name}/{i}" for i in range(n)))

    return Task("toy", "classification", split("train", 40, 0), split("validation", 30, 1), ("a", "b"), "accuracy")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))


def test_grid_has_every_cell(model_folder, task, tmp_path):
    results = gp.analyze([model_folder("bert")], [task], ["mean", "max"], "all", out=tmp_path / "r")
    cells = results.results[["layer", "pooling"]].drop_duplicates()
    assert sorted(map(tuple, cells.to_numpy())) == [(layer, p) for layer in (0, 1, 2) for p in ("max", "mean")]
    assert set(results.results["status"]) <= {"ok", "not applicable", "too few rows"}
    assert results.results["task_hash"].nunique() == 1
    assert set(results.results["metric"]) <= set(results.definitions)
    assert results.run["failed_cells"] == 0
    back = read_results(tmp_path / "r")
    pd.testing.assert_frame_equal(back.results, results.results)


def test_values_are_those_of_measure_on_the_embedded_rows(model_folder, task):
    results = gp.analyze([model_folder("bert")], [task], ["max"]).results
    Z = gp.embed(gp.load_encoder(model_folder("bert")), list(task.geometry_rows.texts), pooling="max")
    direct = gp.measure(Z, labels=task.geometry_rows.labels).set_index(["metric", "view"])["value"]
    rows = results[results["metric"].isin(direct.index.get_level_values(0)) & (results["definition"] == "standard")]
    for row in rows.itertuples():
        assert row.value == pytest.approx(direct[row.metric, row.view], rel=1e-5, abs=1e-7, nan_ok=True)
    assert len(rows) >= 10


def test_finished_cells_are_not_measured_again(model_folder, task, tmp_path, monkeypatch):
    first = gp.analyze([model_folder("bert")], [task], ["mean", "max"], out=tmp_path / "r")
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "other"))
    second = gp.analyze([model_folder("bert")], [task], ["mean", "max"], out=tmp_path / "r")
    assert not list(Store().folder.rglob("vectors.npy"))  # nothing was embedded
    pd.testing.assert_frame_equal(first.results, second.results)


def test_an_interrupted_grid_continues(model_folder, task, tmp_path):
    def kept():
        return {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "r" / "cells").glob("*/hashes.json")}

    def interrupt(*_):
        if kept():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gp.analyze([model_folder("bert")], [task], ["mean", "max"], out=tmp_path / "r", progress=interrupt)
    with pytest.raises(InputError, match="no finished results"):
        read_results(tmp_path / "r")
    first = kept()
    assert len(first) == 1
    gp.analyze([model_folder("bert")], [task], ["mean", "max"], out=tmp_path / "r")
    assert len(kept()) == 3  # two cells, and the maps of the task
    assert first.items() <= kept().items()  # and was not written again


def test_cells_are_keyed_by_content(model_folder, task):
    encoder = gp.load_encoder(model_folder("bert"))

    def key(task, layer=2, pooling="mean", seed=0):
        return CellContext(encoder, TaskTexts.of(task), layer, pooling, STRICT, seed).key

    changed = replace(task, validation=replace(task.validation, labels=1 - task.validation.labels))
    keys = [key(task), key(task, 1), key(task, pooling="max"), key(task, seed=1), key(changed)]
    assert len(set(keys)) == 5
    again = gp.load_encoder(model_folder("bert"))
    assert CellContext(again, TaskTexts.of(task), 2, "mean", STRICT, 0).key == keys[0]
    assert CellContext(again, TaskTexts.of(task, 20), 2, "mean", STRICT, 0).key != keys[0]


def test_a_failed_cell_is_a_row_and_is_tried_again(model_folder, task, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "geomprobe.inference.measure", lambda *a, **k: (_ for _ in ()).throw(ValueError("rows [3] are bad"))
    )
    broken = gp.analyze([model_folder("bert")], [task], ["mean"], out=tmp_path / "r")
    failed = broken.results[broken.results["status"] == "failed"]
    assert failed[["metric", "note"]].to_numpy().tolist() == [["geometry", "ValueError: rows [3] are bad"]]
    assert broken.run["failed_cells"] == 1
    assert (broken.results["metric"] == "semantic_accuracy").any()
    monkeypatch.undo()
    assert gp.analyze([model_folder("bert")], [task], ["mean"], out=tmp_path / "r").run["failed_cells"] == 0


def overflowing(model_folder, word, tmp_path):
    """Return the folder of a tiny encoder that overflows on every text with a word; its weights are finite."""
    encoder = gp.load_encoder(model_folder("bert"))
    folder = tmp_path / f"overflow-{word}"
    with torch.no_grad():
        encoder.model.embeddings.word_embeddings.weight[encoder.tokenizer.convert_tokens_to_ids(word)] = 3e38
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    return folder


def with_word(task, word, train=(), validation=()):
    """Return the task with a word added to some rows of its splits."""

    def split(of, rows):
        return replace(of, first=tuple(t + f" {word}" * (i in rows) for i, t in enumerate(of.first)))

    return replace(task, train=split(task.train, train), validation=split(task.validation, validation))


def failures(results):
    rows = results.results[results.results["status"] == "failed"]
    return rows[["pooling", "metric", "note"]].to_numpy().tolist()


@pytest.mark.parametrize(("protocol", "stage"), [(STRICT, "embedding"), (PAPER, "published analysis")])
def test_vectors_that_are_not_finite_fail_their_cell_and_name_their_rows(model_folder, task, tmp_path, protocol, stage):
    broken = overflowing(model_folder, "who", tmp_path)
    bad = with_word(task, "who", validation=[3, 7])
    results = gp.analyze([broken], [bad], ["mean"], protocol=protocol)
    note = "2 of 30 texts gave NaN or infinity: validation rows validation/3, validation/7"
    assert failures(results) == [["mean", stage, note]]
    assert results.run["failed_cells"] == 1
    assert set(results.results["status"]) == {"failed"}
    assert len(results.curves) == len(results.examples) == 0


def test_texts_that_probes_alone_read_fail_the_probes_alone(model_folder, task, tmp_path):
    broken = overflowing(model_folder, "who", tmp_path)
    results = gp.analyze([broken], [with_word(task, "who", train=range(12))], ["mean"])
    named = ", ".join(f"train/{i}" for i in range(10))
    assert failures(results) == [["mean", "probes", f"12 of 40 texts gave NaN or infinity: train rows {named}, …"]]
    sound = results.results[results.results["status"] == "ok"]
    assert {"effective_rank", "uniformity"} <= set(sound["metric"])
    assert not sound["metric"].str.startswith("semantic").any()
    assert results.run["failed_cells"] == 1


def test_a_pooling_that_cannot_be_trained_leaves_the_others(model_folder, task, tmp_path):
    broken = overflowing(model_folder, "who", tmp_path)
    bad = with_word(task, "who", train=range(40))
    results = gp.analyze([broken], [bad], ["mean", "weighted"])
    found = {(pooling, stage): note for pooling, stage, note in failures(results)}
    assert {("mean", "probes")} == {key for key in found if key[0] == "mean"}
    assert {stage for pooling, stage in found if pooling == "weighted"} == {"embedding"}
    assert results.run["failed_cells"] == 2


def test_one_row_leaves_the_other_stages(model_folder, task):
    same = replace(task, validation=replace(task.validation, first=("the cat",) * 30))
    results = gp.analyze([model_folder("bert")], [same], ["mean"])
    assert results.run["failed_cells"] == 0
    geometry = results.results[results.results["metric"] == "effective_rank"]
    assert geometry[["status", "note"]].to_numpy().tolist() == [["too few rows", "1 row; at least 2 are needed"]]
    assert "semantic_accuracy" in set(results.results["metric"])


def test_what_a_checkpoint_says_of_its_training_is_read_before_anything_is_measured(
    model_folder, task, tmp_path, monkeypatch
):
    folder, measure_task = tmp_path / "model", analyze_module.measure_task
    shutil.copytree(model_folder("bert"), folder)
    (folder / "run.json").write_text('{"config": {"objective": "mlm"}, "corpus": {}, "finished": true}')

    def measured(*args):
        (folder / "run.json").write_text("[")
        return measure_task(*args)

    monkeypatch.setattr(analyze_module, "measure_task", measured)
    (entry,) = gp.analyze([folder], [task], ["mean"]).run["models"]
    assert entry["objective"] == "mlm"


@pytest.mark.parametrize("content", ["[", "[]", "null", "[" * 100_000, '{"config": []}', "\0\0"])
def test_a_damaged_run_json_is_said(tmp_path, content):
    assert provenance.training_run(tmp_path).notes == []
    (tmp_path / "run.json").write_text(content)
    found = provenance.training_run(tmp_path)
    assert found.entry == {"objective": None, "training": None}
    assert found.notes == ["what its run.json and log say of its training is not understood"]


def test_a_folder_into_which_another_process_writes_is_refused(task, tmp_path):
    code = "import sys; from geomprobe.common import hold_folder\n"
    code += "with hold_folder(sys.argv[1]): print(flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path / "r"], stdin=-1, stdout=-1, text=True)
    assert other.stdout.readline() == "\n"
    with pytest.raises(GeomprobeError, match="in use"):
        gp.analyze(["no/model/is/opened"], [task], out=tmp_path / "r")
    other.communicate("\n")
    with pytest.raises(InputError, match="no/model"):
        gp.analyze(["no/model/is/opened"], [task], out=tmp_path / "r")


@pytest.mark.parametrize(("run", "log"), [({"seed": "x"}, {}), ({"config": {"objective": 3}}, {}), ({}, {"step": [1]})])
def test_a_run_json_of_another_program_is_no_obstacle(model_folder, task, tmp_path, run, log):
    folder = tmp_path / "model"
    shutil.copytree(model_folder("bert"), folder)
    whole = {"config": {}, "corpus": {}, "finished": True} | run
    (folder / "run.json").write_text(json.dumps(whole), encoding="utf-8")
    (folder / "metrics.jsonl").write_text(json.dumps(log) + "\n", encoding="utf-8")
    gp.analyze([folder], [task], ["mean"], out=tmp_path / "r")
    (entry,) = read_results(tmp_path / "r").run["models"]
    assert entry["training"] is None
    assert "what its run.json and log say of its training is not understood" in entry["notes"]


def test_a_full_disk_ends_the_run(model_folder, task, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("geomprobe.analysis.analyze.write_tables", full)
    with pytest.raises(OSError, match="No space"):
        gp.analyze([model_folder("bert")], [task], ["mean"], out=tmp_path / "r")
    assert not (tmp_path / "r" / "run.json").exists()


def test_a_cache_that_cannot_be_written_ends_the_run_and_leaves_no_results(model_folder, task, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(GeomprobeError, match="cannot be written") as caught:
        gp.analyze([model_folder("bert")], [task], ["mean"], out=tmp_path / "r")
    assert "GEOMPROBE_CACHE" in caught.value.hint
    assert not (tmp_path / "r" / "run.json").exists()


def swap_float(path):
    """Write the same shape in another type."""
    np.save(path, np.load(path).astype(np.float16))


def flip_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def shorten(path):
    frame = pd.read_parquet(path)
    frame.head(len(frame) // 2).to_parquet(path)


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("cache/**/vectors.npy", swap_float),
        ("cache/**/vectors.npy", flip_byte),
        ("r/cells/*/results.parquet", shorten),
        ("r/cells/*/results.parquet", flip_byte),
        ("r/cells/*/hashes.json", lambda path: path.write_text("[1]")),
        ("r/cells/*/examples.parquet", lambda path: path.unlink()),
    ],
)
def test_what_was_changed_on_disk_is_made_again(model_folder, task, tmp_path, monkeypatch, pattern, damage):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    ask = partial(gp.analyze, [model_folder("bert")], [task], ["mean"], out=tmp_path / "r")
    before = ask().results
    damaged = sorted(tmp_path.glob(pattern))
    assert damaged
    for path in damaged:
        damage(path)
    if pattern.startswith("cache"):
        shutil.rmtree(tmp_path / "r")
    pd.testing.assert_frame_equal(ask().results, before)


def test_two_models_on_the_same_rows_and_their_report(model_folder, task, tmp_path):
    models = [model_folder("bert"), model_folder("modernbert")]
    results = gp.analyze(models, [task], ["mean"], seed=3)
    names = [entry["name"] for entry in results.run["models"]]
    assert len(set(names)) == 2
    gp.write_report(results, tmp_path / "report.html")
    assert "<html" in (tmp_path / "report.html").read_text()


def test_limit_and_wrong_requests(model_folder, task):
    folder = model_folder("bert")
    results = gp.analyze([folder], [task], ["mean"], limit=7)
    assert results.run["tasks"][0]["rows"] == 7
    with pytest.raises(UsageError, match="at least 2"):
        gp.analyze([folder], [task], limit=1)
    with pytest.raises(UsageError, match="no layer 9"):
        gp.analyze([folder], [task], layers=[9])
    for layers in ("last", "", -1, [], ["last"], [0.0]):
        with pytest.raises(UsageError, match="a list of numbers"):
            gp.analyze([folder], [task], layers=layers)
    with pytest.raises(UsageError, match="twice"):
        gp.analyze([folder], [task, task])
    with pytest.raises(UsageError, match="pooling"):
        gp.analyze([folder], [task], ["meen"])
    with pytest.raises(InputError):
        gp.analyze(["no/such/folder"], [task])


def test_the_recorded_command_names_no_folder_of_this_machine(tmp_path, monkeypatch):
    from geomprobe.results import provenance

    data = tmp_path / "data"
    (data / "wikipedia").mkdir(parents=True)
    inside = tmp_path / "work" / "runs" / "a b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    argv = ["/opt/bin/geomprobe", "compare", str(inside), "hub/name", "--data", str(data), f"--corpus={data}/wikipedia"]
    monkeypatch.setattr("sys.argv", [*argv, "/elsewhere/model"])
    expected = (
        """geomprobe compare 'runs/a b' hub/name --data "$GEOMPROBE_DATA" "--corpus=$GEOMPROBE_DATA/wikipedia" model"""
    )
    assert provenance.command_line(data) == expected


def test_poolings_are_trained_where_the_task_allows_it(model_folder, task, tmp_path):
    trained = gp.analyze([model_folder("bert")], [task], ["weighted", "attention"])
    rows = trained.results.set_index(["pooling", "metric", "control"])["value"].sort_index()
    assert {e["name"]: e["trained"] for e in trained.run["poolings"]} == {"weighted": True, "attention": True}
    assert rows.loc["weighted", "trained_pooling_loss"].notna().all()
    weights = trained.curves[trained.curves["curve"] == "pooling_position_weight"]
    assert list(weights["x"]) == list(range(len(weights)))
    tokens = trained.curves[trained.curves["curve"] == "pooling_token_weight"]
    assert tokens["y"].is_monotonic_decreasing
    assert "the" in set(tokens["label"])

    paper = replace(STRICT, train_poolings=False)
    untrained = gp.analyze([model_folder("bert")], [task], ["weighted", "mean"], protocol=paper)
    assert {e["name"]: e["trained"] for e in untrained.run["poolings"]} == {"weighted": False, "mean": None}
    geometry = untrained.results[untrained.results["metric"] == "effective_rank"]
    values = geometry.groupby("pooling")["value"].first()
    assert values["weighted"] == values["mean"]
    assert "trained_pooling_loss" not in set(untrained.results["metric"])


def test_a_pooling_that_cannot_be_trained_says_so(model_folder, task):
    bare = replace(task, train=None)
    run = gp.analyze([model_folder("bert")], [bare], ["weighted"]).run
    assert run["poolings"][0]["trained"] is False
    assert run["poolings"][0]["untrained_on"] == {"toy": "the task has no train split"}


def test_ranks_are_measured_at_the_rows_of_the_smallest_task(model_folder, task, tmp_path):
    few = replace(task, name="few", train=None, validation=task.validation.take(np.arange(12)))
    results = gp.analyze([model_folder("bert")], [replace(task, train=None), few])
    found = results.results.set_index(["task", "metric"])["value"].to_dict()
    rows = results.results[results.results["metric"].str.endswith("_n_matched").fillna(False)]
    assert len(rows) == 2 * len(sample_size.MATCHED)
    assert set(rows["n"]) == {12}
    for name in sample_size.MATCHED:
        assert found["few", f"{name}_n_matched"] == pytest.approx(found["few", name], rel=1e-9)
    assert found["toy", "effective_rank_n_matched"] < found["toy", "effective_rank"]
    texts = list(task.geometry_rows.texts)
    Z = gp.embed(model_folder("bert"), texts)
    draws = [Z[np.random.default_rng(i).choice(len(Z), 12, replace=False)] for i in range(60)]
    mean = np.mean([gp.measure(part, metrics=["effective_rank"], intervals=False)["value"][0] for part in draws])
    assert found["toy", "effective_rank_n_matched"] == pytest.approx(mean, rel=0.1)
    curve = results.curves[
        (results.curves["curve"] == "rarefaction_effective_rank") & (results.curves["task"] == "toy")
    ]
    assert curve["x"].is_monotonic_increasing
    assert {12.0, 30.0} <= set(curve["x"])
    at = dict(zip(curve["x"], curve["y"], strict=True))
    assert at[12.0] == pytest.approx(found["toy", "effective_rank_n_matched"])
    assert at[30.0] == pytest.approx(found["toy", "effective_rank"])
    gp.write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "effective rank n matched" in page
    assert "effective rank by number of rows" in page.lower()
    assert "unless they are n-matched" in page


def test_baselines_stand_beside_the_models(model_folder, task):
    results = gp.analyze([model_folder("bert")], [task], baselines=["random-init", "bow", "tfidf", "static"])
    names = [entry["name"] for entry in results.run["models"]]
    assert list(results.run["baselines"].values()) == ["random-init", "bow", "tfidf", "static"]
    assert list(results.run["baselines"]) == names[1:]
    ranks = results.results[results.results["metric"] == "effective_rank"].dropna(subset=["value"])
    assert set(ranks["model"]) == set(names)
    twins = gp.analyze([model_folder("bert"), model_folder("bert")], [task], baselines=["random-init"])
    assert twins.run["baselines"] == {"random-init": "random-init"}  # one architecture, one baseline
    *both, baseline = twins.run["models"]
    assert baseline["baseline_of"] == [entry["name"] for entry in both]
    with pytest.raises(UsageError, match="random-inti"):
        gp.analyze([model_folder("bert")], [task], baselines=["random-inti"])


def test_seeds_in_folders_of_one_name_are_called_by_the_folder_above(model_folder, tmp_path):
    import shutil

    from geomprobe.encoders import load_encoder

    for arm in ("mlm", "hybrid"):
        shutil.copytree(model_folder("bert"), tmp_path / arm / "seed-0")
    encoders = [load_encoder(tmp_path / arm / "seed-0") for arm in ("mlm", "hybrid", "mlm")]
    assert unique_names(encoders) == ["mlm/seed-0", "hybrid/seed-0", "mlm/seed-0 (2)"]
    assert unique_names(encoders[:1]) == ["seed-0"]


def test_no_model_is_called_model(model_folder, tmp_path, monkeypatch):
    import shutil

    from geomprobe.cli.options import folder_name
    from geomprobe.encoders import load_encoder

    for place in ("a/x", "b/x", "c"):
        shutil.copytree(model_folder("bert"), tmp_path / place / "model")
    paths = [str(tmp_path / place / "model") for place in ("a/x", "b/x", "c")]
    encoders = [load_encoder(path) for path in paths]
    assert [encoder.name for encoder in encoders] == ["x", "x", "c"]
    assert unique_names(encoders) == ["a/x", "b/x", "c"]
    assert folder_name(paths[2:]).startswith("c-")
    monkeypatch.chdir(tmp_path / "c")
    assert load_encoder("model").name == "c"
    monkeypatch.chdir("model")
    assert load_encoder(".").name == "c"
    assert load_encoder(load_encoder(".").model, tokenizer=".").name == "BertModel"


def test_another_positive_class_is_measured_anew_in_the_same_folder(model_folder, tmp_path):
    texts, ids = sentences(12, 0), tuple(map(str, range(6)))
    split = Split("validation", texts[:6], texts[6:], np.arange(6) % 2, ids)

    def alignment(positive: int, out: str) -> float:
        task = Task("pairs", "classification", None, split, ("no", "yes"), "accuracy", positive)
        found = gp.analyze([model_folder("bert")], [task], ["mean"], out=tmp_path / out).results
        return found.query("metric == 'alignment' and view == 'raw'")["value"].iloc[0]

    first, again = alignment(0, "out"), alignment(1, "out")
    assert first != again
    assert again == alignment(1, "anew")


def test_refits_have_cells_of_their_own_and_are_found_again(model_folder, task, tmp_path):
    how = {"poolings": ["mean"], "out": tmp_path / "r"}
    plain = gp.analyze([model_folder("bert")], [task], **how)
    first, second = (gp.analyze([model_folder("bert")], [task], refits=4, **how) for _ in range(2))
    assert "refits" not in plain.run
    assert plain.refits.empty
    assert first.run["refits"] == 4
    assert len(first.refits) > 5
    pd.testing.assert_frame_equal(first.refits, second.refits)
    pd.testing.assert_frame_equal(first.results, second.results)
    pd.testing.assert_series_equal(plain.results["value"], first.results["value"])
    accuracy = first.results.query("metric == 'semantic_accuracy' and control.isna()")["ci_method"].item()
    assert accuracy == "cluster-robust, t, 4 refits"
    assert "these fitted probes, over the scored rows" in about_probe_intervals(plain.facts())
    assert "4 refits on halves" in about_probe_intervals(first.facts())
    pd.testing.assert_frame_equal(gp.analyze([model_folder("bert")], [task], **how).results, plain.results)
    assert not (tmp_path / "r" / "refits.parquet").exists()


def test_fewer_probes_have_the_same_numbers_and_cells_of_their_own(model_folder, task, tmp_path):
    how = {"poolings": ["mean"], "out": tmp_path / "r"}
    found = {probes: gp.analyze([model_folder("bert")], [task], probes=probes, **how) for probes in PROBES}
    keys = ["metric", "view", "definition", "control"]
    every = found["all"].results.set_index(keys)
    assert "probes" not in found["all"].run
    for probes in ("fast", "none"):
        assert found[probes].run["probes"] == probes
        some = found[probes].results.set_index(keys)
        pd.testing.assert_frame_equal(some, every.loc[some.index])
    metrics = {probes: set(results.results["metric"]) for probes, results in found.items()}
    left_out = {"semantic_selectivity", "semantic_conditional_bits", "semantic_code_length", "semantic_compression"}
    assert metrics["all"] - metrics["fast"] == left_out
    assert not any(name.startswith(("semantic", "lexical")) for name in metrics["none"])
    assert {"uniformity", "effective_rank"} <= metrics["none"]
    assert "control_task" in set(found["all"].results["control"]) - set(found["fast"].results["control"])


def test_without_probes_pairs_keep_what_needs_no_fit(model_folder):
    train, validation = (
        Split(name, sentences(n, 0), sentences(n, 1), np.arange(n) % 6 / 1.0, tuple(f"{name}/{i}" for i in range(n)))
        for name, n in (("train", 40), ("validation", 30))
    )
    task = Task("pairs", "regression", train, validation, (), "spearman")
    found = gp.analyze([model_folder("bert")], [task], ["mean"], probes="none").results
    assert {"sts_cosine_spearman", "partial_spearman_gold", "partial_spearman_overlap"} <= set(found["metric"])
    assert not any(name.startswith(("sts_probe", "lexical")) for name in found["metric"])


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"probes": "some"}, "choice of probes"),
        ({"probes": "none", "refits": 4}, "--probes none fits none"),
        ({"probes": "fast", "protocol": PAPER}, "probes of its own"),
    ],
)
def test_choices_of_probes_that_contradict(task, choices, said):
    with pytest.raises(UsageError, match=said):
        gp.analyze(["model"], [task], **choices)


@pytest.mark.parametrize("probes", ["fast", "none"])
def test_fewer_probes_make_a_report(model_folder, tmp_path, monkeypatch, probes):
    monkeypatch.chdir(tmp_path)
    models = [str(model_folder(kind)) for kind in ("bert", "roberta")]
    command = ["compare", *models, "--task", "controlled", "--limit", "40"]
    done = CliRunner().invoke(app, [*command, "--pool", "mean", "--probes", probes, "--out", "out"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out/report.html").read_text()
    assert "uniformity" in page.lower()
    assert ("semantic_accuracy" in set(read_results("out").comparisons["metric"])) == (probes == "fast")
