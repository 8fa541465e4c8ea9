"""Vectors written as text: JSON lists, Python's and numpy's way of printing them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from geomprobe.common import InputError

SCALAR = re.compile(r"(?:np|numpy)\.float\d+\(([^()]*)\)")
LIST = re.compile(r"(?:(?:np\.|numpy\.)?array\(|tensor\()?\s*\[(.*)\]\s*(?:,[^\[\]]*)?\)?", re.DOTALL)


def looks_like_list(cell: str) -> bool:
    """Whether a cell is a list in brackets that begins with a number, or says that numbers were left out."""
    found = LIST.fullmatch(cell.strip())
    if not found:
        return False
    body = SCALAR.sub(r"\1", found[1]).strip().lstrip("[ ")
    return bool(re.match(r"[+-]?\.?\d|nan|None|null|\.\.\.|$", body, re.IGNORECASE))


def is_whole_list(cell: str) -> bool:
    """Whether a cell that looks like a list has whole numbers alone, as token ids are."""
    found = LIST.fullmatch(cell.strip())
    return bool(found and re.fullmatch(r"[-+\d,\s]+", found[1]))


def parse_list(cell: str) -> np.ndarray:
    """Numbers of a list in text.

    Parameters
    ----------
    cell : str
        "[0.1, 0.2]", "[0.1 0.2]" as numpy prints it, "[np.float64(0.1), 0.2]", "array([0.1, 0.2])".

    Returns
    -------
    ndarray of float64, shape (d,)

    Raises
    ------
    ValueError
        With the reason: not a list, shortened by "...", a list of lists, an item that is no number.

    Examples
    --------
    >>> parse_list("[0.1 0.25\\n 3]")
    array([0.1 , 0.25, 3.  ])
    """
    found = LIST.fullmatch(cell.strip())
    if not found:
        raise ValueError(f"{shown(cell)} is not a list of numbers" if cell.strip() else "an empty cell")
    body = SCALAR.sub(r"\1", found[1])
    if "..." in body:
        raise ValueError('the list was shortened to "..." when it was written: its numbers are not in the file')
    if "[" in body:
        raise ValueError("a list of lists, where a vector is one list of numbers")
    items = body.split(",") if "," in body else body.split()
    return np.array([number(item) for item in items], np.float64)


def vectors_of(cells: Iterable[tuple[str, Any]], rows: int = 1024) -> Iterator[np.ndarray]:
    """Yield the vectors that cells hold as matrices of float64 of at most so many rows.

    Parameters
    ----------
    cells : iterable of (str, cell)
        Where a cell stands, for messages, and the cell: a list of numbers, or one as text.
    rows : int

    Raises
    ------
    InputError
        A cell without a list of numbers, lists that are empty or differ in length, NaN or infinity.
    """
    batch: list[np.ndarray] = []
    d = 0
    for where, cell in cells:
        try:
            vector = parse_list(cell) if isinstance(cell, str) else _list_of_numbers(cell)
        except ValueError as reason:
            raise InputError(f"{where}: {reason}.", "Repair or drop the row.") from None
        d = d or len(vector)
        if len(vector) != d or not d:
            raise ragged(where, len(vector), d)
        if not np.isfinite(vector).all():
            raise InputError(f"{where} holds NaN or infinity.", "Drop the row.")
        batch.append(vector)
        if len(batch) == rows:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _list_of_numbers(cell: Any) -> np.ndarray:
    if not isinstance(cell, list) or not cell or not all(map(is_typed_number, cell)):
        raise ValueError(f"no list of numbers: {shown(json.dumps(cell))}")
    try:
        return np.array(cell, np.float64)
    except OverflowError:
        raise ValueError("a number out of the range of float64") from None


def ragged(where: str, length: int, first: int) -> InputError:
    """Error for a list that is empty, or not as long as the first."""
    if not length:
        return InputError(f"{where}: an empty list.", "Drop the row.")
    return InputError(
        f"{where} has {length} numbers, the first {first}: lists differ in length.",
        "Drop the row, or pad it where it was written.",
    )


def is_typed_number(value: Any) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_number(cell: str) -> bool:
    """Whether a cell of text is a number."""
    try:
        number(cell)
    except ValueError:
        return False
    return True


def number(cell: str) -> float:
    """Number that a cell holds; ValueError for all else, also for Python's 1_000 and non-ASCII digits."""
    if "_" in cell or not cell.isascii():
        raise ValueError(f"{shown(cell)} is not a number")
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{shown(cell)} is not a number" if cell.strip() else "an empty cell") from None


def shown(cell: str) -> str:
    """A cell in quotes, shortened for a message."""
    return repr(cell if len(cell) <= 40 else f"{cell[:39]}…")
