"""Files as tables: named columns of cells as they were written, and where each row stands in its file."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, first_line, listed
from geomprobe.common.files import unique_names
from geomprobe.common.formats import open_arrow
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
    where : str
        The file or folder, for messages.
    names : tuple of str
        The names of the columns, without blanks around them; they may repeat.
    columns : tuple of sequence
        A list, or an Arrow column, for each name.
    rows : int
    lines : sequence of int or None
        The line at which each row starts; None where the file has no lines.
    notes : tuple of str
        What was decided on the way.
    classes : mapping of str to tuple of str
        The names of the classes of a column of whole numbers, where the file declares them (`datasets.ClassLabel`).
    parts : tuple of (int, Table)
        For a table in several files: the number of the first row of each, and its table.
    """

    where: str
    names: tuple[str, ...]
    columns: tuple[Any, ...]
    rows: int
    lines: Sequence[int] | None = None
    notes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: tuple[tuple[int, Table], ...] = ()

    def cells(self, name: str) -> list[Any]:
        """A column as Python values; raises InputError where its cells are damaged."""
        column = self.columns[self.names.index(name)]
        if isinstance(column, list):
            return column
        try:
            return column.to_pylist()
        except Exception as error:  # bytes that are no UTF-8, times out of range, lengths that do not fit
            reason = first_line(error)
            raise InputError(f"{self.where}: column {name!r} cannot be read: {reason}.") from None

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
    data, found = read_content(path)
    named = format_of(path) or ""
    if found in ARROW:
        table = _read_arrow(path, data)
        if named not in ("parquet", "arrow"):
            table = _noted(table, [f"{found.capitalize()}, by its first bytes, despite its name"])
    elif data is None or named in ("parquet", "arrow"):
        raise InputError(f"{path} is damaged or not a {named.capitalize()} file.")
    else:
        text, notes = decode(data, path)
        table = _noted(_read_text(path, text, named, quotes), notes)
    if not table.rows:
        raise InputError(f"{path} holds no rows.")
    return table


def joined(tables: Sequence[Table], where: str) -> Table:
    """Several tables with the same columns, one below the other; raises InputError where columns differ."""
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables[1:]:
        if sorted(table.names) != sorted(first.names) or table.classes != first.classes:
            raise InputError(
                f"{table.where} and {first.where} are parts of one split and have different columns.",
                f"{listed(table.names)}; and {listed(first.names)}.",
            )
    starts = [sum(table.rows for table in tables[:i]) for i in range(len(tables))]
    columns = tuple([cell for table in tables for cell in table.cells(name)] for name in first.names)
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    parts = tuple(zip(starts, tables, strict=True))
    total = sum(table.rows for table in tables)
    return Table(where, first.names, columns, total, None, notes, first.classes, parts)


