"""mteb's results as ours and back; its tasks as ours. The files in `mteb/` were written by the real library."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy import stats

import geomprobe as gp
from geomprobe.common import UsageError
from geomprobe.integrations import mteb
from tests.geomprobe.integrations import mteb_task

FOLDER = mteb_task.FOLDER
ROWS = {"tasks": mteb_task.stand_ins(), "predictions": FOLDER / "predictions"}


@pytest.fixture
def files(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "mteb")


def test_every_score_of_the_files_is_a_row():
    results = mteb.read(FOLDER)
    results.check()
    for path in FOLDER.rglob("r1/[CP]*.json"):
        file = json.loads(path.read_text())
        (scores,) = file["scores"]["test"]
        mine = results.results[results.results["task"] == file["task_name"]]
        mine = mine[mine["model"] == path.parent.parent.name.replace("__", "/")]
        numbers = {f"mteb_{key}": value for key, value in scores.items() if isinstance(value, float)}
        assert dict(zip(mine["metric"], mine["value"], strict=True)) == numbers
    assert results.results["ci_low"].isna().all()
    assert results.run["notes"] == ["no intervals, no predictions were given: Classes, Pairs"]


def test_intervals_and_paired_differences_are_those_of_the_rows(tmp_path):
    results = mteb.read(FOLDER, **ROWS)
    assert results.run["notes"] == []
    folder = gp.write_results(tmp_path / "r", results)
    compared = gp.compare_results([f"{folder}#me/few", f"{folder}#me/many"]).comparisons
    found = compared[compared["metric"] == "mteb_main_score"].set_index("task").loc["Classes"]
    shares = []
    for name in ("few", "many"):
        file = json.loads((FOLDER / f"predictions/{name}/Classes_predictions.json").read_text())
        shares.append((np.array(file["default"]["test"]) == mteb_task.TEST["label"]).mean(axis=0))
    difference = shares[1] - shares[0]
    assert found["diff"] == pytest.approx(difference.mean())
    assert found["se"] == pytest.approx(difference.std(ddof=1) / np.sqrt(50), rel=0.02)
    rows = results.results.set_index(["model", "task", "metric"])
    pairs = json.loads((FOLDER / "predictions/many/Pairs_predictions.json").read_text())["default"]["test"]
    rank = stats.spearmanr(pairs["cosine_scores"], mteb_task.PAIRS["score"]).statistic
    one = rows.loc[("me/many", "Pairs", "mteb_cosine_spearman")]
    assert one["value"] == pytest.approx(rank, abs=1e-6)
    assert one["ci_low"] < rank < one["ci_high"]


def test_predictions_that_do_not_give_the_scores_are_no_evidence(files):
    path = files / "predictions/few/Classes_predictions.json"
    document = json.loads(path.read_text())
    document["default"]["test"][0] = document["default"]["test"][1][::-1]
    path.write_text(json.dumps(document))
    results = mteb.read(files, tasks=ROWS["tasks"], predictions=files / "predictions")
    assert results.run["notes"] == [
        "no intervals, the predictions and the labels do not give the recorded scores: Classes"
    ]
    mine = results.results[(results.results["model"] == "me/few") & (results.results["task"] == "Classes")]
    assert mine["ci_low"].isna().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.clear(), "missing"),
        (lambda file: file.update(scores=[]), "scores must be an object"),
        (lambda file: file.update(scores={"test": [{"hf_subset": "default"}]}), "main_score is missing"),
        (lambda file: file["scores"]["test"][0].update(main_score="0.5"), "or is no number"),
        (lambda file: file["scores"]["test"][0].update(hf_subset=3), "hf_subset must be text"),
        (lambda file: file.update(task_name=None), "task_name must be text"),
    ],
)
def test_a_file_that_mteb_did_not_write_is_refused(files, change, said):
    path = files / "results/me__few/r1/Pairs.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(gp.InputError, match=said) as refused:
        mteb.read(files / "results")
    assert str(path) in refused.value.message


def test_damaged_missing_and_doubled_files(files, tmp_path):
    with pytest.raises(gp.InputError, match="not a folder"):
        mteb.read(tmp_path / "none")
    with pytest.raises(gp.InputError, match="no results"):
        mteb.read(files / "predictions")
    with pytest.raises(gp.InputError, match="no predictions"):
        mteb.read(files, predictions=files / "results")
    shutil.copytree(files / "results/me__few", files / "results/again")
    with pytest.raises(gp.InputError, match="two results"):
        mteb.read(files)
    (files / "results/again/r1/Pairs.json").write_text("{")
    with pytest.raises(gp.InputError, match="JSON"):
        mteb.read(files)


def test_not_a_number_and_several_subsets(files):
    path = files / "results/me__few/r1/Pairs.json"
    document = json.loads(path.read_text())
    scores = document["scores"]["test"][0]
    document["scores"]["test"] += [scores | {"hf_subset": "de", "main_score": float("nan")}]
    path.write_text(json.dumps(document))
    rows = mteb.read(files).results
    mine = rows[(rows["task"] == "Pairs (de)") & (rows["metric"] == "mteb_main_score")]
    assert mine["status"].tolist() == ["not applicable"]
    assert mine["value"].isna().all()


def test_a_task_as_ours():
    pairs, classes = map(mteb.as_task, mteb_task.stand_ins())
    assert (pairs.kind, pairs.train, pairs.score, pairs.source) == ("regression", None, "spearman", "me/pairs@1")
    assert pairs.validation.second == tuple(mteb_task.SECOND)
    assert pairs.validation.labels.tolist() == mteb_task.PAIRS["score"]
    assert (classes.label_names, len(classes.train), len(classes.validation)) == (("0", "1"), 80, 50)
    with pytest.raises(UsageError, match="no split 'dev'"):
        mteb.as_task(mteb_task.stand_ins()[0], split="dev")
    with pytest.raises(UsageError, match="no subset 'de'"):
        mteb.as_task(mteb_task.stand_ins()[0], subset="de")
    other = mteb_task.stand_ins()[0]
    other.metadata.type = "Retrieval"
    with pytest.raises(UsageError, match="Retrieval"):
        mteb.as_task(other)
    (broken,) = mteb_task.stand_ins()[:1]
    broken.dataset = {"test": {"sentence1": [1], "sentence2": ["a"], "score": [0.5]}}
    with pytest.raises(gp.InputError, match="cannot be read"):
        mteb.as_task(broken)


def test_both_together_and_back(model_folder, tmp_path):
    """The scores stand at our last layer, with our hash; what is not the same model is refused."""
    tasks = [mteb.as_task(mteb_task.stand_ins()[0])]
    ours = gp.analyze([str(model_folder("bert"))], tasks, poolings=["mean"], layers=[-1], device="cpu")
    theirs = mteb.read(FOLDER, **ROWS)
    with pytest.raises(UsageError, match="No model is in both"):
        mteb.join(ours, theirs)
    name = ours.run["models"][0]["name"]
    joined = mteb.join(ours, theirs, {"me/few": name})
    joined.check()
    added = joined.results[joined.results["protocol"] == "mteb"]
    assert set(added["model_hash"]) == {ours.run["models"][0]["hash"]}
    assert set(added["layer"]) == {2}
    # the rows are those that we measured, so the task is one and the same
    assert set(added.loc[added["task"] == "Pairs", "task_hash"]) == {tasks[0].fingerprint}
    assert [task["name"] for task in joined.run["tasks"]] == ["Pairs", "Classes"]
    again = gp.read_results(gp.write_results(tmp_path / "joined", joined))
    assert len(again.results) == len(ours.results) + 19
    assert "mteb main score" in again.to_markdown()
    assert "other models left out: me/many" in joined.run["notes"][-1]

    with pytest.raises(UsageError, match="owner/name"):
        mteb.write(ours, tmp_path / "cache", name, model="bert")
    (_,) = mteb.write(ours, tmp_path / "cache", name, model="me/bert")
    back = mteb.read(tmp_path / "cache").results.set_index("metric")["value"]
    numbers = ours.results[(ours.results["model"] == name) & (ours.results["definition"] == "standard")]
    numbers = numbers.set_index(["metric", "view"])["value"]
    assert back["mteb_uniformity_raw"] == numbers["uniformity", "raw"]
    real = pytest.importorskip("mteb", reason="mteb is not installed; reading and writing were tested without it")
    (model,) = real.ResultCache(tmp_path / "cache").load_results().model_results
    assert (model.model_name, model.model_revision) == ("me/bert", ours.run["models"][0]["hash"])
    assert model.task_results[0].get_score() == back["mteb_main_score"]


def test_a_real_run_joined_with_ours(model_folder, tmp_path):
    """mteb scores an encoder that is named by docs/how-to/share-a-checkpoint.md; we measure it on the same rows."""
    pytest.importorskip("mteb", reason="mteb is not installed")
    from sentence_transformers import SentenceTransformer

    real = __import__("mteb")
    folder = model_folder("bert")
    model = SentenceTransformer(str(folder), device="cpu")
    model.model_card_data.model_name = "me/bert"
    model.model_card_data.base_model_revision = gp.load_encoder(folder).hash
    tasks = mteb_task.tasks()
    real.evaluate(
        model, tasks, cache=real.ResultCache(tmp_path), co2_tracker=False, show_progress_bar=False,
        prediction_folder=tmp_path / "predictions",
    )  # fmt: skip
    ours = gp.analyze([str(folder)], [mteb.as_task(task) for task in tasks], layers=[-1], device="cpu")
    theirs = mteb.read(tmp_path, tasks=tasks, predictions=tmp_path / "predictions")
    assert theirs.run["notes"] == []
    joined = mteb.join(ours, theirs).results
    joined = joined[joined["control"].isna() & (joined["model"] == ours.run["models"][0]["name"])].set_index(
        ["task", "metric", "pooling"]
    )["value"]
    # two libraries, the same vectors: the cosines of mean-pooled pairs
    assert joined["Pairs", "mteb_main_score", "model"] == pytest.approx(
        joined["Pairs", "sts_cosine_spearman", "mean"], abs=1e-4
    )


def test_without_mteb_a_name_is_refused(monkeypatch, tmp_path):
    import sys

    from typer.testing import CliRunner

    from geomprobe.cli.main import app

    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(gp.InputError, match="mteb is not installed"):
        mteb.as_task("STS12")
    done = CliRunner().invoke(app, ["analyze", str(tmp_path), "--task", "mteb:STS12", "--out", str(tmp_path / "r")])
    assert (done.exit_code, done.stderr.splitlines()) == (3, ["error: mteb is not installed.", "  pip install mteb"])
