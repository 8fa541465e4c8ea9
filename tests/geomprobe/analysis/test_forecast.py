"""A dry run: it counts what the run then does, reads no weights, writes nothing, and refuses what the run refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.analysis.forecast import forecast
from geomprobe.analysis.plan import Request
from geomprobe.cli.main import app
from geomprobe.common import UsageError
from geomprobe.common.hub import rehearsing
from geomprobe.encoders import outline as outline_module
from geomprobe.encoders.outline import outline
from geomprobe.tasks import load_file
from tests.hub import Repository

COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def reviews(tmp_path):
    """Return a file of 50 labelled sentences, the first of them too long for the tiny models."""
    rng = np.random.default_rng(0)
    lines = [
        f"the {' '.join(rng.choice(['cat', 'dog', 'mat', 'bird'], 40 if i == 0 else 4))} {i},{i % 2}" for i in range(50)
    ]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return tmp_path / "reviews.csv"


@pytest.fixture
def no_weights(monkeypatch):
    """Fail where weights are read."""

    def read(*_, **__):
        raise AssertionError("weights were read")

    monkeypatch.setattr("geomprobe.encoders.architecture.read_weights", read)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(folder):
    """Return every file below a folder with its content."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_is_counted_is_what_the_run_does(model_folder, reviews, tmp_path, no_weights, monkeypatch):
    models = [model_folder("bert"), model_folder("roberta")]
    more = {"poolings": ["mean"], "layers": (0, -1), "baselines": ["random-init", "bow"]}
    before = files(tmp_path)
    with rehearsing() as rehearsal:
        asked = Request(models, [load_file(reviews)], **more)
        found = forecast(asked, rehearsal, tmp_path / "out" / "cells", similarity=False)
    assert files(tmp_path) == before
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    results = gp.analyze(models, [load_file(reviews)], out=tmp_path / "out", **more)
    (task,), (said,) = results.run["tasks"], found["tasks"]
    assert (said["rows"], said["train_rows"]) == (task["rows"], task["train_rows"])
    names = ["tiny-bert", "tiny-roberta", "random-init of tiny-bert", "random-init of tiny-roberta"]
    assert [model["name"] for model in found["models"] if model["tokens"]] == names
    entries = {entry["name"]: entry for entry in results.run["models"]}
    for model in found["models"][:2]:
        entry = entries[model["name"]]
        assert (model["layers"], model["dim"], model["parameters"]) == (2, 16, entry["parameters"])
        assert model["cut"] == task["truncated"][model["name"]] == 1
    cells = results.results.groupby(["model", "layer", "pooling", "task"]).ngroups
    assert found["cells"] == cells == 9
    assert found["finished_cells_at_most"] == 0
    assert found["downloads"] == {}
    with rehearsing() as rehearsal:
        again = forecast(asked, rehearsal, tmp_path / "out" / "cells", similarity=True)
        other = forecast(
            Request(models, [load_file(reviews)], ["mean"], seed=1),
            rehearsal,
            tmp_path / "out" / "cells",
            similarity=False,
        )
    assert again["finished_cells_at_most"] == 9
    assert other["finished_cells_at_most"] == 0
    assert {name for name, value in again["seconds"].items() if value > 0} >= {"measuring", "report"}
    assert found["memory_bytes"] > 10**8


def test_tokens_are_those_that_are_encoded(model_folder, reviews):
    encoder = gp.load_encoder(model_folder("bert"))
    task = load_file(reviews)
    ids, _ = encoder.tokenize(list(dict.fromkeys([*task.train.first, *task.validation.first])))
    with rehearsing() as rehearsal:
        found = forecast(Request([model_folder("bert")], [task]), rehearsal, Path("nowhere"), similarity=False)
    assert found["models"][0]["tokens"] == sum(map(len, ids))


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "t5", "fnet", "llama", "modernbert"])
def test_an_outline_has_layers_widths_and_flops_of_the_model(model_folder, kind):
    found, encoder = outline(str(model_folder(kind))), gp.load_encoder(model_folder(kind))
    assert (found.encoder.n_layers, found.encoder.dim) == (encoder.n_layers, encoder.dim)
    assert (found.encoder.parameters, found.encoder.max_length) == (encoder.parameters, encoder.max_length)
    assert found.encoder.model.get_input_embeddings().weight.is_meta
    if kind != "fnet":  # which has no attention; of the fused one torch counts no FLOPs on a CPU
        encoder.model.set_attn_implementation("eager")
    ids = torch.ones(3, 17, dtype=torch.long)
    with torch.inference_mode(), FlopCounterMode(display=False) as counted:
        encoder.model(input_ids=ids)
    assert 3 * found.flops(np.array([17]))[0] == pytest.approx(counted.get_total_flops(), rel=0.05)


