"""States of every token of a split's texts, held in memory layer by layer, for poolings to be trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geomprobe.embedding.layers import layer_widths
from geomprobe.embedding.tokens import TokenRows, row_groups, tokenize
from geomprobe.encoders import Encoder
from geomprobe.tasks.base import Split, sentence_groups

STATE_BYTES = 2 * 2**30  # token states held at once; more layers than fit take more passes, more rows are left out


@dataclass(frozen=True)
class TokenStates:
    """One layer's states of every token of the unique texts, one text after another, and the rows that use them."""

    layer: int
    flat: torch.Tensor  # (n_tokens, dim) float32
    starts: torch.Tensor  # (n_texts,) int64
    lengths: torch.Tensor
    ids: list[np.ndarray]
    sides: list[torch.Tensor]  # for each side of the rows: index of its text, (n_rows,) int64
    labels: np.ndarray
    groups: np.ndarray  # rows that share a sentence, directly or by a chain, have the same number

    def gather(self, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Padded states (batch, tokens, dim) and mask of the given texts."""
        lengths = self.lengths[texts]
        steps = torch.arange(int(lengths.max()), device=self.flat.device)
        mask = steps < lengths[:, None]
        return self.flat[self.starts[texts][:, None] + torch.where(mask, steps, 0)], mask


def layers_in_memory(encoder: Encoder, split: Split, layers: Sequence[int]) -> Iterator[TokenStates]:
    """Yield the token states of each layer, as many layers a pass as memory allows."""
    if not layers:
        return
    widths = layer_widths(encoder)
    rows = tokenize(encoder, [*split.first, *(split.second or ())])
    width = max(widths[layer] for layer in layers)
    kept = _rows_that_fit(rows, split, STATE_BYTES // (4 * width))
    if len(kept) < len(split):
        split = split.take(kept)
        rows = tokenize(encoder, [*split.first, *(split.second or ())])
    at_once = max(1, int(STATE_BYTES // (4 * width * rows.lengths.sum())))
    lengths = torch.from_numpy(rows.lengths).to(encoder.device)
    starts, groups = lengths.cumsum(0) - lengths, sentence_groups(split)
    sides = list(torch.from_numpy(rows.inverse).to(encoder.device).split(len(split)))
    for begin in range(0, len(layers), at_once):
        flats = _collect(rows, layers[begin : begin + at_once], widths)
        for layer in layers[begin : begin + at_once]:
            yield TokenStates(layer, flats.pop(layer), starts, lengths, rows.ids, sides, split.labels, groups)


def _rows_that_fit(rows: TokenRows, split: Split, max_tokens: int) -> np.ndarray:
    """Rows, in order, of a fixed random choice whose texts have no more than `max_tokens` tokens in all."""
    lengths = rows.lengths[rows.inverse].reshape(-1, len(split)).sum(0)
    if lengths.sum() <= max_tokens:
        return np.arange(len(split))
    order = np.random.default_rng(0).permutation(len(split))
    return np.sort(order[np.cumsum(lengths[order]) <= max_tokens])


def _collect(rows: TokenRows, layers: Sequence[int], widths: Sequence[int]) -> dict[int, torch.Tensor]:
    """States of every token of the unique texts, one text after another, for each layer."""
    encoder, lengths = rows.encoder, rows.lengths
    starts = np.cumsum(lengths) - lengths
    flats = {layer: torch.empty(int(lengths.sum()), widths[layer], device=encoder.device) for layer in layers}
    with encoder.evaluating():
        for group in row_groups(rows):
            states, mask = encoder.states([rows.ids[i] for i in group])
            places = np.concatenate([np.arange(starts[i], starts[i] + lengths[i]) for i in group])
            index = torch.from_numpy(places).to(encoder.device)
            for layer in layers:
                flats[layer][index] = states[layer][mask].float()
    return flats
