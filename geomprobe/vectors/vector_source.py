"""Vectors in memory or on disk as one thing: the rows of a matrix, checked once and read in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from geomprobe.vectors.in_memory import as_matrix
from geomprobe.vectors.shards import release

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


TAKEN_ROWS = 256
"""Rows that are gathered from a mapped file before its pages are given back."""


def block_rows(d: int, device: str = "cpu") -> int:
    """How many rows of d numbers are worked on at a time: about 4 million numbers, 64 times as many on a GPU.

    What a block sends to the host (matrices of d × d) does not depend on its rows, so a GPU takes the most that it can.
    """
    return min(max(2**22 // max(d, 1), 4096), 16384) * (64 if device == "cuda" else 1)


class VectorSource:
    """The rows of a matrix, converted block by block to the precision that is computed in.

    Parameters
    ----------
    source : array-like of shape (n, d)
        numpy (memory-mapped too) or torch, anything with `shape`, `dtype` and indexing by slices and integer arrays,
        and what `as_matrix` takes: a list of lists, a list of tensors, a DataFrame of numbers.
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
        source = as_matrix(source)
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
        """Rows start to stop as a tensor of shape (rows, d) in the work precision; not to be written to."""
        return self._tensor(self.source[start:stop])

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Given rows as a tensor of shape (len(rows), d) in the work precision."""
        if isinstance(self.source, torch.Tensor):
            return self._tensor(self.source[torch.from_numpy(rows).to(self.source.device)])
        # rows far apart on the disk pull whole stretches of the file into memory, so they are taken a few at a time
        taken = torch.empty(len(rows), self.d, dtype=self.work)
        for start in range(0, len(rows), TAKEN_ROWS):
            part = slice(start, start + TAKEN_ROWS)
            taken[part] = self._tensor(self.source[rows[part]])
            release(self.source)
        return taken

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (first row, block) over the rows of the share in order."""
        on_gpu = isinstance(self.source, torch.Tensor) and self.source.device.type == "cuda"
        size = size or block_rows(self.d, "cuda" if on_gpu else "cpu")
        first, last = self.share
        for start in range(first, last, size):
            stop = min(start + size, last)
            yield start, self.block(start, stop)
            release(self.source)
            if self.progress:
                self.progress(stop - first, last - first)
