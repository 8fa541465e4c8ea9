"""Vectors in memory or on disk as one thing: the rows of a matrix, checked once and read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

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


def block_rows(d: int) -> int:
    """Return how many rows of d numbers are worked on at a time (about 4 million numbers)."""
    return min(max(2**22 // max(d, 1), 4096), 16384)


class Rows:
    """The rows of a matrix, converted block by block to the precision that is computed in.

    Parameters
    ----------
    source : array-like of shape (n, d)
        numpy (memory-mapped too) or torch, or anything with `shape`, `dtype` and indexing by slices and integer arrays.
        float16 and bfloat16 are computed in float32; integers and long doubles in float64.

    Attributes
    ----------
    n, d : int
    work : torch.dtype
        float32 or float64, the precision that blocks are handed out in.
    eps : float
        The rounding unit of the numbers as given, before conversion.
    """

    def __init__(self, source: Any):
        if not hasattr(source, "shape") or not hasattr(source, "dtype"):
            source = np.asarray(source)
        if len(source.shape) != 2 or source.shape[1] == 0:
            raise ValueError(f"vectors must have shape (n, d) with d >= 1, not {tuple(source.shape)}")
        self.source = source.detach() if isinstance(source, torch.Tensor) else source
        self.n, self.d = (int(size) for size in source.shape)
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
        return self._tensor(self.source[rows])

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (first row, block) over all rows in order."""
        size = size or block_rows(self.d)
        for start in range(0, self.n, size):
            yield start, self.block(start, min(start + size, self.n))


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32 (no TF32, no bfloat16) within the block, whatever the program chose."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def gram(block: torch.Tensor) -> torch.Tensor:
    """Return blockᵀ·block, multiplied in the block's precision, as float64 of shape (d, d)."""
    if block.device.type == "cpu":
        a = block.numpy()  # numpy sees A.T @ A and calls syrk: half the work of a general product
        return torch.from_numpy(a.T @ a).double()
    return (block.T @ block).double()
