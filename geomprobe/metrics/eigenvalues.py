"""Eigenvalues of embeddings, and eigenvectors where they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a covariance (or second moment) matrix.

    Attributes
    ----------
    values : float64 ndarray of shape (r,)
        Descending, r = min(n − 1, d) where centred, min(n, d) where not; those below rounding are exactly 0.
    find_vectors : callable
        Computes `vectors`, which cost more than twice the values and are not always asked for.
    """

    values: np.ndarray
    find_vectors: Callable[[], np.ndarray] = field(repr=False)

    @cached_property
    def vectors(self) -> np.ndarray:
        """Eigenvectors as columns, float64 of shape (d, d), in the order of the values, the null space last."""
        return self.find_vectors()


def spectrum_of(matrix: np.ndarray, keep: int, *, vectors: bool = False) -> Spectrum:
    """Spectrum of a symmetric positive semidefinite matrix, its `keep` largest eigenvalues.

    Where `vectors` will be asked for, one decomposition finds both.
    """
    found = np.linalg.eigh(matrix) if vectors else None
    descending = (np.linalg.eigvalsh(matrix) if found is None else found[0])[::-1][:keep]
    floor = len(matrix) * np.finfo(np.float64).eps * max(descending[0], 0)
    values = np.where(descending > floor, descending, 0.0)
    values.flags.writeable = False  # all metrics of a view read the same
    return Spectrum(values, lambda: (np.linalg.eigh(matrix) if found is None else found)[1][:, ::-1].copy())
