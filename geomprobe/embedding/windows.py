"""Texts longer than an encoder reads, divided into windows of tokens; a text's vector is the mean of its windows'."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from geomprobe.common import InputError
from geomprobe.encoders import Encoder

LONG = {
    "cut": "texts longer than the model reads are cut to its length",
    "chunk": "texts longer than the model reads are divided into windows of its length; their vector is the mean of "
    "the windows' vectors, weighted by the tokens of text in each",
}
"""What can become of long texts."""


class Windows(NamedTuple):
    """Windows of texts: token ids of each, the text that it is of, and its share of that text's tokens."""

    ids: list[np.ndarray]
    text: np.ndarray  # (n_windows,) int64
    share: np.ndarray  # (n_windows,) float32, 1 for a text in one window


def divided(encoder: Encoder, texts: list[str], ids: list[np.ndarray], cut: np.ndarray) -> Windows:
    """Windows of texts whose token ids, cut to the encoder's length, are known; only the cut ones are divided."""
    parts = [
        _windows(encoder, text) if long else ([row], np.ones(1))
        for text, row, long in zip(texts, ids, cut, strict=True)
    ]
    return Windows(
        [window for windows, _ in parts for window in windows],
        np.repeat(np.arange(len(texts)), [len(windows) for windows, _ in parts]),
        np.concatenate([counts / counts.sum() for _, counts in parts]).astype(np.float32),
    )


def _windows(encoder: Encoder, text: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Windows of one text, each with special tokens and prompt as a whole one, and the tokens of text in each."""
    tokenizer = partial(encoder.tokenizer, padding=False, truncation=False, verbose=False, return_attention_mask=False)
    text = encoder.as_read(text)
    whole, bare = (list(tokenizer(text, add_special_tokens=special)["input_ids"]) for special in (True, False))
    starts = [k for k in range(len(whole) - len(bare) + 1) if whole[k : k + len(bare)] == bare]
    if not starts:
        reason = f"{encoder.name}: its tokenizer does not put its special tokens around a text"
        raise InputError(f"{reason}, so long texts cannot be divided.", "Leave --long chunk out: they are then cut.")
    before, after = whole[: starts[0]], whole[starts[0] + len(bare) :]
    if encoder.prompt:
        before += tokenizer(encoder.as_read(encoder.prompt), add_special_tokens=False)["input_ids"]
    size = encoder.limit - len(before) - len(after)
    if size < 1:
        raise InputError(
            f"{encoder.name}: special tokens and prompt fill its {encoder.limit} tokens.", "Give a shorter prompt."
        )
    pieces = [bare[at : at + size] for at in range(0, len(bare), size)]
    windows = [np.array([*before, *piece, *after], np.int32) for piece in pieces]
    return windows, np.array([len(piece) for piece in pieces], np.float64)
