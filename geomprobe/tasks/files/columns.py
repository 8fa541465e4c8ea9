"""Which columns of a table are text, label and id; the cells of texts and ids checked."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geomprobe.common import InputError, UsageError, listed
from geomprobe.tasks.base import Split
from geomprobe.tasks.files.tables import NUMBER, TEXT_NAMES, Table, is_whole

LABEL_NAMES = ("label", "labels", "gold_label", "score")
ID_NAMES = ("id", "idx", "row_id")
SPLIT_NAME = "split"


@dataclass(frozen=True)
class Columns:
    """Names of the text, label and id columns; None means found by name."""

    text: tuple[str, ...] = ()
    label: str | None = None
    row_id: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class FileRows:
    """Rows of a table by what their cells are; texts and ids are checked, labels are not.

    Attributes
    ----------
    table : Table
    numbers : sequence of int
        Which rows of the table these are.
    first, second : list of str or None
        Texts; None where there is none. `second` is empty for single texts.
    cells : list
        Of the column of labels; empty without one.
    ids : list of str
    splits : list of str
        What the split column says; empty without one.
    """

    table: Table
    numbers: Sequence[int]
    first: list[str | None]
    second: list[str | None]
    cells: list[Any]
    ids: list[str]
    splits: list[str]

    def take(self, rows: Sequence[int]) -> FileRows:
        """Given rows."""
        taken: dict[str, Any] = {}
        for name in ("numbers", "first", "second", "cells", "ids", "splits"):
            column = getattr(self, name)
            taken[name] = column and [column[r] for r in rows]
        return replace(self, **taken)

    def place(self, i: int) -> str:
        """Where a row stands."""
        return self.table.place(self.numbers[i])

    @property
    def have_text(self) -> list[bool]:
        """Whether each row has its text, or both texts."""
        return [a is not None and b is not None for a, b in zip(self.first, self.second or self.first, strict=True)]

    def split(self, name: str, labels: type[np.int64 | np.float64]) -> Split:
        """Rows as a split of a task; all of them have text, and their cells are labels of this type."""
        return Split(
            name,
            tuple(self.first),  # type: ignore[arg-type]
            tuple(self.second) if self.second else None,  # type: ignore[arg-type]
            np.array(self.cells, labels),
            tuple(f"{name}/{row}" for row in self.ids),
        )


def choose_columns(table: Table, asked: Columns) -> Columns:
    """Columns to use: the requested ones, which must exist, else the ones found by name.

    Raises
    ------
    InputError
        A column is missing, or its name occurs twice.
    UsageError
        One column is asked for in two places.
    """
    there = set(table.names)
    text = tuple(name for given in asked.text for name in _split_name(given, there))
    text = text or next((names for names in TEXT_NAMES if set(names) <= there), ())
    if not text:
        odd = any(NUMBER.fullmatch(name) or len(name) > 40 or "\t" in name for name in table.names)
        headless = "The first line must name the columns; else: " if odd else ""
        hint = f"{headless}--text COLUMN; columns there: {listed(table.names)}"
        raise InputError(f"{table.where}: which column holds the text?", hint)
    if len(text) > 2:
        raise UsageError("A task has one text column, or two for pairs.")
    text = tuple(_checked(name, table) for name in text)
    if len(set(text)) < len(text):
        raise UsageError("The two text columns of a pair are the same.")
    free = there - set(text)
    label = asked.label or next((name for name in LABEL_NAMES if name in free), None)
    split = asked.split or (SPLIT_NAME if SPLIT_NAME in free else None)
    label = label and _checked(label, table)
    row_id = asked.row_id and _checked(asked.row_id, table)
    if label in text:
        raise UsageError(f"Column {label!r} is asked for as the text and as the label.")
    if row_id is None:
        candidates = (name for name in ID_NAMES if name in free - {label})
        once = (name for name in candidates if table.names.count(name) == 1)
        row_id = next((name for name in once if _are_ids(table.cells(name))), None)
    return Columns(text, label, row_id, split and _checked(split, table))


def _split_name(given: str, there: set[str]) -> list[str]:
    """Columns that a word of --text means: one, which may hold a comma, or two with a comma between."""
    if given.strip() in there or "," not in given:
        return [given]
    return [name for name in given.split(",") if name.strip()]


def _checked(name: str, table: Table) -> str:
    wanted = name.strip()
    count = table.names.count(wanted)
    if count == 1:
        return wanted
    if count:
        raise InputError(f"{table.where} has {count} columns called {wanted!r}.", "Give each column its own name.")
    near = difflib.get_close_matches(wanted, table.names, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{table.where} has no column {wanted!r}.{guess}", f"Columns there: {listed(table.names)}")


def _are_ids(cells: Sequence[Any]) -> bool:
    """Whether cells are words or whole numbers, all different, that can be written."""
    if not all(isinstance(cell, str | int) and not isinstance(cell, bool) and cell != "" for cell in cells):
        return False
    return len(set(map(str, cells))) == len(cells) and all(map(is_whole, map(str, cells)))


def read_rows(table: Table, columns: Columns) -> FileRows:
    """Rows of a table by its columns.

    Raises
    ------
    InputError
        A cell of a text column is no text; ids that are missing or repeat.
    """
    first, *second = (_texts(table, _checked(name, table)) for name in columns.text)
    labels = [] if columns.label is None else table.cells(_checked(columns.label, table))
    ids = list(map(str, range(table.rows)))
    if columns.row_id is not None:
        ids = _ids(table, _checked(columns.row_id, table))
    splits = []
    if columns.split is not None and columns.split in table.names:
        splits = ["" if cell is None else str(cell).strip() for cell in table.cells(columns.split)]
    return FileRows(table, range(table.rows), first, second[0] if second else [], labels, ids, splits)


def _texts(table: Table, name: str) -> list[str | None]:
    texts: list[str | None] = []
    for row, cell in enumerate(table.cells(name)):
        if cell is None or (isinstance(cell, float) and cell != cell):
            texts.append(None)
            continue
        if not isinstance(cell, str):
            what = f"{table.place(row)}: column {name!r} holds {type(cell).__name__}, not text."
            raise InputError(what, "Choose another: --text")
        _check_whole(cell, table, row, f"the text in column {name!r}")
        texts.append(cell)
    return texts


def _ids(table: Table, name: str) -> list[str]:
    seen: dict[str, int] = {}
    for row, cell in enumerate(table.cells(name)):
        if not isinstance(cell, str | int) or isinstance(cell, bool) or cell == "":
            held = "nothing" if cell is None or cell == "" else type(cell).__name__
            what = f"{table.place(row)}: column {name!r} holds {held}, not a row id."
            raise InputError(what, "Ids are words or whole numbers; leave --id out to use row numbers.")
        _check_whole(str(cell), table, row, f"the id in column {name!r}")
        if seen.setdefault(str(cell), row) != row:
            what = f"{table.where}: row id {str(cell)!r} occurs more than once in column {name!r}."
            raise InputError(what, "Paired comparisons need one id a row; leave --id out to use row numbers.")
    return list(seen)


def _check_whole(text: str, table: Table, row: int, what: str) -> None:
    if not is_whole(text):
        hint = "An emoji was cut in two when the file was written; correct or remove the row."
        raise InputError(f"{table.place(row)}: {what} holds half of a surrogate pair.", hint)
