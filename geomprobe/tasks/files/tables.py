"""Files as tables: named columns of cells as they were written, and where each row stands in its file."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, first_line, listed
from geomprobe.common.files import json_fault, unique_names
from geomprobe.common.formats import errors_of, open_arrow
from geomprobe.tasks.files.content import ARROW, decode, format_of, read_content
from geomprobe.tasks.files.delimited import read_delimited

TEXT_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("text1", "text2"), ("sentence",), ("text",))
"""Names of columns of texts, the pairs first."""
SPACE = re.compile(r"[ \t\r\n]*")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Table:
    """Columns of cells.

    Attributes
    ----------
    names : tuple of str
        The names of the columns, without blanks around them; they may repeat.
    columns : tuple of sequence
        A list, or an Arrow column, for each name.
    lines : sequence of int or None
        The line at which each row starts; None where the file has no lines.
    notes : tuple of str
        What was decided on the way.
    classes : mapping of str to tuple of str
        The names of the classes of a column of whole numbers, where the file declares them (`datasets.ClassLabel`).
    where : str
        The file or folder, for messages.
    parts : tuple of (int, Table)
        For a table in several files: the number of the first row of each, and its table.
    """

    names: tuple[str, ...]
    columns: tuple[Any, ...]
    lines: Sequence[int] | None = None
    notes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: str = ""
    parts: tuple[tuple[int, Table], ...] = ()

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.columns[0]) if self.columns else 0

    def cells(self, name: str) -> list[Any]:
        """A column as Python values; raises InputError where its cells are damaged."""
        column = self.columns[self.names.index(name)]
        if isinstance(column, list):
            return column
        try:
            return column.to_pylist()
        except Exception as error:  # bytes that are no UTF-8, times out of range, lengths that do not fit
            raise InputError(f"{self.where}: column {name!r} cannot be read: {first_line(error)}.") from None

    def place(self, row: int) -> str:
        """Where a row stands, such as "my.csv, line 7"."""
        if self.parts:
            first, table = self.parts[bisect_right([first for first, _ in self.parts], row) - 1]
            return table.place(row - first)
        return f"{self.where}, row {row + 1}" if self.lines is None else f"{self.where}, line {self.lines[row]}"


def read_table(path: Path, quotes: bool | None = None) -> Table:
    """A file's table.

    Parameters
    ----------
    path : Path
        The first bytes decide whether it is compressed, Parquet or Arrow; its suffix decides between formats of text.
    quotes : bool, optional
        For CSV and TSV: whether double quotes enclose cells (see `delimited.read_delimited`).

    Raises
    ------
    InputError
        Unknown or damaged format, another encoding, lines that do not fit the header, no rows.
    """
    named = format_of(path) or ""
    notes: list[str] = []
    with errors_of(path):
        data, found = read_content(path)
        if found in ARROW:
            table = _read_arrow(path if data is None else data)
            if named not in ("parquet", "arrow"):
                notes = [f"{found.capitalize()}, by its first bytes, despite its name"]
        elif data is None or named in ("parquet", "arrow"):
            raise InputError(f"it is damaged or not a {named.capitalize()} file.")
        else:
            text, notes = decode(data)
            table = _read_text(text, named, quotes)
        if not table.rows:
            raise InputError("it holds no rows.")
    names = tuple(name.strip() for name in table.names)
    return replace(table, where=str(path), names=names, notes=(*notes, *table.notes))


def joined(tables: Sequence[Table], where: str) -> Table:
    """Several tables with the same columns, one below the other; raises InputError where columns differ."""
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables[1:]:
        if sorted(table.names) != sorted(first.names) or table.classes != first.classes:
            what = f"{table.where} and {first.where} are parts of one split and have different columns."
            raise InputError(what, f"{listed(table.names)}; and {listed(first.names)}.")
    columns = tuple([cell for table in tables for cell in table.cells(name)] for name in first.names)
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    starts = accumulate((table.rows for table in tables[:-1]), initial=0)
    parts = tuple(zip(starts, tables, strict=True))
    return Table(first.names, columns, None, notes, first.classes, where, parts)


def is_whole(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---- Parquet and Arrow -----------------------------------------------------------------------------------------------


def _read_arrow(source: Path | bytes) -> Table:
    import pyarrow as pa

    try:
        with open_arrow(source) as (_, schema, batches):
            found = pa.Table.from_batches(batches(None), schema)
    except Exception as error:  # pyarrow raises many kinds; for the reader they mean one thing
        raise InputError(f"it is damaged: {first_line(error)}.") from None
    classes, notes = _declared_classes((found.schema.metadata or {}).get(b"huggingface", b"{}"))
    return Table(tuple(found.column_names), tuple(found.columns), None, notes, classes)


def _declared_classes(declaration: bytes) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Names of classes by column, as `datasets` declares them, and a note where that cannot be read."""
    try:
        features = json.loads(declaration).get("info", {}).get("features", {})
        classes = {
            name: tuple(feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature["names"], list)
        }
        if all(is_whole(each) for names in classes.values() for each in names):
            return {name: names for name, names in classes.items() if names}, ()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    return {}, ("the file's declaration of its columns cannot be read, so names of classes are not known",)


