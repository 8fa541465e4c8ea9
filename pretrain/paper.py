"""The paper's own masks and rows, for measuring what each of them does to the outcome. Off by default.

arXiv 2606.05173 as its code has it: the context is not disjoint from the targets (a block starts at an allowed position
and then runs on), ragged blocks are filled up with position 0, rows are single documents cut at 512 characters and
padded, and no pass has a padding mask.
"""

from __future__ import annotations

import numpy as np

from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.masking import Blocks, generator

CONTEXT = (0.65, 0.85)  # of the row
TARGET = (0.10, 0.25)
CHARACTERS = 512
_BLOCKS = 3  # purpose of the random numbers; the others are in masking.py


def slots(row_length: int) -> tuple[int, int]:
    """Number of context and of target slots of a row."""
    return round(CONTEXT[1] * row_length), 2 * round(TARGET[1] * row_length)


def draw_blocks(rows: int, row_length: int, *, seed: int, step: int, first_row: int = 0) -> Blocks:
    """Two target blocks, and a context block that starts outside them and runs on, over them if they follow."""
    context_slots, target_slots = slots(row_length)
    context = np.zeros((rows, context_slots), dtype=np.int64)
    targets = np.zeros((rows, target_slots), dtype=np.int64)
    for row in range(rows):
        random = generator(seed, step, first_row + row, _BLOCKS)
        free = np.ones(row_length, dtype=bool)
        for number in range(2):
            block = _block(random, free, TARGET)
            targets[row, number * target_slots // 2 :][: len(block)] = block
            free[block] = False
        block = _block(random, free, CONTEXT)
        context[row, : len(block)] = block
    return Blocks(context, targets)


def _block(random: np.random.Generator, free: np.ndarray, fractions: tuple[float, float]) -> np.ndarray:
    """A run of positions that starts at a free one and is cut at the end of the row."""
    length = round(random.uniform(*fractions) * len(free))
    start = int(random.choice(np.flatnonzero(free)))
    return np.arange(start, min(start + length, len(free)))


class PaddedRows:
    """Rows of one document each: [CLS], the tokens of its first 512 characters, [SEP], [PAD] …; short ones are out.

    The characters are counted from the vocabulary (a word piece has its own, a word one more for the space).
    """

    def __init__(self, corpus: Corpus, split: str, row_length: int, at_least: int):
        self.corpus, self.row_length = corpus, row_length
        self.streams = corpus.streams[split]
        self.characters = _characters(corpus)
        self.index: list[tuple[int, int, int]] = []
        for chunk, starts in enumerate(corpus.documents[split]):
            ends = np.append(starts[1:], len(self.streams[chunk])) - 1  # the last id of a document is its [SEP]
            kept = ends - starts >= at_least
            self.index += [(chunk, int(a), int(b)) for a, b in zip(starts[kept], ends[kept], strict=True)]

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Rows, int64 of shape (len(indices), row_length)."""
        special = self.corpus.special
        out = np.full((len(indices), self.row_length), special["pad"], dtype=np.int64)
        for i, index in enumerate(indices):
            chunk, start, end = self.index[int(index)]
            ids = np.asarray(self.streams[chunk][start : min(end, start + self.row_length - 2)])
            ids = ids[np.cumsum(self.characters[ids]) <= CHARACTERS + 1]
            out[i, : len(ids) + 2] = [special["cls"], *ids, special["sep"]]
        return out


def _characters(corpus: Corpus) -> np.ndarray:
    """How many characters of text each id stands for."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(corpus.path / "tokenizer.json"))
    out = np.ones(corpus.vocab_size, dtype=np.int64)
    for token, number in tokenizer.get_vocab().items():
        out[number] = len(token) - 2 if token.startswith("##") else len(token) + 1
    return out