def test_a_model_that_computes_by_values_is_known_by_its_config(model_folder, monkeypatch):
    monkeypatch.setattr(outline_module, "_pass", lambda model, tokens: None)
    found = outline(str(model_folder("bert")))
    assert found.widths == [16, 16, 16]
    assert found.by_token == 2 * (found.encoder.parameters - 25 * 16)


def test_the_commands_print_it_and_do_nothing(model_folder, reviews, tmp_path, monkeypatch, no_weights):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model"
    shutil.copytree(model_folder("bert"), model)
    (model / "model.safetensors").write_bytes(b"not weights")
    before = files(tmp_path)
    done = invoke("analyze", model, "--task", reviews, "--limit", 20, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "downloads: none" in done.stdout
    assert "cells: 1, none finished" in done.stdout
    assert "nothing was measured, downloaded or written" in done.stderr
    done = invoke("compare", model, model_folder("roberta"), "--task", reviews, "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert document["seconds"]["report"] > 0
    assert not Path(document["results"]).exists()
    assert files(tmp_path) == before
    assert sorted(os.listdir(tmp_path)) == ["model", "reviews.csv"]


@pytest.mark.parametrize(
    "option",
    ["--pool=meen", "--task=nosuch", "--layer=9", "--dim=17", "--baseline=bows", "--set=x=1", "--limit=1",
     "--out={model}", "--device=banana", "--pool=model --layer=0",
     "--protocol=paper --pool=model"],
)  # fmt: skip
def test_what_a_run_refuses_a_dry_run_refuses_alike(model_folder, option):
    model = model_folder("bert")
    task = [] if "--task" in option else ["--task", "controlled"]
    arguments = [model, *task, *(part.format(model=model) for part in option.split())]
    dry, real = invoke("analyze", *arguments, "--dry-run"), invoke("analyze", *arguments)
    assert dry.exit_code == real.exit_code == 2
    assert dry.stderr.splitlines()[-2:] == real.stderr.splitlines()[-2:]


def test_results_folders_are_compared_without_a_dry_run(model_folder, reviews, tmp_path):
    gp.analyze([model_folder("bert")], [load_file(reviews)], out=tmp_path / "r")
    done = invoke("compare", tmp_path / "r", tmp_path / "r", "--dry-run")
    assert done.exit_code == 2
    assert "--dry-run" in done.stderr


@pytest.fixture
def repositories(hub, model_folder, reviews):
    """A model and a data set on the hub."""
    model = {path.name: path.read_bytes() for path in model_folder("bert").iterdir()}
    hub.repositories["me/encoder"] = Repository({"main": COMMIT}, {COMMIT: model | {"README.md": b"-"}})
    data = {f"data/{split}.csv": reviews.read_bytes() for split in ("train", "validation")}
    hub.repositories["datasets/me/reviews"] = Repository({"main": COMMIT}, {COMMIT: data})
    return model


def test_downloads_are_listed_and_not_made(hub, repositories, tmp_path, no_weights):
    done = invoke("analyze", "me/encoder", "--task", "controlled,me/reviews", "--limit", 20, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    weights = found["downloads"][f"me/encoder@{COMMIT}"]
    assert weights["model.safetensors"] == len(repositories["model.safetensors"])
    assert "README.md" not in weights
    assert list(found["downloads"][f"me/reviews@{COMMIT}"]) == ["data/train.csv", "data/validation.csv"]
    assert found["tasks"][1] == {"name": "me/reviews", "rows": None}
    assert found["models"][0]["tokens"] > 0  # by the tokenizer, which was fetched for the moment
    assert not [path for path in hub.asked if path.endswith((".safetensors", ".csv"))]
    assert not Path(constants.HF_HUB_CACHE).exists()
    assert not (tmp_path / "cache").exists()
    text = invoke("analyze", "me/encoder", "--task", "me/reviews", "--dry-run").stdout
    assert f"me/encoder@{COMMIT}" in text
    assert "not known before the download" in text


def test_what_is_in_the_cache_of_the_hub_is_not_downloaded(hub, repositories, reviews):
    gp.load_encoder("me/encoder")
    hub.asked.clear()
    done = invoke("analyze", "me/encoder", "--task", reviews, "--dry-run", "--json")
    assert json.loads(done.stdout)["downloads"] == {}


def test_a_model_with_modules_of_its_own_is_planned_before_they_are_here(hub, matryoshka, tmp_path, reviews):
    folder = tmp_path / "m"
    held = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.repositories["me/matryoshka"] = Repository({"main": COMMIT}, {COMMIT: held})
    for source in ("me/matryoshka", folder):
        found = json.loads(invoke("analyze", source, "--task", reviews, "--dry-run", "--json").stdout)
        assert found["poolings"] == ["model"]
        assert found["cells"] == 1


def test_two_tasks_of_one_name_are_refused(model_folder, reviews):
    with rehearsing() as rehearsal, pytest.raises(UsageError, match="given twice"):
        task = load_file(reviews)
        forecast(Request([model_folder("bert")], [task, task]), rehearsal, Path("nowhere"), similarity=False)
