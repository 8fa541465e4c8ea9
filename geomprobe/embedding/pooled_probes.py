"""Poolings with a linear probe each, and what fitting them takes: targets, batches, losses, the rows to stop by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from geomprobe.embedding.pooling import TRAINABLE
from geomprobe.embedding.token_states import TokenStates
from geomprobe.tasks.base import Task

SLICE_SHARE = 0.1
BATCH_ROWS = 128


class PooledProbes(nn.Module):
    """Several poolings at once, each with its own linear probe; the first one is the mean.

    Pooled vectors are standardised by the mean and spread of mean-pooled vectors before the probe. As the weights of a
    text sum to one, that commutes with pooling, so the parameters found apply to the raw states. All poolings start
    at or near the mean. Mean and spread are of the texts of `rows`.
    """

    def __init__(self, names: Sequence[str], seed: int, data: TokenStates, rows: np.ndarray, outputs: int):
        super().__init__()
        self.members = [name for name in TRAINABLE if name in names]
        self.mean, self.spread = mean_and_spread(data, rows)
        dim, device, n_positions = len(self.mean), self.mean.device, int(data.lengths.max())
        self.position = nn.Parameter(torch.zeros(self.members.count("weighted"), n_positions, device=device))
        draw = (0.1 * torch.randn(dim, generator=torch.Generator().manual_seed(seed)) / dim**0.5).to(device)
        self.key = nn.Parameter(draw.expand(self.members.count("attention"), -1).clone())
        n, features = 1 + len(self.members), dim * (4 if len(data.sides) == 2 else 1)
        self.probe = nn.Parameter(torch.zeros(n, features, outputs, device=device))
        self.bias = nn.Parameter(torch.zeros(n, outputs, device=device))

    def weights(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Weight of each token under each pooling, (batch, n, tokens), summing to one."""
        batch, tokens = mask.shape
        mean = torch.zeros(batch, 1, tokens, device=mask.device)
        weighted = self.position[:, :tokens].expand(batch, -1, -1)
        attention = (states @ (self.key / self.spread).T).transpose(1, 2)
        logits = torch.cat([mean, weighted, attention], 1)
        return logits.masked_fill(~mask[:, None], -torch.inf).softmax(2)

    def pool(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Standardised pooled vectors, (batch, n, dim)."""
        return (torch.bmm(self.weights(states, mask), states) - self.mean) / self.spread

    def forward(self, sides: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Predictions, (batch, n, outputs)."""
        pooled = [self.pool(states, mask) for states, mask in sides]
        if len(pooled) == 2:
            u, v = pooled
            pooled = [torch.cat([u, v, (u - v).abs(), u * v], 2)]
        return torch.einsum("bnf,nfc->bnc", pooled[0], self.probe) + self.bias

    def parameter_of(self, member: int) -> np.ndarray:
        """Parameter of one member in the form that `Pooler` takes."""
        if self.members[member] == "weighted":
            return self.position[member].detach().cpu().numpy().copy()
        key = self.key[member - len(self.position)] / self.spread
        return key.detach().cpu().numpy().copy()


def target_of(data: TokenStates, task: Task) -> tuple[torch.Tensor, int]:
    """Class indices, or standardised scores, and the number of outputs of the probe."""
    device = data.flat.device
    if task.kind == "classification":
        classes, target = np.unique(data.labels, return_inverse=True)
        return torch.from_numpy(target.astype(np.int64)).to(device), len(classes)
    scores = (data.labels - data.labels.mean()) / (data.labels.std() or 1.0)
    return torch.from_numpy(scores.astype(np.float32)).to(device), 1


def epoch_batches(rows: np.ndarray, data: TokenStates, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
    """Yield batches of rows: shuffled, then sorted by length within pools of 16 batches, so that little is padding."""
    lengths = sum(data.lengths[side] for side in data.sides).cpu().numpy()  # type: ignore[union-attr]
    order = rows if rng is None else rng.permutation(rows)
    groups = []
    for begin in range(0, len(order), 16 * BATCH_ROWS):
        pool = order[begin : begin + 16 * BATCH_ROWS]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        groups += [pool[i : i + BATCH_ROWS] for i in range(0, len(pool), BATCH_ROWS)]
    yield from groups if rng is None else (groups[i] for i in rng.permutation(len(groups)))


def row_losses(
    model: PooledProbes, data: TokenStates, target: torch.Tensor, rows: np.ndarray, kind: str
) -> torch.Tensor:
    """Loss of each row under each pooling, (batch, n)."""
    index = torch.from_numpy(rows).to(target.device)
    predictions = model([data.gather(side[index]) for side in data.sides])
    wanted = target[index][:, None].expand(predictions.shape[:2])
    if kind == "classification":
        return F.cross_entropy(predictions.transpose(1, 2), wanted, reduction="none")
    return (predictions[..., 0] - wanted) ** 2


def mean_and_spread(data: TokenStates, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the mean-pooled vectors of the rows' texts, each (dim,)."""
    owner = torch.repeat_interleave(torch.arange(len(data.lengths), device=data.flat.device), data.lengths)
    sums = torch.zeros(len(data.lengths), data.flat.shape[1], device=data.flat.device).index_add_(0, owner, data.flat)
    index = torch.from_numpy(rows).to(data.flat.device)
    used = torch.cat([side[index] for side in data.sides]).unique()
    vectors = sums[used] / data.lengths[used][:, None]
    spread = vectors.std(0)
    return vectors.mean(0), torch.where(spread > 1e-6 * spread.max(), spread, torch.ones_like(spread))


def slice_rows(groups: np.ndarray, seed: int) -> np.ndarray:
    """Which rows stop the training: whole groups, about a tenth of the rows.

    Parameters
    ----------
    groups : int64 ndarray of shape (n,)
        Rows with the same number share a sentence (`tasks.base.sentence_groups`).

    Returns
    -------
    bool ndarray of shape (n,)
        Where every group is larger than the slice, one is cut: `cuts_a_group` tells.
    """
    wanted = max(1, round(SLICE_SHARE * len(groups)))
    chosen = np.zeros(len(groups), bool)
    order = np.random.default_rng(seed).permutation(len(groups))
    rows_of = pd.Series(np.arange(len(groups))).groupby(groups).indices
    for row in order:
        members = rows_of[groups[row]]
        if not chosen[row] and chosen.sum() + len(members) <= 1.5 * wanted:
            chosen[members] = True
        if chosen.sum() >= wanted:
            return chosen
    if not chosen.any():
        chosen[order[:wanted]] = True
    return chosen


def cuts_a_group(groups: np.ndarray, chosen: np.ndarray) -> bool:
    """Whether a group of rows lies on both sides of the slice."""
    return bool(np.intersect1d(groups[chosen], groups[~chosen]).size)
