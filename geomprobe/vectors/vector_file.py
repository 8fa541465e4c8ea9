"""What was read from a file of vectors: the matrix, the columns taken, what was left out, what was decided."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geomprobe.common import InputError, brief, first_to_last

SHOWN = 8


@dataclass(frozen=True)
class ReadOptions:
    """How the caller wants files read; None lets the content decide.

    Attributes
    ----------
    columns : str or None
        Pattern of the columns that make the vectors (see `geomprobe.vectors.columns.matching`).
    header : bool or None
        Whether the first line of a text file holds names.
    tensor : str or None
        Name of the array of a file that holds several.
    """

    columns: str | None = None
    header: bool | None = None
    tensor: str | None = None


@dataclass(frozen=True)
class VectorFile:
    """A file of vectors that was opened.

    Attributes
    ----------
    path : Path or str
        A URL is text.
    format : str
        What the file is by its contents, in words.
    matrix : array-like of shape (n, d)
    columns : tuple of str
        The columns, or the array, that were taken; () where the format names none.
    left_out : tuple of (str, str)
        Columns or arrays that were not taken, each with the reason.
    notes : tuple of str
        What was decided in reading: header, delimiter, lines skipped.
    warnings : tuple of str
        What the numbers may be instead.
    """

    path: Path | str
    format: str
    matrix: Any
    columns: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What was read, with at most a few names of each list."""
        return {
            "file": str(self.path),
            "format": self.format,
            "rows": int(self.matrix.shape[0]),
            "dimensions": int(self.matrix.shape[1]),
            "columns": {"count": len(self.columns), "names": first_to_last(self.columns)},
            "left_out": {
                "count": len(self.left_out),
                "columns": [{"name": name, "why": why} for name, why in self.left_out[:SHOWN]],
            },
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """What was read as lines for the terminal."""
        taken = f": {first_to_last(self.columns)}" if self.columns else ""
        found = [f"{self.path} ({self.format}){taken}"]
        if self.left_out:
            named = ", ".join(f"{brief(name, 40)} ({why})" for name, why in self.left_out[:SHOWN])
            more = f" and {len(self.left_out) - SHOWN} more" if len(self.left_out) > SHOWN else ""
            found.append(f"left out: {named}{more}")
        return [*found, *self.notes]


def row_place(row: int, name: str | None, line: int | None = None) -> str:
    """Where a cell of a table stands in its file, for messages."""
    at = f"row {row}, counted from 0" + (f" (line {line})" if line else "")
    return at if name is None else f"{at}, column {brief(name)!r}"


def spooled(batches: Iterable[np.ndarray]) -> np.ndarray:
    """Copy batches of rows to a temporary file without a name, and map it.

    Parameters
    ----------
    batches : iterable of ndarray of shape (rows, d)
        All of one type and one d.

    Returns
    -------
    ndarray of shape (n, d)
        A memory map that keeps the temporary file alive.
    """
    with tempfile.TemporaryFile() as file:
        n, d, dtype = 0, 0, np.dtype(np.float32)
        for batch in batches:
            n, d, dtype = n + len(batch), batch.shape[1], batch.dtype
            file.write(np.ascontiguousarray(batch).data)
        if not n:
            raise InputError("it holds no rows.", "It needs at least two vectors.")
        file.flush()
        return np.memmap(file, dtype, "r", shape=(n, d))


def with_columns(matrix: np.ndarray, taken: Sequence[int]) -> np.ndarray:
    """Given columns of a mapped matrix without reading it into memory."""
    taken = list(taken)
    if taken == list(range(taken[0], taken[-1] + 1)):
        return matrix[:, taken[0] : taken[-1] + 1]
    size = max(2**22 // matrix.shape[1], 1)
    return spooled(matrix[start : start + size][:, taken] for start in range(0, len(matrix), size))
