"""The vectors of the cells of an encoder on a task: found in the store, or made by one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import numpy as np

from geomprobe.analysis.failures import CELL_ERRORS, check_finite, reason
from geomprobe.analysis.plan import RunPlan
from geomprobe.analysis.protocols import Protocol
from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import InputError
from geomprobe.common.progress import Progress
from geomprobe.embedding import trained_pooling
from geomprobe.embedding.embed import EmbeddingGrid, count_cut, embed_grid
from geomprobe.embedding.layers import Cell
from geomprobe.embedding.pooling import TRAINABLE, passes
from geomprobe.embedding.store import Store
from geomprobe.embedding.trained_pooling import TrainedPooling
from geomprobe.encoders import Encoder


@dataclass(frozen=True)
class Embedded:
    """Vectors of all texts of a task, and the poolings that were trained for them.

    Attributes
    ----------
    vectors : dict of Cell to ndarray of shape (n_texts, d)
        Of the cells that did not fail.
    trained : dict of Cell to list of TrainedPooling
        One of each seed.
    failures : dict of Cell to str
        Why the cells have no vectors.
    n_truncated : int
        Texts that were cut to the encoder's longest input.
    """

    vectors: dict[Cell, np.ndarray] = field(default_factory=dict)
    trained: dict[Cell, list[TrainedPooling]] = field(default_factory=dict)
    failures: dict[Cell, str] = field(default_factory=dict)
    n_truncated: int = 0


def embed_cells(
    plan: RunPlan, encoder: Encoder, texts: TaskTexts, cells: Sequence[Cell], progress: Progress | None = None
) -> Embedded:
    """Vectors of all texts of a task, found in the store where the same was asked before.

    Where some poolings cannot be trained, or one of another package fails, the cells of the others are embedded all the
    same.
    """
    trained: dict[Cell, list[TrainedPooling]] = {}
    failures: dict[Cell, str] = {}
    try:
        trained = train_poolings(plan, encoder, texts, cells)
    except CELL_ERRORS as error:
        failures = {cell: reason(error) for cell in cells if cell[1] in TRAINABLE}
    wanted = [cell for cell in cells if cell not in failures]

    def embed_role(one: Encoder, some: list[str], poolings: list[str]) -> EmbeddingGrid:
        return embed_grid(
            one,
            some,
            poolings,
            sorted({layer for layer, _ in wanted}),
            poolers={cell: found[0].pooler for cell, found in trained.items()},
            seed=query_seed(encoder, plan.asked.protocol, plan.asked.seed),
            store=Store(),
            processes=plan.processes,
            progress=progress,
        )

    def embed(poolings: list[str]) -> EmbeddingGrid:
        parts = [(places, embed_role(one, some, poolings)) for one, places, some in in_roles(encoder, texts)]
        return parts[0][1] if len(parts) == 1 else in_places(parts)

    vectors: dict[Cell, np.ndarray] = {}
    cut = 0
    for together in passes(sorted({pool for _, pool in wanted})):
        try:
            found = plan.processes.agreed(partial(embed, together))
        except CELL_ERRORS as error:
            failures |= {cell: reason(error) for cell in wanted if cell[1] in together}
        else:
            vectors |= found.vectors
            cut = max(cut, found.n_truncated)
    usable = {cell: poolings for cell, poolings in trained.items() if cell not in failures}
    return Embedded(vectors, usable, failures, cut)


def vectors_of(embedded: Embedded, cell: Cell, texts: TaskTexts) -> np.ndarray:
    """Vectors of all texts of a task in a cell; raises InputError where it has none, or some are not finite."""
    if cell in embedded.failures:
        raise InputError(embedded.failures[cell])
    check_finite(embedded.vectors[cell], texts.scored)
    return embedded.vectors[cell]


def train_poolings(
    plan: RunPlan, encoder: Encoder, texts: TaskTexts, cells: Sequence[Cell]
) -> dict[Cell, list[TrainedPooling]]:
    """What training finds for the cells whose pooling can be trained on the task, one of each seed.

    Processes share the layers; where these are fewer, layers and seeds, each with a pass of its own over the texts.
    """
    task, protocol, seed, processes = texts.task, plan.asked.protocol, plan.asked.seed, plan.processes
    wanted = [cell for cell in cells if cell[1] in TRAINABLE]
    if not wanted or not protocol.train_poolings or trained_pooling.why_untrainable(task):
        return {}

    layers, seeds = sorted({layer for layer, _ in wanted}), range(seed, seed + protocol.pooling_seeds)
    poolings, share = sorted({pool for _, pool in wanted}), slice(processes.rank, None, processes.world)
    if len(layers) >= processes.world:
        mine = [(layers[share], [*seeds])]
    else:
        pairs = list(product(layers, seeds))[share]
        mine = [([layer], [one for of, one in pairs if of == layer]) for layer in dict(pairs)]

    def train() -> dict[tuple[Cell, int], TrainedPooling]:
        found: dict[tuple[Cell, int], TrainedPooling] = {}
        for of, own in mine:
            trained = trained_pooling.train_poolers(encoder, task, poolings, of, seeds=own, store=Store())
            found |= {(cell, s): one for cell, each in trained.items() for s, one in zip(own, each, strict=True)}
        return found

    shares = processes.exchange(processes.agreed(train))
    found = {at: trained for share in shares for at, trained in share.items()}
    return {cell: [found[cell, s] for s in seeds] for cell in wanted}


def query_seed(encoder: Encoder, protocol: Protocol, seed: int) -> int:
    """Seed of an untrained attention pooling: that of the run, or one for these weights."""
    return seed if protocol.query == "shared" else seed + int(encoder.hash[:12], 16)


def count_truncated(encoder: Encoder, texts: TaskTexts, poolings: Sequence[str]) -> int:
    """How many texts of a task are cut to the encoder's longest input, without embedding them."""
    return sum(count_cut(one, some, poolings) for one, _, some in in_roles(encoder, texts))


def in_roles(encoder: Encoder, texts: TaskTexts) -> list[tuple[Encoder, np.ndarray, list[str]]]:
    """Encoder with the prompt of each role (document, query), and places and texts of that role."""
    if texts.queries is None:
        return [(encoder, np.arange(len(texts.texts)), texts.texts)]
    asking = encoder.with_prompt(encoder.query_prompt, encoder.query_prompt)
    roles = ((encoder, ~texts.queries), (asking, texts.queries))
    places = [(one, np.flatnonzero(role)) for one, role in roles]
    return [(one, at, [texts.texts[i] for i in at]) for one, at in places]


def in_places(parts: Sequence[tuple[np.ndarray, EmbeddingGrid]]) -> EmbeddingGrid:
    """One grid of several, each with its places among all texts."""
    first, n = parts[0][1], sum(len(at) for at, _ in parts)
    vectors = {}
    for cell, found in first.vectors.items():
        vectors[cell] = np.empty((n, found.shape[1]), np.float32)
        for at, part in parts:
            vectors[cell][at] = part.vectors[cell]
    cut = sum(part.n_truncated for _, part in parts)
    return replace(first, vectors=vectors, n_truncated=cut)
