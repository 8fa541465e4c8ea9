"""Opening encoders: what works, what is refused and how, what is said about it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from geomprobe.common import InputError, UsageError
from geomprobe.encoders import load_encoder


@pytest.fixture
def copied(model_folder, tmp_path):
    """Return a function that gives a copy of a tiny model's folder, to be damaged."""

    def copy(kind="bert"):
        return shutil.copytree(model_folder(kind), tmp_path / "copy")

    return copy


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert", "gpt2", "llama", "t5", "fnet"])
def test_states_equal_the_model_called_directly(model_folder, kind):
    encoder = load_encoder(model_folder(kind))
    model = AutoModel.from_pretrained(model_folder(kind)).eval()
    model = model.get_encoder() if kind == "t5" else model
    ids, _ = encoder.tokenize(["the cat sat on the mat ."])
    with torch.no_grad():
        expected = model(torch.tensor(ids[0])[None].long(), output_hidden_states=True)
    states, mask = encoder.states(ids)
    assert encoder.n_layers == 2
    assert encoder.dim == 16
    assert mask.all()
    for ours, theirs in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(states[-1], expected.last_hidden_state)
    assert encoder.kind == ("decoder" if kind in ("gpt2", "llama") else "encoder")
    assert encoder.padding_safe == (kind != "fnet")
    json.dumps(encoder.describe(), allow_nan=False)


def test_last_layer_of_modernbert_is_after_the_final_norm(model_folder):
    encoder = load_encoder(model_folder("modernbert"))
    states, _ = encoder.states(encoder.tokenize(["the cat"])[0])
    torch.testing.assert_close(states[-1].mean(-1), torch.zeros(1, 4), atol=1e-5, rtol=0)  # layer norm without bias
    assert states[-2].mean(-1).abs().max() > 1e-3


def test_a_tokenizer_that_states_no_limit_as_infinity_states_none(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("bert"), tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": float("inf")}))
    assert load_encoder(folder).max_length == 32


def test_a_tokenizer_without_a_token_for_unknown_words_is_an_input_error(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("bert"), tmp_path / "model")
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["model"]["unk_token"] = "[NONE]"
    del settings["model"]["vocab"]["[UNK]"]
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"tokenizer"):
        load_encoder(folder).tokenize(["zebra unheard"])


def test_length_limit(model_folder):
    assert load_encoder(model_folder("roberta")).max_length == 32  # 34 positions, two of them for padding
    encoder = load_encoder(model_folder("bert"))
    ids, cut = encoder.tokenize(["cat " * 10_000, "cat"])
    assert [len(row) for row in ids] == [32, 3]
    assert ids[0][-1] == 3  # the closing token is kept
    assert cut.tolist() == [True, False]


def test_the_repr_is_one_short_line(model_folder):
    encoder = load_encoder(model_folder("bert"))
    named = "Encoder('tiny-bert', BertModel, dim=16, n_layers=2, max_length=32, float32 on cpu)"
    assert repr(encoder) == named
    encoder.name = "\n" + "n" * 5000
    assert len(repr(encoder)) < 200
    assert "\n" not in repr(encoder)


def test_same_hash_for_folder_and_loaded_model_and_another_for_changed_weights(copied):
    folder = copied("modernbert")
    from_path = load_encoder(folder)
    model = AutoModel.from_pretrained(folder)
    loaded = load_encoder(model, tokenizer=AutoTokenizer.from_pretrained(folder))
    assert from_path.hash == loaded.hash == load_encoder(model).hash
    assert (from_path.taken, loaded.taken) == ("path", "loaded model")
    with torch.no_grad():
        model.layers[0].mlp.Wo.weight[0, 0] += 1e-3
    assert load_encoder(model).hash != from_path.hash
    assert load_encoder(folder, dtype="bfloat16").dtype == torch.bfloat16


def test_a_loaded_model_is_left_as_it_is(model_folder):
    model = AutoModel.from_pretrained(model_folder("bert"))
    model.train()
    model.pooler.eval()
    encoder = load_encoder(model, dtype="bfloat16")
    with encoder.evaluating():
        assert not encoder.model.training
    assert model.training
    assert not model.pooler.training
    assert next(model.parameters()).dtype == torch.float32


