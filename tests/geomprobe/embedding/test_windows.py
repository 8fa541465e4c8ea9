"""`long="chunk"`: a long text is the mean of its windows, weighted by their tokens; all else stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

import geomprobe as gp
from geomprobe.common import InputError, UsageError
from geomprobe.embedding.embed import embed_grid
from geomprobe.embedding.store import Store
from geomprobe.embedding.tokens import tokenize
from geomprobe.encoders import load_encoder
from tests.geomprobe.conftest import WORDS

RNG = np.random.default_rng(0)
LONG = " ".join(RNG.choice(WORDS, 71))  # 32 tokens a text, of which 30 are words: windows of 30, 30 and 11
TEXTS = ["the cat", LONG, "a dog saw a bird", LONG, "the red tree"]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "last", "weighted"])
def test_a_long_text_is_the_mean_of_its_windows(model_folder, kind, pooling):
    encoder = load_encoder(model_folder(kind))
    size = encoder.max_length - len(encoder.tokenizer("")["input_ids"])
    words = LONG.split()
    pieces = [words[at : at + size] for at in range(0, len(words), size)]
    parts = gp.embed(encoder, [" ".join(piece) for piece in pieces], pooling=pooling)
    wanted = np.average(parts, axis=0, weights=[len(piece) for piece in pieces])
    found = gp.embed(encoder, TEXTS, pooling=pooling, long="chunk")
    assert np.allclose(found[1], wanted, atol=1e-5)
    assert np.array_equal(found[1], found[3])
    cut = gp.embed(encoder, TEXTS, pooling=pooling)
    assert np.allclose(found[[0, 2, 4]], cut[[0, 2, 4]], atol=1e-6)
    assert not np.allclose(found[1], cut[1], atol=1e-3)


def test_without_a_long_text_nothing_changes_by_a_bit(model_folder):
    encoder = load_encoder(model_folder("bert"))
    short = [text for text in TEXTS if text != LONG]
    assert np.array_equal(gp.embed(encoder, short, long="chunk"), gp.embed(encoder, short))


def test_every_window_has_the_prompt_of_the_model(matryoshka, tmp_path):
    encoder = load_encoder(tmp_path / "m").with_prompt("who saw ")
    rows = tokenize(chunking(encoder), [LONG], divide=True)
    start = encoder.tokenizer("who saw")["input_ids"][:-1]
    assert len(rows.ids) > 1
    assert all(row[: len(start)].tolist() == start and len(row) <= encoder.max_length for row in rows.ids)
    body = np.concatenate([row[len(start) : -1] for row in rows.ids])
    assert body.tolist() == encoder.tokenizer(LONG, add_special_tokens=False)["input_ids"]
    assert rows.share.sum() == pytest.approx(1)
    assert gp.embed(tmp_path / "m", [LONG], pooling="model", long="chunk").shape == (1, 4)


def chunking(encoder):
    import dataclasses

    return dataclasses.replace(encoder, long="chunk")


def test_vectors_in_the_store_are_kept_apart(model_folder, tmp_path):
    encoder = load_encoder(model_folder("bert"))
    store = Store(tmp_path)
    cut = embed_grid(encoder, TEXTS, store=store)
    chunked = embed_grid(chunking(encoder), TEXTS, store=store)
    again = embed_grid(chunking(encoder), TEXTS, store=store)
    assert (cut.reused, chunked.reused, again.reused) == (0, 0, 1)
    assert (cut.n_truncated, chunked.n_truncated) == (1, 1)
    assert chunked.n_tokens > cut.n_tokens
    (one,), (two,) = chunked.vectors.values(), again.vectors.values()
    assert np.array_equal(one, two)


def test_an_analysis_counts_what_it_divided(model_folder, tmp_path, monkeypatch):
    from geomprobe.tasks import load_file

    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(
        f"{' '.join(w for w in RNG.choice(WORDS, 5 if i % 3 else 80) if w != ',')},{i % 2}\n" for i in range(24)
    ))  # fmt: skip
    task = load_file(tmp_path / "t.csv")
    found = {}
    for long in ("cut", "chunk"):
        found[long] = gp.analyze(
            [model_folder("bert")], [task], long=long, out=tmp_path / long, cells=tmp_path / "cells"
        )
    entries = {long: results.run["tasks"][0] for long, results in found.items()}
    assert entries["cut"]["truncated"] == entries["chunk"]["chunked"] == {"tiny-bert": 8}
    assert entries["chunk"]["truncated"] == {"tiny-bert": 0}
    assert "chunked" not in entries["cut"]
    assert any("divided into windows" in note for note in entries["chunk"]["notes"])
    assert gp.read_results(tmp_path / "chunk").run["tasks"][0]["chunked"] == {"tiny-bert": 8}
    values = [r.results.query("metric == 'uniformity' and view == 'raw'")["value"].item() for r in found.values()]
    assert values[0] != values[1]


def test_what_cannot_be_is_refused(model_folder):
    encoder = load_encoder(model_folder("bert"))
    with pytest.raises(UsageError, match="way with long texts"):
        gp.embed(encoder, ["a"], long="window")
    from geomprobe.predict_reconstruct.protocol import PAPER

    with pytest.raises(UsageError, match="published analysis cuts"):
        gp.analyze([encoder], ["controlled"], long="chunk", protocol=PAPER)
    with pytest.raises(InputError, match="no room for text"):
        gp.embed(encoder, ["the cat sat"], long="chunk", max_length=2)
    with pytest.raises(InputError, match="special tokens and prompt fill"):
        gp.embed(encoder, [LONG], long="chunk", prompt="the " * 40)
