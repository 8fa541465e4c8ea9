"""Documents of local files: parquet, JSON lines and plain text, the last two also compressed by gzip."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from geomprobe.common import InputError, bounded_lines, listed, unknown_name
from geomprobe.common.files import LONGEST_LINE

ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".txt", ".txt.gz")
UNITS = {"lines": "a line", "paragraphs": "a paragraph between blank lines", "files": "a file"}
SAMPLE = 8_000_000  # characters of plain text that decide what a document is
SAMPLE_FILE = 1_000_000  # characters of each file where there are several
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OTHER_KINDS = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"%PDF": "PDF",
    b"PAR1": "parquet",
    b"\x28\xb5\x2f\xfd": "zstd",
}
LFS_POINTER = "version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Reading:
    """How files become documents: the column of a record, and the unit of plain text (a name in `UNITS`)."""

    text: str = "text"
    unit: str = "paragraphs"


def ending(path: Path) -> str:
    """Ending by which a file is read, or an empty string where it is not known."""
    return next((known for known in ENDINGS if path.name.lower().endswith(known)), "")


def is_plain(path: Path) -> bool:
    """Whether a file is plain text, whose documents are lines, paragraphs or the file."""
    return ending(path).startswith(".txt")


def read_documents(files: Sequence[Path], reading: Reading) -> Iterator[str | None]:
    """Yield the documents of files, None for a record without text.

    Raises
    ------
    InputError
        A file cannot be read as what its ending says; the message names the file and the line.
    """
    for file in files:
        if ending(file) == ".parquet":
            yield from _read_parquet(file, reading.text)
        elif is_plain(file):
            yield from _read_txt(file, reading.unit)
        else:
            yield from _read_jsonl(file, reading.text)


def choose_unit(files: Sequence[Path]) -> tuple[str, str]:
    """What a document of plain-text files is, and the reason in words.

    Blank lines separate documents, unless they are too rare for that: then each line is a document. Rare means at
    least 10 lines to a paragraph where there are fewer than 20 paragraphs (one of which would be over 5 % of the text),
    50 lines in fewer than 20 files, and 1,000 lines where many files may well be a document each.
    """
    lines = paragraphs = 0
    left = SAMPLE
    for file in files:
        if left <= 0:
            break
        share = left if len(files) == 1 else min(left, SAMPLE_FILE)
        for blank, group in itertools.groupby(_lines(file, share), key=lambda line: not line.strip()):
            sizes = [len(line) for line in group]
            left -= sum(sizes)
            if not blank:
                lines += len(sizes)
                paragraphs += 1
    least = 10 if paragraphs < 20 else 50 if len(files) < 20 else 1000
    unit = "lines" if lines >= least * paragraphs or paragraphs == 1 < lines else "paragraphs"
    part = " at the start" if left <= 0 else ""
    return unit, f"{lines:,} line{'s' * (lines != 1)} in {paragraphs:,} paragraph{'s' * (paragraphs != 1)}{part}"


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _bytes(path: Path) -> BinaryIO:
    """Open a file, unpacked where it is compressed."""
    return cast(BinaryIO, gzip.open(path, "rb") if _is_packed(path) else open(path, "rb"))


def _open(path: Path) -> IO[str]:
    """Open a text file as UTF-8, or in the encoding that its byte-order mark names; refuse other kinds of files."""
    with _bytes(path) as raw:
        start = raw.read(4)
    for mark, kind in OTHER_KINDS.items():
        if start.startswith(mark):
            what = f"{path} {'unpacks to' if _is_packed(path) else 'is'} a {kind} file, not text."
            raise InputError(what, "Unpack or convert it, or give it its own ending.")
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8")
    return io.TextIOWrapper(_bytes(path), encoding=encoding)


def _lines(path: Path, most: float = math.inf) -> Iterator[str]:
    """Yield the lines of a text file, up to about ``most`` characters of them; refuse what is no text."""
    try:
        with _open(path) as handle:
            for number, line in enumerate(bounded_lines(handle, path), start=1):
                if "\0" in line:
                    convert = "UTF-16 without a byte-order mark: iconv -f UTF-16LE -t UTF-8"
                    raise InputError(
                        f"{path}:{number} holds a NUL byte, so it is no UTF-8 text.",
                        f"Convert the file ({convert}), or remove it.",
                    )
                if number == 1 and line.startswith(LFS_POINTER):
                    what = f"{path} is a Git LFS pointer, not the file itself."
                    raise InputError(what, "Fetch it with: git lfs pull")
                yield line
                most -= len(line)
                if most <= 0:
                    return
    except UnicodeDecodeError as error:
        raise _undecodable(path, error) from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _undecodable(path: Path, error: UnicodeDecodeError) -> InputError:
    """Refusal of a file in another encoding, with the line and byte where it shows."""
    convert = "iconv -f WINDOWS-1252 -t UTF-8"
    command = f"gunzip -c {path.name} | {convert}" if _is_packed(path) else f"{convert} {path.name}"
    hint = f"Convert it first, for example: {command} > new.txt"
    if error.encoding.replace("_", "-") not in ("utf-8", "utf-8-sig"):
        return InputError(f"{path} starts with the mark of {error.encoding.upper()}, but is damaged: {error.reason}.")
    before = 0
    with _bytes(path) as raw:
        for number, line in enumerate(iter(lambda: raw.readline(LONGEST_LINE), b""), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                byte, at = line[found.start], before + found.start
                return InputError(f"{path}:{number} is not UTF-8: byte {byte:#04x} at offset {at:,}.", hint)
            before += len(line)
    return InputError(f"{path} is not UTF-8: {error.reason}.", hint)


def _read_txt(path: Path, unit: str) -> Iterator[str]:
    """Yield a plain-text file's lines, paragraphs (blocks between blank lines), or the whole; never a blank one."""
    lines: Iterable[str] = _lines(path)
    if unit == "files":
        lines = ["".join(lines)]
    elif unit != "lines":
        blocks = itertools.groupby(lines, key=lambda line: not line.strip())
        lines = ("".join(block) for blank, block in blocks if not blank)
    yield from filter(None, map(str.strip, lines))


