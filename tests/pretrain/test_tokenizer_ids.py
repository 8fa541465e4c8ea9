"""Tokenizers as people have them: ids with gaps, beyond two bytes, and special tokens that are missing or shared."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

from geomprobe.common import InputError, UsageError
from geomprobe.pretrain import masking
from geomprobe.pretrain.corpus import build_corpus
from geomprobe.pretrain.corpus.tokenizer import load_tokenizer, vocabulary, wrap_tokenizer
from geomprobe.pretrain.loop import train

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves a word-level tokenizer with given ids and returns its folder."""

    def save(ids, names=None):
        backend = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        if names is None:
            tokenizer = wrap_tokenizer(backend)
        else:
            tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        return str(tmp_path / "tokenizer")

    return save


@pytest.fixture
def texts(tmp_path, sentences):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences(120)))
    return str(path)


def words(sentences):
    return sorted({word for text in sentences(120) for word in text.replace(".", " .").split()})


def with_gaps(sentences, first=0, mask=None):
    """Return ids with a gap of three after the fifth word, and [MASK] last of all."""
    ids = {name: first + i for i, name in enumerate(SPECIALS[:4])}
    for word in words(sentences):
        ids[word] = max(ids.values()) + (4 if len(ids) == 9 else 1)
    return ids | {"[MASK]": mask or max(ids.values()) + 1}


def test_ids_with_gaps_are_trained_with(saved, texts, sentences, tiny, tmp_path):
    ids = with_gaps(sentences)
    corpus = build_corpus(texts, saved(ids), cache=tmp_path / "c")
    size = max(ids.values()) + 1
    assert corpus.vocab_size == size > len(ids)
    assert corpus.special["mask"] == size - 1
    assert corpus.unused_ids == sorted(set(range(size)) - set(ids.values()))
    assert len(corpus.unused_ids) == corpus.info["unused_ids"] == 3
    assert f"ids have gaps: {size} entries (highest id + 1), 3 never used" in "\n".join(corpus.info["notes"])
    out = train(tiny(objective="hybrid", corpus=str(corpus.path)))
    model = AutoModelForMaskedLM.from_pretrained(out)
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == size
    assert json.loads((out / "run.json").read_text())["final"]["held_out_mlm"] > 0

    from geomprobe.encoders import load_encoder

    assert load_encoder(out).tokenizer("the cat")["input_ids"] == [ids["the"], ids["cat"]]


def test_ids_beyond_two_bytes(saved, texts, sentences, tmp_path):
    """The vocabulary is small, its ids are not: four bytes an id, and nothing wraps round."""
    ids = with_gaps(sentences, mask=70_000)
    corpus = build_corpus(texts, saved(ids), cache=tmp_path / "c")
    assert corpus.vocab_size == 70_001
    assert corpus.special["mask"] == 70_000
    assert corpus.streams["train"][0].dtype == np.uint32
    assert set(np.unique(corpus.streams["train"][0])) <= set(ids.values())


def test_a_table_that_would_hardly_be_used_is_refused(saved, texts, sentences, tmp_path):
    folder = saved(with_gaps(sentences, mask=3_000_000))
    with pytest.raises(InputError, match="highest id is 3,000,000, but it has 28 tokens only"):
        build_corpus(texts, folder, cache=tmp_path / "c")


def test_tokens_added_after_the_vocabulary(saved, texts, sentences, tmp_path):
    ids = {name: i for i, name in enumerate([*SPECIALS, *words(sentences)])}
    folder = saved(ids)
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["cat dog", "extra"])
    tokenizer.save_pretrained(tmp_path / "more")
    corpus = build_corpus(texts, str(tmp_path / "more"), cache=tmp_path / "c")
    assert corpus.vocab_size == len(ids) + 2
    assert corpus.info["unused_ids"] == 0
    assert not any("gaps" in note for note in corpus.info["notes"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"cls_token": "[CLS]", "sep_token": "[SEP]"}, "has no mask token"),
        ({"eos_token": "[SEP]"}, "has no cls, sep, mask token"),
        ({"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[UNK]"}, "id of another"),
        ({"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[PAD]"}, "id of another"),
    ],
)
def test_tokenizers_without_what_pretraining_needs(saved, texts, sentences, tmp_path, names, message):
    ids = {name: i for i, name in enumerate([*SPECIALS, *words(sentences)])}
    with pytest.raises(InputError, match=message) as caught:
        build_corpus(texts, saved(ids, names), cache=tmp_path / "c")
    assert "train:8192" in caught.value.hint


def test_vocabulary():
    assert vocabulary({"a": 0, "b": 1}) == (2, [])
    assert vocabulary({"a": 0, "b": 5}) == (6, [1, 2, 3, 4])


def test_unused_ids_are_never_inserted():
    special = {"pad": 0, "cls": 1, "sep": 2, "mask": 59}
    unused = [3, 20, 21, 22, 58]
    ids = np.full((200, 64), 10)
    ids[:, 0], ids[:, -1] = 1, 2
    masked, _ = masking.mask_tokens(ids, count=20, special=special, vocab_size=60, seed=0, step=0, unused=unused)
    inserted = set(np.unique(masked)) - {59}
    assert inserted == set(range(60)) - {0, 59} - set(unused)


@pytest.mark.parametrize(
    "size", ["", "0", "63", "1048577", "1000000000", "9" * 5000, "8k", "1e5", "-100", " 100", "²", "１００"]
)
def test_vocabularies_that_cannot_be_trained(tmp_path, size):
    """Refused before the source is opened."""
    (tmp_path / "text.txt").write_bytes(b"\xff")  # which would be refused, too
    with pytest.raises(UsageError, match="is no vocabulary size") as caught:
        build_corpus(str(tmp_path / "text.txt"), f"train:{size}")
    assert len(str(caught.value)) < 200


def test_every_file_of_a_tokenizer_counts(saved, texts, sentences, tmp_path):
    """A mask token that moves in tokenizer_config.json makes another corpus."""
    folder = Path(saved(with_gaps(sentences)))
    first = build_corpus(str(texts), str(folder), cache=tmp_path / "cache")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["mask_token"] = "cat"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    second = build_corpus(str(texts), str(folder), cache=tmp_path / "cache")
    assert second.path != first.path
    assert second.special["mask"] != first.special["mask"]


def test_the_file_of_a_tokenizer_is_not_its_folder(saved, texts, sentences, tmp_path):
    folder = Path(saved(with_gaps(sentences)))
    with pytest.raises(InputError, match="is a file") as caught:
        build_corpus(str(texts), str(folder / "tokenizer.json"), cache=tmp_path / "cache")
    assert "folder" in caught.value.hint
