"""Batches of a run: which rows make up a step, with their masks; a pure function of (seed, step, row).

So the position in the data is one integer. The rows of each pass over the corpus come in an order given by a keyed
permutation (a Feistel network with cycle walking; Black and Rogaway 2002, "Ciphers with arbitrary finite domains"),
which needs no memory and no state.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from geomprobe.common import InputError
from geomprobe.pretrain import masking, paper
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.distributed import Processes
from geomprobe.pretrain.objectives import objective_class
from geomprobe.pretrain.objectives.base import Batch

EVAL_SEED = 2**32  # masks of the held-out rows: the same in every run, so that runs can be compared
EVAL_FRACTION = 0.15
ROUNDS, ROUND_STEP = 6, 0x9E3779B97F4A7C15
MIX = (30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)  # shifts and factors of splitmix64


class BatchSource:
    """The rows of a corpus as batches: a pure function of (seed, step, row)."""

    def __init__(self, config: PretrainConfig, corpus: Corpus):
        self.config, self.corpus = config, corpus
        self.objective = objective_class(config.objective)
        self.padded: dict[str, paper.PaddedRows] = {}
        if config.rows == "padded":
            least = 2 * masking.masked_in_row(config)
            self.padded = {s: paper.PaddedRows(corpus, s, config.row_length, least) for s in ("train", "heldout")}
        self.n_train, self.n_held_out = (self._count(split) for split in ("train", "heldout"))
        for name, n in (("training", self.n_train), ("held-out", self.n_held_out)):
            if n == 0:
                raise InputError(
                    f"The corpus has too little {name} text to fill one row of {config.row_length} tokens.",
                    "Use a larger corpus, or shorter rows: --set row_length=32",
                )

    def _count(self, split: str) -> int:
        return len(self.padded[split]) if self.padded else self.corpus.n_rows(split, self.config.row_length)

    def _read(self, split: str, indices: np.ndarray) -> np.ndarray:
        if self.padded:
            return self.padded[split].rows(indices)
        return self.corpus.rows(split, indices, self.config.row_length)

    def batch(self, step: int, first: int, rows: int | None = None, device: torch.device | str = "cpu") -> Batch:
        """A batch of ``rows`` rows of a step from number ``first`` on; by default one micro-batch of a lone process."""
        config = self.config
        rows = rows or config.batch_rows // config.accumulation
        indices = row_indices(config.seed, step, config.batch_rows, self.n_train)[first : first + rows]
        ids = self._read("train", indices)
        count, span = masking.masked_in_row(config), masking.masked_span(config)
        return self._mask(ids, config.seed, step, first, device, count, span)

    def held_out(self, indices: np.ndarray, first: int, device: torch.device | str = "cpu") -> Batch:
        """Held-out rows with masked tokens that are the same in every run: 15 % of the text, single tokens."""
        count = masking.masked_count(self.config.row_length, EVAL_FRACTION)
        return self._mask(self._read("heldout", indices), EVAL_SEED, 0, first, device, count, 1)

    def evaluation(self, n: int, device: torch.device | str = "cpu") -> Batch:
        """The first held-out rows with target spans of `masking.evaluation_spans`, the same for every JEPA."""
        ids = self._read("heldout", np.arange(min(n, self.n_held_out)))
        blocks = masking.draw_spans(
            len(ids), ids.shape[1], masking.evaluation_spans(ids.shape[1]), seed=EVAL_SEED, step=0
        )
        return Batch(_move(ids, device), context=_move(blocks.context, device), targets=_move(blocks.targets, device))

    def _mask(
        self, ids: np.ndarray, seed: int, step: int, first: int, device: torch.device | str, count: int, span: int
    ) -> Batch:
        config, corpus = self.config, self.corpus
        masked = positions = context = targets = None  # what the objective does not read
        if self.objective.reads_masked(config):
            masked, positions = masking.mask_tokens(
                ids,
                count=count,
                span=span,
                special=corpus.special,
                vocab_size=corpus.vocab_size,
                seed=seed,
                step=step,
                first_row=first,
                unused=corpus.unused_ids,
            )
        if self.objective.reads_blocks(config):
            n, length, where = len(ids), config.row_length, {"seed": seed, "step": step, "first_row": first}
            if config.masks == "paper":
                context, targets = paper.draw_blocks(n, length, **where)
            elif lengths := masking.target_lengths(config):
                context, targets = masking.draw_spans(n, length, lengths, **where)
            else:
                size = masking.draw_block_size(length, seed=seed, step=step)
                share = config.context_fraction
                context, targets = masking.draw_blocks(n, length, size, context_fraction=share, **where)
        read = (None if array is None else _move(array, device) for array in (masked, positions, context, targets))
        return Batch(_move(ids, device), *read)

    def parts(self, step: int, steps: int, processes: Processes) -> Iterator[tuple[int, int, int]]:
        """Yield the step, the first row and the number of rows of each micro-batch of this rank from a step on."""
        parts = self.config.accumulation
        rows = self.config.batch_rows // (parts * processes.world)
        for s in range(step, steps):
            for part in range(parts):
                yield s, (part * processes.world + processes.rank) * rows, rows

    @contextlib.contextmanager
    def ahead(self, step: int, steps: int, processes: Processes, device: torch.device) -> Iterator[Iterator[Batch]]:
        """Yield the micro-batches of this rank from a step on, each made while the one before is being used."""
        with ThreadPoolExecutor(1) as pool:
            submitted = (pool.submit(self.batch, *part, device) for part in self.parts(step, steps, processes))
            queue = list(itertools.islice(submitted, 2))

            def batches() -> Iterator[Batch]:
                while queue:
                    batch = queue.pop(0).result()
                    queue.extend(itertools.islice(submitted, 1))
                    yield batch

            yield batches()


def _move(array: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """Move to the device; to a GPU without waiting for it."""
    tensor, cuda = torch.from_numpy(array), torch.device(device).type == "cuda"
    return (tensor.pin_memory() if cuda else tensor).to(device, non_blocking=True)


def _mix(x: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser of uint64 values."""
    for shift, factor in MIX:
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def half_bits(n: int) -> int:
    """Bits of each half of the numbers that the network permutes: a power of four of them, at least ``n``."""
    return ((n - 1).bit_length() + 1) // 2


