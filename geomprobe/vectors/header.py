"""Whether the first record of a table of numbers holds names: decided by all rows, refused where both may be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NoReturn

from geomprobe.common import InputError, brief
from geomprobe.vectors.columns import LISTS, NUMBERS, Column
from geomprobe.vectors.lists import is_number, looks_like_list

SURE_NAMES = 4
"""Names 0, 1, 2, 3 above fractions are no row; with fewer of them, "0,1" may be one."""
SORTED_ROW = 5
"""So many whole numbers rise by chance too seldom to be taken for a row without asking."""


def has_header(
    first: Sequence[str], below: Sequence[Column], some_whole: Sequence[bool], rows_below: int
) -> tuple[bool, str]:
    """Whether the first record holds names, and how that was seen.

    Parameters
    ----------
    first : sequence of str, length m
        Cells of the first record.
    below : sequence of Column, length m
        What the columns hold below it.
    some_whole : sequence of bool, length m
        Whether some cells of a column below it are written as whole numbers.
    rows_below : int
        Records below the first.

    Raises
    ------
    InputError
        Both readings are possible; it names --header and --no-header.
    """
    if any(column.kind in LISTS for column in below):
        cells = [cell for cell, column in zip(first, below, strict=True) if column.kind in LISTS]
        found = not any(map(looks_like_list, cells))
        return found, "names in line 1" if found else "no line of names"
    cells = [cell.strip() for cell, column in zip(first, below, strict=True) if column.kind in NUMBERS]
    if not rows_below:
        cells = [cell.strip() for cell in first]
        if any(map(looks_like_list, cells)):
            return False, "no line of names"
    numbers = [cell for cell in cells if is_number(cell)]
    words = [cell for cell in cells if cell and not is_number(cell)]
    if not numbers:
        if words or not cells:
            return True, "names in line 1"
        _refuse(first, "is empty above the numbers")
    values = [float(cell) for cell in numbers]
    rising = len(values) == len(cells) - len(words) - cells.count("") and all(map(float.is_integer, values))
    rising = rising and all(a < b for a, b in pairwise(values))
    consecutive = (
        rising
        and (len(values) > 1 or not first[0].strip())
        and values[0] in (0, 1)
        and values[-1] - values[0] == len(values) - 1
    )
    written_whole = all(cell.lstrip("+-").isdecimal() for cell in numbers)
    # a first column of whole numbers may be an index, whose name is a number, too
    under = zip(first[1:], below[1:], some_whole[1:], strict=True)
    fractions = rows_below > 0 and not any(w and c.kind in NUMBERS and is_number(cell) for cell, c, w in under)
    reasons = [fractions, bool(words), len(values) >= SURE_NAMES]
    sure = consecutive and written_whole and sum(reasons) > 1
    if sure or (consecutive and written_whole and not first[0].strip()):
        return True, f"names in line 1: the numbers {values[0]:.0f} to {values[-1]:.0f}"
    if words:
        _refuse(first, "holds words and numbers")
    if consecutive or (rising and len(values) >= SORTED_ROW):
        _refuse(first, "holds numbers that rise, which may be names or a row")
    if written_whole and fractions and len(values) == len(cells) > 1:
        _refuse(first, "alone holds whole numbers, which may be names or a row")
    return False, "no line of names"


def _refuse(first: Sequence[str], why: str) -> NoReturn:
    hint = "--header reads it as names, --no-header as a row."
    raise InputError(f"the first line {why}: {brief(','.join(first), 60)}", hint)