def test_random_weights_are_refused(copied):
    folder = copied("modernbert")
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "mlp.Wo" in key)
    removed = weights.pop(name)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"mlp\.Wo"):
        load_encoder(folder)
    weights[name] = removed[:3].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="wrong shape"):
        load_encoder(folder)


def test_a_missing_pooler_is_no_loss(copied):
    folder = copied("bert")
    whole = load_encoder(folder)
    whole.hash  # noqa: B018 (before the file is overwritten, which older safetensors maps into memory)
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    without = load_encoder(folder)
    assert without.hash == whole.hash
    assert without.parameters == whole.parameters == sum(v.numel() for v in weights.values())


def test_damaged_files(copied):
    folder = copied()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load_encoder(folder)
    weights.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        load_encoder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        load_encoder(folder)


def test_not_finite_weights(copied):
    folder = copied()
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="NaN"):
        load_encoder(folder)


def test_pickled_weights_are_refused_unopened(copied):
    folder = copied()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(InputError, match=r"pytorch_model\.bin") as error:
        load_encoder(folder)
    assert "save_pretrained" in error.value.hint


def test_code_of_a_model_is_never_run(copied):
    folder = copied()
    config = json.loads((folder / "config.json").read_text())
    (folder / "own.py").write_text("raise SystemExit('ran')")
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="never runs"):
        load_encoder(folder)


def test_missing_things(tmp_path, copied):
    with pytest.raises(InputError, match="does not exist"):
        load_encoder(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"config\.json"):
        load_encoder(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file"):
        load_encoder(file)
    folder = copied()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match="tokenizer"):
        load_encoder(folder)
    with pytest.raises(UsageError, match="float32"):
        load_encoder(folder, dtype="float23")
    with pytest.raises(InputError, match="tokenizer"):
        load_encoder(AutoModel.from_config(AutoModel.from_pretrained(folder).config))


def test_a_device_that_is_not_there(model_folder):
    with pytest.raises(UsageError, match="nothere"):
        load_encoder(model_folder("bert"), device="nothere")


def test_a_hub_that_does_not_answer_is_asked_once(dead_hub):
    with pytest.raises(InputError, match="hub cannot be reached"):
        load_encoder("nobody/no-such-model@main")
    assert [path for path in dead_hub if "no-such-model" in path] == ["/api/models/nobody/no-such-model/revision/main"]


def test_an_existing_path_wins_over_a_hub_id(copied, monkeypatch):
    folder = copied()
    monkeypatch.chdir(folder.parent)
    encoder = load_encoder("copy")
    assert encoder.describe()["taken"] == "path"
    assert encoder.name == "copy"


def test_tokenizer_of_another_model(copied):
    folder = copied()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zebra"])
    encoder = load_encoder(AutoModel.from_pretrained(folder), tokenizer=tokenizer)
    encoder.tokenize(["cat"])
    with pytest.raises(InputError, match="token 25"):
        encoder.tokenize(["zebra"])


def sentence_transformers_layout(folder, modules):
    """Turn a model folder into a sentence-transformers folder with the given module types after the first."""
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for i, kind in enumerate(modules, 1):
        listed.append({"idx": i, "name": str(i), "path": f"{i}_{kind}", "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12, "do_lower_case": false}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"word_embedding_dimension": 16, "pooling_mode_max_tokens": true}'
    )
    return listed


def test_sentence_transformers_folder(copied):
    folder = copied()
    plain = load_encoder(folder)
    listed = sentence_transformers_layout(folder, ["Pooling", "Dense", "Normalize"])
    encoder = load_encoder(folder)
    assert encoder.hash == plain.hash
    assert (encoder.max_length, encoder.pooling) == (12, "max")
    assert any("Dense" in note for note in encoder.notes)
    assert any("Normalize" in note for note in encoder.notes)
    listed[0]["type"] = "sentence_transformers.models.StaticEmbedding"
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="StaticEmbedding"):
        load_encoder(folder)
    listed[0] |= {"type": "sentence_transformers.models.Transformer", "path": "../elsewhere"}
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="outside"):
        load_encoder(folder)


