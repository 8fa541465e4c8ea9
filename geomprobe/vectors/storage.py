"""Vectors as a vector store keeps them: truncated, as int8 codes, as signs."""

from __future__ import annotations

from typing import Any

import numpy as np

from geomprobe.common import unknown_name
from geomprobe.vectors import NonFiniteError

PRECISIONS = ("float32", "int8", "binary")
LEVELS = 255
"""Steps between the ends of a dimension's range: int8 has 256 codes."""


def truncate(Z: Any, d: int, *, renormalise: bool = False) -> np.ndarray:
    """First d dimensions of vectors.

    This is how an encoder trained with a Matryoshka loss is shortened (Kusupati et al. 2022, NeurIPS);
    sentence-transformers calls it ``truncate_dim``.

    Parameters
    ----------
    Z : array-like of shape (n, dim)
    d : int
        Between 1 and dim.
    renormalise : bool
        Scale each row to unit length afterwards, as ``encode(normalize_embeddings=True)`` does. A zero row stays zero.

    Returns
    -------
    ndarray of shape (n, d)
        Of the float type of `Z`.

    Raises
    ------
    ValueError
        `Z` is not a matrix of finite floats, or d is not between 1 and its width.

    Examples
    --------
    >>> truncate([[3.0, 4.0, 12.0]], 2, renormalise=True).tolist()
    [[0.6, 0.8]]
    """
    Z = _floats(Z)
    if not 1 <= d <= Z.shape[1]:
        raise ValueError(f"d = {d} is not between 1 and the {Z.shape[1]} dimensions of the vectors")
    cut = Z[:, :d]
    if not renormalise:
        return cut.copy()
    lengths = np.linalg.norm(cut.astype(np.float64), axis=1, keepdims=True)
    return (cut / np.where(lengths > 0, lengths, 1.0)).astype(Z.dtype)


def int8_ranges(Z: Any) -> np.ndarray:
    """Smallest and the largest value of each dimension: what `quantise` calibrates int8 codes with.

    Parameters
    ----------
    Z : array-like of shape (n, dim)
        At least two rows, of the kind that will be quantised.

    Returns
    -------
    float32 ndarray of shape (2, dim)

    Raises
    ------
    ValueError
        `Z` is not a matrix of finite floats with two rows or more.
    """
    Z = _floats(Z)
    if len(Z) < 2:
        raise ValueError(f"int8 ranges need at least two rows, not {len(Z)}")
    return np.stack([Z.min(axis=0), Z.max(axis=0)]).astype(np.float32)


def quantise(Z: Any, precision: str, ranges: Any = None) -> np.ndarray:
    """Vectors in a lower precision: the numbers that a vector store compares.

    Equal to ``sentence_transformers.quantize_embeddings`` (6.2), whose ``ubinary`` holds the same signs as packed bits.

    Parameters
    ----------
    Z : array-like of shape (n, dim)
    precision : {"float32", "int8", "binary"}
    ranges : array-like of shape (2, dim), optional
        For int8: the smallest and the largest value of each dimension, from `int8_ranges` of other rows of the same
        encoder. Without them they are taken from `Z` itself.

    Returns
    -------
    ndarray of shape (n, dim)
        float32: rounded to float32. int8: codes ⌊(x − low)/step⌋ − 128 with step = (high − low)/255, values outside the
        range at its ends; a dimension of range zero has step 1. The codes shift and stretch each dimension, so
        directions change by more than rounding. binary: int8, 1 where x > 0, else −1.

    Raises
    ------
    ValueError
        `Z` is not a matrix of finite floats, or `ranges` do not fit it.
    UsageError
        The name of the precision is unknown.

    Examples
    --------
    >>> quantise([[0.0], [7.5], [300.0]], "int8", ranges=[[0], [255]]).tolist()
    [[-128], [-121], [127]]
    >>> quantise([[0.5, -0.1, 0.0]], "binary").tolist()
    [[1, -1, -1]]
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, list(PRECISIONS))
    Z = _floats(Z)
    if precision == "float32":
        return Z.astype(np.float32)
    if precision == "binary":
        return np.where(Z > 0, 1, -1).astype(np.int8)
    ranges = int8_ranges(Z) if ranges is None else np.asarray(ranges, np.float32)
    if ranges.shape != (2, Z.shape[1]) or not np.isfinite(ranges).all() or (ranges[0] > ranges[1]).any():
        raise ValueError(f"ranges must hold the finite low and high of each of {Z.shape[1]} dimensions")
    low, high = ranges
    with np.errstate(over="ignore"):
        step = (high - low) / LEVELS
    if not np.isfinite(step).all():
        raise ValueError("a dimension's range is beyond float32: rescale the vectors")
    step = np.where(step == 0, 1, step)
    return (np.clip(np.floor((Z - low) / step), 0, LEVELS) - 128).astype(np.int8)


def _floats(Z: Any) -> np.ndarray:
    """Vectors as a matrix of finite floats: NaN has no sign and no code."""
    Z = Z.detach().cpu().numpy() if hasattr(Z, "detach") else np.asarray(Z)
    if Z.ndim != 2 or Z.dtype.kind != "f":
        raise ValueError(f"vectors must be floats of shape (n, dim), not {Z.dtype} of shape {Z.shape}")
    if len(bad := np.flatnonzero(~np.isfinite(Z).all(axis=1))):
        raise NonFiniteError(bad.tolist())
    return Z
