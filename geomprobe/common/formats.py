"""Files by what they hold: format, compression and encoding from the first bytes; text, CSV and Arrow opened."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from geomprobe.common.errors import InputError
from geomprobe.common.files import LONGEST_LINE, bounded_lines

FIRST_BYTES = {
    b"\x93NUMPY": "npy",
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",  # a stream, as the data sets of `datasets` are saved
    b"FEA1": "Feather 1",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\xd0\xcf\x11\xe0": "Excel",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"MATLAB 5.0": "MATLAB",
    b"SQLite format 3\0": "SQLite",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"%PDF": "PDF",
    b"\xba\x16\x4f\x2f": "fastText model",
    b"version https://git-lfs": "Git LFS pointer",
    b"%%MatrixMarket": "Matrix Market",
    **{bytes([128, protocol]): "pickle" for protocol in range(2, 6)},
}
"""First bytes of files, and the format that they mean."""
FIRST_WORDS = {b"<!DOCTYPE html": "HTML or XML", b"<html": "HTML or XML"}
"""The same after blanks."""
BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def _zstandard(packed: Any) -> Any:
    import pyarrow as pa

    return pa.input_stream(pa.PythonFile(packed), compression="zstd")


UNPACKED: dict[str | None, Callable[[Any], Any]] = {
    "gzip": lambda packed: gzip.GzipFile(fileobj=packed),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zstandard": _zstandard,
}
"""How a file is unpacked, by its format."""
LONGEST_CELL = 2**31 - 1
"""What the csv module can hold; for a text that is in memory already."""
BATCH_ROWS = 8192
Batches = Callable[[list[str] | None], Iterator[Any]]
"""Gives the record batches of a table; of some formats with the named columns alone."""


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Let the errors about a file that are raised within name it: "it is empty" becomes "my.csv is empty"."""
    try:
        yield
    except InputError as error:
        if error.message.startswith(tuple(f"{path}{end}" for end in (" ", ":", ",", "/", "'"))):
            raise
        about_it = error.message.startswith("it ")
        what = error.message[2:] if about_it else f": {error.message}"
        raise InputError(f"{path}{what}", error.hint) from None


def format_of_bytes(head: bytes) -> str | None:
    """Format that a file's first bytes mean (a value of FIRST_BYTES or FIRST_WORDS); else None."""
    return _starting(head, FIRST_BYTES) or _starting(head.lstrip(), FIRST_WORDS)


def encoding_of(head: bytes) -> str:
    """Encoding that a byte-order mark says; without one UTF-8."""
    return _starting(head, BYTE_ORDER_MARKS) or "utf-8"


def _starting(head: bytes, by_start: Mapping[bytes, str]) -> str | None:
    return next((value for start, value in by_start.items() if head.startswith(start)), None)


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[Any, bool]]:
    """Open a file for its bytes, unpacked where its first bytes say that it is packed, and say which it was."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(open(path, "rb"))
        opener = UNPACKED.get(format_of_bytes(file.read(8)))
        file.seek(0)
        yield stack.enter_context(opener(file)) if opener else file, opener is not None


@contextmanager
def open_text(path: Path) -> Iterator[Iterator[str]]:
    """Open a text file for its lines, packed or not: UTF-8, or what its byte-order mark says.

    Raises
    ------
    InputError
        Another encoding, a line that is too long for memory; what unpacking raises comes through.
    """
    encoding = "utf-8"
    try:
        with unpacked(path) as (file, _):
            encoding = encoding_of(file.read(4))
            file.seek(0)
            yield bounded_lines(io.TextIOWrapper(file, encoding=encoding, newline=""), path)
    except UnicodeError as error:
        raise InputError(
            f"{path} is not {encoding.upper().removesuffix('-SIG')}: {getattr(error, 'reason', str(error))}.",
            f"Convert it: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}",
        ) from None


class CsvReader:
    """The csv module's reader, for cells of at most ``longest`` characters; strict about quotes (RFC 4180).

    That module has one limit for the whole process: it is set for one row at a time, and set back.
    """

    def __init__(
        self, lines: Iterable[str], delimiter: str, *, strict: bool = True, longest: int = LONGEST_LINE
    ) -> None:
        self.reader = csv.reader(lines, delimiter=delimiter, strict=strict)
        self.longest = longest

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        before = csv.field_size_limit(self.longest)
        try:
            return next(self.reader)
        finally:
            csv.field_size_limit(before)

    @property
    def line_num(self) -> int:
        """Lines read so far."""
        return self.reader.line_num


@contextmanager
def open_arrow(source: Path | bytes) -> Iterator[tuple[str, Any, Batches]]:
    """Open a Parquet or Arrow file (IPC, Feather, stream), or its bytes: what it is, its schema, its batches.

    Whatever pyarrow raises comes through.
    """
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    with pa.memory_map(os.fsencode(source)) if isinstance(source, Path) else pa.BufferReader(source) as stream:
        head = stream.read(6)
        stream.seek(0)
        if head.startswith(b"PAR1"):
            parquet = pa.parquet.ParquetFile(stream)
            yield "Parquet", parquet.schema_arrow, lambda names: parquet.iter_batches(BATCH_ROWS, columns=names)
        elif head.startswith(b"FEA1"):
            table = pa.feather.read_table(stream)
            yield "Feather", table.schema, lambda names: iter(table.to_batches())
        elif head == b"ARROW1":
            file = pa.ipc.open_file(stream)
            yield "Arrow", file.schema, lambda names: map(file.get_batch, range(file.num_record_batches))
        else:

            def batches(names: list[str] | None) -> Iterator[Any]:
                stream.seek(0)
                return iter(pa.ipc.open_stream(stream))

            yield "Arrow", pa.ipc.open_stream(stream).schema, batches
