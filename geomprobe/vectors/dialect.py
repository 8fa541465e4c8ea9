"""How a text file of numbers is written: its encoding, its delimiter, its comments, and its records one by one."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from geomprobe.common import InputError
from geomprobe.common.formats import CsvReader, open_text
from geomprobe.vectors.lists import is_number, looks_like_list, shown

NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar", " ": "whitespace"}
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")
SAMPLE_LINES = 50


@dataclass(frozen=True)
class Dialect:
    """How the records of a text file are written.

    Attributes
    ----------
    delimiter : str
        One of NAMES; " " stands for any run of spaces and tabs, without quotes.
    width : int
        Cells of a record.
    comments : bool
        Whether every line that starts with # is a comment; else it is one only where its number of cells is another.
    counted : tuple of (int, int), optional
        Vectors and dimensions, where the first line says both, as word2vec writes it.
    unnamed : bool
        Whether the first line names all columns but the first, as R's write.table does.
    """

    delimiter: str
    width: int
    comments: bool
    counted: tuple[int, int] | None = None
    unnamed: bool = False


SKIPPED = {
    "blank": ("blank line skipped", "blank lines skipped"),
    "comment": ("line of comment (#) skipped", "lines of comment (#) skipped"),
    "joined": ("word holds spaces", "words hold spaces"),
}
"""What is counted while a file is read: lines that hold no record, words that were joined."""


def skipped_notes(skipped: Counter[str]) -> list[str]:
    """Counts of SKIPPED in words."""
    return [f"{skipped[key]} {words[skipped[key] > 1]}" for key, words in SKIPPED.items() if skipped[key]]


def sniff(path: Path) -> Dialect:
    """How a file is written, from its first lines: the delimiter that makes the most cells numbers or lists.

    Raises
    ------
    InputError
        The file is empty, or no delimiter gives its lines the same number of cells.
    """
    plain: list[str] = []
    remarks: list[str] = []
    with open_text(path) as text:
        for line in text:
            if line.strip():
                (remarks if line.lstrip().startswith("#") else plain).append(line)
            if len(plain) == SAMPLE_LINES:
                break
    if len(plain) < 2:  # words and ids may begin with #, too
        plain += remarks[:SAMPLE_LINES]
    if not plain:
        raise InputError("it is empty.", "It needs at least two vectors.")
    counted = _counted(plain)
    best: tuple[float, str, int] | None = None
    for delimiter in NAMES:
        if delimiter == " " and _tabs_delimit(plain):
            continue
        rows = _sample_rows(plain[1:] if counted and delimiter == " " else plain, delimiter)
        width, seen = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        if seen < 0.6 * len(rows) or not seen:
            continue
        cells = [cell for row in rows[1:] or rows for cell in row if len(row) == width]
        # one cell a line speaks for a delimiter only where it is a list
        score = sum(map(looks_like_list if width == 1 else _is_numeric, cells)) / len(cells)
        if delimiter != " ":  # the numbers of a list speak for no delimiter; the list does
            score += sum(any(map(_is_long_list, row)) for row in rows[1:] or rows) / len(rows)
        if (width > 1 or delimiter == ",") and (best is None or score > best[0]):
            best = score, delimiter, width
    if best is None:
        what = "not a table: its lines differ in their number of cells, or a quote is not closed."
        raise InputError(what, "Delimiters are comma, tab, semicolon, bar and whitespace.")
    _, delimiter, width = best
    rows = _sample_rows(plain, delimiter)
    first_cells = [row[0] for row in rows[1:] if row]
    comments = bool(first_cells) and sum(map(_is_numeric, first_cells)) > len(first_cells) / 2
    short = len(rows[0]) == width - 1 and not any(map(_is_numeric, rows[0]))
    # names of rows are no fractions; a line that ends with a delimiter has a last cell that is empty
    unnamed = short and all(row[-1].strip() and _may_name_a_row(row[0]) for row in rows[1:])
    return Dialect(delimiter, width, comments, counted if delimiter == " " else None, unnamed)


def records(path: Path, dialect: Dialect, skipped: Counter[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the line, cells) of each record; the lines are counted from 1.

    Raises
    ------
    InputError
        A record with another number of cells than the first, or a quoted cell that holds whole lines.
    """
    count_line, unnamed = dialect.counted is not None, dialect.unnamed
    with open_text(path) as text:
        rows = _split_records(text, dialect, skipped) if dialect.delimiter == " " else _csv_records(text, dialect)
        for line, cells in rows:
            if len(cells) < 2 and not "".join(cells).strip():
                skipped["blank"] += 1
                continue
            if cells[0].lstrip().startswith("#") and (dialect.comments or len(cells) != dialect.width):
                if any("\n" in cell for cell in cells):
                    raise InputError(f"line {line}: a comment with a quote runs over several lines.", "Delete it.")
                skipped["comment"] += 1
                continue
            if count_line:
                count_line = False
                continue
            if unnamed:
                unnamed, cells = False, ["", *cells]
            if len(cells) != dialect.width:
                counts = f"{len(cells)} cell{'s' * (len(cells) != 1)}, others {dialect.width}"
                start = f"(delimiter: {NAMES[dialect.delimiter]}). It begins {shown(dialect.delimiter.join(cells))}"
                hint = "Give every line the same number of cells; a line of names needs one for each."
                raise InputError(f"line {line} has {counts} {start}.", hint)
            yield line, cells


