"""`--from`: training goes on from a model's own weights with its own tokenizer, and refuses what does not fit."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
import transformers

from geomprobe.common import InputError, UsageError
from geomprobe.pretrain import continued
from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.corpus import build_corpus
from geomprobe.pretrain.corpus.tokenizer import load_tokenizer
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.distributed import Processes
from geomprobe.pretrain.loop import train
from geomprobe.pretrain.objectives import build_objective
from geomprobe.pretrain.prepare import check, prepare_corpus
from tests.hub import Repository
from tests.pretrain.conftest import TINY

HABITS = {k: v for k, v in TINY.items() if k in (
    "row_length", "batch_rows", "budget", "log_every", "eval_every", "eval_rows", "save_every", "precision", "device",
)}  # fmt: skip


def model_of(kind: str, size: int) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    common = {"vocab_size": size, "pad_token_id": 0}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = {
        "bert": lambda: transformers.BertConfig(**common, **sizes, max_position_embeddings=48),
        "roberta": lambda: transformers.RobertaConfig(**common, **sizes, max_position_embeddings=49),
        "distilbert": lambda: transformers.DistilBertConfig(
            **common, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=48
        ),
        "modernbert": lambda: transformers.ModernBertConfig(  # with sliding windows: not our architecture
            **common, **sizes, max_position_embeddings=48, local_attention=8, cls_token_id=2, sep_token_id=3,
            bos_token_id=2, eos_token_id=3,
        ),
    }[kind]()  # fmt: skip
    return transformers.AutoModelForMaskedLM.from_config(config)


@pytest.fixture(scope="module")
def base(corpus, tmp_path_factory):
    """Return a maker of folders of small masked language models with the corpus's tokenizer."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("base") / kind
            model_of(kind, corpus.vocab_size).save_pretrained(made[kind])
            load_tokenizer(str(corpus.path)).save_pretrained(made[kind])
        return made[kind]

    return folder


@pytest.fixture
def settings(text_file, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))

    def make(start, **changes):
        flags = HABITS | {"objective": "mlm", "start_from": str(start), "corpus": str(text_file)}
        return load_config("demo", flags | {"out": str(tmp_path / "run")} | changes)

    return make


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
def test_the_first_loss_is_that_of_the_model_itself(base, settings, kind):
    config = check(settings(base(kind)), Processes())
    corpus = prepare_corpus(config, lambda record: None)
    objective = build_objective(config, corpus)
    batch = BatchSource(config, corpus).held_out(range(4), 0)
    own = transformers.AutoModelForMaskedLM.from_pretrained(base(kind)).eval()
    labels = torch.full_like(batch.ids, -100).scatter(1, batch.positions, batch.ids.gather(1, batch.positions))
    assert float(objective(batch)["loss"]) == pytest.approx(float(own(batch.masked, labels=labels).loss), rel=1e-5)
    assert config.max_length <= 48


def test_training_goes_on_from_the_weights_and_the_result_opens_everywhere(base, settings, tmp_path):
    out = train(settings(base("bert"), lr=1e-3, budget="40-steps"))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["held_out_mlm"] for line in lines if "held_out_mlm" in line]
    assert losses[-1] < losses[0]
    assert all("encoder_rank" in line for line in lines if line["step"] % 100 == 0)
    before, after = (transformers.AutoModelForMaskedLM.from_pretrained(f).state_dict() for f in (base("bert"), out))
    moved = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert 0 < moved < 0.1  # far less than a new draw: the weights are the model's own
    assert transformers.AutoTokenizer.from_pretrained(out).get_vocab() == load_tokenizer(str(base("bert"))).get_vocab()
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "of the architecture `bert`: 2 layers, 16 dimensions" in card
    assert "Continued from bert with geomprobe" in card
    assert "random weights" not in card
    assert str(base("bert").parent) not in card
    run = json.loads((out / "run.json").read_text())
    assert run["config"]["hidden"] == 16
    assert run["config"]["start_from"] == str(base("bert"))
    import geomprobe as gp

    encoder = gp.load_encoder(out)
    assert encoder.max_length == 48
    assert gp.embed(encoder, ["the cat sees a dog"]).shape == (1, 16)


