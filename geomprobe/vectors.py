"""Vectors in memory or on disk as one thing: the rows of a matrix, checked once and read in blocks."""

from __future__ import annotations

import fnmatch
import json
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geomprobe.common import InputError, UsageError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class NonFiniteError(ValueError):
    """Some rows hold NaN or infinity.

    Attributes
    ----------
    rows : list of int
        Their row numbers, from 0.
    """

    def __init__(self, rows: list[int]):
        self.rows = rows
        shown = ", ".join(map(str, rows[:10])) + (", …" if len(rows) > 10 else "")
        super().__init__(f"{len(rows)} row{'s hold' if len(rows) > 1 else ' holds'} NaN or infinity: {shown}")


GRAM_ROWS = 8192
TAKEN_ROWS = 256
"""Rows that are gathered from a mapped file before its pages are given back."""
TILE = 1024
"""Rows, and columns, of a tile of pairs."""


def block_rows(d: int, device: str = "cpu") -> int:
    """Return how many rows of d numbers are worked on at a time: about 4 million numbers, 64 times as many on a GPU.

    What a block sends to the host (matrices of d × d) does not depend on its rows, so a GPU takes the most that it can.
    """
    return min(max(2**22 // max(d, 1), 4096), 16384) * (64 if device == "cuda" else 1)


class Rows:
    """The rows of a matrix, converted block by block to the precision that is computed in.

    Parameters
    ----------
    source : array-like of shape (n, d)
        numpy (memory-mapped too) or torch, or anything with `shape`, `dtype` and indexing by slices and integer arrays.
        float16 and bfloat16 are computed in float32; integers and long doubles in float64.
    progress : callable, optional
        Called with (rows done, rows) after each block of a pass over the rows.

    Attributes
    ----------
    n, d : int
    work : torch.dtype
        float32 or float64, the precision that blocks are handed out in.
    eps : float
        The rounding unit of the numbers as given, before conversion.
    share : tuple of int
        First row, and the row after the last, that `blocks` hands out: all, unless several processes share the rows.
    """

    def __init__(self, source: Any, progress: Callable[[int, int], None] | None = None):
        self.progress = progress
        if not hasattr(source, "shape") or not hasattr(source, "dtype"):
            source = np.asarray(source)
        if len(source.shape) != 2 or source.shape[1] == 0:
            raise ValueError(f"vectors must have shape (n, d) with d >= 1, not {tuple(source.shape)}")
        self.source = source.detach() if isinstance(source, torch.Tensor) else source
        self.n, self.d = (int(size) for size in source.shape)
        self.share = 0, self.n
        dtype = source.dtype
        if isinstance(dtype, torch.dtype):
            if dtype.is_complex or dtype == torch.bool:
                raise ValueError(f"vectors must be real numbers, not {dtype}")
            self.work = torch.float32 if dtype in FLOATS[:3] else torch.float64
            self.eps = float(torch.finfo(dtype if dtype in FLOATS else torch.float64).eps)
        else:
            dtype = np.dtype(dtype)
            if dtype.kind not in "fiu":
                raise ValueError(f"vectors must be real numbers, not {dtype}")
            self.work = torch.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else torch.float64
            self.eps = float(np.finfo(dtype if dtype.kind == "f" and dtype.itemsize <= 8 else np.float64).eps)

    def _tensor(self, part: Any) -> torch.Tensor:
        if isinstance(part, torch.Tensor):
            # mps has no float64, which everything is accumulated in
            return (part.cpu() if part.device.type == "mps" else part).to(self.work)
        dtype = np.float32 if self.work == torch.float32 else np.float64
        part = np.ascontiguousarray(part, dtype=dtype)
        return torch.from_numpy(part if part.flags.writeable else part.copy())

    def block(self, start: int, stop: int) -> torch.Tensor:
        """Return rows start to stop as a tensor of shape (rows, d) in the work precision; not to be written to."""
        return self._tensor(self.source[start:stop])

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Return the given rows as a tensor of shape (len(rows), d) in the work precision."""
        if isinstance(self.source, torch.Tensor):
            return self._tensor(self.source[torch.from_numpy(rows).to(self.source.device)])
        # rows far apart on the disk pull whole stretches of the file into memory, so they are taken a few at a time
        taken = torch.empty(len(rows), self.d, dtype=self.work)
        for start in range(0, len(rows), TAKEN_ROWS):
            part = slice(start, start + TAKEN_ROWS)
            taken[part] = self._tensor(self.source[rows[part]])
            _release(self.source)
        return taken

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (first row, block) over the rows of the share in order."""
        on_gpu = isinstance(self.source, torch.Tensor) and self.source.device.type == "cuda"
        size = size or block_rows(self.d, "cuda" if on_gpu else "cpu")
        first, last = self.share
        for start in range(first, last, size):
            stop = min(start + size, last)
            yield start, self.block(start, stop)
            _release(self.source)
            if self.progress:
                self.progress(stop - first, last - first)


def _release(source: Any) -> None:
    """Give back the pages of files that are mapped to be read: they would add up to the whole file in memory."""
    for part in source.parts if isinstance(source, Shards) else [source]:
        array = part.words if isinstance(part, _Bfloat16) else part
        if isinstance(array, np.memmap) and array.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
            array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32 (no TF32, no bfloat16) within the block, whatever the program chose."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def unit_rows(x: torch.Tensor) -> torch.Tensor:
    """Return x/‖x‖ row by row, x float64; rows must not be zero. Rows whose squares would vanish are scaled first."""
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if bool((norms < 1e-140).any()):  # the moments refuse what would overflow
        x = x / x.abs().amax(1, keepdim=True)
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / norms


def gram(block: torch.Tensor) -> torch.Tensor:
    """Return blockᵀ·block as float64 of shape (d, d), multiplied in the block's precision.

    Pieces of at most GRAM_ROWS rows are added up in float64, so that rounding does not grow with the block.
    """
    d = block.shape[1]
    total = torch.zeros(d, d, dtype=torch.float64, device=block.device)
    width = max(64, -(-d // 4))
    for piece in block.split(GRAM_ROWS):
        if block.device.type == "cpu" and torch.get_num_threads() == 1:
            a = piece.numpy()  # numpy sees A.T @ A and calls syrk: half the work of a general product
            total += torch.from_numpy(a.T @ a)
            continue
        # syrk gains little or loses from several threads; a quarter of the rows at a time, from the diagonal on, is 5/8
        for i in range(0, d, width):
            total[i : i + width, i:] += piece[:, i : i + width].T @ piece[:, i:]
    return total.triu() + total.triu(1).T


SUFFIXES = (".npy", ".safetensors", ".parquet", ".csv")


class Shards:
    """Matrices with the same columns, one below the other, read as one.

    Parameters
    ----------
    parts : sequence of array-like of shape (n_i, d)
    """

    def __init__(self, parts: Sequence[Any]):
        self.parts = parts
        self.ends = np.cumsum([part.shape[0] for part in parts])
        self.shape = (int(self.ends[-1]), int(parts[0].shape[1]))
        self.dtype = parts[0].dtype

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        if isinstance(rows, slice):
            starts = [0, *self.ends[:-1]]
            pieces = []
            for part, first, end in zip(self.parts, starts, self.ends, strict=True):
                low, high = max(rows.start, first), min(rows.stop, end)
                if low < high:
                    pieces.append(part[int(low - first) : int(high - first)])
            if len(pieces) == 1:
                return pieces[0]
            return torch.cat(pieces) if isinstance(pieces[0], torch.Tensor) else np.concatenate(pieces)
        home = np.searchsorted(self.ends, rows, side="right")
        out: Any = None
        for number in np.unique(home):
            here = np.flatnonzero(home == number)
            part = self.parts[number][rows[here] - (self.ends[number - 1] if number else 0)]
            if out is None:
                shape = (len(rows), self.shape[1])
                torch_part = isinstance(part, torch.Tensor)
                out = torch.empty(shape, dtype=part.dtype) if torch_part else np.empty(shape, part.dtype)
            out[torch.from_numpy(here) if isinstance(part, torch.Tensor) else here] = part
        return out


class _Bfloat16:
    """A memory-mapped matrix of bfloat16, a type that numpy does not know."""

    dtype = torch.bfloat16

    def __init__(self, words: np.ndarray):
        self.words, self.shape = words, words.shape

    def __getitem__(self, rows: slice | np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(self.words[rows])).view(torch.bfloat16)


def open_vectors(paths: Sequence[str | os.PathLike], *, tensor: str | None = None, columns: str | None = None) -> Any:
    """Open files of vectors as one matrix, without reading them into memory.

    Parameters
    ----------
    paths : sequence of path
        .npy, .safetensors, .parquet or .csv; several files are shards of one matrix, in the order given.
    tensor : str, optional
        Which tensor of a .safetensors file, where it holds several matrices.
    columns : str, optional
        Pattern (such as "e*") of the columns of a .parquet or .csv file that make the vectors.

    Returns
    -------
    array-like of shape (n, d)
        For `geomprobe.metrics.measure`, `Rows` or `Moments.update`. Parquet and CSV are copied, batch by batch, to a
        temporary file that is mapped into memory and has no name any more.

    Raises
    ------
    InputError
        For files that are missing, damaged, empty, or whose shards do not fit each other.
    UsageError
        For an unknown kind of file.
    """
    parts = [_open(Path(path), tensor, columns) for path in paths]
    first = parts[0]
    for path, part in zip(paths, parts, strict=True):
        if len(part.shape) != 2 or not part.shape[1]:
            raise InputError(f"{path} holds an array of shape {tuple(part.shape)}.", "Vectors are rows: (n, d).")
        if part.shape[1] != first.shape[1] or part.dtype != first.dtype:
            raise InputError(
                f"{path} has {part.shape[1]} columns of {part.dtype}, {paths[0]} {first.shape[1]} of {first.dtype}.",
                "Shards of one matrix have the same columns and type.",
            )
    return first if len(parts) == 1 else Shards(parts)


def _open(path: Path, tensor: str | None, columns: str | None) -> Any:
    if not path.is_file():
        raise InputError(f"{path} is not a file.", f"Give files of vectors: {', '.join(SUFFIXES)}.")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is not one of {', '.join(SUFFIXES)}.", "numpy.save writes .npy.")
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        if path.suffix == ".safetensors":
            return _open_safetensors(path, tensor)
        batches = _parquet_batches(path, columns) if path.suffix == ".parquet" else _csv_batches(path, columns)
        return _spooled(batches, path)
    except (InputError, UsageError):
        raise
    except Exception as error:  # numpy, pyarrow and safetensors raise many kinds; for the reader they mean one thing
        raise InputError(f"{path} cannot be read: {error}") from None


def _open_safetensors(path: Path, tensor: str | None) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:  # checks the header
        matrices = [name for name in file.keys() if len(file.get_slice(name).get_shape()) == 2]  # noqa: SIM118
    if tensor is None and len(matrices) != 1:
        raise InputError(
            f"{path} holds {len(matrices)} matrices: {', '.join(matrices[:8])}.", "Say which with --tensor NAME."
        )
    name = tensor or matrices[0]
    if name not in matrices:
        raise InputError(f"{path} holds no matrix {name!r}.", f"It holds: {', '.join(matrices[:8])}.")
    with open(path, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        entry = json.loads(handle.read(length))[name]
    kinds = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "BF16": np.uint16}
    if entry["dtype"] not in kinds:
        raise InputError(f"{name!r} in {path} is {entry['dtype']}.", "Vectors are F16, BF16, F32 or F64.")
    offset = 8 + length + entry["data_offsets"][0]
    matrix = np.memmap(path, kinds[entry["dtype"]], "r", offset, tuple(entry["shape"]))
    return _Bfloat16(matrix) if entry["dtype"] == "BF16" else matrix


def _spooled(batches: Iterable[np.ndarray], path: Path) -> np.ndarray:
    """Copy batches of rows to a nameless temporary file and map it."""
    with tempfile.TemporaryFile() as file:
        n, d, dtype = 0, 0, np.dtype(np.float32)
        for batch in batches:
            if n and batch.shape[1] != d:
                raise InputError(f"{path}: rows have {batch.shape[1]} numbers, earlier ones {d}.")
            n, d, dtype = n + len(batch), batch.shape[1], batch.dtype
            file.write(np.ascontiguousarray(batch).data)
        if not n:
            raise InputError(f"{path} holds no rows.")
        file.flush()
        return np.memmap(file, dtype, "r", shape=(n, d))  # the map keeps the file alive


def _chosen_columns(schema: Any, columns: str | None, path: Path) -> list[str]:
    """Return the columns that make the vectors: those of the pattern, else all floats (one list column, or numbers)."""
    import pyarrow as pa

    def is_list(kind: Any) -> bool:
        return pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)

    if columns is not None:
        found = [field.name for field in schema if fnmatch.fnmatch(field.name, columns)]
        if not found:
            raise InputError(f"{path} has no column {columns!r}.", f"It has: {', '.join(schema.names[:10])}.")
        return found
    if lists := [field.name for field in schema if is_list(field.type)]:
        if len(lists) == 1:
            return lists
        raise InputError(f"{path} has several columns of lists: {', '.join(lists)}.", "Say which with --columns NAME.")
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    whole = [field.name for field in schema if pa.types.is_integer(field.type)]
    if floats and whole:
        raise InputError(
            f"{path} has columns of whole numbers ({', '.join(whole[:4])}) beside fractions: ids or coordinates?",
            "Say which columns make the vectors with --columns PATTERN, such as 'e*'.",
        )
    if not floats + whole:
        raise InputError(f"{path} has no column of numbers.", f"It has: {', '.join(schema.names[:10])}.")
    return floats + whole


def _as_matrix(batch: Any, names: list[str], path: Path) -> np.ndarray:
    """Return the named columns of a pyarrow batch as a matrix, float32 where all are at most that, else float64."""
    import pyarrow as pa

    if any(batch.column(name).null_count for name in names):
        raise InputError(f"{path} has empty cells in {', '.join(names[:3])}.", "Fill or drop those rows.")
    if len(names) == 1 and pa.types.is_nested(batch.schema.field(names[0]).type):
        column = batch.column(names[0])
        flat = column.flatten().to_numpy(zero_copy_only=False)
        lengths = np.diff(np.asarray(column.offsets)) if hasattr(column, "offsets") else None
        if lengths is not None and len(lengths) and (lengths != lengths[0]).any():
            raise InputError(f"{path}: lists in {names[0]} differ in length ({lengths.min()} to {lengths.max()}).")
        matrix = flat.reshape(len(column), -1)
    else:
        matrix = np.column_stack([batch.column(name).to_numpy(zero_copy_only=False) for name in names])
    narrow = matrix.dtype.kind == "f" and matrix.dtype.itemsize <= 4
    return matrix.astype(np.float32 if narrow else np.float64, copy=False)


def _parquet_batches(path: Path, columns: str | None) -> Iterator[np.ndarray]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = _chosen_columns(file.schema_arrow, columns, path)
        for batch in file.iter_batches(batch_size=8192, columns=names):
            if len(batch):
                yield _as_matrix(batch, names, path)


def _csv_batches(path: Path, columns: str | None) -> Iterator[np.ndarray]:
    import pyarrow.csv as pc

    with open(path, encoding="utf-8") as handle:
        first = handle.readline().strip().split(",")
    options = pc.ReadOptions(autogenerate_column_names=all(_is_number(cell) for cell in first))
    with pc.open_csv(path, options) as reader:
        names = _chosen_columns(reader.schema, columns, path)
        for batch in reader:
            if len(batch):
                yield _as_matrix(batch, names, path)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
