"""Columns that number the rows: an index or an id, not a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from geomprobe.common import InputError
from geomprobe.vectors.columns import Column, ranges, refuse_lone
from geomprobe.vectors.source import with_columns

SURE_ROWS = 10
"""Rows from which on a column that counts them is an index, and no dimension by chance."""
HEAD_ROWS = 1000
"""Rows that are looked at first; a column is read further only where these speak against it."""


def counting_columns(matrix: Any) -> list[int]:
    """Columns that hold 0, 1, 2, … or 1, 2, 3, … from the first row to the last; none below three rows."""
    n = len(matrix)
    if n < 3:
        return []
    head = _head(matrix)
    steps = head - np.arange(len(head))[:, None]
    maybe = np.flatnonzero((steps == head[0]).all(0) & ((head[0] == 0) | (head[0] == 1)))
    return [int(j) for j in maybe if np.array_equal(matrix[:, j], np.arange(n) + head[0, j])]


def id_column(matrix: Any) -> int | None:
    """First or the last column if it alone holds a different whole number in every row, as ids do.

    None below three rows, and where several columns are so.
    """
    n, d = matrix.shape
    if n < 3 or d < 2:
        return None
    head = _head(matrix)
    if not (_all_different(head[:, 0]) or _all_different(head[:, -1])):
        return None
    found = [j for j in range(d) if _all_different(head[:, j])]
    if len(found) == 1 and _all_different(np.asarray(matrix[:, found[0]], np.float64)):
        return found[0]
    return None


def without_indices(matrix: np.ndarray, columns: Sequence[Column], named: bool) -> tuple[np.ndarray, list[Column]]:
    """A table's matrix without the columns that count its rows, and its columns with these marked.

    Parameters
    ----------
    matrix : ndarray of shape (n, d)
    columns : sequence of Column, length d
    named : bool
        Whether the file names its columns.

    Raises
    ------
    InputError
        Too few rows to be sure that a column that counts them is an index; a column that may hold ids; nothing, or one
        lone column, remains.
    """
    counting = counting_columns(matrix)
    if counting and len(matrix) < SURE_ROWS:
        raise _either(columns, counting[0], f"counts the {len(matrix)} rows", named)
    kept = [j for j in range(len(columns)) if j not in counting]
    marked = [replace(c, counts=True, what="counts the rows") if j in counting else c for j, c in enumerate(columns)]
    if not kept:
        raise InputError("every column of numbers counts the rows.", "--columns takes it all the same.")
    if len(kept) == 1:
        refuse_lone(marked, marked[kept[0]])
    matrix = with_columns(matrix, kept)
    if (j := id_column(matrix)) is not None:
        raise _either(columns, kept[j], "holds a different whole number in every row", named)
    return matrix, marked


def _either(columns: Sequence[Column], j: int, what: str, named: bool) -> InputError:
    if named:
        hint = f"--columns '*' takes every column; a pattern, or names with commas, those without {columns[j].name!r}."
    else:
        numbers = [int(column.name) - 1 for column in columns]
        rest = [number for k, number in enumerate(numbers) if k != j]
        hint = f"--columns {ranges(numbers)} takes it; --columns {ranges(rest)} does not."
    return InputError(f"column {columns[j].name!r} {what}: an index, or a dimension?", hint)


def _head(matrix: Any) -> np.ndarray:
    return np.asarray(matrix[: min(HEAD_ROWS, max(2**22 // matrix.shape[1], SURE_ROWS))], np.float64)


def _all_different(values: np.ndarray) -> bool:
    return bool((values == np.rint(values)).all()) and len(np.unique(values)) == len(values)
