"""Batches that are drawn where they are used: the corpus lies on the device, and no step waits for the host or a copy.

The integers are bit for bit those of `data.py` and `masking.py`, so a run may be drawn by either. Held-out rows, spans,
the paper's own masks and padded rows are always drawn on the host (`drawn_here`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch

from geomprobe.common import first_line
from geomprobe.pretrain import masking
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.data import MIX, ROUND_STEP, ROUNDS, BatchSource, first_key, half_bits
from geomprobe.pretrain.distributed import Processes
from geomprobe.pretrain.objectives.base import Batch
from geomprobe.pretrain.philox import Generators, philox, shifted, signed

FAIR_SHARE = 0.25  # of the device's free memory, for the corpus
_ORDERED = 1 << 20  # rows whose order is computed at once, which waits for the device; 2,048 steps of 512 rows


def batch_source(
    config: PretrainConfig, corpus: Corpus, device: torch.device, note: Callable[[str], None]
) -> BatchSource:
    """The source that draws on a GPU where that is possible, else the one that draws on the host; a note says why."""
    source, free = BatchSource(config, corpus), free_memory(device)
    if free is None or not drawn_here(source):
        return source
    host = "batches are drawn on the host, which may be slower."
    size = sum(stream.nbytes for stream in corpus.streams["train"])
    if size > FAIR_SHARE * free:
        share = f"{FAIR_SHARE:.0%} of the {free / 1e9:.3g} GB that are free on the device"
        note(f"The corpus, {size / 1e9:.3g} GB, takes more than {share}: {host}")
        return source
    for attempt in [True, False] if config.compile == "yes" else [False]:
        try:
            drawing = DeviceBatchSource(config, corpus, device, compiled=attempt)
            if drawing.reproduces(source):
                return drawing
            reason = "they would differ from the host's"
        except Exception as error:  # what a compiler can raise has no common class
            reason = first_line(error)
    note(f"The device cannot draw the batches ({reason}): {host}")
    return source


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a GPU; None for a device on which no batches are drawn: on a CPU, numpy is faster."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def drawn_here(source: BatchSource) -> bool:
    """Whether the rows and masks of a run are of a kind that this module draws."""
    config = source.config
    blocks = not source.objective.reads_blocks(config) or (config.masks == "disjoint" and not config.span_length)
    return not source.padded and blocks and masking.masked_span(config) == 1


class DeviceBatchSource(BatchSource):
    """The same batches, drawn on a device that holds the training part of the corpus."""

    def __init__(self, config: PretrainConfig, corpus: Corpus, device: torch.device, *, compiled: bool = False):
        super().__init__(config, corpus)
        self.device = device
        self.text = load_text(corpus, config.row_length, device)
        reserved = sorted({*corpus.special.values(), *corpus.unused_ids})
        # By step and row, from the seed; one compiled kernel in place of hundreds.
        words = torch.compile(philox, dynamic=False) if compiled else philox
        self.generators = functools.partial(Generators, config.seed, device=device, philox=words)
        self.special = torch.tensor(sorted(corpus.special.values()), device=device)
        self.reserved = torch.tensor(reserved, device=device)
        self.ordered: tuple[int, torch.Tensor] | None = None

    def reproduces(self, source: BatchSource) -> bool:
        """Whether batches are those of the host: the first one is, and no row has too few tokens that can be masked.

        Which of the special tokens are masked in such a row, numpy decides by an order that is its own.
        """
        if self.objective.reads_masked(self.config):
            count = masking.masked_in_row(self.config)
            parts = torch.arange(self.n_train, device=self.device).split(1 << 16)
            if any(bool((ordinary(self._rows(part), self.special).sum(1) < count).any()) for part in parts):
                return False
        pairs = zip(self.batch(0, 0), source.batch(0, 0, device=self.device), strict=True)
        return all(a is b is None or torch.equal(a, b) for a, b in pairs)

    def batch(self, step: int, first: int, rows: int | None = None, device: torch.device | str = "") -> Batch:
        """A batch as `BatchSource` gives it; it is on the source's device."""
        config = self.config
        rows = rows or config.batch_rows // config.accumulation
        ids = self._rows(self._order(step)[first : first + rows])
        draw = functools.partial(self.generators, step, first, len(ids))
        masked = positions = context = targets = None
        if self.objective.reads_masked(self.config):
            count = masking.masked_in_row(config)
            masked, positions = mask_tokens(
                ids, draw, count, self.special, self.reserved, self.corpus.special["mask"], self.corpus.vocab_size
            )
        if self.objective.reads_blocks(self.config):
            size = masking.draw_block_size(config.row_length, seed=config.seed, step=step)
            context, targets = draw_blocks(draw, config.row_length, size, config.context_fraction)
        return Batch(ids, masked, positions, context, targets)

    @contextlib.contextmanager
    def ahead(self, step: int, steps: int, processes: Processes, device: torch.device) -> Iterator[Iterator[Batch]]:
        """Yield the micro-batches of this rank from a step on; the device draws them while the host goes on."""
        yield (self.batch(*part) for part in self.parts(step, steps, processes))

    def _order(self, step: int) -> torch.Tensor:
        """Corpus rows of one step, (batch_rows,)."""
        rows = self.config.batch_rows
        steps = max(1, _ORDERED // rows)
        if self.ordered is None or self.ordered[0] != step // steps:
            first = step // steps * steps * rows
            position = torch.arange(first, first + steps * rows, device=self.device)
            self.ordered = step // steps, row_order(position, self.n_train, self.config.seed)
        start = step % steps * rows
        return self.ordered[1][start : start + rows]

    def _rows(self, indices: torch.Tensor) -> torch.Tensor:
        """Rows, int64 of shape (len(indices), row_length): [CLS], contiguous text, [SEP]."""
        text = self.text.index_select(0, indices).long()
        if self.text.dtype == torch.int16:
            text &= 0xFFFF
        ends = (text.new_full((len(text), 1), self.corpus.special[name]) for name in ("cls", "sep"))
        return torch.cat([next(ends), text, next(ends)], 1)


def load_text(corpus: Corpus, row_length: int, device: torch.device) -> torch.Tensor:
    """Text of every training row, (rows, row_length − 2).

    Its integers are signed ones with the bits of the stored unsigned ones, which torch cannot index on every device.
    """
    width, streams = row_length - 2, corpus.streams["train"]
    counts = [len(stream) // width for stream in streams]
    stored, signed_ = (np.uint16, np.int16) if corpus.vocab_size <= 1 << 16 else (np.uint32, np.int32)
    text = torch.empty(sum(counts), width, dtype=torch.int16 if stored is np.uint16 else torch.int32, device=device)
    for part, stream, count in zip(text.split(counts), streams, counts, strict=True):
        ids = np.array(stream[: count * width], dtype=stored).view(signed_)
        part.copy_(torch.from_numpy(ids.reshape(count, width)))
    return text


def _mix(x: torch.Tensor) -> torch.Tensor:
    """The splitmix64 finaliser of uint64 values; see `data`."""
    for shift, factor in MIX:
        x = (x ^ shifted(x, shift)) * signed(factor)
    return x ^ shifted(x, 31)


def row_order(position: torch.Tensor, n_rows: int, seed: int) -> torch.Tensor:
    """Corpus rows at positions of the data, as `data.row_indices` has them."""
    key = _mix(position // n_rows + signed(first_key(seed) % 2**64))
    out = position % n_rows
    if n_rows == 1:
        return out
    half = half_bits(n_rows)
    low = (1 << half) - 1
    keys = [_mix(key + signed(i * ROUND_STEP % 2**64)) for i in range(1, ROUNDS + 1)]
    outside = torch.ones_like(out, dtype=torch.bool)
    while bool(outside.any()):
        left, right = out >> half, out & low
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & low)
        out = torch.where(outside, (left << half) | right, out)
        outside = out >= n_rows
    return out


def ordinary(ids: torch.Tensor, special: torch.Tensor) -> torch.Tensor:
    """Where the tokens are not special."""
    return (ids.unsqueeze(-1) != special).all(-1)


def mask_tokens(
    ids: torch.Tensor,
    draw: Callable[..., Generators],
    count: int,
    special: torch.Tensor,
    reserved: torch.Tensor,
    mask: int,
    vocab_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masked text and masked positions, as `masking.mask_tokens` has them.

    ``draw(purpose, words=…)`` makes the generators of the rows; ``reserved`` has the ids that are never inserted, in
    ascending order.
    """
    length = ids.shape[1]
    random = draw(masking.MASKING, words=length + 2 * count)
    order = random.random(length).masked_fill(~ordinary(ids, special), 2.0)
    positions = order.topk(count, largest=False).indices.sort(1).values
    action = random.random(count)
    drawn = random.integers(vocab_size - len(reserved), count)
    steps = reserved - torch.arange(len(reserved), device=ids.device)
    drawn = drawn + torch.searchsorted(steps, drawn, right=True)
    inserted = torch.where(action < 0.9, drawn, ids.gather(1, positions)).masked_fill(action < 0.8, mask)
    return ids.scatter(1, positions, inserted), positions


def draw_blocks(
    draw: Callable[..., Generators], row_length: int, size: int, context_fraction: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Context and targets, as `masking.draw_blocks` has them."""
    rest = row_length - 2 - 2 * size
    length = masking.context_length(row_length, size, context_fraction)
    random = draw(masking.BLOCKS)
    first, second = random.choice(rest + 2, 2).sort(1).values.split(1, 1)
    within = torch.arange(size, device=first.device)
    targets = 1 + torch.cat([first + within, second - 1 + size + within], 1)
    free = random.integers(rest - length + 1, 1) + torch.arange(length, device=first.device)
    return 1 + free + size * (free >= first) + size * (free >= second - 1), targets
