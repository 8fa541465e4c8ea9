"""The bytes of a file: decompressed, recognised by their first bytes, decoded to text, or refused by name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from geomprobe.common import InputError, gigabytes, machine_bytes

Found = TypeVar("Found")
HEAD = 64  # bytes that are looked at
CONTROL = {*range(9), *range(14, 27), *range(28, 32)}
"""Bytes that occur in binary files and UTF-16, never in texts."""


def _zstd(packed: BinaryIO) -> Any:
    import pyarrow as pa

    return pa.input_stream(pa.PythonFile(packed), compression="zstd")


COMPRESSED: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _zstd,
}
"""How a file is unpacked, by its first bytes."""
COPIES = 8
"""Copies of a text file's bytes in memory while it is read, roughly: bytes, text, cells, rows."""
ARROW = {b"PAR1": "parquet", b"ARROW1": "arrow", b"FEA1": "arrow", b"\xff\xff\xff\xff": "arrow stream"}
"""First bytes of the formats that pyarrow reads."""
REFUSED = {
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "Unzip it; save a workbook's sheet as CSV."),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "Save its sheet as CSV."),
    b"\x89HDF": ("an HDF5 file", "Write the table as Parquet."),
    b"\x93NUMPY": ("an array of numpy", "Vectors are measured by: geomprobe measure FILE"),
    b"SQLite format 3": ("an SQLite database", "Export the table as CSV."),
    b"%PDF": ("a PDF document", "A task needs a table of texts."),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull"),
    b"<!DOCTYPE html": ("a web page", "Download the file itself, not the page that shows it."),
    b"<html": ("a web page", "Download the file itself, not the page that shows it."),
} | {bytes([128, n]): ("a Python pickle, which is never opened", "Write the table as Parquet.") for n in range(2, 6)}
MARKS = {  # byte-order marks, the longer ones first
    b"\xff\xfe\x00\x00": ("utf-32", "UTF-32"),
    b"\x00\x00\xfe\xff": ("utf-32", "UTF-32"),
    b"\xff\xfe": ("utf-16", "UTF-16"),
    b"\xfe\xff": ("utf-16", "UTF-16"),
    b"\xef\xbb\xbf": ("utf-8-sig", "UTF-8"),
}

UTF_16 = "Convert UTF-16: iconv -f UTF-16LE -t UTF-8 FILE > NEW"


def read_content(path: Path) -> tuple[bytes | None, str | None]:
    """A file's bytes, decompressed, and which Arrow format its first bytes show.

    Returns
    -------
    data : bytes or None
        None for an uncompressed file of an Arrow format, which is mapped rather than read.
    found : {"parquet", "arrow", "arrow stream"} or None

    Raises
    ------
    InputError
        Empty, damaged, or of a format that holds no table of texts.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            unpack, arrow = _starting(head, COMPRESSED), _starting(head, ARROW)
            most = (machine_bytes() or 1 << 62) // COPIES
            file.seek(0)
            if unpack is not None:
                with unpack(file) as unpacked:
                    data = unpacked.read(most + 1)
                head = data[:HEAD]
                arrow = _starting(head, ARROW)
            else:
                data = None if arrow else file.read(most + 1)
        if data is not None and len(data) > most:
            what = "unpacks to more than" if unpack else "has more than"
            raise InputError(
                f"{path} {what} {gigabytes(most)}, too much for this machine.",
                "Keep fewer rows in it, such as: head -n 100001 FILE > NEW.",
            )
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {str(error)[:200]}.") from None
    if not head:
        raise InputError(f"{path} is empty.")
    _refuse_known(path, head)
    return data, arrow


def refuse_known(path: Path) -> None:
    """Raise InputError where a file's first bytes show a format that holds no table of texts."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {str(error)[:200]}.") from None
    _refuse_known(path, head)


def _refuse_known(path: Path, head: bytes) -> None:
    if refused := _starting(head.lstrip() if head.lstrip()[:1] == b"<" else head, REFUSED):
        raise InputError(f"{path} is {refused[0]}.", refused[1])


def _starting(head: bytes, by_start: Mapping[bytes, Found]) -> Found | None:
    return next((value for start, value in by_start.items() if head.startswith(start)), None)


def decode(data: bytes, path: Path) -> tuple[str, list[str]]:
    """Text of a file (UTF-8, or what its byte-order mark says) and notes on what was found.

    Raises
    ------
    InputError
        Another encoding, or a NUL byte.
    """
    encoding, name = _starting(data[:4], MARKS) or ("utf-8", "UTF-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if name == "UTF-8" and not CONTROL.isdisjoint(data[:4096]):
            raise InputError(
                f"{path} holds control characters: a binary file, or UTF-16 without a byte-order mark.", UTF_16
            ) from None
        line = data.count(b"\n", 0, error.start) + 1 if name == "UTF-8" else None
        at = f": line {line} holds the byte 0x{data[error.start]:02x}" if line else f": {error.reason}"
        raise InputError(
            f"{path} is not {name}{at}.",
            "Convert it from its own encoding, such as: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{path}, line {line}, holds a NUL character: a binary file, or UTF-16 without a byte-order mark.",
            UTF_16,
        )
    notes = [] if name == "UTF-8" else [f"decoded from {name}, by its byte-order mark"]
    if damaged := text.count("\ufffd"):
        notes.append(f"{damaged} replacement characters (U+FFFD): an earlier conversion lost letters")
    return text, notes
