"""CSV and TSV, read only where each line has the header's columns: quotes as quotes, and quotes as text, are tried."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace

from geomprobe.common import InputError
from geomprobe.common.formats import LONGEST_CELL, CsvReader

SEPARATOR = re.compile(r'"?sep=(?P<mark>[,;|])"?', re.IGNORECASE)
"""The first line by which Excel tells the delimiter."""
OTHER_DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars"}
WRITE_QUOTED = "Quote the cells that hold delimiters or line breaks, or write the table as Parquet or JSON lines."
DOUBLE_QUOTES = 'Write quotes inside a quoted cell doubled (""), not with a backslash.'
LINE_ENDS = "Give all lines one end: dos2unix FILE"
WHICH = "Say which: --quotes (they enclose cells) or --no-quotes (they belong to the texts)."


@dataclass(frozen=True)
class Parse:
    """A file parsed in one way.

    Attributes
    ----------
    rows : list of list of str
        The header, then a list of cells for each row.
    lines : list of int
        The line at which each of them starts, from 1.
    blank : int
        Blank lines that were skipped.
    folded : bool
        Whether a row takes more than one line.
    swallowed : int or None
        The first line that looks like a row of its own and lies inside a quoted cell (tab-separated files only).
    problem : str or None
        Why this is no reading of the file: a line whose cells do not fit the header, a quote that does not close.
    hint : str
        What to do about it.
    """

    rows: list[list[str]]
    lines: list[int]
    blank: int = 0
    folded: bool = False
    swallowed: int | None = None
    problem: str | None = None
    hint: str = WRITE_QUOTED


def read_delimited(text: str, delimiter: str, quotes: bool | None) -> tuple[Parse, list[str]]:
    """One consistent reading of a text of delimited cells, and notes on what was taken.

    Parameters
    ----------
    text : str
    delimiter : str
        What the file's name says; another is taken where the header has only that one.
    quotes : bool or None
        Whether double quotes enclose cells; None tries both.

    Raises
    ------
    InputError
        Lines that shift columns, or two readings that differ. In a comma-separated file quotes enclose cells (RFC
        4180), and the other reading counts only where quotes join lines. In a tab-separated file both readings count.
    """
    end = _line_end(text)
    lines = text.removesuffix(end).split(end)
    at_end = len(lines)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError("it is empty.")
    blank, notes = at_end - len(lines), []
    if declared := SEPARATOR.fullmatch(lines[0]):
        delimiter, lines[0] = declared["mark"], ""
        blank -= 1  # this blank line was none
    elif delimiter not in lines[0] and len(others := [mark for mark in OTHER_DELIMITERS if mark in lines[0]]) == 1:
        notes.append(f"columns separated by {OTHER_DELIMITERS[others[0]]}, as the header shows")
        delimiter = others[0]
    taken = _plain(lines, delimiter)
    if '"' in text:
        taken, said = _decide(taken, _quoted(lines, end, delimiter), lines, delimiter, quotes)
        notes += said
    elif taken.problem:
        raise InputError(f"{taken.problem}.", taken.hint)
    if blank := taken.blank + blank:
        notes.append(f"{blank} blank lines skipped")
    return taken, notes


def _line_end(text: str) -> str:
    """What ends the first line: only that ends a line, so that other breaks in a text do not."""
    cr, lf = text.find("\r"), text.find("\n")
    if cr < 0 or 0 <= lf < cr:
        return "\n"
    return "\r\n" if lf == cr + 1 else "\r"


def _decide(
    plain: Parse, quoted: Parse, lines: list[str], delimiter: str, quotes: bool | None
) -> tuple[Parse, list[str]]:
    """The reading to take, quotes as text or as quotes, and notes on it."""
    if quotes is not None:
        taken, how = (quoted, "quotes") if quotes else (plain, "text")
        if taken.problem:
            raise InputError(f"quotes as {how}: {taken.problem}.", taken.hint)
        return taken, [f"quotes read as {how}, as asked"]
    backslashes = any('\\"' in line for line in lines)
    if plain.problem and quoted.problem:
        what = f"no consistent columns. Quotes as quotes: {quoted.problem}. As text: {plain.problem}."
        raise InputError(what, DOUBLE_QUOTES if backslashes else plain.hint)
    if quoted.problem and (column := _quoted_column(plain)) is not None:
        hint = DOUBLE_QUOTES if backslashes else "Correct the line."
        what = f"most cells of column {column!r} are in quotes, but as quotes, {quoted.problem}."
        raise InputError(what, f"{hint} Use --no-quotes if the quotes belong to the texts.")
    if quoted.problem:
        return plain, [f"quotes read as text: as quotes, {quoted.problem}"]
    if plain.problem and quoted.swallowed:
        inside = f"quotes as quotes would put line {quoted.swallowed}, which looks like a row, inside a text"
        raise InputError(f"{inside}; quotes as text: {plain.problem}.", "Use --quotes if that line belongs to a text.")
    if plain.rows == quoted.rows and not plain.problem:
        return plain, []
    quoted_header = not plain.problem and any(cell[:1] == cell[-1:] == '"' for cell in plain.rows[0])
    if plain.problem or quoted_header or (delimiter != "\t" and not quoted.folded):
        return quoted, ["quotes read as quotes"] if delimiter == "\t" else []
    rows = zip(plain.lines, plain.rows, [*quoted.rows, None], strict=False)
    line = next(line for line, a, b in rows if a != b)  # the quoted reading may be shorter, and never is longer
    raise InputError(
        f"its quotes can be read in two ways, which differ from line {line} on: as quotes "
        f"({len(quoted.rows) - 1} rows), or as text ({len(plain.rows) - 1} rows).",
        WHICH,
    )


def _quoted_column(plain: Parse) -> str | None:
    """First column in which most cells begin and end with a quote, which texts seldom do."""
    header, *rows = plain.rows
    for name, cells in zip(header, zip(*rows, strict=True), strict=False):
        if 2 * sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells) > len(cells):
            return name
    return None


def _plain(lines: list[str], delimiter: str) -> Parse:
    """Read quotes as text: each line is a row."""
    rows: list[list[str]] = []
    starts: list[int] = []
    for number, line in enumerate(lines, 1):
        if line.endswith("\r") or "\n" in line:
            return Parse(rows, starts, problem=f"line {number} ends differently from line 1", hint=LINE_ENDS)
        if line:
            rows.append(line.split(delimiter))
            starts.append(number)
    return _checked(Parse(rows, starts, len(lines) - len(rows)), delimiter)


def _quoted(lines: list[str], end: str, delimiter: str) -> Parse:
    """Read quotes as quotes, by RFC 4180 to the letter: they enclose whole cells, and are doubled inside."""
    rows: list[list[str]] = []
    starts: list[int] = []
    blank, last, folded, swallowed = 0, 0, False, None
    # The csv module ends a row at a carriage return, and until Python 3.13 writes one without quotes: it is hidden.
    hidden = _hidden_return(lines) if end != "\r" else "\r"
    reader = CsvReader((_hide(line, end, hidden) + end for line in lines), delimiter, longest=LONGEST_CELL)
    try:
        for row in reader:
            start, last = last + 1, reader.line_num
            if not row:
                blank += 1
                continue
            if lines[last - 1].endswith(("\r", "\n")):
                return Parse(rows, starts, problem=f"line {last} ends differently from line 1", hint=LINE_ENDS)
            folded = folded or last > start
            if delimiter == "\t" and len(row) > 1 and swallowed is None:
                inside = range(start + 1, last)
                swallowed = next((n for n in inside if lines[n - 1].count("\t") == len(row) - 1), None)
            rows.append([cell.replace(hidden, "\r") for cell in row])
            starts.append(start)
    except csv.Error as error:
        return Parse(rows, starts, problem=_csv_problem(str(error), last + 1, reader.line_num))
    return _checked(Parse(rows, starts, blank, folded, swallowed), delimiter)


def _hidden_return(lines: list[str]) -> str:
    """A character that no line holds, or a carriage return where none needs to be hidden."""
    if not any("\r" in line for line in lines):
        return "\r"
    held = set("".join(lines))
    return next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in held)


def _hide(line: str, end: str, hidden: str) -> str:
    """A line with its carriage returns replaced, except one that makes a line end of its own with `end`."""
    if hidden == "\r" or "\r" not in line:
        return line
    return line[:-1].replace("\r", hidden) + line[-1] if end == "\n" else line.replace("\r", hidden)


def _checked(reading: Parse, delimiter: str) -> Parse:
    """The parse, with its problem where a row does not fit the header or a blank line may be part of a text.

    A break in a text cannot be quoted in a plain tab-separated file, so a blank line there may be one.
    """
    width = len(reading.rows[0])
    for line, row in zip(reading.lines, reading.rows, strict=True):
        if len(row) != width:
            problem = f"line {line} has {len(row)} cell{'s' * (len(row) > 1)}, the header {width}"
            return replace(reading, problem=problem, hint=_advice(reading, width))
    if reading.blank and delimiter == "\t":
        problem = "there are blank lines between the rows, which may be line breaks inside texts"
        return replace(reading, problem=problem, hint="Remove them: grep -v '^$' FILE > NEW")
    return reading


def _csv_problem(said: str, start: int, line: int) -> str:
    """Return, in a user's words, the csv module's complaint about the record that starts at a line."""
    if "unexpected end" in said:
        return f"the quote at line {start} never closes"
    if "expected after" in said:
        return f"line {line} has text after a closing quote" + (f" (opened at line {start})" if line > start else "")
    if "new-line" in said:
        return f"line {line} holds a carriage return outside quotes"
    return f"line {line}: {said}"


def _advice(reading: Parse, width: int) -> str:
    """Likely cause where rows do not fit the header."""
    rows = reading.rows[1:]
    if width == 1 and len({len(row) for row in rows}) == 1:
        return "The first line must name the columns: remove a title or a comment above them."
    if width == 1:
        return "Quote the texts, or write them without a header to a .txt file, a text a line."
    if any(len(row) != width + 1 for row in rows):
        return WRITE_QUOTED
    if all(not row[-1] for row in rows):
        return "Each row ends in a delimiter that the header lacks: remove it, or add one to the header."
    return "Each row has one cell more than the header: name the first column, too, if these are names of rows."
