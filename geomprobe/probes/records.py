"""One form for every number that a probe yields, and what is computed once for a task and not once for a cell."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

from geomprobe.metrics.undefined import too_few
from geomprobe.tasks.base import Split, Task


@dataclass(frozen=True)
class PairVectors:
    """Vectors of the rows of a split.

    Attributes
    ----------
    first : ndarray of shape (n_rows, d)
        Vectors of ``split.first``, each sentence encoded on its own.
    second : ndarray of shape (n_rows, d) or None
        Vectors of ``split.second``.
    """

    first: np.ndarray
    second: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: np.ndarray) -> PairVectors:
        """Vectors of the given rows."""
        return PairVectors(self.first[rows], None if self.second is None else self.second[rows])

    @property
    def d(self) -> int:
        return int(self.first.shape[1])


NO_TRAIN = "the task has no train split"
CONSTANT = "undefined on these rows (one side is constant)"


def result_row(
    metric: str, value: float, *, n: int, status: str = "ok", note: str = "", **columns: Any
) -> dict[str, Any]:
    """A row with keys of `geomprobe.results.RESULT_COLUMNS`; a value that is not finite becomes null.

    Parameters
    ----------
    columns
        Further columns: d and seed, and where they are wanted control, definition and view.
    """
    if status == "ok" and not math.isfinite(value):
        # two rows have a line through them, whatever they hold
        status, note = ("too few rows", too_few(n, 3)) if n < 3 else ("not applicable", note or CONSTANT)
    row = {"split": "validation", "view": "raw", "metric": metric, "definition": "", "control": None} | columns
    return row | {"value": float(value) if status == "ok" else None, "n": n, "status": status, "note": note}


def example_rows(
    probe: str,
    row_ids: Sequence[str],
    clusters: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    log_loss: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Rows of `results.EXAMPLE_COLUMNS` of a probe's held-out predictions; arrays of shape (n,)."""
    return [
        {
            "probe": probe,
            "row_id": row_id,
            "cluster": int(clusters[i]),
            "label": float(labels[i]),
            "prediction": float(predictions[i]),
            "log_loss": None if log_loss is None else float(log_loss[i]),
        }
        for i, row_id in enumerate(row_ids)
    ]


def missing_row(metric: str, reason: str, status: str = "too few rows", **columns: Any) -> dict[str, Any]:
    """Row that stands where a probe could not be fitted; a failed cell is never left out."""
    return result_row(metric, float("nan"), status=status, note=reason, **columns)


def without_train(task: Task) -> tuple[str, str]:
    """Why a task has no train split, and the status of what is fitted on one."""
    return (task.unsplit, "too few rows") if task.unsplit else (NO_TRAIN, "not applicable")


def train_split(task: Task) -> Split:
    """Train split of a task that is known to have one."""
    assert task.train is not None
    return task.train


def unique_sentences(split: Split) -> tuple[list[str], np.ndarray]:
    """Unique sentences of a split and where each first stands in the stack [first; second]."""
    texts = split.first if split.second is None else split.first + split.second
    index: dict[str, int] = {}
    for position, text in enumerate(texts):
        index.setdefault(text, position)
    return list(index), np.fromiter(index.values(), np.int64, len(index))


def stack(vectors: PairVectors) -> np.ndarray:
    """Vectors of all sentences, [first; second], float64."""
    sides = [vectors.first] if vectors.second is None else [vectors.first, vectors.second]
    return np.concatenate(sides).astype(np.float64, copy=False)


def once_per_task(function: Callable[..., Any]) -> Callable[..., Any]:
    """Remember the last eight results of ``function(task, *args)``: a grid asks the same of a task for every cell."""
    memory: OrderedDict[tuple, Any] = OrderedDict()

    @wraps(function)
    def remembered(task: Task, *args: Any) -> Any:
        key = (task.fingerprint, *args)
        if key not in memory:
            memory[key] = function(task, *args)
            while len(memory) > 8:
                memory.popitem(last=False)
        memory.move_to_end(key)
        return memory[key]

    return remembered