def is_whole(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _noted(table: Table, notes: Sequence[str]) -> Table:
    return replace(table, notes=(*notes, *table.notes))


# ---- Parquet and Arrow -----------------------------------------------------------------------------------------------


def _read_arrow(path: Path, data: bytes | None) -> Table:
    import pyarrow as pa

    try:
        with open_arrow(path if data is None else data) as (_, schema, batches):
            found = pa.Table.from_batches(batches(None), schema)
    except Exception as error:  # pyarrow raises many kinds; for the reader they mean one thing
        raise InputError(f"{path} is damaged: {first_line(error)}.") from None
    names = tuple(name.strip() for name in found.column_names)
    classes, notes = _declared_classes((found.schema.metadata or {}).get(b"huggingface", b"{}"))
    return Table(str(path), names, tuple(found.columns), found.num_rows, None, notes, classes)


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


def _read_text(path: Path, text: str, kind: str, quotes: bool | None) -> Table:
    if kind == "json":
        return _read_json(path, text)
    lines = re.split("\r\n|\r|\n", text) if kind == "txt" else []
    if kind == "txt" and not _has_columns(lines):
        return _read_lines(path, lines)
    reading, said = read_delimited(text, "," if kind == "csv" else "\t", str(path), quotes)
    if kind == "txt":
        said.insert(0, "a table: most lines have as many tabs as the first")
    names = tuple(name.strip() for name in reading.rows[0])
    cells = [list(column) for column in zip(*reading.rows[1:], strict=True)] or [[] for _ in names]
    return Table(str(path), names, tuple(cells), len(reading.rows) - 1, reading.lines[1:], tuple(said))


def _has_columns(lines: Sequence[str]) -> bool:
    """Whether lines are a table with tabs, as many data sets and Excel write it to a .txt file."""
    tabs = [line.count("\t") for line in lines if line.strip()]
    return bool(tabs) and tabs[0] > 0 and 2 * tabs.count(tabs[0]) > len(tabs)


def _read_lines(path: Path, lines: Sequence[str]) -> Table:
    """Read a text a line; raises InputError for one line, or where the first names columns."""
    kept = [number for number, line in enumerate(lines, 1) if line.strip()]
    if len(kept) == 1:
        raise InputError(f"{path} holds one line only.", "A .txt file holds a text a line.")
    first = lines[kept[0] - 1].strip() if kept else ""
    words = {word.strip().strip("'\"").lower() for word in re.split(r"[\t,;|]", first)}
    if words & {name for names in TEXT_NAMES for name in names}:
        raise InputError(
            f"{path}: its first line, {listed([repr(first)])}, names columns, but a .txt file holds a text a line.",
            "Rename a table .csv or .tsv; remove the line where a text a line is meant.",
        )
    blank = len(lines) - len(kept) - (not lines[-1])
    notes = ("a text a line", *([f"{blank} blank lines skipped"] if blank else []))
    return Table(str(path), ("text",), ([lines[number - 1] for number in kept],), len(kept), kept, notes)


def _read_json(path: Path, text: str) -> Table:
    """Read JSON lines, a list of records, {"data": [records]}, or an object of columns (lists, or objects by row)."""
    values, starts = _json_values(path, text)
    lines: list[int] | None = starts
    if len(values) == 1:
        whole = values[0]
        if (
            isinstance(whole, dict)
            and isinstance(whole.get("data"), list)
            and isinstance((whole["data"] or [0])[0], dict)
        ):
            whole = whole["data"]
        if isinstance(whole, list):
            values, lines = whole, None
        elif isinstance(whole, dict) and whole and all(isinstance(cells, list | dict) for cells in whole.values()):
            return _json_columns(path, whole)
    columns: dict[str, list[Any]] = {}
    for number, record in enumerate(values):
        if not isinstance(record, dict):
            at = f"row {number + 1}" if lines is None else f"line {lines[number]}"
            raise InputError(
                f"{path}, {at}, holds {type(record).__name__}, not a record.",
                'Expected {"text": …, "label": …} a line, or a list of such records.',
            )
        for name in record:
            if name not in columns:
                columns[name] = [None] * number
        for name, column in columns.items():
            column.append(record.get(name))
    names = tuple(name.strip() for name in columns)
    return Table(str(path), names, tuple(columns.values()), len(values), lines)


def _json_columns(path: Path, columns: dict[str, Any]) -> Table:
    if all(isinstance(row, dict) and name.isdecimal() for name, row in columns.items()):
        raise InputError(
            f"{path} is an object of rows by number.", 'Write records: DataFrame.to_json(orient="records").'
        )
    cells = [list(column.values()) if isinstance(column, dict) else column for column in columns.values()]
    keys = [list(column) for column in columns.values() if isinstance(column, dict)]
    if len({*map(len, cells)}) != 1 or any(key != keys[0] for key in keys):
        sizes = listed([f"{name} ({len(column)})" for name, column in zip(columns, cells, strict=True)])
        raise InputError(
            f"{path} is an object, but not of columns of one length: {sizes}.",
            'Expected a list of records, {"data": [records]}, or {"text": […], "label": […]}.',
        )
    return Table(str(path), tuple(name.strip() for name in columns), tuple(cells), len(cells[0]))


def _json_values(path: Path, text: str) -> tuple[list[Any], list[int]]:
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
            raise InputError(f"{path}, line {error.lineno}, is not JSON: {error.msg}.") from None
        except RecursionError:
            raise InputError(f"{path}, line {line}, cannot be read: lists or objects nested too deep.") from None
        except ValueError as error:  # a name that occurs twice, or Python's limit on the digits of a number
            reason = "a number of over 4,300 digits" if "digits" in str(error) else str(error)
            raise InputError(f"{path}, line {line}, cannot be read: {reason}.") from None
        values.append(value)
        lines.append(line)
        place = SPACE.match(text, end).end()  # type: ignore[union-attr]
    return values, lines