def test_old_sentence_transformers_folder_with_the_transformer_in_a_subfolder(model_folder, tmp_path):
    root = tmp_path / "old"
    root.mkdir()
    listed = sentence_transformers_layout(root, ["Pooling"])
    listed[0]["path"] = "0_Transformer"
    (root / "modules.json").write_text(json.dumps(listed))
    shutil.copytree(model_folder("bert"), root / "0_Transformer")
    opened, plain = load_encoder(root), load_encoder(model_folder("bert"))
    assert opened.weights_hash == plain.hash
    assert opened.hash != plain.hash  # its own pooling is max


def test_minilm_from_its_folder_and_loaded(minilm):
    encoder = load_encoder(minilm)
    assert (encoder.dim, encoder.n_layers, encoder.max_length, encoder.pooling) == (384, 6, 256, "mean")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    loaded = load_encoder(sentence_transformers.SentenceTransformer(str(minilm), device="cpu"))
    assert loaded.hash == encoder.hash
    assert loaded.max_length == encoder.max_length


@pytest.mark.parametrize("kind", ["modernbert", "gpt2"])
def test_a_head_is_left_aside(model_folder, tmp_path, kind):
    import transformers

    base = AutoModel.from_pretrained(model_folder(kind))
    headed = transformers.AutoModelForCausalLM if kind == "gpt2" else transformers.AutoModelForMaskedLM
    model = headed.from_config(base.config)
    model.base_model.load_state_dict(base.state_dict())
    model.save_pretrained(tmp_path / "ema")
    AutoTokenizer.from_pretrained(model_folder(kind)).save_pretrained(tmp_path / "ema")
    opened = load_encoder(tmp_path / "ema")
    loaded = load_encoder(model, tokenizer=tmp_path / "ema")
    assert opened.hash == loaded.hash == load_encoder(model_folder(kind)).hash
    assert opened.name == f"{tmp_path.name}/ema"
    assert opened.parameters == sum(p.numel() for p in base.parameters())


def test_weights_in_several_files(copied):
    folder = copied("modernbert")
    whole = load_encoder(folder).hash
    AutoModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="10KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert load_encoder(folder).hash == whole
    shards[1].write_bytes(shards[1].read_bytes()[:-8])
    with pytest.raises(InputError, match=shards[1].name):
        load_encoder(folder)
    shards[1].unlink()
    with pytest.raises(InputError):
        load_encoder(folder)


class Hub:
    """A hub that holds one repository in a local folder."""

    def __init__(self, monkeypatch, folder, *, up=True):
        self.asked = []
        monkeypatch.setattr("huggingface_hub.HfApi.repo_info", self.repo_info)
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.download)
        self.folder, self.up = folder, up

    def repo_info(self, repo_id, *, repo_type, revision, timeout):
        from types import SimpleNamespace

        if not self.up:
            raise ConnectionError("down")
        assert timeout <= 10
        return SimpleNamespace(sha={"main": "a" * 40, None: "a" * 40, "v1": "b" * 40}[revision])

    def download(self, repo_id, *, repo_type, revision, allow_patterns, local_files_only):
        self.asked.append((repo_id, revision, local_files_only))
        assert not any("bin" in pattern or "py" in pattern for pattern in allow_patterns)
        return str(self.folder)


def test_a_hub_model_is_pinned_to_a_commit(model_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    hub = Hub(monkeypatch, model_folder("bert"))
    encoder = load_encoder("owner/name@v1")
    assert hub.asked == [("owner/name", "b" * 40, False)]
    assert (encoder.name, encoder.taken, encoder.revision) == ("name", "hub", "b" * 40)
    assert encoder.hash == load_encoder(model_folder("bert")).hash


def test_a_cached_hub_model_opens_without_the_hub(model_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    hub = Hub(monkeypatch, model_folder("bert"), up=False)
    assert load_encoder("owner/name").taken == "hub"
    assert hub.asked == [("owner/name", None, True)]


def test_a_hub_model_without_safetensors(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    Hub(monkeypatch, tmp_path)
    with pytest.raises(InputError, match="reads safetensors"):
        load_encoder("owner/name")