def _read_jsonl(path: Path, column: str) -> Iterator[str | None]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise InputError(
                f"{path}:{number} is no JSON object with a {column!r}.",
                f"JSON Lines has an object a line. Convert an array by: jq -c '.[]' {path.name} > new.jsonl",
            )
        yield text_of(record, f"{path}:{number}", column)


def _read_parquet(path: Path, column: str) -> Iterator[str | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        schema = table.schema_arrow
        if column not in schema.names:
            raise missing_column(str(path), column, schema.names)
        if (n := schema.names.count(column)) > 1:
            raise InputError(f"{path} has {n} columns {column!r}.", "Rename all but one.")
        kind = schema.field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            hint = f"Columns: {listed(schema.names)}. Use --text."
            raise InputError(f"{path}: column {column!r} holds {kind}, not text.", hint)
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            yield from (text or None for text in batch.column(0).to_pylist())
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path} cannot be read as parquet: {error}") from None


def text_of(record: dict[str, Any], where: str, column: str) -> str | None:
    """A record's text, None where it is null; raises InputError where there is no such column, or of another type."""
    if column not in record:
        raise missing_column(where, column, list(record))
    value = record[column]
    if not isinstance(value, str | None):
        raise InputError(f"{where}: {column!r} holds {type(value).__name__}, not a string.")
    try:
        (value or "").encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: {column!r} holds half a surrogate pair at character {error.start}.") from None
    return value


def missing_column(where: str, column: str, names: Sequence[str]) -> InputError:
    """Return the error for records without the column of texts."""
    return InputError(f"{where} has no column {column!r} (it has {listed(names)}).", "Name the texts: --text COLUMN")


def check_unit(documents: str) -> None:
    """Raise UsageError where ``documents`` names no unit."""
    if documents not in ("auto", *UNITS):
        raise unknown_name("unit of documents", documents, ["auto", *UNITS])
