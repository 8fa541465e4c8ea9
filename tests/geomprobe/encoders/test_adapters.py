"""Adapters of peft: applied, or refused with what to do; never passed over."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from geomprobe.common import InputError
from geomprobe.encoders import load_encoder

peft = pytest.importorskip("peft", reason="adapters need peft")

IDS = [[2, 5, 6, 7, 8, 3]]
QUERY = {"target_modules": ["query", "value"], "r": 4}
KINDS = {
    "lora": (AutoModel, "bert", peft.LoraConfig(**QUERY)),
    "dora of every layer": (AutoModel, "bert", peft.LoraConfig(target_modules="all-linear", r=2, use_dora=True)),
    "pissa": (AutoModel, "bert", peft.LoraConfig(**QUERY, init_lora_weights="pissa")),
    "ia3": (
        AutoModel,
        "bert",
        peft.IA3Config(target_modules=["key", "output.dense"], feedforward_modules=["output.dense"]),
    ),
    "layer norms": (AutoModel, "bert", peft.LNTuningConfig(target_modules=["LayerNorm"])),
    "embeddings too": (AutoModel, "bert", peft.LoraConfig(**QUERY, modules_to_save=["word_embeddings"])),
    "single tokens": (AutoModel, "bert", peft.LoraConfig(**QUERY, trainable_token_indices={"word_embeddings": [5, 6]})),
    "classifier": (AutoModelForSequenceClassification, "bert", peft.LoraConfig(**QUERY, task_type="SEQ_CLS")),
    "masked language model": (AutoModelForMaskedLM, "bert", peft.LoraConfig(target_modules="all-linear", r=2)),
    "one layer by its whole name": (
        AutoModelForSequenceClassification,
        "bert",
        peft.LoraConfig(target_modules=["bert.encoder.layer.0.attention.self.query"], task_type="SEQ_CLS"),
    ),
    "encoder-decoder": (
        AutoModelForSeq2SeqLM,
        "t5",
        peft.LoraConfig(target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM"),
    ),
}


def adapted(base, config, kind=AutoModel, *, effect=0.3):
    """Return the model of a folder with a random adapter."""
    torch.manual_seed(1)
    model = peft.get_peft_model(kind.from_pretrained(base), config)
    for parameter in model.parameters() if effect else ():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=effect)
    return model.eval()


def states(encoder):
    return encoder.states(IDS)[0][-1]


@pytest.fixture
def adapter(model_folder, tmp_path):
    """A folder with a LoRA adapter of the tiny BERT, and nothing else."""
    adapted(model_folder("bert"), peft.LoraConfig(**QUERY)).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("name", KINDS)
def test_states_are_those_of_peft(model_folder, tmp_path, name):
    kind, base, config = KINDS[name]
    adapted(model_folder(base), config, kind).save_pretrained(tmp_path)
    model = peft.PeftModel.from_pretrained(kind.from_pretrained(model_folder(base)), tmp_path).eval()
    inner = model.get_base_model().base_model
    inner = inner.get_encoder() if base == "t5" else inner
    with torch.no_grad():
        expected = inner(torch.tensor(IDS)).last_hidden_state
    opened, plain = load_encoder(tmp_path), load_encoder(model_folder(base))
    torch.testing.assert_close(states(opened), expected, atol=1e-5, rtol=1e-5)
    assert (states(plain) - expected).abs().max() > 0.1
    assert opened.hash != plain.hash
    assert any("adapter" in note and "merged" in note for note in opened.notes)
    loaded = load_encoder(model, tokenizer=model_folder(base))
    assert loaded.hash == opened.hash
    torch.testing.assert_close(states(loaded), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # the loaded model stays as it is
        torch.testing.assert_close(inner(torch.tensor(IDS)).last_hidden_state, expected, atol=0, rtol=0)


def test_an_adapter_beside_its_base_model_is_applied_alike(model_folder, adapter, tmp_path):
    beside = shutil.copytree(model_folder("bert"), tmp_path / "beside")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, beside)
    assert load_encoder(beside).hash == load_encoder(adapter).hash
    loaded = AutoModel.from_pretrained(beside)  # transformers puts the adapter's layers in
    assert load_encoder(loaded, tokenizer=beside).hash == load_encoder(adapter).hash
    weights = load_file(beside / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, beside / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layer\.1\.output\.dense\.weight"):
        load_encoder(beside)


def test_an_adapter_without_effect_is_its_base_model(model_folder, tmp_path):
    adapted(model_folder("bert"), peft.LoraConfig(**QUERY), effect=0).save_pretrained(tmp_path)
    assert load_encoder(tmp_path).hash == load_encoder(model_folder("bert")).hash


def test_an_adapter_that_is_switched_off(model_folder):
    model = adapted(model_folder("bert"), peft.LoraConfig(**QUERY))
    with model.disable_adapter():
        assert load_encoder(model, tokenizer=model_folder("bert")).hash == load_encoder(model_folder("bert")).hash


def test_where_the_base_model_is_looked_for(model_folder, adapter, tmp_path, monkeypatch):
    expected = load_encoder(adapter).hash
    config = adapter / "adapter_config.json"
    values = json.loads(config.read_text())
    shutil.copytree(model_folder("bert"), tmp_path / "base")

    def named(name):
        config.write_text(json.dumps(values | {"base_model_name_or_path": name}))
        return load_encoder(adapter)

    monkeypatch.chdir(tmp_path)
    assert any(str(tmp_path / "base") in note for note in named("base").notes)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert named("base").hash == named("../base").hash == expected  # next to the adapter
    for wrong, words in [
        ("no/such/path", "does not exist"),
        ("/nowhere/base", "does not exist"),
        ("nobase", "hub"),
        (None, "base model"),
    ]:
        with pytest.raises(InputError, match="adapter") as error:
            named(wrong)
        assert words in error.value.message
    shutil.copytree(model_folder("bert"), tmp_path / "elsewhere" / "base")
    with pytest.raises(InputError, match=r"which is here: .* and "):
        named("base")
    with pytest.raises(InputError, match="adapter itself"):
        shutil.copy(config, tmp_path / "base")
        named(str(tmp_path / "base"))


def test_base_model_from_the_hub_at_its_revision(model_folder, adapter, monkeypatch):
    from types import SimpleNamespace

    asked = []
    monkeypatch.setattr(
        "huggingface_hub.HfApi.repo_info", lambda *a, **k: asked.append(k["revision"]) or SimpleNamespace(sha="a" * 40)
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: str(model_folder("bert")))
    expected = load_encoder(adapter).hash
    values = json.loads((adapter / "adapter_config.json").read_text())
    values |= {"base_model_name_or_path": "owner/base", "revision": "v2"}
    (adapter / "adapter_config.json").write_text(json.dumps(values))
    opened = load_encoder(adapter)
    assert asked == ["v2"]
    assert opened.hash == expected
    assert any("owner/base@aaaa" in note for note in opened.notes)


@pytest.mark.parametrize("kind", [peft.PromptTuningConfig, peft.PrefixTuningConfig, peft.PromptEncoderConfig])
def test_virtual_tokens_are_refused(model_folder, tmp_path, kind):
    model = adapted(model_folder("bert"), kind(task_type="FEATURE_EXTRACTION", num_virtual_tokens=3))
    model.save_pretrained(tmp_path)
    for source in (tmp_path, model):
        with pytest.raises(InputError, match=r"adapter .*before every text"):
            load_encoder(source, tokenizer=model_folder("bert"))


def test_what_does_not_fit_is_refused(model_folder, adapter, tmp_path):
    weights = load_file(adapter / "adapter_model.safetensors")
    config = adapter / "adapter_config.json"
    values = json.loads(config.read_text())

    def refused(match, tensors=weights, **changed):
        save_file(tensors, adapter / "adapter_model.safetensors")
        config.write_text(json.dumps(values | changed))
        with pytest.raises(InputError, match="adapter") as error:
            load_encoder(adapter)
        assert match in error.value.message

    first = next(iter(weights))
    refused("missing", {name: tensor for name, tensor in weights.items() if name != first})
    refused("without a layer", weights | {first.replace("layer.0", "layer.9"): weights[first].clone()})
    refused("NO_SUCH", peft_type="NO_SUCH")
    refused("cannot be applied", target_modules=["nothing"])
    refused("cannot be applied", r=7)
    refused("does not know: new_rule", new_rule="square")
    refused("peft_type", peft_type=None)
    refused("cannot be applied", base_model_name_or_path=str(model_folder("gpt2")))


def test_incomplete_and_pickled_adapters(model_folder, adapter, tmp_path):
    beside = shutil.copytree(model_folder("bert"), tmp_path / "beside")
    shutil.copy(adapter / "adapter_model.safetensors", beside)
    with pytest.raises(InputError, match=r"adapter .*no adapter_config\.json"):
        load_encoder(beside)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights of the adapter"):
        load_encoder(adapter)
    (adapter / "adapter_model.bin").write_bytes(b"never opened")
    with pytest.raises(InputError, match=r"adapter only as .*pickled"):
        load_encoder(adapter)


def test_an_adapter_inside_a_sentence_transformers_folder(model_folder, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    models = pytest.importorskip("sentence_transformers.models")
    transformer = models.Transformer(str(model_folder("bert")), max_seq_length=12)
    model = sentence_transformers.SentenceTransformer(modules=[transformer, models.Pooling(16)], device="cpu")
    model.add_adapter(peft.LoraConfig(**QUERY, task_type="FEATURE_EXTRACTION"))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save(str(tmp_path / "st"))
    assert not (tmp_path / "st" / "model.safetensors").exists()
    opened, loaded = load_encoder(tmp_path / "st"), load_encoder(model)
    assert opened.hash == loaded.hash != load_encoder(model_folder("bert")).hash
    assert opened.max_length == 12


def test_without_peft_an_adapter_is_refused_and_other_models_open_alike(model_folder, adapter, tmp_path):
    beside = shutil.copytree(model_folder("bert"), tmp_path / "beside")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, beside)
    code = """if True:
        import sys
        sys.modules["peft"] = None  # as if it were not installed
        from geomprobe.common import InputError
        from geomprobe.encoders import load_encoder
        for folder in sys.argv[1:]:
            try:
                print(load_encoder(folder).hash)
            except InputError as error:
                print("adapter" in error.message, "peft" in error.message, error.hint)
        """
    folders = [str(adapter), str(beside), str(model_folder("bert"))]
    out = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True).stdout
    refusal = "True True pip install 'geomprobe[adapters]'"
    assert out.splitlines() == [refusal, refusal, load_encoder(model_folder("bert")).hash]


def test_a_weights_file_with_an_unmerged_adapter(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("bert"), tmp_path / "m")
    model = adapted(folder, peft.LoraConfig(**QUERY)).get_base_model()
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="adapter, not merged"):
        load_encoder(folder)


def test_the_note_names_the_adapters_that_are_on(model_folder):
    model = adapted(model_folder("bert"), peft.LoraConfig(**QUERY))
    model.add_adapter("two", peft.LoraConfig(**QUERY))
    model.set_adapter("two")
    assert any("LORA (two)" in note for note in load_encoder(model, tokenizer=model_folder("bert")).notes)
    with model.disable_adapter():
        notes = load_encoder(model, tokenizer=model_folder("bert")).notes
    assert any("adapter is switched off" in note for note in notes)
    assert not any("merged" in note for note in notes)


@pytest.mark.parametrize("name", ["\0", "a" * 300, 1, ["a"]])
def test_a_base_model_that_has_no_name(adapter, name):
    values = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(values | {"base_model_name_or_path": name}))
    with pytest.raises(InputError, match=r"adapter .* does not name its base model"):
        load_encoder(adapter)
