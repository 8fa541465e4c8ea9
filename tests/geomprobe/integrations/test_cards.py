"""Numbers on a model card: what is written, that the hub's own client reads it, and that the user's text stays."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import ModelCard, parse_eval_result_entries
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.cli.main import app
from geomprobe.integrations import cards

OWN = """---
license: mit
language:
- en
model-index:
- name: theirs
  results:
  - task:
      type: text-classification
    dataset:
      name: SST
      type: glue
    metrics:
    - type: accuracy
      value: 0.9
---

# My model

Text of mine, with trailing space 

## More
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory, model_folder):
    """Results folder of a tiny encoder on two tasks of a hub data set and of its own."""
    texts = [f"the {a} cat saw a {b} bird" for a in ("big", "small", "red") for b in ("big", "small", "red", "very")]
    texts += [text.replace("cat", "dog") for text in texts]
    labels = np.array(["dog" in text for text in texts], np.int64)
    split = gp.Split("validation", tuple(texts), None, labels, tuple(f"v/{i}" for i in range(len(texts))))
    train = replace(split, name="train", row_ids=tuple(f"t/{i}" for i in range(len(texts))))
    tasks = [
        gp.Task("pets", "classification", train, split, ("cat", "dog"), "accuracy", source="me/pets@0123456789ab (x)"),
        gp.Task("a|b](x) <b>#1", "classification", train, split, ("cat", "dog"), "accuracy", source="mine.csv"),
    ]
    results = gp.analyze([str(model_folder("bert"))], tasks, poolings=["mean"], layers=[-1], device="cpu")
    folder = tmp_path_factory.mktemp("card") / "results"
    return gp.write_results(folder, results)


def run(*words, code=0):
    done = CliRunner().invoke(app, ["card", *map(str, words)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def checkpoint(model_folder, tmp_path):
    """A copy of the encoder's folder."""
    import shutil

    return shutil.copytree(model_folder("bert"), tmp_path / "checkpoint")


def test_the_numbers_on_the_card_are_those_of_the_results(measured, checkpoint):
    said = run(measured, "--push-to-folder", checkpoint)
    assert len(said.stdout.splitlines()) == 3
    card = ModelCard.load(checkpoint / "README.md")
    results = gp.read_results(measured)
    rows = results.results[(results.results["layer"] == 2) & (results.results["pooling"] == "mean")]
    rows = rows[rows["control"].isna()]
    assert len(card.data.eval_results) >= 10
    for each in card.data.eval_results:
        same = rows[(rows["metric"] == each.metric_type) & (rows["task"] == each.dataset_name)]
        same = same[same["view"].fillna("") == each.metric_args.get("view", "")]
        assert each.metric_value in same["value"].tolist()
        assert each.metric_args.get("ci_low") in [*same["ci_low"].dropna(), None]
        assert each.metric_args["model_hash"] == results.run["models"][0]["hash"]
    assert {each.dataset_type for each in card.data.eval_results} == {"me/pets", "a|b](x) <b>#1"}

    import yaml

    (entry,) = parse_eval_result_entries(yaml.safe_load((checkpoint / cards.EVALUATIONS).read_text(encoding="utf-8")))
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == ("me/pets", "x", "0123456789ab")
    accuracy = rows[(rows["metric"] == "semantic_accuracy") & (rows["task"] == "pets")]
    assert [entry.value] == accuracy["value"].tolist()


def test_what_is_said_of_the_rows_is_inert(measured):
    text = run(measured).stdout
    results = gp.read_results(measured)
    for entry in results.run["tasks"]:
        assert f"{entry['geometry_rows']} rows" in text
        assert entry["row_ids_hash"][:16] in text
    assert "a\\|b\\](x) \\<b\\>&#35;1" in text
    assert "at layer 2 of 2 under mean pooling" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {4}
    assert text.startswith(cards.BEGIN)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_text_of_the_user_stays_and_a_second_push_changes_nothing(measured, checkpoint, ends):
    readme = checkpoint / "README.md"
    readme.write_bytes(OWN.replace("\n", ends).encode())
    run(measured, "--push-to-folder", checkpoint)
    once = readme.read_bytes()
    run(measured, "--push-to-folder", checkpoint, "--model", gp.read_results(measured).run["models"][0]["name"])
    assert readme.read_bytes() == once
    card = ModelCard.load(readme)
    assert OWN.partition("---\n\n")[2].strip().replace("\n", ends).encode() in once
    assert (card.data.license, card.data.language) == ("mit", ["en"])
    theirs = [each for each in card.data.eval_results if each.dataset_type == "glue"]
    assert [(each.metric_type, each.metric_value) for each in theirs] == [("accuracy", 0.9)]
    moved = once.decode().replace(cards.END, f"{cards.END}{ends}{ends}After it.")
    readme.write_bytes(moved.encode())
    run(measured, "--push-to-folder", checkpoint)
    assert readme.read_bytes() == moved.encode()


def test_numbers_of_other_weights_are_refused(measured, model_folder, tmp_path):
    import shutil

    other = shutil.copytree(model_folder("roberta"), tmp_path / "other")
    for name in ([], ["--model", gp.read_results(measured).run["models"][0]["name"]]):
        said = run(measured, "--push-to-folder", other, *name, code=2)
        assert "other weights" in said.stderr
    assert not (other / "README.md").exists()


def test_a_folder_without_a_model_needs_a_name(measured, tmp_path):
    name = gp.read_results(measured).run["models"][0]["name"]
    assert "--model" in run(measured, "--push-to-folder", tmp_path, code=2).stderr
    assert "not checked" in run(measured, "--push-to-folder", tmp_path, "--model", name).stderr
    assert (tmp_path / "README.md").read_text(encoding="utf-8").count(cards.BEGIN) == 1
    assert "nobody" in run(measured, "--model", "nobody", code=2).stderr
    assert "not a folder" in run(measured, "--push-to-folder", tmp_path / "none", code=3).stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe broken", "cannot be read"),
        (b"---\n- a list\n---\n", "not those of a model card"),
        (b"---\na: [\n---\n", "not those of a model card"),
        (b"---\nmodel-index: 5\n---\n", "not those of a model card"),
        (cards.BEGIN.encode(), "markers"),
        (f"{cards.END}\n{cards.BEGIN}".encode(), "markers"),
        (f"{cards.BEGIN}{cards.END}{cards.BEGIN}{cards.END}".encode(), "markers"),
    ],
)
def test_a_damaged_card_is_refused_and_left_alone(measured, checkpoint, text, said):
    (checkpoint / "README.md").write_bytes(text)
    done = run(measured, "--push-to-folder", checkpoint, code=3)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert (checkpoint / "README.md").read_bytes() == text


def test_json(measured, checkpoint):
    found = json.loads(run(measured, "--push-to-folder", checkpoint, "--json").stdout)
    assert [path.rpartition("checkpoint/")[2] for path in found["files"]] == ["README.md", cards.EVALUATIONS]
    assert found["numbers"] == len(ModelCard.load(checkpoint / "README.md").data.eval_results)


def test_no_integration_is_imported_by_the_package():
    code = "import sys, geomprobe, geomprobe.cli.main; print([m for m in sys.modules if '.integrations.' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
