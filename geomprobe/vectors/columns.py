"""Which columns of a table make the vectors: the requested ones, else the only candidates, else a refusal."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from geomprobe.common import InputError, brief, first_to_last

Kind = Literal["fractions", "whole", "list", "whole list", "text", "empty", "faulty", "other"]
NUMBERS = ("fractions", "whole", "faulty")
LISTS = ("list", "whole list")
SURE_FAMILY = 4
"""Columns of whole numbers, such as label1 and label2, that are taken for dimensions when their names count."""
RANGES = re.compile(r"\s*\d+\s*(-\s*\d*\s*)?(,\s*\d+\s*(-\s*\d*\s*)?)*")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
        Its name; its number from 1 where the table has no names.
    kind : str
        What its cells hold: fractions (numbers, not all whole), whole (numbers), list, whole list, text, empty, faulty
        (numbers but for some cells), other.
    what : str
        The same in words, for messages.
    counts : bool
        Whether it holds 0, 1, 2, … or 1, 2, 3, …
    fault : str
        Where its first cell is that holds no number, and what it holds.
    """

    name: str
    kind: Kind
    what: str
    counts: bool = False
    fault: str = ""


def choose(columns: Sequence[Column], named: bool, wanted: str | None) -> list[int]:
    """Positions of the columns that make the vectors, in the order of the file.

    Parameters
    ----------
    columns : sequence of Column
    named : bool
        Whether the file names them.
    wanted : str, optional
        What --columns says.

    Notes
    -----
    Without --columns: the only column of lists of fractions; else the only family of columns whose names count (e0, e1,
    …, or 0, 1, …); else all columns of a file that has nothing but fractions. Without names: all columns of numbers, if
    they lie next to each other, less columns that count the rows. Everything else is refused.

    Raises
    ------
    InputError
        No column, or more than one reading; a taken column with a cell that is no number; one lone column of numbers.
    """
    if not columns:
        raise InputError("no columns.", "It needs at least two vectors.")
    if wanted is not None:
        taken = matching([column.name for column in columns], named, wanted)
    else:
        if decimal := next((column for column in columns if column.what == "decimal commas"), None):
            raise InputError(f"{decimal.fault}.", "Write 0.5, or choose other columns with --columns.")
        taken = _only_lists(columns)
        _refuse_repeats(columns, taken)
        families = _families(columns) if named else []
        readings = [columns[j].name for j in taken] + [_pattern(columns, family) for family in families]
        if len(readings) > 1:
            shown = " or ".join(brief(name) for name in readings[:4])
            raise InputError(f"the vectors may be the columns {shown}.", _say(readings))
        if not taken:
            taken = families[0] if families else _all_numbers(columns, named)
    _refuse_repeats(columns, taken)
    chosen = [columns[j] for j in taken]
    if wanted is None and len(taken) == 1 and chosen[0].kind not in LISTS:
        refuse_lone(columns, chosen[0])
    for column in chosen:
        if column.kind == "faulty":
            raise InputError(f"{column.fault}.", "Repair or drop the row, or exclude the column with --columns.")
        if column.kind not in (*NUMBERS, *LISTS):
            raise InputError(f"column {brief(column.name)!r} holds {column.what}, not numbers.", _listing(columns))
    lists = [column.name for column in chosen if column.kind in LISTS]
    if lists and len(taken) > 1:
        raise InputError(f"{first_to_last(lists)} hold lists; one column of lists makes the vectors.", _say(lists))
    return taken


