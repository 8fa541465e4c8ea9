"""The input of `gp.measure` as one matrix: arrays pass, tables and lists are converted, the rest is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from geomprobe.common import listed


def as_matrix(data: Any) -> Any:
    """Vectors that a caller gave as an array-like of shape (n, d).

    Parameters
    ----------
    data : array-like of shape (n, d)
        numpy or torch, or anything with `shape`, `dtype` and indexing, comes back as it is. A list of lists or of
        arrays becomes an array, a list of tensors a tensor. A pandas DataFrame is taken whole: its columns must all
        hold fractions, or all whole numbers; its index is not read.

    Raises
    ------
    ValueError
        For sparse matrices, masked arrays, paths, DataFrames with other columns or with whole numbers next to
        fractions (an id, or a dimension?), lists that differ in length, and shapes that are not (n, d).

    Examples
    --------
    >>> as_matrix([[0.5, 1.0], [2.0, 0.25]]).shape
    (2, 2)
    """
    if isinstance(data, str | bytes) or hasattr(data, "__fspath__"):
        raise ValueError("vectors must be an array, not a path: geomprobe.vectors.open_vectors([path]) opens a file")
    if type(data).__module__.startswith("scipy.sparse") or (
        isinstance(data, torch.Tensor) and data.layout != torch.strided
    ):
        kind = type(data).__name__
        raise ValueError(f"vectors must be dense, and {kind} is sparse: give data.toarray() (torch: data.to_dense())")
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise ValueError("vectors must not have masked values: give the rows without them")
    if isinstance(data, pd.DataFrame):
        data = _of_frame(data)
    elif isinstance(data, pd.Series):
        data = _of_items(list(data))
    elif isinstance(data, list | tuple):
        data = _of_items(data)
    elif not hasattr(data, "shape") or not hasattr(data, "dtype"):
        data = np.asarray(data)
    if len(data.shape) != 2 or data.shape[1] == 0:
        raise ValueError(f"vectors must have shape (n, d) with d >= 1, not {tuple(data.shape)}")
    return data


def _of_items(items: Any) -> Any:
    try:
        if len(items) and all(isinstance(item, torch.Tensor) for item in items):
            return torch.stack(list(items))
        return np.asarray(items)
    except (ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"vectors must be rows of equal length: {error}") from None


def _of_frame(frame: pd.DataFrame) -> np.ndarray:
    kinds = [dtype.kind if isinstance(dtype, np.dtype) else getattr(dtype, "kind", "O") for dtype in frame.dtypes]
    other = [str(name) for name, kind in zip(frame.columns, kinds, strict=True) if kind not in "fiu"]
    if other:
        how = "give frame[columns], or np.stack(frame[column]) for a column of lists"
        raise ValueError(f"vectors must be columns of numbers, and these are not: {listed(other, 5)}; {how}")
    whole = [str(name) for name, kind in zip(frame.columns, kinds, strict=True) if kind in "iu"]
    if 0 < len(whole) < len(kinds):
        how = "Give frame.drop(columns=…) without them, or frame.astype(float) with them"
        raise ValueError(f"whole numbers ({listed(whole, 5)}) stand next to fractions: ids or dimensions? {how}")
    if frame.isna().to_numpy().any():
        row, column = np.argwhere(frame.isna().to_numpy())[0]
        raise ValueError(f"row {row} holds no number in column {frame.columns[column]!r}")
    return frame.to_numpy(dtype=np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in frame.dtypes)))