def test_a_resumed_run_equals_one_that_was_not_interrupted(base, settings, tmp_path):
    whole = train(settings(base("bert"), out=str(tmp_path / "whole"), budget="8-steps"))
    part = train(settings(base("bert"), out=str(tmp_path / "part"), budget="8-steps"))
    shutil.rmtree(part / "trainer" / "step-8")  # back to the state at step 4
    part = train(settings(base("bert"), out=str(tmp_path / "part"), budget="8-steps"), resume=True)
    a, b = (transformers.AutoModelForMaskedLM.from_pretrained(folder).state_dict() for folder in (whole, part))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_flops_are_counted_by_hand(base):
    length, d, inner, layers, entries = 32, 16, 32, 2, 120
    model = continued._blank(str(base("bert")))
    entries = model.config.vocab_size
    layer = 2 * length * (4 * d * d + 2 * d * inner) + 4 * length * length * d
    head = 2 * length * (d * d + d * entries)
    assert continued.row_flops(str(base("bert")), length) == pytest.approx(layers * layer + head, rel=0.01)


@pytest.mark.parametrize("objective", ["jepa", "hybrid"])
def test_jepa_continues_from_our_own_architecture_only(base, settings, tiny, objective):
    with pytest.raises(UsageError, match="our own architecture"):
        check(settings(base("modernbert"), objective=objective), Processes())
    first = train(tiny(objective="mlm", budget="2-steps", save_every="2"))
    config = settings(first, objective=objective, out=str(first) + "-on", budget="2-steps")
    second = train(config)
    assert (second / "ema" / "config.json").is_file()
    corpus = build_corpus(str(config.corpus), str(first))
    started = build_objective(check(config, Processes()), corpus)
    assert not started.new_head
    weights = transformers.AutoModel.from_pretrained(first).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in started.model.model.state_dict().items())


def test_a_head_that_is_drawn_is_said_by_us_and_not_by_transformers(settings, tiny, tmp_path):
    first = train(tiny(objective="jepa", budget="2-steps", out=str(tmp_path / "jepa")))
    theirs, ours = [], []
    handler = logging.Handler()
    handler.emit = theirs.append
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        train(settings(first, budget="2-steps"), progress=ours.append)
    finally:
        logger.removeHandler(handler)
    assert theirs == []
    assert f"{first} has no MLM head: it is drawn from the seed." in [line.get("note") for line in ours]


def test_what_does_not_fit_is_refused(base, settings, tmp_path):
    with pytest.raises(UsageError, match="at most 48 tokens"):
        check(settings(base("bert"), row_length=64), Processes())
    with pytest.raises(UsageError, match="brings its own tokenizer"):
        settings(base("bert"), tokenizer="train:100")
    with pytest.raises(UsageError, match="brings its own hidden"):
        load_config("demo", {"start_from": "x"}, ["hidden=64"])
    with pytest.raises(InputError, match="No model at"):
        check(settings("./nosuch"), Processes())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no masked language model"):
        check(settings(empty), Processes())
    headless = tmp_path / "headless"
    shutil.copytree(base("bert"), headless)
    transformers.AutoModel.from_pretrained(base("bert")).save_pretrained(headless)
    config = check(settings(headless), Processes())
    with pytest.raises(InputError, match="weights are missing"):
        build_objective(config, prepare_corpus(config, lambda record: None))
    decoder = tmp_path / "decoder"
    shutil.copytree(base("bert"), decoder)
    transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2).save_pretrained(decoder)
    with pytest.raises(InputError, match="no masked language model"):
        check(settings(decoder), Processes())


def test_the_learning_rate_is_small_unless_given(settings):
    assert settings("x").lr == 5e-5
    assert load_config("demo", {"start_from": "x"}, ["lr=0.001"]).lr == 0.001


def test_a_model_of_the_hub_is_pinned_and_resumed_at_its_commit(hub, base, settings, tmp_path):
    old, new = "a" * 40, "b" * 40
    files = {file.name: file.read_bytes() for file in base("bert").iterdir()}
    hub.repositories["me/it"] = Repository({"main": old}, {old: files})
    out = train(settings("me/it", budget="2-steps", save_every="1"))
    run = json.loads((out / "run.json").read_text())
    assert run["config"]["start_from"] == run["corpus"]["tokenizer"] == f"me/it@{old}"
    shutil.rmtree(out / "trainer" / "step-2")
    hub.repositories["me/it"].refs["main"] = new  # the hub moves on
    assert train(settings("me/it", budget="2-steps", save_every="1"), resume=True) == out
    with pytest.raises(InputError, match="neither an existing path nor a model on the hub"):
        check(settings("me/none"), Processes())