# ---- text ------------------------------------------------------------------------------------------------------------


def _read_text(text: str, kind: str, quotes: bool | None) -> Table:
    if kind == "json":
        return _read_json(text)
    lines = re.split("\r\n|\r|\n", text) if kind == "txt" else []
    if kind == "txt" and not _has_columns(lines):
        return _read_lines(lines)
    reading, notes = read_delimited(text, "," if kind == "csv" else "\t", quotes)
    if kind == "txt":
        notes.insert(0, "a table: most lines have as many tabs as the first")
    header, *rows = reading.rows
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header]
    return Table(tuple(header), tuple(columns), reading.lines[1:], tuple(notes))


def _has_columns(lines: Sequence[str]) -> bool:
    """Whether lines are a table with tabs, as many data sets and Excel write it to a .txt file."""
    tabs = [line.count("\t") for line in lines if line.strip()]
    return bool(tabs) and tabs[0] > 0 and 2 * tabs.count(tabs[0]) > len(tabs)


def _read_lines(lines: Sequence[str]) -> Table:
    """Read a text a line; raises InputError for one line, or where the first names columns."""
    kept = [number for number, line in enumerate(lines, 1) if line.strip()]
    if len(kept) == 1:
        raise InputError("it holds one line only.", "A .txt file holds a text a line.")
    first = lines[kept[0] - 1].strip() if kept else ""
    words = {word.strip().strip("'\"").lower() for word in re.split(r"[\t,;|]", first)}
    if words & {name for names in TEXT_NAMES for name in names}:
        what = f"its first line, {listed([repr(first)])}, names columns, but a .txt file holds a text a line."
        raise InputError(what, "Rename a table .csv or .tsv; remove the line where a text a line is meant.")
    blank = len(lines) - len(kept) - (not lines[-1])
    notes = ("a text a line", *([f"{blank} blank lines skipped"] if blank else []))
    return Table(("text",), ([lines[number - 1] for number in kept],), kept, notes)


def _read_json(text: str) -> Table:
    """Read JSON lines, a list of records, {"data": [records]}, or an object of columns (lists, or objects by row)."""
    values, starts = _json_values(text)
    lines: list[int] | None = starts
    if len(values) == 1:
        whole = values[0]
        data = whole.get("data") if isinstance(whole, dict) else None
        if isinstance(data, list) and isinstance((data or [0])[0], dict):
            whole = data
        if isinstance(whole, list):
            values, lines = whole, None
        elif isinstance(whole, dict) and whole and all(isinstance(cells, list | dict) for cells in whole.values()):
            return _json_columns(whole)
    for number, record in enumerate(values):
        if not isinstance(record, dict):
            at = f"row {number + 1}" if lines is None else f"line {lines[number]}"
            hint = 'Expected {"text": …, "label": …} a line, or a list of such records.'
            raise InputError(f"{at} holds {type(record).__name__}, not a record.", hint)
    names = tuple(dict.fromkeys(name for record in values for name in record))
    return Table(names, tuple([record.get(name) for record in values] for name in names), lines)


def _json_columns(columns: dict[str, Any]) -> Table:
    if all(isinstance(row, dict) and name.isdecimal() for name, row in columns.items()):
        raise InputError("an object of rows by number.", 'Write records: DataFrame.to_json(orient="records").')
    cells = [list(column.values()) if isinstance(column, dict) else column for column in columns.values()]
    keys = [list(column) for column in columns.values() if isinstance(column, dict)]
    if len({*map(len, cells)}) != 1 or any(key != keys[0] for key in keys):
        sizes = listed([f"{name} ({len(column)})" for name, column in zip(columns, cells, strict=True)])
        hint = 'Expected a list of records, {"data": [records]}, or {"text": […], "label": […]}.'
        raise InputError(f"an object, but not of columns of one length: {sizes}.", hint)
    return Table(tuple(columns), tuple(cells))


def _json_values(text: str) -> tuple[list[Any], list[int]]:
    """JSON values of a text, one after the other, and the line at which each starts."""
    decoder = json.JSONDecoder(object_pairs_hook=unique_names)
    values: list[Any] = []
    lines: list[int] = []
    line, counted, place = 1, 0, SPACE.match(text).end()  # type: ignore[union-attr]
    while place < len(text):
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise InputError(f"line {error.lineno} is not JSON: {error.msg}.") from None
        except (RecursionError, ValueError) as error:  # a name that occurs twice, or Python's limit on digits
            raise InputError(f"line {line} cannot be read: {json_fault(error)}.") from None
        values.append(value)
        lines.append(line)
        place = SPACE.match(text, end).end()  # type: ignore[union-attr]
    return values, lines
