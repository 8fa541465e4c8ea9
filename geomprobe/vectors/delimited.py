"""CSV and its kin: every cell read once, kinds of columns and the line of names decided by the whole file."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geomprobe.common import InputError
from geomprobe.vectors.columns import LISTS, Column, choose, left_out
from geomprobe.vectors.dialect import DECIMAL_COMMA, NAMES, Dialect, records, skipped_notes, sniff
from geomprobe.vectors.header import has_header
from geomprobe.vectors.indices import SURE_ROWS, counting_columns, without_indices
from geomprobe.vectors.lists import is_whole_list, looks_like_list, number, shown, vectors_of
from geomprobe.vectors.vector_file import ReadOptions, VectorFile, row_place, spooled, with_columns

BATCH_CELLS = 2**18
NEARLY = re.compile(r"[^\w,#]*\d*\.?\d+([eE][+-]?\d+)?[^\w,#]*", re.ASCII)
"""A number with brackets, quotes or signs around it: a piece of a list, a price; as text it would vanish in silence."""


class Facts:
    """Counts of what the cells of each column hold, over the records.

    Attributes
    ----------
    n : int
        Records.
    numbers, written_whole, empty, lists, whole_lists, nearly, decimal_commas : ndarray of int, shape (m,)
        Cells that hold a number; of these, written without a point; cells that hold nothing; a list; of these, of whole
        numbers alone; cells that hold [0.5 or 5%; 0,5.
    faults : dict
        For a column, (row from 0, line, reason) of its first cell that holds no finite number.
    """

    def __init__(self, m: int):
        self.n = 0
        self.counts = np.zeros((7, m), np.int64)
        self.numbers, self.written_whole, self.empty, self.lists, self.whole_lists, self.nearly, self.decimal_commas = (
            self.counts
        )
        self.faults: dict[int, tuple[int, int, str]] = {}

    def add(self, lines: Sequence[int], rows: Sequence[Sequence[str]]) -> np.ndarray:
        """Count records; return their numbers, float64 of shape (len(rows), m), NaN where a cell holds none."""
        out = np.empty((len(rows), len(rows[0])))
        for j, cells in enumerate(zip(*rows, strict=True)):
            out[:, j] = values = self._values(j, lines, cells)
            whole = np.flatnonzero(values == np.rint(values))
            self.written_whole[j] += sum(cells[k].strip().lstrip("+-").isdecimal() for k in whole)
            if j not in self.faults and not np.isfinite(values).all():
                k = int(np.flatnonzero(~np.isfinite(values))[0])
                self.faults[j] = self.n + k, lines[k], f"{shown(cells[k])} is not finite"
        self.n += len(rows)
        return out

    def _values(self, j: int, lines: Sequence[int], cells: tuple[str, ...]) -> np.ndarray:
        joined = "".join(cells)
        if joined.isascii() and "_" not in joined:
            try:
                values = np.fromiter(map(float, cells), np.float64, len(cells))
            except ValueError:
                pass
            else:
                self.numbers[j] += len(cells)
                return values
        values = np.full(len(cells), np.nan)
        for k, cell in enumerate(cells):
            try:
                values[k] = number(cell)
                self.numbers[j] += 1
            except ValueError as reason:
                self.faults.setdefault(j, (self.n + k, lines[k], str(reason)))
                self.empty[j] += not cell.strip()
                self.nearly[j] += len(cell) < 64 and bool(NEARLY.fullmatch(cell))
                self.lists[j] += looks_like_list(cell)
                self.whole_lists[j] += is_whole_list(cell)
                self.decimal_commas[j] += bool(DECIMAL_COMMA.fullmatch(cell))
        return values

    def with_first(self, first: Facts) -> Facts:
        """Facts with one record before the others."""
        whole = Facts(len(self.numbers))
        whole.n = self.n + 1
        whole.counts += self.counts + first.counts
        later = {j: (row + 1, line, why) for j, (row, line, why) in self.faults.items()}
        whole.faults = later | first.faults
        return whole

    def column(self, j: int, name: str, counts: bool) -> Column:
        """Column j in words."""
        filled, fault = self.n - self.empty[j], ""
        if j in self.faults:
            row, line, why = self.faults[j]
            fault = f"{row_place(row, name, line)}: {why}"
        if not filled:
            return Column(name, "empty", "empty")
        if self.numbers[j] == self.n and not fault:
            whole = self.written_whole[j] == self.n
            return Column(name, "whole" if whole else "fractions", "whole numbers" if whole else "numbers", counts)
        if self.decimal_commas[j] and self.decimal_commas[j] + self.written_whole[j] == filled:
            return Column(name, "faulty", "decimal commas", fault=fault + " (a decimal comma; numbers need a point)")
        if self.nearly[j] == filled:
            return Column(name, "faulty", "numbers with signs around them", fault=fault)
        if self.lists[j] and self.lists[j] >= filled / 2:
            if self.whole_lists[j] == self.lists[j]:
                return Column(name, "whole list", "lists of whole numbers", fault=fault)
            return Column(name, "list", "lists", fault=fault)
        if self.numbers[j] >= filled / 2:
            return Column(name, "faulty", "numbers with faults", fault=fault)
        return Column(name, "text", "text")


def read_delimited(path: Path, reading: ReadOptions) -> VectorFile:
    """Vectors of a CSV, TSV or other delimited text file.

    All cells are read once, as float64, into a temporary file; then the line of names and the columns are decided.

    Raises
    ------
    InputError
        A cell of a taken column that holds no number (with its row, line and column), records of unequal length, and
        whatever can be read in two ways: the message names both, and the option for each.
    """
    dialect, skipped = sniff(path), Counter[str]()
    with tempfile.TemporaryFile() as file:
        first, first_facts, below, repeat = _scan(path, dialect, skipped, file)
        named, how = _header(first, below, reading, dialect)
        if named and repeat:
            what = f"line {repeat} repeats the names of the first line: files joined together?"
            raise InputError(what, "Delete it. --no-header reads both as rows.")
        facts = below if named else below.with_first(first_facts)
        if not facts.n:
            raise InputError("it holds a line of names and no rows.", "It needs at least two vectors.")
        if dialect.counted and dialect.counted[0] != facts.n:
            what = f"its first line says {dialect.counted[0]} vectors, and it holds {facts.n}: cut off?"
            raise InputError(what, "Write it again, or correct the line.")
        matrix = np.memmap(file, np.float64, "r", shape=(below.n + 1, dialect.width))[int(named) :]
        names = [name.strip().strip('"') for name in first] if named else [str(j + 1) for j in range(dialect.width)]
        sure = counting_columns(matrix) if facts.n >= SURE_ROWS else []
        columns = [facts.column(j, name, j in sure) for j, name in enumerate(names)]
        if dialect.counted:  # the first column holds the words, whatever they look like
            columns[0] = Column(names[0], "text", "words")
        taken = choose(columns, named, reading.columns)
        if columns[taken[0]].kind in LISTS:
            rows = enumerate(islice(records(path, dialect, Counter()), int(named), None))
            cells = ((row_place(row, names[taken[0]], line), cells[taken[0]]) for row, (line, cells) in rows)
            matrix = spooled(vectors_of(cells))
        else:
            matrix = with_columns(matrix, taken)
            if reading.columns is None:
                matrix, columns, taken = without_indices(matrix, columns, taken, named)
    described = f"text, {NAMES[dialect.delimiter]} between cells" if dialect.width > 1 else "text"
    prefix = "" if named else "column "
    shown_names = tuple(prefix + names[j] for j in taken)
    out = tuple((prefix + name, why) for name, why in left_out(columns, taken))
    return VectorFile(path, described, matrix, shown_names, out, (how, *skipped_notes(skipped)))


def _scan(path: Path, dialect: Dialect, skipped: Counter[str], file: BinaryIO) -> tuple[list[str], Facts, Facts, int]:
    """Write the numbers of all cells to the file; return the first record, its facts, those of the others, and the line
    that repeats the first record (0: none)."""
    rows = records(path, dialect, skipped)
    line, first = next(rows, (0, []))
    if not first:
        raise InputError("it is empty.", "It needs at least two vectors.")
    first_facts, below, repeat = Facts(dialect.width), Facts(dialect.width), 0
    file.write(first_facts.add([line], [first]).data)
    while piece := list(islice(rows, max(BATCH_CELLS // dialect.width, 1))):
        lines, batch = zip(*piece, strict=True)
        file.write(below.add(lines, batch).data)
        if not repeat and first in batch:
            repeat = lines[batch.index(first)]
    file.flush()
    return first, first_facts, below, repeat


def _header(first: list[str], below: Facts, reading: ReadOptions, dialect: Dialect) -> tuple[bool, str]:
    if dialect.counted:
        n, d = dialect.counted
        return False, f"the first line says {n} vectors of {d} numbers, as word2vec writes it"
    if reading.header is not None:
        return reading.header, "names in line 1, as asked" if reading.header else "no line of names, as asked"
    columns = [below.column(j, "", counts=False) for j in range(dialect.width)]
    return has_header(first, columns, (below.written_whole > 0).tolist(), below.n)
