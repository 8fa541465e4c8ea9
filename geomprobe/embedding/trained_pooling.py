"""Fit weighted and attention pooling together with a linear probe of the task's label, the encoder frozen.

The poolings of a layer are trained in one loop over cached token states, each with its own probe and its own early
stopping; the mean, with a probe of its own, runs beside them as the mark to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from geomprobe.common import InputError
from geomprobe.embedding.layers import Cell, resolve_layers
from geomprobe.embedding.pooled_probes import (
    PooledProbes,
    cuts_a_group,
    epoch_batches,
    row_losses,
    slice_rows,
    target_of,
)
from geomprobe.embedding.pooling import TRAINABLE, Pooler, token_weights
from geomprobe.embedding.store import Store
from geomprobe.embedding.token_states import TokenStates, layers_in_memory
from geomprobe.encoders import Encoder
from geomprobe.results.record import Record
from geomprobe.tasks.base import Task

VERSION = "2"  # part of the key under which results are kept: raised when the fitting changes
MIN_ROWS = 40
# Adam moves each parameter by about its rate per step. A position's logit is one parameter; that of a token is a sum
# over dim of them, so the key's rate is divided by dim.
POSITION_RATE, KEY_RATE, PROBE_RATE = 2e-2, 0.2, 1e-3
WEIGHT_DECAY = 1e-2
MAX_EPOCHS = 30
PATIENCE = 3
MIN_OCCURRENCES = 20

RECORDS = {
    "trained_pooling_loss": Record(
        name="trained_pooling_loss",
        family="pooling",
        formula="loss of the linear probe trained with the pooling, on the slice of train that stopped it: "
        "cross-entropy in nats, or squared error over the variance of the score; mean over seeds. "
        "Control mean: mean pooling with a probe trained alike",
        range="[0, ∞)",
        direction="lower: the pooling serves the task better",
        invariances="none",
        source="–",
        compared=False,
    )
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
    """Why poolings cannot be trained on a task, or an empty string."""
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
    store: Store | None = None,
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
    store : Store, optional
        Where results are kept and found again.

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
    numbers = resolve_layers(encoder, layers)
    found: dict[tuple[int, str, int], TrainedPooling] = {}
    keys = {
        (layer, name, seed): _key(encoder, task, layer, name, seed)
        for layer, name, seed in product(numbers, names, seeds)
    }
    if store is not None:
        for cell, key in keys.items():
            if stored := store.get(key):
                found[cell] = _unpack(stored[0], stored[1], cell)
    missing = [layer for layer in numbers if any(cell[0] == layer and cell not in found for cell in keys)]
    data_of = layers_in_memory(encoder, task.train, missing) if names else ()
    for data, seed in ((data, seed) for data in data_of for seed in seeds):  # one layer in memory at a time
        for trained in fit(data, task, names, seed, encoder):
            cell = (trained.layer, trained.pooler.name, seed)
            found[cell] = trained
            if store is not None:
                array, meta = _pack(trained, encoder)
                with store.writing(keys[cell], array.shape, meta) as place:
                    place[:] = array
    return {(layer, name): [found[layer, name, seed] for seed in seeds] for layer in numbers for name in names}


def fit(data: TokenStates, task: Task, names: Sequence[str], seed: int, encoder: Encoder) -> list[TrainedPooling]:
    """Poolings of one layer, trained together from one seed."""
    target, outputs = target_of(data, task)
    held_out = slice_rows(data.groups, seed)
    train_rows, slice_ = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    model = PooledProbes(names, seed, data, train_rows, outputs)
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
            for rows in epoch_batches(train_rows, data, rng):
                optimizer.zero_grad()
                row_losses(model, data, target, rows, task.kind).mean(0).sum().backward()
                optimizer.step()
        with torch.no_grad():
            parts = [row_losses(model, data, target, rows, task.kind) for rows in epoch_batches(slice_, data, None)]
        loss = torch.cat(parts).mean(0).double().cpu().numpy()
        for i in map(int, np.flatnonzero(loss < best - 1e-6)):
            best[i], best_epoch[i] = loss[i], epoch
            kept[i] = None if i == 0 else model.parameter_of(i - 1)
        if not np.isfinite(loss).all():
            raise InputError(f"Training a pooling on {task.name} gave a loss that is not finite.", "Use --untrained.")
        if (epoch - best_epoch >= PATIENCE).all():
            break
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


def learned_weights(data: TokenStates, pooler: Pooler, tokenizer: Any) -> pd.DataFrame:
    """Mean weight of each position (weighted) or token (attention); see `TrainedPooling.learned`."""
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


def _key(encoder: Encoder, task: Task, layer: int, name: str, seed: int) -> str:
    limits = str((encoder.max_length, encoder.lower_case, encoder.unmasked_length))
    model = (encoder.hash, str(encoder.dtype), limits)
    return Store.key("trained pooling", VERSION, *model, task.fingerprint, str(layer), name, str(seed))


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
