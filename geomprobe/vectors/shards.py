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
