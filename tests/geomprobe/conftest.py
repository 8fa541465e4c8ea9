"""Tiny encoders that every test can afford, made anew for each test session."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

TEXT = "the a cat dog sat on mat big small red and not very who saw bird tree . , !"
WORDS = TEXT.split()


def word_tokenizer(
    *, template: bool = True, side: str = "right", pad: bool = True
) -> transformers.PreTrainedTokenizerFast:
    """Return a word-level tokenizer, with [CLS] … [SEP] around each text if `template`."""
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    if pad:
        names["pad_token"] = "[PAD]"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side=side, model_max_length=32, **names
    )


def tiny_model(kind: str) -> transformers.PreTrainedModel:
    """Return a randomly initialised model of a few thousand weights."""
    torch.manual_seed(0)
    size = len(WORDS) + 5
    common = {"vocab_size": size, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "bert":
        config = transformers.BertConfig(**common, intermediate_size=32, max_position_embeddings=32)
    elif kind == "roberta":
        config = transformers.RobertaConfig(**common, intermediate_size=32, max_position_embeddings=34, pad_token_id=0)
    elif kind == "modernbert":
        config = transformers.ModernBertConfig(
            **common, intermediate_size=32, max_position_embeddings=32, pad_token_id=0, bos_token_id=2, eos_token_id=3,
            cls_token_id=2, sep_token_id=3,
        )  # fmt: skip
    elif kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=3, eos_token_id=3
        )
    elif kind == "llama":
        config = transformers.LlamaConfig(**common, intermediate_size=32, max_position_embeddings=32)
    elif kind == "t5":
        config = transformers.T5Config(vocab_size=size, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    elif kind == "fnet":
        config = transformers.FNetConfig(
            vocab_size=size, hidden_size=16, num_hidden_layers=2, intermediate_size=32, max_position_embeddings=32
        )
    else:
        raise ValueError(kind)
    model = transformers.AutoModel.from_config(config)
    for name, parameter in model.named_parameters():  # larger than initialisation, so that differences are seen
        if parameter.ndim > 1 and "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """Return a function that gives the folder of a tiny saved model of the given kind."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            path = tmp_path_factory.mktemp("models") / f"tiny-{kind}"
            tiny_model(kind).save_pretrained(path)
            decoder = kind in ("gpt2", "llama")
            word_tokenizer(template=not decoder, side="left" if decoder else "right", pad=not decoder).save_pretrained(
                path
            )
            made[kind] = path
        return made[kind]

    return folder


@pytest.fixture
def built(model_folder):
    """Return a function that makes a SentenceTransformer of a tiny model and the library's own modules."""
    st = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")

    def make(kind="bert", modes="mean", steps=(), *, include_prompt=True, lower=False, length=None, **options):
        first = modules.Transformer(str(model_folder(kind)), max_seq_length=length, do_lower_case=lower)
        pooling = modules.Pooling(16, pooling_mode=modes, include_prompt=include_prompt)
        return st.SentenceTransformer(modules=[first, pooling, *steps], device="cpu", **options)

    return make


@pytest.fixture
def matryoshka(built, tmp_path):
    """Return a model with cls pooling, Dense, Normalize, a cut and a prompt, saved as the folder `m`."""
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    torch.manual_seed(1)
    options = {"prompts": {"query": "who saw ", "passage": "the bird : "}, "default_prompt_name": "query"}
    model = built(modes="cls", steps=[modules.Dense(16, 8), modules.Normalize()], truncate_dim=4, **options)
    model.save_pretrained(str(tmp_path / "m"))
    return model


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package of one module with entry points; afterwards none of it is known.

    install("pack", "1.0", "METRIC = …", metrics={"name": "METRIC"})
    """
    from geomprobe.embedding.pooling import POOLINGS
    from geomprobe.metrics import REGISTRY
    from geomprobe.tasks import TASKS

    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def forget() -> None:
        for known in (REGISTRY, TASKS, POOLINGS):
            known.__dict__.pop("_points", None)
            for kept in (known._loaded, known._registered):
                kept.clear()

    def install(package: str, version: str, source: str = "", **points: dict[str, str]) -> None:
        forget()
        for old in (tmp_path / "site").glob(f"{package}-*.dist-info"):
            shutil.rmtree(old)
        folder = tmp_path / "site" / f"{package}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        groups = [
            "\n".join([f"[geomprobe.{kind}]", *(f"{name} = {package}:{value}" for name, value in named.items())])
            for kind, named in points.items()
        ]
        (folder / "entry_points.txt").write_text("\n".join(groups) + "\n")
        (tmp_path / "site" / f"{package}.py").write_text(source, encoding="utf-8")
        sys.modules.pop(package, None)
        importlib.invalidate_caches()

    forget()
    yield install
    forget()


SUBJECTS, VERBS = ("the cat", "a dog", "the red bird", "a small tree"), ("sat on", "saw", "who saw")
OBJECTS = ("the mat", "a cat", "the big dog", "a bird", "the tree")
SENTENCES = [f"{a} {b} {c}" for a in SUBJECTS for b in VERBS for c in OBJECTS]


def squeezed(amount: float) -> transformers.PreTrainedModel:
    """Return the tiny BERT with most dimensions of its vectors shrunk by a share."""
    model = tiny_model("bert")
    with torch.no_grad():
        norm = model.encoder.layer[-1].output.LayerNorm
        norm.weight[:12] *= 1 - amount
        norm.bias[:12] *= 1 - amount
    return model


@pytest.fixture(scope="session")
def training(tmp_path_factory) -> Path:
    """The folder of a training with three checkpoints: it moves from 10 to 20, and then stays as it is."""
    folder = tmp_path_factory.mktemp("trainings") / "mine"
    for step, amount in ((10, 0.0), (20, 0.9), (100, 0.9)):
        squeezed(amount).save_pretrained(folder / f"checkpoint-{step}")
        word_tokenizer().save_pretrained(folder / f"checkpoint-{step}")
    return folder


@pytest.fixture(scope="session")
def small_task(tmp_path_factory) -> Path:
    """A file with sixty short texts, each with a label that its words decide."""
    file = tmp_path_factory.mktemp("task") / "small.csv"
    lines = [f"{text},{'yes' if ' saw' in text else 'no'}\n" for text in SENTENCES]
    file.write_text("text,label\n" + "".join(lines), encoding="utf-8")
    return file
