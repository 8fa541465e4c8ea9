"""The pooling `model` is what the model's own `encode` gives: of a folder, a loaded model, without the package."""

from __future__ import annotations

import importlib
import json
import random
import shutil
import sys

import numpy as np
import pytest
import torch
from torch import nn

from geomprobe.common import InputError, UsageError
from geomprobe.embedding.embed import embed, embed_grid
from geomprobe.embedding.store import Store
from geomprobe.encoders import load_encoder
from geomprobe.encoders.baselines import make_baseline
from geomprobe.encoders.head import MODES, Head
from geomprobe.encoders.prompts import with_prompts

st = pytest.importorskip("sentence_transformers")
modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")

TEXTS = [
    "the cat sat on the mat .",
    "",
    "a dog",
    "a dog",
    "THE Big red bird saw [SEP] a tree !",
    "cat " * 40,
    "Ünïcode",
]
ACTIVATIONS = [nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Identity, nn.Sigmoid, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.Softplus]


def encoded(model, texts=TEXTS, **options):
    return model.encode(texts, show_progress_bar=False, **options)


def random_stack(seed):
    """Return arguments of `built`: every setting that a saved model may have, drawn."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    modes = draw.sample(MODES, draw.choice([1, 1, 2, 3]))
    width, steps = 16 * len(modes), []
    for kind in draw.choices(["dense", "norm", "unit", "drop"], k=draw.randrange(4)):
        if kind == "dense":
            out = draw.choice([width, 5, 12])
            activation = ACTIVATIONS[seed % len(ACTIVATIONS)]()
            residual = draw.random() < 0.3
            steps.append(modules.Dense(width, out, draw.random() < 0.7, activation, use_residual=residual))
            width = out
        elif kind == "norm":
            steps.append(modules.LayerNorm(width))
            nn.init.normal_(steps[-1].norm.weight)
        else:
            steps.append(modules.Normalize() if kind == "unit" else modules.Dropout(0.5))
    prompts = {"ask": "the big ", "say": "a dog : "}
    return {
        "kind": draw.choice(["bert", "roberta", "modernbert"]),
        "modes": modes,
        "steps": steps,
        "include_prompt": draw.random() < 0.6,
        "lower": draw.random() < 0.3,
        "length": draw.choice([None, 9, 20]),
        "truncate_dim": draw.choice([None, 3, 10**3]),
        "prompts": prompts if draw.random() < 0.7 else None,
    } | ({"default_prompt_name": "ask", "prompts": prompts} if draw.random() < 0.5 else {})


@pytest.mark.parametrize("seed", range(30))
def test_any_stack_of_modules_gives_what_encode_gives(built, tmp_path, seed):
    model = built(**random_stack(seed))
    model.save_pretrained(str(tmp_path / "saved"))
    wanted = encoded(model)
    texts = [text for text, row in zip(TEXTS, wanted, strict=True) if np.isfinite(row).all()]
    opened, loaded = load_encoder(tmp_path / "saved"), load_encoder(model)
    assert not opened.refusal
    assert opened.hash == loaded.hash
    assert opened.declares_more == loaded.declares_more
    for encoder in (opened, loaded):
        np.testing.assert_allclose(embed(encoder, texts, pooling="model"), encoded(model, texts), atol=1e-5)
    if "say" in model.prompts:
        ours = embed(opened, texts[:1], pooling="model", prompt="say")
        np.testing.assert_allclose(ours, encoded(model, texts[:1], prompt_name="say"), atol=1e-5)
    ours = embed(opened, texts[:1], pooling="model", prompt="who ")
    np.testing.assert_allclose(ours, encoded(model, texts[:1], prompt="who "), atol=1e-5)


def test_minilm_equals_encode(minilm):
    model = st.SentenceTransformer(str(minilm), device="cpu")
    texts = ["A man is playing a guitar.", "Nobody", "", "quantum field theory " * 200, "Ünïcode 猫 🙂"]
    wanted = model.encode(texts)
    for source in (minilm, model):
        np.testing.assert_allclose(embed(source, texts, pooling="model"), wanted, atol=1e-5)
    assert "Normalize" in "; ".join(load_encoder(minilm).notes)


def test_without_the_package_the_vectors_are_the_same(matryoshka, tmp_path, monkeypatch):
    wanted = encoded(matryoshka)
    for name in [name for name in sys.modules if name.split(".")[0] == "sentence_transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # importing it is an error
    with pytest.raises(ImportError):
        importlib.import_module("sentence_transformers")
    np.testing.assert_allclose(embed(tmp_path / "m", TEXTS, pooling="model"), wanted, atol=1e-5)


def test_the_default_prompt_belongs_to_the_models_own_pooling_only(matryoshka, tmp_path):
    model = matryoshka
    encoder = load_encoder(tmp_path / "m")
    grid = embed_grid(encoder, TEXTS, ["mean", "model"], [0, 2])
    assert set(grid.vectors) == {(0, "mean"), (2, "mean"), (2, "model")}
    np.testing.assert_allclose(grid.vectors[2, "model"], encoded(model), atol=1e-5)
    plain = st.SentenceTransformer(modules=[model[0], modules.Pooling(16)], device="cpu")
    np.testing.assert_allclose(grid.vectors[2, "mean"], encoded(plain), atol=1e-5)
    for prompt, options in (("passage", {"prompt_name": "passage"}), ("a ", {"prompt": "a "}), ("", {"prompt": ""})):
        ours = embed(encoder, TEXTS, pooling="model", prompt=prompt)
        np.testing.assert_allclose(ours, encoded(model, **options), atol=1e-5)
    np.testing.assert_allclose(embed(encoder, TEXTS, prompt="a "), encoded(plain, prompt="a "), atol=1e-5)


def test_half_precision_follows_encode(matryoshka):
    model = matryoshka.to(torch.bfloat16)
    encoder = load_encoder(model)
    np.testing.assert_allclose(embed(encoder, TEXTS, pooling="model"), encoded(model), atol=2e-2)
    assert encoder.head.steps[0].linear.weight.dtype == torch.bfloat16


def test_what_runs_decides_the_hash_and_the_store(matryoshka, tmp_path):
    model = matryoshka
    plain = load_encoder(tmp_path / "m")
    seen = {plain.hash}
    config = tmp_path / "m" / "config_sentence_transformers.json"
    settings = json.loads(config.read_text())
    store = Store(tmp_path / "store")
    embed_grid(plain, TEXTS, ["model", "mean"], store=store)
    assert embed_grid(plain, TEXTS, ["model"], store=store).reused == 1
    for change in ({"truncate_dim": 5}, {"default_prompt_name": "passage"}, {"default_prompt_name": None}):
        config.write_text(json.dumps(settings | change))
        other = load_encoder(tmp_path / "m")
        assert other.hash not in seen
        seen.add(other.hash)
        assert embed_grid(other, TEXTS, ["model"], store=store).reused == 0
    config.write_text(json.dumps(settings))
    for prompt in ("passage", "", "the "):
        (other,) = with_prompts([plain], prompt)
        assert other.hash not in seen
        seen.add(other.hash)
        assert embed_grid(other, TEXTS, ["model"], store=store).reused == 0
    with torch.no_grad():
        model[2].linear.weight[0, 0] += 1
    assert load_encoder(model).hash not in seen
    assert load_encoder(model).weights_hash == plain.weights_hash


def test_prompts_by_name_or_as_text(matryoshka, tmp_path, model_folder):
    own, plain = load_encoder(tmp_path / "m"), load_encoder(model_folder("bert"))
    assert [e.prompt for e in with_prompts([own], "passage")] == ["the bird : "]
    assert [e.prompt for e in with_prompts([own, plain], "passage: ")] == ["passage: "] * 2
    assert [e.prompt for e in with_prompts([plain], "passage")] == ["passage"]
    with pytest.raises(UsageError, match="none of that name"):
        with_prompts([own, plain], "passage")
    with pytest.raises(UsageError, match="Did you mean 'passage'"):
        with_prompts([own], "pasage")
    (both,) = with_prompts([own], "passage", "query")
    assert (both.prompt, both.query_prompt) == ("the bird : ", "who saw ")


def edited(folder, part, **changes):
    file = folder / part
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


REFUSED = {
    "activation": ("2_Dense/config.json", {"activation_function": "my.package.Swish"}, "Swish"),
    "function": ("2_Dense/config.json", {"activation_function": "torch.nn.functional.relu"}, "relu"),
    "not made without arguments": ("2_Dense/config.json", {"activation_function": "torch.nn.Linear"}, "Linear"),
    "tokens": ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "token_embeddings"),
    "shape": ("2_Dense/config.json", {"in_features": 17}, "do not fit"),
    "size": ("2_Dense/config.json", {"in_features": "16"}, "in_features"),
    "mode": ("1_Pooling/config.json", {"pooling_mode": "median"}, "median"),
    "cut": ("config_sentence_transformers.json", {"truncate_dim": "4"}, "truncate_dim"),
    "default prompt": ("config_sentence_transformers.json", {"default_prompt_name": "no"}, "'no'"),
    "processing": ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 3}}}, "text.max_length"),
    "tokenizer": ("sentence_bert_config.json", {"tokenizer_args": {"truncation_side": "left"}}, "truncation_side"),
    "chat": ("sentence_bert_config.json", {"modality_config": {"text": {}, "message": {}}}, "chat template"),
    "pooler": (
        "sentence_bert_config.json",
        {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}},
        "pooler_output",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_applied_is_refused_by_name_and_the_rest_is_measured(matryoshka, tmp_path, case):
    part, changes, named = REFUSED[case]
    edited(tmp_path / "m", part, **changes)
    encoder = load_encoder(tmp_path / "m")
    assert embed(encoder, TEXTS).shape == (len(TEXTS), 16)
    assert named in "; ".join(encoder.notes)
    with pytest.raises(InputError, match="pooling 'model' cannot be applied") as error:
        embed(encoder, TEXTS, pooling="model")
    assert named in error.value.message
    assert "geomprobe measure" in error.value.hint


def test_pickled_weights_of_a_dense_are_refused_unopened(matryoshka, tmp_path):
    (tmp_path / "m" / "2_Dense" / "model.safetensors").unlink()
    (tmp_path / "m" / "2_Dense" / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        embed(tmp_path / "m", TEXTS, pooling="model")


@pytest.mark.parametrize(
    "extra", ["WordWeights", "WeightedLayerPooling", "CNN", "own.package.Pooling", "own.package.Transformer"]
)
def test_modules_that_cannot_be_applied_are_named(matryoshka, tmp_path, extra):
    file = tmp_path / "m" / "modules.json"
    listed = json.loads(file.read_text())
    path = extra if "." in extra else f"sentence_transformers.models.{extra}"
    if extra.endswith("Transformer"):
        listed[0]["type"] = path
    else:
        listed.insert(1, {"idx": 9, "name": "x", "path": "9_x", "type": path})
    file.write_text(json.dumps(listed))
    with pytest.raises(InputError, match=extra):
        embed(tmp_path / "m", TEXTS, pooling="model")


def test_old_names_of_classes_and_settings(matryoshka, tmp_path):
    folder = tmp_path / "m"
    listed = json.loads((folder / "modules.json").read_text())
    for module in listed:
        module["type"] = "sentence_transformers.models." + module["type"].rsplit(".", 1)[-1]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": false}')
    (folder / "3_Normalize" / "config.json").unlink()
    old = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_max_tokens": True}
    old |= {"pooling_mode_mean_tokens": True, "pooling_mode_weightedmean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old))
    edited(folder, "2_Dense/config.json", in_features=32)
    torch.manual_seed(2)
    modules.Dense(32, 8).save(str(folder / "2_Dense"))
    model = st.SentenceTransformer(str(folder), device="cpu")
    encoder = load_encoder(folder)
    np.testing.assert_allclose(embed(encoder, TEXTS, pooling="model"), encoded(model), atol=1e-5)
    assert encoder.pooling == "max+mean"
    assert encoder.hash == load_encoder(model).hash


@pytest.mark.parametrize("kind", ["SparseEncoder", "CrossEncoder", "MultiVectorEncoder"])
def test_models_of_other_kinds_have_their_own_words(model_folder, tmp_path, kind):
    options = {"num_labels": 1} if kind == "CrossEncoder" else {}
    model = getattr(st, kind)(str(model_folder("bert")), device="cpu", **options)
    model.save_pretrained(str(tmp_path / "saved"))
    for source in (model, tmp_path / "saved"):
        with pytest.raises(InputError, match=kind) as error:
            load_encoder(source)
        assert "auto_model" in error.value.hint
    assert load_encoder(model[0].auto_model, tokenizer=model.tokenizer).n_layers == 2


def test_a_cross_encoder_of_an_older_version(model_folder, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(model_folder("bert"), folder)
    edited(folder, "config.json", sbert_ce_default_activation_function="torch.nn.modules.linear.Identity")
    with pytest.raises(InputError, match="CrossEncoder"):
        load_encoder(folder)


def test_splade_and_routed_and_static_folders(tmp_path):
    for name, kinds, words in (
        ("splade", ["sparse_encoder.models.MLMTransformer", "sparse_encoder.models.SpladePooling"], "SparseEncoder"),
        ("router", ["models.Router"], "query, document"),
        ("static", ["models.StaticEmbedding"], "no transformer"),
    ):
        (tmp_path / name).mkdir()
        listed = [
            {"idx": i, "name": str(i), "path": "", "type": f"sentence_transformers.{k}"} for i, k in enumerate(kinds)
        ]
        (tmp_path / name / "modules.json").write_text(json.dumps(listed))
        with pytest.raises(InputError, match=words):
            load_encoder(tmp_path / name)


def test_objects_that_are_no_models(model_folder):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder("bert"))
    model = transformers.AutoModel.from_pretrained(model_folder("bert"))
    with pytest.raises(InputError, match="is a tokenizer"):
        load_encoder(tokenizer)
    with pytest.raises(InputError, match="pipeline"):
        load_encoder(transformers.pipeline("feature-extraction", model=model, tokenizer=tokenizer))
    with pytest.raises(InputError, match="neither a folder"):
        load_encoder([1])


def test_the_random_baseline_draws_the_head_anew(matryoshka, tmp_path):
    encoder = load_encoder(tmp_path / "m")
    drawn = make_baseline("random-init", encoder, seed=3)
    assert drawn.head.stages == encoder.head.stages
    assert drawn.head.fingerprint != encoder.head.fingerprint
    assert drawn.head.fingerprint == make_baseline("random-init", encoder, seed=3).head.fingerprint
    assert embed(drawn, TEXTS, pooling="model").shape == (len(TEXTS), 4)


def test_the_models_own_pooling_has_no_other_layer(matryoshka, tmp_path):
    with pytest.raises(UsageError, match="last layer"):
        embed(tmp_path / "m", TEXTS, pooling="model", layer=0)


def test_a_head_reads_no_padding():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 5, 7, generator=generator)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    head = Head(MODES)
    full = head(states, mask)
    torch.testing.assert_close(head(states.masked_fill(~mask[..., None], torch.nan), mask), full)
    torch.testing.assert_close(head(states[1:, :2], mask[1:, :2])[0], full[1])
    assert head.width(9) == 9 * len(MODES)


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("config_sentence_transformers.json", "prompts", [1]),
        ("config_sentence_transformers.json", "prompts", {"query": 1}),
        ("config_sentence_transformers.json", "default_prompt_name", ["query"]),
        ("sentence_bert_config.json", "max_seq_length", "512"),
        ("sentence_bert_config.json", "max_seq_length", 0),
        ("sentence_bert_config.json", "modality_config", "text"),
        ("sentence_bert_config.json", "processing_kwargs", {"text": 1}),
        ("sentence_bert_config.json", "processor_kwargs", [1]),
        ("1_Pooling/config.json", "pooling_mode", 3),
        ("2_Dense/config.json", "bias", "yes"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_named(matryoshka, tmp_path, file, name, value):
    edited(tmp_path / "m", file, **{name: value})
    with pytest.raises(InputError, match=rf"{file}.*{name}"):
        load_encoder(tmp_path / "m")


@pytest.mark.parametrize("path", [None, 1, "/etc", "../m/2_Dense", "a" * 300, "\0"])
def test_a_module_lies_inside_its_folder(matryoshka, tmp_path, path):
    file = tmp_path / "m" / "modules.json"
    listed = json.loads(file.read_text())
    listed[2]["path"] = path
    file.write_text(json.dumps(listed))
    with pytest.raises(InputError, match=r"modules\.json"):
        load_encoder(tmp_path / "m")


@pytest.mark.parametrize(
    ("file", "setting"),
    [("config_sentence_transformers.json", {"truncate_dim": n}) for n in (0, -1)]
    + [("2_Dense/config.json", {"out_features": n}) for n in (10**9, 10**30)],
)
def test_sizes_that_cannot_be_are_refused_before_memory_is_taken(matryoshka, tmp_path, file, setting):
    edited(tmp_path / "m", file, **setting)
    with pytest.raises(InputError, match=r"truncate_dim|out_features|do not fit"):
        embed(tmp_path / "m", TEXTS, pooling="model")


def test_a_loaded_model_that_is_trained_on_is_measured_as_it_is_now(matryoshka):
    encoder = load_encoder(matryoshka)
    seen = {encoder.hash}
    for changed in (matryoshka[2].linear.weight, next(matryoshka[0].auto_model.parameters())):
        with torch.no_grad():
            changed.mul_(-1.5)
        seen.add(encoder.hash)
        np.testing.assert_allclose(embed(encoder, TEXTS, pooling="model"), encoded(matryoshka), atol=1e-5)
    assert len(seen) == 3


def test_a_limit_without_room_for_text(model_folder, built, tmp_path):
    built(length=2).save_pretrained(str(tmp_path / "saved"))
    for source, options in ((tmp_path / "saved", {}), (model_folder("bert"), {"max_length": 1})):
        with pytest.raises(InputError, match=r"no room .* adds 2"):
            embed(source, TEXTS, **options)
    assert embed(model_folder("bert"), TEXTS, max_length=3).shape == (len(TEXTS), 16)


def test_whether_a_prompt_is_pooled_is_part_of_the_hash(built):
    options = {"prompts": {"ask": "the "}, "default_prompt_name": "ask"}
    hashes = [load_encoder(built(include_prompt=include, **options)).hash for include in (True, False)]
    assert hashes[0] != hashes[1]
    assert load_encoder(built(include_prompt=False)).hash == load_encoder(built()).hash


def test_a_tokenizer_that_is_handed_over_stays_as_it_is(built, tmp_path):
    from tokenizers import normalizers

    model = built()
    model.save_pretrained(str(tmp_path / "saved"))
    edited(tmp_path / "saved", "sentence_bert_config.json", do_lower_case=True)
    tokenizer = model.tokenizer
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    before = tokenizer.backend_tokenizer.to_str()
    opened = load_encoder(tmp_path / "saved", tokenizer=tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == before
    ids, _ = opened.tokenize(["The CAT", "the cat"])
    np.testing.assert_array_equal(*ids)


def test_padding_on_the_left_that_changes_states_is_said(built):
    for kind, said in (("gpt2", True), ("llama", False), ("fnet", True), ("bert", False)):
        notes = load_encoder(built(kind)).notes
        assert any("pads a text" in note for note in notes) == said


def test_a_first_module_that_is_not_read_is_named(model_folder, tmp_path):
    shutil.copytree(model_folder("bert"), tmp_path / "0_CLIPModel")
    listed = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="begins with the module CLIPModel") as error:
        load_encoder(tmp_path)
    assert str(tmp_path / "0_CLIPModel") in error.value.hint
