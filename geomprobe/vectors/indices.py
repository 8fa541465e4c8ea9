"""Columns that number the rows: an index or an id, not a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from geomprobe.common import InputError
from geomprobe.vectors.columns import Column, ranges, refuse_lone
from geomprobe.vectors.vector_file import with_columns

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


def without_indices(
    matrix: np.ndarray, columns: Sequence[Column], taken: Sequence[int], named: bool
) -> tuple[np.ndarray, list[Column], list[int]]:
    """A table's matrix without the columns that count its rows, all columns with these marked, and what remains taken.

    Parameters
    ----------
    matrix : ndarray of shape (n, d)
    columns : sequence of Column
    taken : sequence of int, length d
        Which of them the matrix holds.
    named : bool
        Whether the file names its columns.

    Raises
    ------
    InputError
        Too few rows to be sure that a column that counts them is an index; a column that may hold ids; nothing, or one
        lone column, remains.
    """
    counting = [taken[k] for k in counting_columns(matrix)]
    if counting and len(matrix) < SURE_ROWS:
        raise _either(columns, taken, counting[0], f"counts the {len(matrix)} rows", named)
    gone = set(counting)
    kept = [j for j in taken if j not in gone]
    marked = [replace(c, counts=True, what="counts the rows") if j in gone else c for j, c in enumerate(columns)]
    if not kept:
        raise InputError("every column of numbers counts the rows.", "--columns takes it all the same.")
    if len(kept) == 1:
        refuse_lone(marked, marked[kept[0]])
    matrix = with_columns(matrix, [k for k, j in enumerate(taken) if j not in gone])
    if (k := id_column(matrix)) is not None:
        raise _either(columns, kept, kept[k], "holds a different whole number in every row", named)
    return matrix, marked, kept


def _either(columns: Sequence[Column], taken: Sequence[int], j: int, what: str, named: bool) -> InputError:
    name = columns[j].name
    hint = f"--columns {ranges(taken)} takes it; --columns {ranges([other for other in taken if other != j])} does not."
    if named:
        hint = f"--columns '*' takes every column; a pattern, or names with commas, those without {name!r}."
    return InputError(f"column {name!r} {what}: an index, or a dimension?", hint)


def _head(matrix: Any) -> np.ndarray:
    return np.asarray(matrix[: min(HEAD_ROWS, max(2**22 // matrix.shape[1], SURE_ROWS))], np.float64)


def _all_different(values: np.ndarray) -> bool:
    return bool((values == np.rint(values)).all()) and len(np.unique(values)) == len(values)
