"""Weights in a folder: read whole, from inside the folder, under the model's names; or refused by what they are."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from geomprobe.common import InputError
from geomprobe.encoders import load_encoder
from geomprobe.encoders.weights import model_files


@pytest.fixture
def folder(model_folder, tmp_path):
    return shutil.copytree(model_folder("bert"), tmp_path / "copy")


def rename(folder, new):
    weights = load_file(folder / "model.safetensors")
    save_file({new(name): tensor for name, tensor in weights.items()}, folder / "model.safetensors")


@pytest.mark.parametrize("prefix", ["module.", "model.", "bert.", "encoder.", "student.0.auto_model."])
def test_a_prefix_before_every_name_is_taken_off_and_said(model_folder, folder, prefix):
    rename(folder, lambda name: prefix + name)
    opened = load_encoder(folder)
    assert opened.hash == load_encoder(model_folder("bert")).hash
    # "bert." is what a BERT with a head writes
    assert any(repr(prefix) in note for note in opened.notes) == (prefix != "bert.")


@pytest.mark.parametrize("place", ["_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.bert.{}"])
def test_what_torch_compile_puts_into_names(model_folder, folder, place):
    rename(folder, place.format)
    opened = load_encoder(folder)
    assert opened.hash == load_encoder(model_folder("bert")).hash
    assert any("_orig_mod." in note for note in opened.notes)


def test_compiled_and_sharded_parts_in_the_middle_of_names(model_folder, folder):
    rename(
        folder,
        lambda name: name.replace("layer.0.", "layer.0._orig_mod.").replace(
            "layer.1.", "layer.1._fsdp_wrapped_module."
        ),
    )
    assert load_encoder(folder).hash == load_encoder(model_folder("bert")).hash


def test_two_models_in_one_file_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    both = {f"{who}.{name}": tensor.clone() for who in ("query", "passage") for name, tensor in weights.items()}
    save_file(both, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"'query\.' and 'passage\.'|'passage\.' and 'query\.'"):
        load_encoder(folder)
    twice = {f"{who}{name}": tensor.clone() for who in ("", "_orig_mod.") for name, tensor in weights.items()}
    save_file(twice, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"twice.*_orig_mod\."):
        load_encoder(folder)


def test_a_prefix_does_not_hide_a_missing_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file({f"module.{name}": tensor for name, tensor in weights.items()}, folder / "model.safetensors")
    with pytest.raises(InputError, match="missing"):
        load_encoder(folder)


def sharded(folder, names):
    """Split the weights over files and write an index that names them."""
    weights = load_file(folder / "model.safetensors")
    places = {}
    for i, key in enumerate(sorted(weights)):
        places[key] = names[i % len(names)]
    for name in set(names):
        part = {key: weights[key] for key in places if places[key] == name}
        (folder / name).parent.mkdir(exist_ok=True)
        save_file(part, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "model.safetensors").unlink()


def test_a_missing_file_of_several_is_named(model_folder, folder):
    sharded(folder, ["model-1.safetensors", "model-2.safetensors", "model-3.safetensors"])
    assert load_encoder(folder).hash == load_encoder(model_folder("bert")).hash
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"1 of 3 files.*model-2\.safetensors"):
        load_encoder(folder)


@pytest.mark.parametrize("outside", ["../model-2.safetensors", "part/../../model-2.safetensors"])
def test_an_index_that_leads_out_of_its_folder_is_refused(folder, outside):
    (folder / "part").mkdir()
    sharded(folder, ["model-1.safetensors", outside])
    with pytest.raises(InputError, match="outside of its folder"):
        load_encoder(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": {"a": 3}}', '{"weight_map": []}'])
def test_an_index_that_names_no_files(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match="does not say which files"):
        load_encoder(folder)


def test_one_file_and_an_index(model_folder, folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "old.safetensors"}}')
    opened = load_encoder(folder)
    assert opened.hash == load_encoder(model_folder("bert")).hash
    assert any("were not" in note for note in opened.notes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "pickled"),
        ("epoch=3-step=900.ckpt", "pickled"),
        ("model.gguf", "GGUF"),
        ("onnx/model.onnx", "ONNX"),
        ("openvino_model.xml", "OpenVINO"),
        ("tf_model.h5", "TensorFlow"),
        ("flax_model.msgpack", "Flax"),
        ("encoder.safetensors", "rename"),
    ],
)
def test_other_forms_are_named(folder, name, words):
    (folder / "model.safetensors").unlink()
    (folder / "optimizer.pt").write_bytes(b"")  # of a trainer's checkpoint: no weights
    (folder / "training_args.bin").write_bytes(b"")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"never opened")
    for _ in range(2):
        with pytest.raises(InputError) as error:
            load_encoder(folder)
        assert name in error.value.message
        assert words in error.value.message + error.value.hint
        (folder / "config.json").unlink(missing_ok=True)  # the same words without a config
        if name.endswith("safetensors"):
            break


def test_a_folder_of_checkpoints_names_them(folder):
    with pytest.raises(InputError) as error:
        load_encoder(folder.parent)
    assert str(folder) in error.value.hint
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (folder / name).write_bytes(b"never opened")
    assert load_encoder(folder).n_layers == 2


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "compressed-tensors"])
def test_quantised_weights_are_refused(folder, method):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": method}}))
    with pytest.raises(InputError, match=rf"quantised.*{method}"):
        load_encoder(folder)


@pytest.mark.parametrize("place", ["/etc/passwd", "../m/model.safetensors", "a" * 400, "\0", ["b"], 1])
def test_an_index_names_files_of_its_own_folder(model_folder, tmp_path, place):
    folder = shutil.copytree(model_folder("bert"), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": place}}))
    with pytest.raises(InputError, match=r"index\.json"):
        load_encoder(folder)


def test_what_is_fetched_from_the_hub():
    wanted = ["config.json", "tokenizer.json", "vocab.txt", "modules.json", "model.safetensors"]
    wanted += ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
    junk = ["trainer/state.json", "ema/model.safetensors", "checkpoint-5/model.safetensors", "onnx/config.json"]
    junk += ["openvino/openvino_tokenizer.json", "pytorch_model.bin", "model.fp16.safetensors", "README.md"]
    assert model_files([*junk, *wanted]) == wanted
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = "model.safetensors.index.json"
    assert model_files([*shards, index, "consolidated.safetensors"]) == [*shards, index]
    assert model_files([*shards, "model.safetensors"]) == ["model.safetensors"]
    assert model_files(["adapter_config.json", "adapter_model.safetensors", "run/adapter_model.safetensors"]) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert model_files(["config.json", "2_Dense/config.json"]) == ["config.json"]
