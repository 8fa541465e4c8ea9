"""Cells of a grid that could not be measured: what may fail, and the row that says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from geomprobe.common import GeomprobeError, InputError, UsageError
from geomprobe.tasks.base import Split

# What a broken cell may raise. Anything else (a full disk, a cache that cannot be written, an interrupt) ends the run.
CELL_ERRORS = (InputError, UsageError, ValueError, RuntimeError, ArithmeticError)
Sides = tuple[np.ndarray, np.ndarray | None]
"""Which of the vectors the first and the second sentence of each row of a split have."""
NAMED = 10
"""Most rows that are named."""
NOTE = 500
"""Longest note, in characters."""


def failed_row(stage: str, note: str) -> pd.DataFrame:
    """Row that stands for a stage (one of `geomprobe.results.STAGES`) that failed."""
    return pd.DataFrame([{"metric": stage, "status": "failed", "note": note}])


def reason(error: BaseException) -> str:
    """Note of a failed row: the first line of an error."""
    # our own errors are sentences; those of others are known by their kind
    text = error.message if isinstance(error, GeomprobeError) else f"{type(error).__name__}: {error}"
    line = next(iter(text.splitlines()), "")
    return line if len(line) <= NOTE else f"{line[: NOTE - 1]}…"


def check_finite(vectors: np.ndarray, splits: Sequence[tuple[Split, Sides]]) -> None:
    """Raise InputError where the encoder gave NaN or infinity for texts of a split; it counts them and names rows.

    Parameters
    ----------
    vectors : ndarray of shape (n_texts, d)
    splits : sequence of (Split, (first, second))
        Which of the vectors each sentence of the split's rows has, as `geomprobe.analysis.texts.TaskTexts` keeps them.
    """
    if not splits:  # a task without a train split, say
        return
    used = np.unique(np.concatenate([side for _, sides in splits for side in sides if side is not None]))
    # a block at a time: the vectors may be mapped from a file
    blocks = [used[start : start + 8192] for start in range(0, len(used), 8192)]
    bad = np.concatenate([used[:0], *(rows[~np.isfinite(vectors[rows]).all(axis=1)] for rows in blocks)])
    if not len(bad):
        return
    named = []
    for split, (first, second) in splits:
        broken = np.isin(first, bad) | (False if second is None else np.isin(second, bad))
        rows = [split.row_ids[i][:60] for i in np.flatnonzero(broken)]
        if rows:
            named.append(f"{split.name} rows {', '.join(rows[:NAMED])}{', …' if len(rows) > NAMED else ''}")
    raise InputError(f"{len(bad):,} of {len(used):,} texts gave NaN or infinity: {'; '.join(named)}")
