"""Vectors written as text: JSON lists, Python's and numpy's way of printing them."""

from __future__ import annotations

import re

import numpy as np

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