def matching(names: Sequence[str], named: bool, wanted: str) -> list[int]:
    """Positions of the columns that --columns means.

    A name or a pattern ("e*"), or several with commas ("x,y"); in a file without names, numbers and ranges from 1 as
    `cut -f` takes them ("2-", "1,3-5").
    """
    found: set[int] = set()
    if not named and RANGES.fullmatch(wanted):
        for part in wanted.split(","):
            first, dash, last = (piece.strip() for piece in part.partition("-"))
            end = int(last or len(names)) if dash else int(first)
            if not 1 <= int(first) <= end <= len(names):
                raise InputError(f"it has columns 1 to {len(names)}, not {part.strip()}.", "They are counted from 1.")
            found.update(range(int(first) - 1, end))
        return sorted(found)
    one = any(name == wanted or fnmatch.fnmatchcase(name, wanted) for name in names)
    for pattern in [wanted] if one else wanted.split(","):
        pattern = pattern if pattern in names else pattern.strip()
        here = {j for j, name in enumerate(names) if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not here:
            raise InputError(f"no column {brief(pattern)!r}.", f"It has: {first_to_last(names)}.")
        found |= here
    return sorted(found)


def left_out(columns: Sequence[Column], taken: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Names of the columns that were not taken, each with what it holds."""
    rest = [column for j, column in enumerate(columns) if j not in set(taken)]
    return tuple(
        (brief(column.name) or "without a name", "counts the rows" if column.counts else column.what) for column in rest
    )


def _only_lists(columns: Sequence[Column]) -> list[int]:
    fractions = [j for j, column in enumerate(columns) if column.kind == "list"]
    whole = [column.name for column in columns if column.kind == "whole list"]
    if whole and not fractions:
        raise InputError(f"lists of whole numbers in {first_to_last(whole)}: token ids, or vectors?", _say(whole))
    return fractions


def _families(columns: Sequence[Column]) -> list[list[int]]:
    """Groups of two or more columns whose names are one stem and different numbers, and which hold numbers."""
    groups: dict[str, list[int]] = defaultdict(list)
    for j, column in enumerate(columns):
        if found := re.fullmatch(r"(.*?)(\d+)", column.name, re.DOTALL):
            groups[found[1]].append(j)
    families = []
    for group in groups.values():
        kinds = [columns[j].kind for j in group]
        sure = len(group) >= SURE_FAMILY or (len(group) > 1 and "whole" not in kinds)
        if sure and any(kind in NUMBERS for kind in kinds):
            families.append(group)
    return families


def _pattern(columns: Sequence[Column], family: Sequence[int]) -> str:
    stem = re.sub(r"\d+$", "", columns[family[0]].name)
    return f"{stem}*" if stem else "[0-9]*"


def _all_numbers(columns: Sequence[Column], named: bool) -> list[int]:
    """All columns of numbers of a file whose names do not say which are meant."""
    # pandas writes its index as a first column without a name
    index = {0} if named and columns[0].name.strip() in ("", "Unnamed: 0") and len(columns) > 1 else set()
    numbers = [j for j, column in enumerate(columns) if column.kind in NUMBERS and j not in index]
    if not numbers:
        raise InputError("no column of numbers.", _listing(columns))
    if len(numbers) == 1:
        refuse_lone(columns, columns[numbers[0]])
    if named:
        if len(numbers) + len(index) < len(columns) or any(columns[j].kind == "whole" for j in numbers):
            raise InputError("which columns make the vectors? Their names do not say.", _listing(columns))
        return numbers
    numbers = [j for j in numbers if not columns[j].counts]
    if not numbers:
        raise InputError("every column of numbers counts the rows.", "--columns takes it all the same.")
    whole = [j for j in numbers if columns[j].kind == "whole"]
    takes = f"--columns {ranges(numbers)} takes"
    if len(whole) == len(numbers) == 2:
        what = "two columns of whole numbers: ids and counts, or vectors of two dimensions?"
        raise InputError(what, f"{takes} both.")
    if whole and len(whole) < len(numbers):
        rest = ranges([j for j in numbers if j not in whole])
        what = f"column {columns[whole[0]].name} holds whole numbers, others fractions: an id, or a dimension?"
        raise InputError(what, f"{takes} it; --columns {rest} does not.")
    if numbers and len(numbers) != numbers[-1] - numbers[0] + 1:
        raise InputError("the columns of numbers do not lie next to each other.", _listing(columns))
    return numbers


def ranges(positions: Sequence[int]) -> str:
    """Positions from 0 as ranges from 1."""
    parts: list[list[int]] = []
    for j in positions:
        if parts and parts[-1][1] == j:
            parts[-1][1] = j + 1
        else:
            parts.append([j + 1, j + 1])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in parts]
    return ",".join(shown[:6]) + (",…" if len(shown) > 6 else "")


def _refuse_repeats(columns: Sequence[Column], taken: Sequence[int]) -> None:
    names = [columns[j].name for j in taken]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two columns are called {brief(twice)!r}.", "Rename one, or drop the repeated column.")


def refuse_lone(columns: Sequence[Column], column: Column) -> NoReturn:
    name = brief(column.name)
    raise InputError(
        f"{name!r} is the only column of numbers: an id, a count or a score, not vectors.",
        f"{_listing(columns)} --columns {name!r} takes it all the same.",
    )


def _say(names: Sequence[str]) -> str:
    return "Say which: " + " or ".join(f"--columns {brief(name)!r}" for name in names[:4])


def _listing(columns: Sequence[Column]) -> str:
    shown = ", ".join(f"{brief(column.name, 40) or 'no name'} ({column.what})" for column in columns[:8])
    more = f" and {len(columns) - 8} more" if len(columns) > 8 else ""
    return f"Columns: {shown}{more}. Say which with --columns PATTERN; vectors in text are read as lists, [0.1, 0.2]."