def _csv_records(text: Iterator[str], dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    reader, before = CsvReader(text, dialect.delimiter), 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            whole_rows = (
                "\n" in cell and cell.count(dialect.delimiter) >= dialect.width - 1 and not looks_like_list(cell)
                for cell in cells
            )
            if before > line and dialect.width > 1 and any(whole_rows):
                what = f"a quote opened in line {line} closes in line {before}, over whole rows."
                raise InputError(what, 'Double a quote within a text ("").')
            yield line, cells
    except csv.Error as error:
        raise InputError(f"line {before + 1}: {error}.", "Check the quotes of this line and the next.") from None


def _split_records(text: Iterator[str], dialect: Dialect, skipped: Counter[str]) -> Iterator[tuple[int, list[str]]]:
    for line, content in enumerate(text, 1):
        cells = _split(content)
        extra = len(cells) - dialect.width
        # words with spaces (GloVe's ". . ."): all but the last cells are the word, unless one of them may be a number
        comment = dialect.comments and cells[0].startswith("#")
        if extra > 0 and not comment and not any(map(_is_numeric, cells[1 : extra + 1])):
            cells = [" ".join(cells[: extra + 1]), *cells[extra + 1 :]]
            skipped["joined"] += 1
        yield line, cells


def _split(line: str) -> list[str]:
    # only ASCII spaces: words of word vectors may hold others
    return re.split(r"[ \t]+", line.strip(" \t\r\n"))


def _sample_rows(lines: list[str], delimiter: str) -> list[list[str]]:
    if delimiter == " ":
        return [_split(line) for line in lines]
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(CsvReader(lines, delimiter, strict=False))
    return [row for row in rows if row]


def _tabs_delimit(lines: list[str]) -> bool:
    """Whether tabs alone delimit: each line below the first has as many, and no cell is a run of numbers.

    To split at any whitespace would then lose cells that are empty, and with them the columns behind.
    """
    rows = _sample_rows(lines, "\t")[1:]
    runs = (cell.split() for row in rows for cell in row)
    same = len({len(row) for row in rows}) == 1 and len(rows[0]) > 1
    return same and not any(len(parts) > 1 and all(map(_is_numeric, parts)) for parts in runs)


def _counted(lines: list[str]) -> tuple[int, int] | None:
    """Counts of a word2vec header: two whole numbers above a word and that many numbers."""
    first = _split(lines[0])
    if len(lines) < 2 or len(first) != 2 or not all(cell.isdecimal() for cell in first):
        return None
    count, d = map(int, first)
    return (count, d) if d > 1 and len(_split(lines[1])) > d else None


def _is_long_list(cell: str) -> bool:
    """Whether a cell is a list of several numbers, which [1] in a text is not."""
    return bool(re.search(r"\d[\s,]", cell)) and looks_like_list(cell)


def _may_name_a_row(cell: str) -> bool:
    return bool(cell.strip()) and (cell.strip().isdecimal() or not _is_numeric(cell))


def _is_numeric(cell: str) -> bool:
    return is_number(cell) or bool(DECIMAL_COMMA.fullmatch(cell)) or looks_like_list(cell)
