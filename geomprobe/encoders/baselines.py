"""Encoders that learned nothing or next to nothing, to show where a figure lies without learning.

Each is an `Encoder` like any other, so that layers, poolings, geometry and probes apply unchanged.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from geomprobe.common import InputError, UsageError, unknown_name
from geomprobe.encoders.encoder import Encoder

BASELINES = {
    "random-init": "the same architecture and tokenizer with fresh random weights",
    "static": "the encoder's own input embedding of each token, without its layers; special tokens left out",
    "bow": "a random vector per word: under mean pooling a random projection of the bag of words",
    "tfidf": "a latent vector per word by TF-IDF and SVD (LSA), fitted on the texts",
}

WORD_PATTERN = r"(?u)\b\w+\b"
MAX_WORDS = 50_000


class WordTable(nn.Module):
    """A table of word vectors in the form of a model: the state of a token is its row, whatever surrounds it."""

    def __init__(self, table: torch.Tensor, kind: str):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(table)
        # what `Encoder` asks of a transformers config
        self.config = SimpleNamespace(
            is_encoder_decoder=False, pad_token_id=0, to_dict=partial(dict, model_type=f"word table ({kind})")
        )

    def get_input_embeddings(self) -> nn.Embedding:
        """Table."""
        return self.table

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> SimpleNamespace:
        """Rows of the tokens, as the only layer."""
        states = self.table(input_ids)
        return SimpleNamespace(hidden_states=(states,), last_hidden_state=states)


def make_baseline(name: str, encoder: Encoder, texts: Sequence[str] = (), *, seed: int = 0) -> Encoder:
    """Baseline that goes with an encoder.

    Parameters
    ----------
    name : str
        One of `BASELINES`.
    encoder : Encoder
        Gives architecture, tokenizer, width, device.
    texts : sequence of str
        What ``bow`` takes its words from and ``tfidf`` is fitted on, such as a task's train texts; labels play no part.
    seed : int
        Draws weights and vectors.

    Returns
    -------
    Encoder
        Named such as "random-init of MODEL". Word tables have one layer, number 0, which is also the last.

    Raises
    ------
    UsageError
        Unknown name, or no texts where they are needed.
    """
    if name not in BASELINES:
        raise unknown_name("baseline", name, list(BASELINES))
    if name == "random-init":
        return random_init(encoder, seed=seed)
    if name == "static":
        return static_words(encoder)
    if not texts:
        raise UsageError(f"The baseline {name!r} needs texts to take its words from.")
    return bag_of_words(texts, encoder.dim, encoder, seed=seed) if name == "bow" else lsa(texts, encoder, seed=seed)


def random_init(encoder: Encoder, *, seed: int = 0) -> Encoder:
    """Encoder with weights drawn anew by its own architecture's rule, of the modules after it as well."""
    if isinstance(encoder.model, WordTable):
        raise InputError(f"{encoder.name} has no architecture to initialise.")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = type(encoder.model)(copy.deepcopy(encoder.model.config))
        head = copy.deepcopy(encoder.head)
        for step in head.modules() if head is not None else ():
            if isinstance(step, nn.Linear | nn.LayerNorm | nn.PReLU):
                step.reset_parameters()
    model.to(device=encoder.device, dtype=encoder.dtype).eval()
    return dataclasses.replace(
        encoder,
        name=f"random-init of {encoder.name}",
        taken="baseline",
        model=model,
        head=head,
        pooling=None,
        notes=[*encoder.notes, f"{BASELINES['random-init']}, seed {seed}"],
    )


def static_words(encoder: Encoder) -> Encoder:
    """Encoder's input embeddings as a word table; special tokens are not counted as words."""
    weights = encoder.model.get_input_embeddings().weight.detach().float().clone()  # type: ignore[operator]
    tokenizer = _WithoutSpecialTokens(encoder.tokenizer)
    words = _table_encoder(weights, tokenizer, f"static words of {encoder.name}", "static", encoder)
    return dataclasses.replace(words, max_length=encoder.max_length, lower_case=encoder.lower_case)


def bag_of_words(texts: Sequence[str], dim: int, like: Encoder | None = None, *, seed: int = 0) -> Encoder:
    """A table with a vector of independent N(0, 1/dim) entries per word of the texts; unknown words are zero."""
    words = _vocabulary(texts)
    generator = torch.Generator().manual_seed(seed)
    table = torch.zeros(len(words) + 1, dim)
    table[1:] = torch.randn(len(words), dim, generator=generator) / dim**0.5
    return _table_encoder(table, _word_tokenizer(words), f"bag of words ({dim})", "bow", like, f", seed {seed}")


def lsa(texts: Sequence[str], like: Encoder | None = None, *, dim: int | None = None, seed: int = 0) -> Encoder:
    """A table of idf · V per word, V the right singular vectors of the TF-IDF matrix of the texts.

    The mean of a text's word vectors then has the direction of its TF-IDF + SVD vector (Deerwester et al. 1990) as
    scikit-learn's TfidfVectorizer and TruncatedSVD give it.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = _vocabulary(texts)
    index = {word: i for i, word in enumerate(words)}
    vectorizer = TfidfVectorizer(vocabulary=index, token_pattern=WORD_PATTERN)
    matrix = vectorizer.fit_transform(list(dict.fromkeys(texts)))
    wanted = dim or (like.dim if like else 300)
    rank = max(1, min(wanted, matrix.shape[0] - 1, matrix.shape[1] - 1))
    svd = TruncatedSVD(rank, algorithm="randomized", random_state=seed).fit(matrix)
    table = torch.zeros(len(words) + 1, rank)
    table[1:] = torch.from_numpy((svd.components_ * vectorizer.idf_).T.astype(np.float32))
    return _table_encoder(
        table, _word_tokenizer(words), f"TF-IDF + SVD ({rank})", "tfidf", like, f", {len(texts)} texts"
    )


def _vocabulary(texts: Sequence[str]) -> list[str]:
    """Words of the texts, at most the 50,000 most frequent, in alphabetical order."""
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        counter = CountVectorizer(token_pattern=WORD_PATTERN, max_features=MAX_WORDS).fit(texts)
    except ValueError:
        raise InputError("The texts hold no words, so there is no bag of words.") from None
    return sorted(counter.vocabulary_)


def _word_tokenizer(words: Sequence[str]) -> Any:
    """A tokenizer whose tokens are lower-cased words; id 0 stands for all others."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"[UNK]": 0} | {word: i for i, word in enumerate(words, 1)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\w]+"), "removed")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[UNK]")


class _WithoutSpecialTokens:
    """A tokenizer that adds no special tokens."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        if name == "_tokenizer":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __call__(self, texts: Any, **options: Any) -> Any:
        return self._tokenizer(texts, **(options | {"add_special_tokens": False}))


def _table_encoder(
    table: torch.Tensor, tokenizer: Any, name: str, kind: str, like: Encoder | None, detail: str = ""
) -> Encoder:
    model = WordTable(table, kind).to(like.device if like else "cpu")
    notes = [BASELINES[kind] + detail]
    return Encoder(name, name, "baseline", model, tokenizer, dim=table.shape[1], max_length=10**6, notes=notes)
