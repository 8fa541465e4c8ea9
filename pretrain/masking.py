"""Which positions are masked, which are targets and which are context: a pure function of (seed, step, row).

Random numbers are counter-based (Philox; Salmon et al. 2011): the key is (seed, step), the counter names the row and
the purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from geomprobe.common.training_log import SKILL_SPANS
from geomprobe.pretrain.config import PretrainConfig

SPAN_FRACTION = 0.3
"""Share of the text positions of a row that target spans cover."""
TARGET_FRACTIONS = (0.10, 0.15, 0.20, 0.25)  # of the text positions of a row, for each of the two blocks
MASKING, BLOCKS, _BLOCK_SIZE, _SPANS = 0, 1, 2, 4  # purposes of random numbers; 3 is taken in paper.py


def generator(seed: int, step: int, row: int, purpose: int) -> np.random.Generator:
    """Random numbers of one row of one step, for one purpose."""
    return np.random.Generator(np.random.Philox(key=[seed, step], counter=[0, row, purpose, 0]))


def masked_count(row_length: int, fraction: float, span: int = 1) -> int:
    """Number of masked positions of every row, in whole spans; [CLS] and the last [SEP] do not count as text."""
    return span * max(1, round(fraction * (row_length - 2) / span))


def masked_span(config: PretrainConfig) -> int:
    """Length of the spans in which tokens are masked: those that a student predicts, else single tokens."""
    return max(1, config.span_length) if config.structure == "student" else 1


def masked_in_row(config: PretrainConfig) -> int:
    """Number of masked positions of every training row."""
    return masked_count(config.row_length, config.mask_fraction, masked_span(config))


def target_lengths(config: PretrainConfig) -> list[int]:
    """Lengths of a row's target spans under ``span_length``; empty for two blocks, whose length is drawn."""
    if not config.span_length:
        return []
    count = masked_count(config.row_length, SPAN_FRACTION, config.span_length)
    return [config.span_length] * (count // config.span_length)


def _draw_spans(random: np.random.Generator, places: int, lengths: Sequence[int]) -> np.ndarray:
    """Where spans of these lengths lie among ``places``, int64 of their sum, in the order of the lengths.

    Spans do not overlap, and every arrangement of starts in a given order is equally likely.
    """
    starts = np.argsort(random.random(places - sum(lengths) + len(lengths)))[: len(lengths)]
    order = np.argsort(starts)  # from left to right, each span moves those behind it on
    moved = np.empty(len(lengths), dtype=np.int64)
    moved[order] = starts[order] + np.concatenate([[0], np.cumsum(np.asarray(lengths)[order] - 1)[:-1]])
    return np.concatenate([start + np.arange(length) for start, length in zip(moved, lengths, strict=True)])


def mask_tokens(
    ids: np.ndarray,
    *,
    count: int,
    span: int = 1,
    special: dict[str, int],
    vocab_size: int,
    seed: int,
    step: int,
    first_row: int = 0,
    unused: Sequence[int] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Masked text and masked positions.

    Of the chosen positions 80 % become [MASK], 10 % a random ordinary token and 10 % stay (Devlin et al. 2019). Special
    tokens are never chosen and never inserted. Its many parameters are plain values, so that it needs no corpus.

    Parameters
    ----------
    ids : int64 array of shape (rows, row_length)
    count : int
        Positions to choose in each row.
    span : int
        Positions are chosen in spans of this length, of which ``count`` is a multiple; a span steps over special
        tokens.
    first_row : int
        Number of the first row within the step, so that a part of a batch gets the same masks as in the whole.
    unused : sequence of int
        Ids below ``vocab_size`` that no token has; never inserted.

    Returns
    -------
    masked : int64 array of shape (rows, row_length)
    positions : int64 array of shape (rows, count), ascending
    """
    masked = ids.copy()
    positions = np.empty((len(ids), count), dtype=np.int64)
    reserved = np.unique([*special.values(), *unused])
    ordinary = ~np.isin(ids, list(special.values()))
    for row in range(len(ids)):
        random = generator(seed, step, first_row + row, MASKING)
        if span == 1:
            order = np.where(ordinary[row], random.random(ids.shape[1]), 2.0)
            chosen = np.sort(np.argpartition(order, count - 1)[:count])
        else:
            places = np.flatnonzero(ordinary[row])
            if len(places) < count:  # a row of very short documents: special tokens are masked, too
                places = np.arange(1, ids.shape[1] - 1)
            chosen = np.sort(places[_draw_spans(random, len(places), [span] * (count // span))])
        positions[row] = chosen
        action = random.random(count)
        # A uniform draw from the ordinary ids: from a range shortened by the reserved ids, stepping over each of them.
        drawn = random.integers(0, vocab_size - len(reserved), count)
        drawn += np.searchsorted(reserved - np.arange(len(reserved)), drawn, side="right")
        masked[row, chosen] = np.where(action < 0.8, special["mask"], np.where(action < 0.9, drawn, ids[row, chosen]))
    return masked, positions


class Blocks(NamedTuple):
    """Positions of the context, (rows, C), and of the target blocks, (rows, sum of their lengths); int64.

    Those of a block are ascending, and so are those of the context.
    """

    context: np.ndarray
    targets: np.ndarray


def block_sizes(row_length: int) -> list[int]:
    """Four target block lengths T for a row length."""
    return [max(1, round(fraction * (row_length - 2))) for fraction in TARGET_FRACTIONS]


def draw_block_size(row_length: int, *, seed: int, step: int) -> int:
    """Target block length of one step: the same for all rows, so that shapes are one of four."""
    choice = generator(seed, step, 0, _BLOCK_SIZE).integers(len(TARGET_FRACTIONS))
    return block_sizes(row_length)[int(choice)]


def context_length(row_length: int, size: int, fraction: float) -> int:
    """Number C of context positions next to two target blocks of ``size``."""
    return max(1, round(fraction * (row_length - 2 - 2 * size)))


def draw_blocks(
    rows: int, row_length: int, size: int, *, context_fraction: float, seed: int, step: int, first_row: int = 0
) -> Blocks:
    """Two target blocks that do not overlap, and a context: a run of consecutive positions of the rest.

    Positions 1 … row_length − 2 are drawn from, so [CLS] and the last [SEP] are neither target nor context. The context
    is `context_length` positions long; a run that reaches a target steps over it.
    """
    text = row_length - 2
    rest = text - 2 * size
    length = context_length(row_length, size, context_fraction)
    context = np.empty((rows, length), dtype=np.int64)
    targets = np.empty((rows, 2 * size), dtype=np.int64)
    within = np.arange(size)
    for row in range(rows):
        random = generator(seed, step, first_row + row, BLOCKS)
        first, second = np.sort(random.choice(rest + 2, 2, replace=False))
        targets[row] = 1 + np.concatenate([first + within, second - 1 + size + within])
        free = np.setdiff1d(np.arange(1, text + 1), targets[row], assume_unique=True)
        start = int(random.integers(rest - length + 1))
        context[row] = free[start : start + length]
    return Blocks(context, targets)


def evaluation_spans(row_length: int) -> list[int]:
    """Lengths of the spans, one of each in a row, at which the skill of every JEPA is measured.

    1, 2, 4, 8 and 16 tokens; the longest are left out where they would cover more than a third of the text.
    """
    return [length for length in SKILL_SPANS if 3 * (2 * length - 1) <= row_length - 2]


def draw_spans(
    rows: int, row_length: int, lengths: Sequence[int], *, seed: int, step: int, first_row: int = 0
) -> Blocks:
    """Target spans of these lengths that do not overlap, and as the context all other text positions."""
    text = row_length - 2
    targets = np.empty((rows, sum(lengths)), dtype=np.int64)
    context = np.empty((rows, text - sum(lengths)), dtype=np.int64)
    for row in range(rows):
        targets[row] = 1 + _draw_spans(generator(seed, step, first_row + row, _SPANS), text, lengths)
        context[row] = np.setdiff1d(np.arange(1, text + 1), targets[row], assume_unique=True)
    return Blocks(context, targets)
