"""Fit weighted and attention pooling together with a linear probe of the task's label, the encoder frozen.

The poolings of a layer are trained in one loop over cached token states, each with its own probe and its own early
stopping; the mean, with a probe of its own, runs beside them as the mark to beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from geomprobe.common import InputError
from geomprobe.embedding.embed import (
    Cell,
    Progress,
    TokenRows,
    batches,
    layer_widths,
    limited,
    resolve_layers,
    token_budget,
    tokenize,
)
from geomprobe.embedding.pooling import TRAINABLE, Pooler
from geomprobe.embedding.store import Store
from geomprobe.encoders import Encoder
from geomprobe.tasks.base import Split, Task, sentence_groups

VERSION = "2"  # part of the key under which results are kept: raised when the fitting changes
MIN_ROWS = 40
SLICE_SHARE = 0.1
BATCH_ROWS = 128
# Adam moves each parameter by about its rate per step. A position's logit is one parameter; that of a token is a sum
# over dim of them, so the key's rate is divided by dim.
POSITION_RATE, KEY_RATE, PROBE_RATE = 2e-2, 0.2, 1e-3
WEIGHT_DECAY = 1e-2
MAX_EPOCHS = 30
PATIENCE = 3
STATE_BYTES = 2 * 2**30  # token states held at once; more layers than fit take more passes, more rows are left out
MIN_OCCURRENCES = 20

DEFINITIONS = {
    "trained_pooling_loss": {
        "name": "trained_pooling_loss",
        "family": "pooling",
        "formula": "loss of the linear probe trained with the pooling, on the slice of train that stopped it: "
        "cross-entropy in nats, or squared error over the variance of the score; mean over seeds. "
        "Control mean: mean pooling with a probe trained alike",
        "range": "[0, ∞)",
        "direction": "lower: the pooling serves the task better",
        "invariances": "none",
        "source": "–",
    }
}


@dataclass(frozen=True)
class TrainedPooling:
    """A trained pooling and how it came about.

    Attributes
    ----------
    pooler : Pooler
        With ``trained`` set; for `geomprobe.embedding.embed.embed_grid`.
    layer : int
    loss, loss_mean : float
        On the slice of the train split that stopped the training: of this pooling and of mean pooling with a probe
        trained alike. Cross-entropy in nats, or the mean squared error over the variance of the score.
    epochs : int
        Passes until the best loss.
    n_train, n_slice : int
        Rows fitted on and rows of the slice.
    cut : bool
        Whether rows of the slice share sentences with rows fitted on: one group holds nearly all rows.
    learned : DataFrame
        Columns ``key`` (position from 0, or token), ``weight`` (its mean weight in units of the text's mean weight: 1
        is what mean pooling gives) and ``n`` (how many tokens the mean is over), for positions or tokens that occur at
        least 20 times in the train split; heaviest tokens first.
    """

    pooler: Pooler
    layer: int
    loss: float
    loss_mean: float
    epochs: int
    n_train: int
    n_slice: int
    cut: bool
    learned: pd.DataFrame


def why_untrainable(task: Task) -> str:
    """Return why poolings cannot be trained on a task, or an empty string."""
    if task.train is None:
        return "the task has no train split"
    if len(task.train) < MIN_ROWS:
        return f"the train split has fewer than {MIN_ROWS} rows"
    if len(np.unique(task.train.labels)) < 2:
        return "the train split holds one label only"
    return ""


def train_poolers(
    encoder: Encoder,
    task: Task,
    poolings: Sequence[str] = TRAINABLE,
    layers: Sequence[int] = (-1,),
    *,
    seeds: Sequence[int] = (0,),
    max_length: int | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> dict[Cell, list[TrainedPooling]]:
    """Train the poolings that have parameters on a task's train split.

    Parameters
    ----------
    encoder : Encoder
        Stays as it is.
    task : Task
        Its train split, as a whole; cap it first if it is large.
    poolings : sequence of str
        Those without parameters are passed over.
    layers : sequence of int
    seeds : sequence of int
        Each draws the slice of rows that stops the training, the order of rows and the attention query at the start.
    max_length : int, optional
    store : Store, optional
        Where results are kept and found again.
    progress : callable, optional
        ``progress(done, total)`` in epochs, the longest training assumed.

    Returns
    -------
    dict of (layer, pooling) to list of TrainedPooling
        One for each seed, in their order.

    Raises
    ------
    InputError
        Where the task's train split does not allow it (`why_untrainable`).

    Notes
    -----
    Deterministic for one machine and number of threads. The validation split plays no part.
    """
    names = [name for name in dict.fromkeys(poolings) if name in TRAINABLE]
    if reason := why_untrainable(task):
        raise InputError(f"Poolings cannot be trained on {task.name}: {reason}.", "Use --untrained.")
    assert task.train is not None
    encoder = limited(encoder, max_length)
    numbers = resolve_layers(encoder, layers)
    found: dict[tuple[int, str, int], TrainedPooling] = {}
    keys = {
        (layer, name, seed): Store.key(
            "trained pooling", VERSION, encoder.hash, str(encoder.dtype),
            str((encoder.max_length, encoder.lower_case, encoder.unmasked_length)), task.fingerprint, str(layer), name,
            str(seed),
        )
        for layer in numbers for name in names for seed in seeds
    }  # fmt: skip
    if store is not None:
        for cell, key in keys.items():
            if stored := store.get(key):
                found[cell] = _unpack(stored[0], stored[1], cell)
    missing = [layer for layer in numbers if any(cell[0] == layer and cell not in found for cell in keys)]
    total = len(missing) * len(seeds) * MAX_EPOCHS
    data_of = _layers_in_memory(encoder, task.train, missing) if names else ()
    todo = ((data, seed) for data in data_of for seed in seeds)  # one layer in memory at a time
    for done, (data, seed) in enumerate(todo):

        def advance(epoch: int, base: int = done * MAX_EPOCHS) -> None:
            if progress is not None:
                progress(base + epoch, total)

        for trained in _fit(data, task, names, seed, encoder, advance):
            cell = (trained.layer, trained.pooler.name, seed)
            found[cell] = trained
            if store is not None:
                array, meta = _pack(trained, encoder)
                with store.writing(keys[cell], array.shape, meta) as place:
                    place[:] = array
    return {(layer, name): [found[layer, name, seed] for seed in seeds] for layer in numbers for name in names}


# ---- token states ----------------------------------------------------------------------------------------------------


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
        """Return padded states (batch, tokens, dim) and mask of the given texts."""
        lengths = self.lengths[texts]
        steps = torch.arange(int(lengths.max()), device=self.flat.device)
        mask = steps < lengths[:, None]
        return self.flat[self.starts[texts][:, None] + torch.where(mask, steps, 0)], mask


def _layers_in_memory(encoder: Encoder, split: Split, layers: Sequence[int]) -> Iterator[TokenStates]:
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
    at_once = max(1, int(STATE_BYTES // (4 * width * rows.n_tokens)))
    for begin in range(0, len(layers), at_once):
        flats = _collect(encoder, rows, layers[begin : begin + at_once], widths)
        for layer in layers[begin : begin + at_once]:
            lengths = torch.tensor([len(row) for row in rows.ids], device=encoder.device)
            inverse = torch.from_numpy(rows.inverse).to(encoder.device)
            sides = list(inverse.split(len(split)))
            yield TokenStates(
                layer,
                flats.pop(layer),
                lengths.cumsum(0) - lengths,
                lengths,
                rows.ids,
                sides,
                split.labels,
                sentence_groups(split),
            )


def _rows_that_fit(rows: TokenRows, split: Split, max_tokens: int) -> np.ndarray:
    """Return the rows, in order, of a fixed random choice whose texts have no more than `max_tokens` tokens in all."""
    lengths = np.array([len(row) for row in rows.ids])[rows.inverse].reshape(-1, len(split)).sum(0)
    if lengths.sum() <= max_tokens:
        return np.arange(len(split))
    order = np.random.default_rng(0).permutation(len(split))
    return np.sort(order[np.cumsum(lengths[order]) <= max_tokens])


def _collect(
    encoder: Encoder, rows: TokenRows, layers: Sequence[int], widths: Sequence[int]
) -> dict[int, torch.Tensor]:
    lengths = np.array([len(row) for row in rows.ids])
    starts = np.cumsum(lengths) - lengths
    flats = {layer: torch.empty(int(lengths.sum()), widths[layer], device=encoder.device) for layer in layers}
    with encoder.evaluating():
        for group in batches(lengths, token_budget(encoder), equal=not encoder.padding_safe):
            states, mask = encoder.states([rows.ids[i] for i in group])
            places = np.concatenate([np.arange(starts[i], starts[i] + lengths[i]) for i in group])
            index = torch.from_numpy(places).to(encoder.device)
            for layer in layers:
                flats[layer][index] = states[layer][mask].float()
    return flats


def slice_rows(groups: np.ndarray, seed: int, share: float = SLICE_SHARE) -> np.ndarray:
    """Return which rows stop the training: whole groups, about the given share of the rows.

    Parameters
    ----------
    groups : int64 ndarray of shape (n,)
        Rows with the same number share a sentence (`tasks.base.sentence_groups`).

    Returns
    -------
    bool ndarray of shape (n,)
        Where every group is larger than the slice, one is cut: `cuts_a_group` tells.
    """
    wanted = max(1, round(share * len(groups)))
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
    """Return whether a group of rows lies on both sides of the slice."""
    return bool(np.intersect1d(groups[chosen], groups[~chosen]).size)


# ---- fitting ---------------------------------------------------------------------------------------------------------


class PooledProbes(nn.Module):
    """Several poolings at once, each with its own linear probe; the first one is the mean.

    Pooled vectors are standardised by the mean and spread of mean-pooled vectors before the probe. As the weights of a
    text sum to one, that commutes with pooling, so the parameters found apply to the raw states. All poolings start
    at or near the mean.
    """

    def __init__(
        self,
        names: Sequence[str],
        seed: int,
        n_positions: int,
        outputs: int,
        pairs: bool,
        mean: torch.Tensor,
        spread: torch.Tensor,
    ):
        super().__init__()
        dim, device = len(mean), mean.device
        self.members = [name for name in TRAINABLE if name in names]
        self.mean, self.spread = mean, spread
        self.position = nn.Parameter(torch.zeros(self.members.count("weighted"), n_positions, device=device))
        draw = _draw(dim, seed).to(device)
        self.key = nn.Parameter(draw.expand(self.members.count("attention"), -1).clone())
        n, features = 1 + len(self.members), dim * (4 if pairs else 1)
        self.probe = nn.Parameter(torch.zeros(n, features, outputs, device=device))
        self.bias = nn.Parameter(torch.zeros(n, outputs, device=device))

    def weights(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the weight of each token under each pooling, (batch, n, tokens), summing to one."""
        batch, tokens = mask.shape
        mean = torch.zeros(batch, 1, tokens, device=mask.device)
        weighted = self.position[:, :tokens].expand(batch, -1, -1)
        attention = (states @ (self.key / self.spread).T).transpose(1, 2)
        logits = torch.cat([mean, weighted, attention], 1)
        return logits.masked_fill(~mask[:, None], -torch.inf).softmax(2)

    def pool(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return standardised pooled vectors, (batch, n, dim)."""
        return (torch.bmm(self.weights(states, mask), states) - self.mean) / self.spread

    def forward(self, sides: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return predictions, (batch, n, outputs)."""
        pooled = [self.pool(states, mask) for states, mask in sides]
        if len(pooled) == 2:
            u, v = pooled
            pooled = [torch.cat([u, v, (u - v).abs(), u * v], 2)]
        return torch.einsum("bnf,nfc->bnc", pooled[0], self.probe) + self.bias


def _draw(dim: int, seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(dim, generator=torch.Generator().manual_seed(seed)) / dim**0.5


def _fit(
    data: TokenStates, task: Task, names: Sequence[str], seed: int, encoder: Encoder, advance: Any
) -> list[TrainedPooling]:
    device = data.flat.device
    target, outputs = _target(data, task, device)
    held_out = slice_rows(data.groups, seed)
    train_rows, slice_ = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    model = PooledProbes(
        names, seed, int(data.lengths.max()), outputs, len(data.sides) == 2, *_mean_and_spread(data, train_rows)
    )
    groups = [
        {"params": [model.position], "lr": POSITION_RATE},
        {"params": [model.key], "lr": KEY_RATE / len(model.mean)},
        {"params": [model.probe, model.bias], "lr": PROBE_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    n = 1 + len(model.members)
    best = np.full(n, np.inf)
    best_epoch = np.zeros(n, int)
    kept: list[np.ndarray | None] = [None] * n
    rng = np.random.default_rng(seed)
    for epoch in range(MAX_EPOCHS + 1):
        if epoch:
            for rows in _epoch(train_rows, data, rng):
                optimizer.zero_grad()
                _losses(model, data, target, rows, task.kind).mean(0).sum().backward()
                optimizer.step()
        with torch.no_grad():
            parts = [_losses(model, data, target, rows, task.kind) for rows in _epoch(slice_, data, None)]
        loss = torch.cat(parts).mean(0).double().cpu().numpy()
        for i in map(int, np.flatnonzero(loss < best - 1e-6)):
            best[i], best_epoch[i] = loss[i], epoch
            kept[i] = None if i == 0 else _parameter(model, i - 1)
        advance(epoch)
        if not np.isfinite(loss).all():
            raise InputError(f"Training a pooling on {task.name} gave a loss that is not finite.", "Use --untrained.")
        if (epoch - best_epoch >= PATIENCE).all():
            break
    advance(MAX_EPOCHS)
    fitted = []
    for member, name in enumerate(model.members, 1):
        pooler = Pooler(name, kept[member], True, seed)
        fitted.append(
            TrainedPooling(
                pooler,
                data.layer,
                float(best[member]),
                float(best[0]),
                int(best_epoch[member]),
                len(train_rows),
                len(slice_),
                cuts_a_group(data.groups, held_out),
                learned_weights(data, pooler, encoder.tokenizer),
            )
        )
    return fitted


def _target(data: TokenStates, task: Task, device: torch.device) -> tuple[torch.Tensor, int]:
    """Return class indices, or standardised scores, and the number of outputs of the probe."""
    if task.kind == "classification":
        classes, target = np.unique(data.labels, return_inverse=True)
        return torch.from_numpy(target.astype(np.int64)).to(device), len(classes)
    scores = (data.labels - data.labels.mean()) / (data.labels.std() or 1.0)
    return torch.from_numpy(scores.astype(np.float32)).to(device), 1


def _epoch(rows: np.ndarray, data: TokenStates, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
    """Yield batches of rows: shuffled, then sorted by length within pools of 16 batches, so that little is padding."""
    lengths = sum(data.lengths[side] for side in data.sides).cpu().numpy()  # type: ignore[union-attr]
    order = rows if rng is None else rng.permutation(rows)
    groups = []
    for begin in range(0, len(order), 16 * BATCH_ROWS):
        pool = order[begin : begin + 16 * BATCH_ROWS]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        groups += [pool[i : i + BATCH_ROWS] for i in range(0, len(pool), BATCH_ROWS)]
    yield from groups if rng is None else (groups[i] for i in rng.permutation(len(groups)))


def _losses(model: PooledProbes, data: TokenStates, target: torch.Tensor, rows: np.ndarray, kind: str) -> torch.Tensor:
    """Return the loss of each row under each pooling, (batch, n)."""
    index = torch.from_numpy(rows).to(target.device)
    predictions = model([data.gather(side[index]) for side in data.sides])
    wanted = target[index][:, None].expand(predictions.shape[:2])
    if kind == "classification":
        return F.cross_entropy(predictions.transpose(1, 2), wanted, reduction="none")
    return (predictions[..., 0] - wanted) ** 2


def _mean_and_spread(data: TokenStates, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of the mean-pooled vectors of the rows' texts, each (dim,)."""
    owner = torch.repeat_interleave(torch.arange(len(data.lengths), device=data.flat.device), data.lengths)
    sums = torch.zeros(len(data.lengths), data.flat.shape[1], device=data.flat.device).index_add_(0, owner, data.flat)
    index = torch.from_numpy(rows).to(data.flat.device)
    used = torch.cat([side[index] for side in data.sides]).unique()
    vectors = sums[used] / data.lengths[used][:, None]
    spread = vectors.std(0)
    return vectors.mean(0), torch.where(spread > 1e-6 * spread.max(), spread, torch.ones_like(spread))


def _parameter(model: PooledProbes, member: int) -> np.ndarray:
    """Return the parameter of one pooling in the form that `Pooler` takes."""
    if model.members[member] == "weighted":
        return model.position[member].detach().cpu().numpy().copy()
    key = model.key[member - len(model.position)] / model.spread
    return key.detach().cpu().numpy().copy()


# ---- what was learned ------------------------------------------------------------------------------------------------


def learned_weights(data: TokenStates, pooler: Pooler, tokenizer: Any) -> pd.DataFrame:
    """Return the mean weight of each position (weighted) or token (attention); see `TrainedPooling.learned`."""
    from geomprobe.embedding.pooling import token_weights

    relative, places = [], []
    for texts in torch.arange(len(data.lengths), device=data.flat.device).split(256):
        states, mask = data.gather(texts)
        weights = token_weights(pooler, states, mask)
        share = weights / weights.sum(1, keepdim=True) * mask.sum(1, keepdim=True)
        relative.append(share[mask].cpu().numpy())
        places.append((mask.cumsum(1) - 1)[mask].cpu().numpy())
    keys = np.concatenate(places) if pooler.name == "weighted" else np.concatenate(data.ids)
    frame = pd.DataFrame({"key": keys, "weight": np.concatenate(relative).astype(float)})
    table = frame.groupby("key")["weight"].agg(weight="mean", n="size").reset_index()
    table = table[table["n"] >= MIN_OCCURRENCES]
    if pooler.name == "attention":
        table = table.sort_values(["weight", "key"], ascending=[False, True])
        table["key"] = tokenizer.convert_ids_to_tokens(table["key"].tolist())
    table["key"] = table["key"].astype(str)
    return table.reset_index(drop=True)


def _pack(trained: TrainedPooling, encoder: Encoder) -> tuple[np.ndarray, dict[str, Any]]:
    assert trained.pooler.parameter is not None
    numbers = {name: getattr(trained, name) for name in ("loss", "loss_mean", "epochs", "n_train", "n_slice", "cut")}
    what = {"model": encoder.name, "model_hash": encoder.hash, "layer": trained.layer, "pooling": trained.pooler.name}
    learned = trained.learned.to_dict("list")
    return trained.pooler.parameter[None], {**what, "trained": numbers, "learned": learned}


def _unpack(array: np.ndarray, meta: dict[str, Any], cell: tuple[int, str, int]) -> TrainedPooling:
    layer, name, seed = cell
    return TrainedPooling(
        Pooler(name, np.array(array[0]), True, seed), layer, learned=pd.DataFrame(meta["learned"]), **meta["trained"]
    )
