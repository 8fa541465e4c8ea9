"""Texts to token ids, each different text once, and the batches that they are encoded in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from geomprobe.common import InputError, UsageError
from geomprobe.embedding.windows import divided
from geomprobe.encoders import Encoder

BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}  # padded tokens per batch; others take OTHER_BATCH_TOKENS
OTHER_BATCH_TOKENS = 16384


@dataclass(frozen=True)
class TokenRows:
    """Token ids of unique texts, cut to the encoder's length, and the way back to the texts as given.

    Where long texts are divided, `ids` are their windows, and `text` and `share` say which text each is of, and how
    much of it; else a text has one row, and they are None. `cut` says which texts are longer than the encoder reads.
    """

    encoder: Encoder
    ids: list[np.ndarray]
    cut: np.ndarray
    inverse: np.ndarray
    texts: list[str]
    text: np.ndarray | None = None
    share: np.ndarray | None = None

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each unique text, or of each window."""
        return np.array([len(row) for row in self.ids])


def tokenize(encoder: Encoder, texts: Sequence[str], *, divide: bool = False) -> TokenRows:
    """Token rows of the unique texts, long ones cut, or with `divide` in windows where the encoder asks for it.

    Raises
    ------
    InputError
        No texts, or one that is not a string.
    UsageError
        One string in place of a list.
    """
    if isinstance(texts, str):
        raise UsageError("texts is one string; give a list of strings.")
    if len(texts) == 0:
        raise InputError("There are no texts to embed.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"Text {row} is {type(text).__name__}, not a string.", "Leave out or fill empty cells.")
    index: dict[str, int] = {}  # different texts in order of first appearance
    inverse = np.fromiter((index.setdefault(text, len(index)) for text in texts), np.int64, len(texts))
    ids, cut = encoder.tokenize(list(index))
    unique = list(index)
    if divide and encoder.long == "chunk" and cut.any():
        windows = divided(encoder, unique, ids, cut)
        return TokenRows(encoder, windows.ids, cut, inverse, unique, windows.text, windows.share)
    return TokenRows(encoder, ids, cut, inverse, unique)


def limited(encoder: Encoder, max_length: int | None) -> Encoder:
    """Encoder, with a shorter limit where one is asked for."""
    if max_length is None or max_length == encoder.max_length:
        return encoder
    if not 1 <= max_length <= encoder.max_length:
        raise UsageError(f"max_length {max_length} is not between 1 and the {encoder.max_length} of {encoder.name}.")
    return replace(encoder, max_length=max_length)


def token_budget(encoder: Encoder) -> int:
    """How many tokens a batch may hold on the encoder's device."""
    return BATCH_TOKENS.get(encoder.device.type, OTHER_BATCH_TOKENS)


def batches(lengths: np.ndarray, budget: int, *, equal: bool = False) -> list[np.ndarray]:
    """Rows grouped by length, longest first, each group with at most ``budget`` tokens after padding.

    Parameters
    ----------
    lengths : int ndarray of shape (n_rows,)
    budget : int
        Rows times the longest length; a row longer than it is a group of its own.
    equal : bool
        Put only rows of the same length together, for models that padding disturbs.
    """
    order = np.argsort(-lengths, kind="stable")
    groups: list[np.ndarray] = []
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        stop = min(len(order), start + max(1, budget // max(longest, 1)))
        if equal:
            stop = min(stop, start + int(np.sum(lengths[order[start:stop]] == longest)))
        groups.append(order[start:stop])
        start = stop
    return groups


def row_groups(rows: TokenRows) -> list[np.ndarray]:
    """Batches that the unique texts are encoded in, longest texts first; they depend on no rank."""
    return batches(rows.lengths, token_budget(rows.encoder), equal=not rows.encoder.padding_safe)
