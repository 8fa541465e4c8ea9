"""Checkpoint folders, whole and damaged, through `geomprobe analyze` and the door that it opens encoders by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from fuzz_contract import examples
from fuzz_damage import damage_one, fresh_copy, read_or_refused
from fuzz_encoders import tiny_model, word_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from geomprobe.encoders import load_encoder

TEXTS = ["the cat sat on the mat", "a big dog saw the bird", "not very red", "who sat on a tree"]
ROOT = "sentence_transformers.models."
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": f"{ROOT}Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{ROOT}Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dense", "type": f"{ROOT}Dense"},
    {"idx": 3, "name": "3", "path": "3_Normalize", "type": f"{ROOT}Normalize"},
]
PARTS = {
    "modules.json": MODULES,
    "config_sentence_transformers.json": {
        "__version__": {"sentence_transformers": "5.0.0"},
        "prompts": {"query": "who saw ", "passage": ""},
        "default_prompt_name": "query",
        "similarity_fn_name": "cosine",
        "truncate_dim": 6,
    },
    "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": True},
    "1_Pooling/config.json": {
        "word_embedding_dimension": 16,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "include_prompt": False,
    },
    "2_Dense/config.json": {
        "in_features": 32,
        "out_features": 8,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    },
}
ADAPTER = {
    "peft_type": "LORA", "task_type": "FEATURE_EXTRACTION", "base_model_name_or_path": "../base", "r": 2,
    "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["query", "value"], "bias": "none", "fan_in_fan_out": False,
    "inference_mode": True, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {},
}  # fmt: skip


RUN = {
    "config": {"objective": "mlm", "batch_rows": 4, "row_length": 16, "corpus": "c", "balance": "learned", "layers": 2},
    "corpus": {"source": "t.txt", "fingerprint": "ab" * 32, "tokenizer": "train:64", "tokens": {"train": 9}},
    "flops_per_step": {"total": 10.0}, "steps": 3, "tokens": 192, "flops": 30.0, "seed": 0, "finished": True,
    "versions": {"torch": "2"}, "hardware": {"device": "cpu"}, "git_revision": None,
    "final": {"step": 3, "lambda": 0.5},
}  # fmt: skip
KINDS = ["base", "shards", "sentence", "adapter", "trained"]


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1))


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> Path:
    """A folder with a checkpoint of each kind that is read: `base`, `shards`, `sentence`, `adapter`, `trained`."""
    here = tmp_path_factory.mktemp("fuzz-checkpoints")
    model = tiny_model("bert")
    model.save_pretrained(here / "base")
    word_tokenizer().save_pretrained(here / "base")
    write_json(here / "base" / "special_tokens_map.json", {"cls_token": "[CLS]", "pad_token": "[PAD]"})
    write_json(here / "base" / "generation_config.json", {"bos_token_id": 1})
    write_json(here / "base" / "added_tokens.json", {"[NEW]": 25})

    shutil.copytree(here / "base", here / "shards")
    weights = load_file(here / "base" / "model.safetensors")
    names = sorted(weights)
    parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, here / "shards" / file, metadata={"format": "pt"})
    (here / "shards" / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    write_json(here / "shards" / "model.safetensors.index.json", index)

    shutil.copytree(here / "base", here / "sentence")
    for name, value in PARTS.items():
        write_json(here / "sentence" / name, value)
    torch.manual_seed(0)
    dense = {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}
    save_file(dense, here / "sentence" / "2_Dense" / "model.safetensors")

    (here / "adapter").mkdir()
    write_json(here / "adapter" / "adapter_config.json", ADAPTER)
    lora = {
        f"base_model.model.encoder.layer.{i}.attention.self.{name}.lora_{side}.weight": torch.randn(*shape)
        for i in range(2)
        for name in ("query", "value")
        for side, shape in (("A", (2, 16)), ("B", (16, 2)))
    }
    save_file(lora, here / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    shutil.copytree(here / "base", here / "trained")
    write_json(here / "trained" / "run.json", RUN)
    lines = [json.dumps({"step": i, "tokens": 64 * i, "held_out_mlm": 4.0, "lambda": 0.5}) for i in (1, 2, 3)]
    (here / "trained" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (here / "t.csv").write_text("sentence\n" + "\n".join(TEXTS) + "\n")
    return here


def files_of(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def opened_and_run(folder: Path) -> None:
    """Open a folder and run its model; there is a finite state for every token."""
    encoder = load_encoder(str(folder))
    ids, _ = encoder.tokenize(TEXTS)
    with encoder.evaluating():
        states, mask = encoder.states(ids)
    assert all(layer.shape[:2] == mask.shape for layer in states)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_folders_are_read(obeys, folders, kind):
    assert obeys("analyze", kind, "--task=t.csv", "--out=o", folder=fresh_copy(folders, folders.parent)) == 0


@examples(8)
@given(data=st.data())
def test_damaged_folders(obeys, folders, tmp_path, data):
    """One file of a checkpoint damaged: it is measured or refused."""
    folder = fresh_copy(folders, tmp_path)
    kind = data.draw(st.sampled_from(KINDS))
    damage_one(data, folder / kind, files_of(folder / kind))
    pooling = data.draw(st.sampled_from(["", "--pool=mean", "--pool=cls,last"]))
    obeys("analyze", kind, "--task=t.csv", "--out=o", *filter(None, [pooling]), folder=folder)


@examples(2)
@given(data=st.data())
def test_reports_of_damaged_training_logs(obeys, folders, tmp_path, data):
    """What a damaged run.json or metrics.jsonl says of a training is measured, written and reported, or refused."""
    folder = fresh_copy(folders, tmp_path)
    damage_one(data, folder / "trained", ["run.json", "metrics.jsonl"])
    if obeys("analyze", "trained", "--task=t.csv", "--out=o", folder=folder) == 0:
        assert obeys("report", "o", "--html", folder=folder) == 0


@examples(15)
@given(data=st.data())
def test_damaged_folders_at_the_door(folders, tmp_path, data):
    folder = fresh_copy(folders, tmp_path)
    kind = data.draw(st.sampled_from(KINDS))
    damage_one(data, folder / kind, files_of(folder / kind))
    read_or_refused(opened_and_run, folder / kind)
    shutil.rmtree(folder)