def permute(index: np.ndarray, n: int, key: int) -> np.ndarray:
    """Where a keyed permutation of 0 … n−1 sends ``index`` (int64 array, same shape)."""
    if n == 1:
        return np.zeros_like(index, dtype=np.int64)
    half = np.uint64(half_bits(n))
    low = (np.uint64(1) << half) - np.uint64(1)
    keys = _mix(np.arange(1, ROUNDS + 1, dtype=np.uint64) * np.uint64(ROUND_STEP) + np.uint64(key % 2**64))
    out = np.asarray(index).astype(np.uint64)
    outside = np.ones(out.shape, dtype=bool)
    while outside.any():  # values past n walk on until they are inside
        left, right = out[outside] >> half, out[outside] & low
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & low)
        out[outside] = (left << half) | right
        outside[outside] = out[outside] >= np.uint64(n)
    return out.astype(np.int64)


def first_key(seed: int) -> int:
    """What the key of the first pass is mixed from; each further pass adds one."""
    return seed * 1_000_003 + 1


def row_indices(seed: int, step: int, batch_rows: int, n_rows: int) -> np.ndarray:
    """Corpus rows of one step, int64 (batch_rows,); every pass over the corpus visits each row once."""
    position = step * batch_rows + np.arange(batch_rows, dtype=np.int64)
    passes = position // n_rows
    out = np.empty(batch_rows, dtype=np.int64)
    for number in np.unique(passes):
        chosen = passes == number
        key = int(_mix(np.array([(first_key(seed) + int(number)) % 2**64], dtype=np.uint64))[0])
        out[chosen] = permute(position[chosen] % n_rows, n_rows, key)
    return out
