"""A small corpus and a tiny configuration that every test of the pretrainer can use."""

import json
import random

import pytest

from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.corpus import build_corpus

TINY = {
    "layers": 2,
    "hidden": 32,
    "heads": 2,
    "intermediate": 48,
    "max_length": 64,
    "predictor_layers": 1,
    "predictor_hidden": 16,
    "predictor_heads": 2,
    "row_length": 32,
    "batch_rows": 8,
    "init_std": 0.02,
    "budget": "12-steps",
    "warmup_steps": 4,
    "log_every": 4,
    "eval_every": 6,
    "eval_rows": 16,
    "save_every": "4",
    "precision": "fp32",
    "device": "cpu",
}
WORDS = """the a cat dog bird sees hears finds likes red blue small old house tree river under over near and while
    quickly""".split()  # noqa: SIM905


def make_sentences(n, seed=0):
    """Return n documents of a few random sentences."""
    random_ = random.Random(seed)
    return [" ".join(random_.choice(WORDS) for _ in range(random_.randint(8, 40))) + "." for _ in range(n)]


@pytest.fixture(scope="session")
def sentences():
    return make_sentences


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in make_sentences(400)))
    return path


@pytest.fixture(scope="session")
def corpus(text_file, tmp_path_factory):
    return build_corpus(str(text_file), "train:120", cache=tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def tiny(corpus, tmp_path):
    """Return a maker of tiny configurations, each in a folder of its own unless told otherwise."""

    def make(**changes):
        flags = TINY | {"corpus": str(corpus.path), "out": str(tmp_path / "run")} | changes
        return load_config("demo", flags)

    return make
