"""Views of matrices: several as one, 16-bit words as bfloat16."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


class Shards:
    """Matrices with the same columns, one below the other, read as one.

    Parameters
    ----------
    parts : sequence of array-like of shape (n_i, d)
    """

    def __init__(self, parts: Sequence[Any]):
        self.parts = parts
        self.ends = np.cumsum([part.shape[0] for part in parts])
        self.starts = [0, *self.ends[:-1].tolist()]
        self.shape = (int(self.ends[-1]), int(parts[0].shape[1]))
        self.dtype = parts[0].dtype

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        if isinstance(rows, slice):
            pieces = []
            for part, first, end in zip(self.parts, self.starts, self.ends.tolist(), strict=True):
                low, high = max(rows.start, first), min(rows.stop, end)
                if low < high:
                    pieces.append(part[low - first : high - first])
            return pieces[0] if len(pieces) == 1 else _stacked(pieces)
        home = np.searchsorted(self.ends, rows, side="right")
        pieces = [self.parts[k][rows[home == k] - self.starts[k]] for k in np.unique(home)]
        return _stacked(pieces)[np.argsort(np.argsort(home, kind="stable"))]


def _stacked(pieces: Sequence[Any]) -> Any:
    return torch.cat(list(pieces)) if isinstance(pieces[0], torch.Tensor) else np.concatenate(pieces)


class Bfloat16:
    """A memory-mapped matrix of bfloat16, a type that numpy does not know."""

    dtype = torch.bfloat16

    def __init__(self, words: np.ndarray):
        self.words, self.shape = words, words.shape

    def __getitem__(self, rows: slice | np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(self.words[rows])).view(torch.bfloat16)


def release(source: Any) -> None:
    """Release the pages of mapped files; they would add up to the whole file in memory."""
    for part in source.parts if isinstance(source, Shards) else [source]:
        array = part.words if isinstance(part, Bfloat16) else part
        if isinstance(array, np.memmap) and array.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
            array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
