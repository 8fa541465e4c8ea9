"""Binary files of vectors from search libraries (fvecs, fbin and kin) and of word2vec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geomprobe.common import InputError
from geomprobe.vectors.arrays import bytes_warning
from geomprobe.vectors.vector_file import ReadOptions, VectorFile, spooled

VECS = {".fvecs": np.float32, ".bvecs": np.uint8, ".ivecs": np.int32}
BINS = {".fbin": np.float32, ".u8bin": np.uint8, ".i8bin": np.int8}
COUNT_LINE = re.compile(rb"(\d{1,15}) (\d{1,9}) ?\r?\n")
LONGEST_WORD = 2**16


def read_vecs(path: Path, reading: ReadOptions) -> VectorFile:
    """Vectors of a .fvecs, .bvecs or .ivecs file: rows of a 32-bit d and d numbers."""
    kind = np.dtype(VECS[path.suffix.lower()])
    size = path.stat().st_size
    with open(path, "rb") as file:
        d = int.from_bytes(file.read(4), "little", signed=True)
    width = 4 + d * kind.itemsize
    if size < 4 or d < 1 or size % width:
        raise _damaged(path, f"{size} bytes are not a whole number of rows of d = {d}")
    heads = np.memmap(path, np.uint8, "r", shape=(size // width, width))[:, :4]
    step = max(2**24 // width, 1)
    for start in range(0, len(heads), step):
        if (np.ascontiguousarray(heads[start : start + step]).view("<i4") != d).any():
            raise _damaged(path, f"not every row says d = {d}")
    rows = np.memmap(path, kind, "r", shape=(size // width, width // kind.itemsize))[:, 4 // kind.itemsize :]
    ids = f"{path}: .ivecs files mostly hold ids of neighbours, not vectors; the numbers were read as vectors"
    return _described(path, rows, (ids,) if kind == np.int32 else ())


def read_bin(path: Path, reading: ReadOptions) -> VectorFile:
    """Vectors of a .fbin, .u8bin or .i8bin file: n and d in 32 bits each, then the rows."""
    kind = np.dtype(BINS[path.suffix.lower()])
    size = path.stat().st_size
    with open(path, "rb") as file:
        n, d = (int.from_bytes(file.read(4), "little") for _ in range(2))
    expected = 8 + n * d * kind.itemsize
    if size < 8 or not n or not d or size != expected:
        raise _damaged(path, f"it says {n} rows of {d} numbers, {expected} bytes, and has {size}")
    return _described(path, np.memmap(path, kind, "r", offset=8, shape=(n, d)))


def _described(path: Path, rows: np.ndarray, warnings: tuple[str, ...] = ()) -> VectorFile:
    if rows.itemsize == 1:
        warnings = (*warnings, bytes_warning(path, rows.dtype))
    return VectorFile(path, path.suffix.lower()[1:], rows, notes=(f"numbers: {rows.dtype}",), warnings=warnings)


def read_word2vec(path: Path, reading: ReadOptions) -> VectorFile:
    """Vectors of a word2vec binary file: "n d", then each word, a space and d 32-bit floats."""
    with open(path, "rb") as file:
        found = COUNT_LINE.fullmatch(file.readline(64))
        n, d = map(int, found.groups()) if found else (0, 0)
        if not n or not d:
            raise _damaged(path, "its first line does not say how many vectors of how many numbers")
        matrix = spooled(_word_vectors(file, n, d, path))
        if file.read(16).strip():
            raise _damaged(path, f"it says {n} vectors and holds more")
    return VectorFile(path, "word2vec binary", matrix, notes=("numbers: float32; the words were left out",))


def _word_vectors(file: BinaryIO, n: int, d: int, path: Path) -> Iterator[np.ndarray]:
    """Yield the vectors, some thousands at a time."""
    size, held, at, done = max(2**20 // d, 1), b"", 0, 0
    while done < n:
        rows = np.empty((min(size, n - done), d), np.float32)
        for i in range(len(rows)):
            while (end := held.find(b" ", at)) < 0 or len(held) < end + 1 + 4 * d:
                more = file.read(2**20 + 4 * d)
                if not more or (end < 0 and len(held) - at > LONGEST_WORD):
                    raise _damaged(path, f"it says {n} vectors and holds {done + i}")
                held, at = held[at:] + more, 0
            rows[i] = np.frombuffer(held, "<f4", d, end + 1)
            at = end + 1 + 4 * d
        done += len(rows)
        yield rows
    if held[at:].strip():
        raise _damaged(path, f"it says {n} vectors and holds more")


def _damaged(path: Path, why: str) -> InputError:
    what = f"not a {path.suffix[1:]} file of vectors, or cut off: {why}."
    return InputError(what, "Copy or download it again.")
