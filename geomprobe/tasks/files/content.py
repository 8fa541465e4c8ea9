"""The bytes of a task file: its format by name and first bytes, unpacked, decoded to text, or refused by name."""

from __future__ import annotations

import lzma
import zlib
from pathlib import Path, PurePath

from geomprobe.common import InputError, gigabytes, machine_bytes
from geomprobe.common.formats import encoding_of, format_of_bytes, unpacked

FORMATS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "txt",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
ARROW = ("parquet", "arrow", "Feather 1")
"""Formats that pyarrow reads."""
REFUSED = {
    "zip": ("a zip archive or an Excel workbook", "Unzip it; save a workbook's sheet as CSV."),
    "Excel": ("an Excel workbook", "Save its sheet as CSV."),
    "HDF5": ("an HDF5 file", "Write the table as Parquet."),
    "npy": ("an array of numpy", "Vectors are measured by: geomprobe measure FILE"),
    "SQLite": ("an SQLite database", "Export the table as CSV."),
    "PDF": ("a PDF document", "A task needs a table of texts."),
    "Git LFS pointer": ("a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull"),
    "HTML or XML": ("a web page", "Download the file itself, not the page that shows it."),
    "pickle": ("a Python pickle, which is never opened", "Write the table as Parquet."),
}
"""Formats that hold no table of texts, and what to do."""
HEAD = 64  # bytes that are looked at
COPIES = 8
"""Copies of a text file's bytes in memory while it is read, roughly: bytes, text, cells, rows."""
CONTROL = {*range(9), *range(14, 27), *range(28, 32)}
"""Bytes that occur in binary files and UTF-16, never in texts."""
NO_TEXT = "a binary file, or UTF-16 without a byte-order mark"
UTF_16 = "Convert UTF-16: iconv -f UTF-16LE -t UTF-8 FILE > NEW"


def format_of(path: str | PurePath) -> str | None:
    """Format that a file's name means (a value of FORMATS), whether compressed or not; else None."""
    return FORMATS.get(_unpacked_name(path).suffix.lower())


def stem_of(path: str | PurePath) -> str:
    """A file's name without the suffixes of format and compression."""
    name = _unpacked_name(path)
    return name.stem if name.suffix.lower() in FORMATS else name.name


def _unpacked_name(path: str | PurePath) -> PurePath:
    name = PurePath(path).name
    for ending in COMPRESSIONS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return PurePath(name)


def read_content(path: Path) -> tuple[bytes | None, str | None]:
    """A file's bytes, unpacked, and the format that its first bytes show.

    Returns
    -------
    data : bytes or None
        None for a file of an Arrow format that is not packed, which is mapped rather than read.
    found : str or None
        A value of `formats.FIRST_BYTES`.

    Raises
    ------
    InputError
        A name of no known format; empty, damaged, too large, or of a format that holds no table of texts.
    """
    named, most = format_of(path), (machine_bytes() or 1 << 62) // COPIES
    try:
        with unpacked(path) as (file, packed):
            head = file.read(HEAD)
            found = format_of_bytes(head)
            whole = named is not None and found not in REFUSED and (packed or found not in ARROW)
            data = head + file.read(max(most + 1 - HEAD, 0)) if whole else None
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise InputError(f"it cannot be read: {str(error)[:200]}.") from None
    if found in REFUSED:
        what, hint = REFUSED[found]
        raise InputError(f"it is {what}.", hint)
    if named is None:
        hint = "Rename it by what it holds; .gz, .bz2, .xz or .zst may follow."
        raise InputError(f"it is not one of {', '.join(FORMATS)}.", hint)
    if not head:
        raise InputError("it is empty.")
    if data is not None and len(data) > most:
        what = f"it {'unpacks to' if packed else 'has'} more than {gigabytes(most)}, too much for this machine."
        raise InputError(what, "Keep fewer rows in it, such as: head -n 100001 FILE > NEW.")
    return data, found


def decode(data: bytes) -> tuple[str, list[str]]:
    """Text of a file (UTF-8, or what its byte-order mark says) and notes on what was found.

    Raises
    ------
    InputError
        Another encoding, or a NUL byte.
    """
    encoding = encoding_of(data[:4])
    name = encoding.upper().removesuffix("-SIG")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if name == "UTF-8" and not CONTROL.isdisjoint(data[:4096]):
            raise InputError(f"it holds control characters: {NO_TEXT}.", UTF_16) from None
        line = data.count(b"\n", 0, error.start) + 1
        at = f"line {line} holds the byte 0x{data[error.start]:02x}" if name == "UTF-8" else error.reason
        hint = "Convert it from its own encoding, such as: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
        raise InputError(f"it is not {name}: {at}.", hint) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"line {line} holds a NUL character: {NO_TEXT}.", UTF_16)
    notes = [] if name == "UTF-8" else [f"decoded from {name}, by its byte-order mark"]
    if damaged := text.count("\ufffd"):
        notes.append(f"{damaged} replacement characters (U+FFFD): an earlier conversion lost letters")
    return text, notes
