"""Probes: what can be read linearly from an encoder's vectors, always beside controls that learned nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from geomprobe.probes.crossed import crossed_rows
from geomprobe.probes.definitions import RECORDS
from geomprobe.probes.lexical import lexical_probe
from geomprobe.probes.records import PairVectors
from geomprobe.probes.refits import add_refits, refitted
from geomprobe.probes.semantic import semantic_probe
from geomprobe.tasks.base import Split, Task

MAX_TRAIN_ROWS = 10_000
PROBES = ("all", "fast", "none")
"""Which probes are fitted: all; all but those that fit a classifier again (selectivity, conditional bits, code length);
or none, which leaves what needs no probe: cosines against labels and overlap, and the split of the controlled suite."""

__all__ = ["MAX_TRAIN_ROWS", "PROBES", "RECORDS", "PairVectors", "ProbeResults", "cap_train", "run_probes"]


@dataclass(frozen=True)
class ProbeResults:
    """What the probes of one task, layer and pooling yield.

    Attributes
    ----------
    rows : list of dict
        Keys of `geomprobe.results.RESULT_COLUMNS`; the caller adds model, task, layer, pooling and protocol.
    examples : list of dict
        Keys of `geomprobe.results.EXAMPLE_COLUMNS`, likewise; ``log_loss`` is in bits.
    influences : list of dict
        Keys of `geomprobe.results.INFLUENCE_COLUMNS`, likewise, of every number of a probe, not of its controls.
    refits : list of dict
        Keys of `geomprobe.results.REFIT_COLUMNS`, likewise, of the numbers that were refitted.
    """

    rows: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    influences: list[dict[str, Any]]
    refits: list[dict[str, Any]] = field(default_factory=list)


def cap_train(split: Split, max_rows: int = MAX_TRAIN_ROWS, seed: int = 0) -> Split:
    """At most ``max_rows`` rows of a split, drawn without replacement and left in their order."""
    if len(split) <= max_rows:
        return split
    rows = np.random.default_rng(seed).permutation(len(split))[:max_rows]
    return split.take(np.sort(rows))


def run_probes(
    task: Task,
    train: PairVectors | None,
    validation: PairVectors,
    *,
    seed: int = 0,
    refits: int = 0,
    chosen: str = "all",
) -> ProbeResults:
    """Run the semantic and lexical probes of a task on the vectors of one encoder, layer and pooling.

    Parameters
    ----------
    task : Task
    train : PairVectors or None
        Vectors of the rows of ``task.train``, or of ``cap_train(task.train, len(train))``.
    validation : PairVectors
        Vectors of the rows of ``task.validation``.
    seed : int
        Seed of folds, random projections, random labels and halves of the train split.
    refits : int
        How often each probe is fitted again, on halves of the train split: even (see `geomprobe.inference.refits`).
    chosen : {"all", "fast", "none"}
        See `PROBES`. What is fitted has the same numbers under each.

    Raises
    ------
    ValueError
        If the vectors do not match the rows or are not finite.
    """
    if train is not None and task.train is not None and len(train) < len(task.train):
        task = replace(task, train=cap_train(task.train, len(train)))
    for vectors, split in ((train, task.train), (validation, task.validation)):
        if vectors is not None and split is not None:
            _check(vectors, split)
    rows, examples = semantic_probe(task, train, validation, seed, chosen)
    if chosen != "none":
        rows += lexical_probe(task, train, validation, seed)
    rows += crossed_rows(task, validation, seed)
    again = add_refits(rows, refitted(task, train, validation, seed, refits)) if refits else []
    influences = []
    for row in rows:
        examples += row.pop("examples", ())
        contributions = row.pop("contributions", None)
        if contributions is not None and row["control"] is None:
            place = {column: row.get(column) for column in ("view", "metric", "definition")}
            influences.append(place | {"contributions": contributions.astype(np.float32), "extra": 0.0})
    return ProbeResults(rows, examples, influences, again)


def _check(vectors: PairVectors, split: Split) -> None:
    for side, texts in ((vectors.first, split.first), (vectors.second, split.second)):
        if (side is None) != (texts is None):
            raise ValueError(f"{split.name}: vectors and texts must both be pairs or both be single sentences")
        if side is None or texts is None:
            continue
        if side.ndim != 2 or len(side) != len(texts):
            raise ValueError(f"{split.name}: vectors of shape {side.shape} for {len(texts)} rows")
        if len(bad := np.flatnonzero(~np.isfinite(side).all(axis=1))):
            raise ValueError(f"{split.name}: vectors of rows {bad[:10].tolist()} are not finite")
