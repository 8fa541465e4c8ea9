"""One side of a similarity: a matrix of rows, and what the similarities share, computed once and on demand."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from geomprobe.metrics.pairs import nearest
from geomprobe.metrics.undefined import NotApplicable, TooFewRows, too_few, undefined
from geomprobe.vectors import VectorSource, unit_rows
from geomprobe.vectors.moments import Moments

NEIGHBOURS = 10
REACH = 3 * NEIGHBOURS
"""How many neighbours intervals search for: where rows are left out, as the jackknife does, others move up."""
ROUNDING = 4.0
"""In units of the rows' precision: what rounding leaves of directions, and of cosines, that are all equal."""


class Matrix:
    """One of two matrices with the same rows, with what similarities share.

    Parameters
    ----------
    data : array-like of shape (n, d)
    reach : int
        How many neighbours of each row are searched for, the next after NEIGHBOURS at least.
    """

    _crossed: tuple[Matrix, torch.Tensor] | None = None

    def __init__(self, data: Any, reach: int = NEIGHBOURS + 1):
        rows = VectorSource(data)
        state = Moments(directions=False).update(rows)  # refuses rows that are not finite, by number
        x = torch.cat([block.double().cpu() for _, block in rows.blocks()])
        largest = float(x.abs().max())
        self.x = x / largest if largest > 0 else x
        spread = float(np.trace(state.scatter)) / rows.n
        self.constant = spread <= (0.5 * state.eps) ** 2 * float(state.mean @ state.mean)
        self.n, self.eps, self.reach = rows.n, state.eps, reach

    @cached_property
    def centred(self) -> torch.Tensor:
        """Centred and scaled to Frobenius norm 1, float64 of shape (n, d)."""
        if self.constant:
            raise undefined(self.n, 3, "all rows of one side are equal up to rounding")
        y = self.x - self.x.mean(0)
        y = y / y.abs().max()
        return y / torch.linalg.vector_norm(y)

    @cached_property
    def square(self) -> torch.Tensor:
        """‖y‖² of each centred row."""
        return (self.centred**2).sum(1)

    @cached_property
    def gram(self) -> torch.Tensor:
        """YᵀY of the centred rows."""
        return self.centred.T @ self.centred

    @cached_property
    def self_product(self) -> float:
        """‖YᵀY‖_F²."""
        return float((self.gram**2).sum())

    @cached_property
    def z(self) -> torch.Tensor:
        """Unit rows."""
        if not bool((self.x.abs().amax(1) > 0).all()):
            raise NotApplicable("a zero row has no direction")
        z = unit_rows(self.x)
        if float((z - z.mean(0)).square().sum(1).mean()) <= (ROUNDING * self.eps) ** 2:
            raise NotApplicable("all directions of one side are equal up to rounding")
        return z

    @cached_property
    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the `reach` nearest directions, nearest first, and cosines with them, shape (n, reach)."""
        if self.n <= NEIGHBOURS:
            raise TooFewRows(too_few(self.n, NEIGHBOURS + 1))
        distances, rows = nearest(self.z - self.z.mean(0), min(self.reach, self.n - 1))
        apart = distances[:, NEIGHBOURS - 1 : NEIGHBOURS + 1].sqrt().diff(dim=1)
        # rounding of the rows moves a distance by about eps/(4√d), for it falls on all coordinates
        rounding = max(self.eps / (4 * np.sqrt(self.z.shape[1])), 4 * np.finfo(float).eps)
        if apart.numel() and float((apart <= rounding).double().mean()) > 0.5:
            raise NotApplicable("which rows are nearest is undecided for most rows: others are as near")
        return rows.numpy(), (1 - distances / 2).numpy()

    @cached_property
    def neighbours(self) -> np.ndarray:
        """Row numbers of the nearest directions, shape (n, NEIGHBOURS)."""
        return self.ranked[0][:, :NEIGHBOURS]

    @cached_property
    def ranks(self) -> np.ndarray:
        """Centred ranks of the cosines of all pairs of rows, as a symmetric matrix of shape (n, n), diagonal 0."""
        upper = np.triu_indices(self.n, 1)
        found = rankdata((self.z @ self.z.T).numpy()[upper])
        ranks = np.zeros((self.n, self.n))
        ranks[upper] = found - found.mean()
        return ranks + ranks.T

    @cached_property
    def rank_square(self) -> float:
        """Sum of the squared ranks."""
        return float(np.vdot(self.ranks, self.ranks))

    @cached_property
    def near_kernel(self) -> np.ndarray:
        """Row-centred cosines with the own nearest neighbours, shape (n, NEIGHBOURS)."""
        cosines = self.ranked[1][:, :NEIGHBOURS]
        kernel = cosines - cosine_row_means(self)[:, None]
        # rounding moves a cosine by that of the rows times their distance
        if float((kernel**2).mean()) <= (ROUNDING * self.eps) ** 2 * 2 * float((1 - cosines).mean()):
            raise NotApplicable("the neighbours of one side are no nearer than its other rows")
        return kernel

    def product(self, other: Matrix) -> float:
        """‖XᵀY‖_F²."""
        return self.self_product if other is self else float((self.cross(other) ** 2).sum())

    def cross(self, other: Matrix) -> torch.Tensor:
        """XᵀY of the centred rows; kept until another side is asked for, since several similarities read it."""
        if other is self:
            return self.gram
        if self._crossed is None or self._crossed[0] is not other:
            self._crossed = other, self.centred.T @ other.centred
        return self._crossed[1]

    def taken(self, rows: np.ndarray) -> Matrix:
        """Side with its rows in another order (a permutation)."""
        other = copy(self)
        known = vars(other)
        known.pop("_crossed", None)
        known.pop("ranked", None)
        known |= {name: known[name][rows] for name in ("x", "centred", "square", "z", "near_kernel") if name in known}
        if "neighbours" in known:
            place = np.empty(self.n, np.int64)
            place[rows] = np.arange(self.n)
            known["neighbours"] = place[self.neighbours[rows]]
        if "ranks" in known:
            # in two takes, which read and write in order: several times as fast as fancy indexing
            known["ranks"] = self.ranks.take(rows, 0).take(rows, 1)
        return other


def cosines_with(side: Matrix, near: np.ndarray) -> np.ndarray:
    """Cosines of each row with some others, (n, m), from their row numbers of that shape."""
    return _with_others(side, near, lambda block, others: torch.einsum("nd,nkd->nk", block, others))


def distances_with(side: Matrix, near: np.ndarray) -> np.ndarray:
    """Distances of the direction of each row from some others, (n, m), from their row numbers."""
    return _with_others(side, near, lambda block, others: torch.linalg.vector_norm(others - block[:, None], dim=2))


def _with_others(side: Matrix, near: np.ndarray, compute: Callable[..., torch.Tensor]) -> np.ndarray:
    z, others = side.z, torch.from_numpy(near)
    step = max(1, 2**22 // (near.shape[1] * z.shape[1]))  # vectors of neighbours are gathered a block at a time
    parts = zip(z.split(step), others.split(step), strict=True)
    return torch.cat([compute(block, z[found]) for block, found in parts]).numpy()


def cosine_row_means(side: Matrix, rows: np.ndarray | None = None) -> np.ndarray:
    """Mean cosine of each row with all others, of some rows where these are given, float64 (n,)."""
    z = side.z if rows is None else side.z[torch.from_numpy(rows)]
    return ((z @ z.sum(0) - 1) / (len(z) - 1)).numpy()
