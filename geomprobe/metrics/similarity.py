"""Similarity of two encoders or layers that saw the same rows: CKA, Procrustes, shared neighbours, RSA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.stats import rankdata

from geomprobe.common import unknown_name
from geomprobe.metrics.embeddings import NotApplicable, TooFewRows, too_few, undefined
from geomprobe.metrics.pairs import nearest
from geomprobe.results.record import Record
from geomprobe.vectors import VectorSource, unit_rows
from geomprobe.vectors.moments import Moments

NEIGHBOURS = 10
REACH = 3 * NEIGHBOURS
"""How many neighbours intervals search for: where rows are left out, as the jackknife does, others move up."""
ROUNDING = 4.0
"""In units of the rows' precision: what rounding leaves of directions, and of cosines, that are all equal."""
RSA_ROWS = 2000
COLUMNS = (
    *("metric", "value", "se", "ci_low", "ci_high", "ci_method"),
    *("null_mean", "null_sd", "p", "n", "status", "note"),
)


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

    def cross(self, other: Matrix) -> torch.Tensor:
        """XᵀY of the centred rows; kept until another side is asked for, since several similarities read it."""
        if other is self:
            return self.gram
        if self._crossed is None or self._crossed[0] is not other:
            self._crossed = other, self.centred.T @ other.centred
        return self._crossed[1]

    def taken(self, rows: np.ndarray) -> Matrix:
        """Side with its rows in another order (a permutation)."""
        other = object.__new__(Matrix)
        other.n, other.eps, other.reach = self.n, self.eps, self.reach
        other.constant, other.x = self.constant, self.x[rows]
        for name in ("centred", "square", "z", "near_kernel"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name][rows]
        if "self_product" in self.__dict__:
            other.__dict__["self_product"] = self.self_product
        if "neighbours" in self.__dict__:
            place = np.empty(self.n, np.int64)
            place[rows] = np.arange(self.n)
            other.__dict__["neighbours"] = place[self.neighbours[rows]]
        if "ranks" in self.__dict__:
            # in two takes, which read and write in order: several times as fast as fancy indexing
            other.__dict__["ranks"] = self.ranks.take(rows, 0).take(rows, 1)
            other.__dict__["rank_square"] = self.rank_square
        return other


def linear_cka(a: Matrix, b: Matrix) -> float:
    """Return ‖XᵀY‖_F²/(‖XᵀX‖_F ‖YᵀY‖_F), X and Y centred. Kornblith et al. (2019), ICML, eq. 5."""
    cross = float((a.cross(b) ** 2).sum())
    return cross / float(np.sqrt(a.self_product * b.self_product))


Number = TypeVar("Number", float, np.ndarray)


def hsic(cross: Number, product: Number, a: Number, b: Number, n: int) -> Number:
    """N(n−3) times the unbiased HSIC of two linear kernels, float or one for each of several samples.

    Song et al. (2012), JMLR 13, eq. 5, for centred rows: there K1 = 0, so K without its diagonal has K̃1 = −diag K,
    and all terms need O(nd²) instead of O(n²d).

    Parameters
    ----------
    cross : float or ndarray
        ‖XᵀY‖_F².
    product : float or ndarray
        Sum over rows of the product of their squared lengths.
    a, b : float or ndarray
        Sums of these squared lengths.
    n : int
        Rows.
    """
    return cross - product + a * b / ((n - 1) * (n - 2)) - 2 * product / (n - 2)


def _hsic(cross: float, a: torch.Tensor, b: torch.Tensor) -> float:
    return hsic(cross, float(a @ b), float(a.sum()), float(b.sum()), len(a))


def linear_cka_unbiased(a: Matrix, b: Matrix) -> float:
    """Return CKA with unbiased HSIC estimates (Song et al. 2012; Nguyen et al. 2021, ICLR): signed, 0 on average for
    independent data at any n and d; n >= 4."""
    if a.n < 4:
        raise TooFewRows(too_few(a.n, 4))
    cross = float((a.cross(b) ** 2).sum())
    own_a, own_b = _hsic(a.self_product, a.square, a.square), _hsic(b.self_product, b.square, b.square)
    # sums of squares in exact arithmetic; zero where all distances between rows are equal
    if min(own_a / a.self_product, own_b / b.self_product) < 1e-12:
        raise NotApplicable("all rows of one side are equally far from each other")
    return _hsic(cross, a.square, b.square) / float(np.sqrt(own_a * own_b))


def procrustes(a: Matrix, b: Matrix) -> float:
    """Min over orthogonal Q of ‖X − YQ‖_F = √(2 − 2‖XᵀY‖_*), X and Y centred and scaled to Frobenius norm 1.

    Williams et al. (2021), "Generalized shape metrics on neural representations", NeurIPS; a metric.
    """
    nuclear = float(torch.linalg.svdvals(a.cross(b)).sum())
    return float(np.sqrt(max(0.0, 2 - 2 * nuclear)))


def _shared(a: Matrix, b: Matrix) -> np.ndarray:
    """Whether each neighbour in a is a neighbour in b, bool of shape (n, NEIGHBOURS)."""
    return (a.neighbours[:, :, None] == b.neighbours[:, None, :]).any(2)


def mutual_knn(a: Matrix, b: Matrix) -> float:
    """Mean share of the 10 nearest neighbours (by cosine) of a row that both sides name.

    Huh et al. (2024), "The Platonic Representation Hypothesis", ICML, appendix A.
    """
    return float(_shared(a, b).mean())


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


def cknna(a: Matrix, b: Matrix) -> float:
    """Return Align(K, L)/√(Align(K, K)·Align(L, L)), where Align sums products of row-centred cosines over the pairs
    (i, j) with j among the 10 nearest of i on both sides: CKA over shared neighbours.

    Huh et al. (2024), ICML, eqs. 7 and 8. (The authors' code masks the kernels first and centres the masked ones.)
    """
    shared = _shared(a, b)
    own_a, own_b = a.near_kernel, b.near_kernel
    there = cosines_with(b, a.neighbours) - cosine_row_means(b)[:, None]
    cross = float((own_a * there)[shared].sum())
    return cross / float(np.sqrt((own_a**2).sum() * (own_b**2).sum()))


def rsa_spearman(a: Matrix, b: Matrix) -> float:
    """Return Spearman's correlation over pairs of rows between their cosines on either side.

    Kriegeskorte et al. (2008), Frontiers in Systems Neuroscience 2, with cosine dissimilarity.
    """
    if not a.rank_square or not b.rank_square:
        raise undefined(a.n, 3, "all pairs of one side have the same cosine")
    return float(np.vdot(a.ranks, b.ranks) / np.sqrt(a.rank_square * b.rank_square))


@dataclass(frozen=True, kw_only=True)
class Similarity(Record):
    """A similarity and its contract.

    Attributes
    ----------
    compute : callable
    null : {"larger", "smaller"}
        Which side of the permutation null is extreme.
    """

    family: str = "similarity"
    compared: bool = False
    compute: Callable[[Matrix, Matrix], float]
    null: str = "larger"


_LINEAR = ("rotation", "scale", "shift")
SIMILARITIES: dict[str, Similarity] = {
    entry.name: entry
    for entry in (
        Similarity(
            name="linear_cka",
            compute=linear_cka,
            formula="‖XᵀY‖_F²/(‖XᵀX‖_F ‖YᵀY‖_F), columns centred",
            range="[0, 1]",
            direction="larger: more alike; biased upwards where D is not small against N (read it beside its null)",
            invariances=_LINEAR,
            source="Kornblith et al. 2019, ICML, eq. 5",
        ),
        Similarity(
            name="linear_cka_unbiased",
            compute=linear_cka_unbiased,
            formula="HSIC₁(X, Y)/√(HSIC₁(X, X)·HSIC₁(Y, Y)) with the unbiased HSIC₁",
            range="[−1, 1]",
            direction="larger: more alike; 0 on average for independent data",
            invariances=_LINEAR,
            source="Song et al. 2012, JMLR 13, eq. 5; Nguyen et al. 2021, ICLR",
        ),
        Similarity(
            name="procrustes",
            compute=procrustes,
            formula="√(2 − 2‖XᵀY‖_*), columns centred, each side scaled to Frobenius norm 1",
            range="[0, √2]",
            direction="smaller: more alike; a metric",
            invariances=_LINEAR,
            source="Williams et al. 2021, NeurIPS",
            null="smaller",
        ),
        Similarity(
            name="mutual_knn",
            compute=mutual_knn,
            formula="mean share of the 10 nearest neighbours (by cosine) that both sides name",
            range="[0, 1]",
            direction="larger: more alike nearby; 10/(N−1) for independent data",
            invariances=("rotation", "scale", "row scale"),
            source="Huh et al. 2024, ICML, appendix A",
        ),
        Similarity(
            name="cknna",
            compute=cknna,
            formula="Align(K, L)/√(Align(K, K)·Align(L, L)), row-centred cosines over shared 10 nearest neighbours",
            range="[−1, 1]",
            direction="larger: more alike nearby",
            invariances=("rotation", "scale", "row scale"),
            source="Huh et al. 2024, ICML, eqs. 7 and 8",
        ),
        Similarity(
            name="rsa_spearman",
            compute=rsa_spearman,
            formula="Spearman's correlation over pairs of rows between the cosines on either side",
            range="[−1, 1]",
            direction="larger: more alike",
            invariances=("rotation", "scale", "row scale"),
            source="Kriegeskorte et al. 2008, Frontiers in Systems Neuroscience 2",
        ),
    )
}


def similarity_rows(
    names: Sequence[str], a: Matrix, b: Matrix, permutations: int, rng: np.random.Generator, note: str | None
) -> dict[str, dict[str, Any]]:
    """Row of each similarity; all of them see the same random orders."""
    rows: dict[str, dict[str, Any]] = {}
    nulls: dict[str, list[float]] = {}
    for name in names:
        rows[name] = {"metric": name, "n": a.n, "status": "ok", "note": note}
        try:
            rows[name]["value"] = SIMILARITIES[name].compute(a, b)
            nulls[name] = []
        except NotApplicable as reason:
            rows[name] |= {"status": reason.status, "note": str(reason)}
    for _ in range(permutations):
        other = b.taken(rng.permutation(b.n))
        for name, null in nulls.items():
            null.append(SIMILARITIES[name].compute(a, other))
    for name, null in nulls.items() if permutations else ():
        value = rows[name]["value"]
        extreme = np.sum(np.array(null) >= value if SIMILARITIES[name].null == "larger" else np.array(null) <= value)
        rows[name] |= {
            "null_mean": float(np.mean(null)),
            "null_sd": float(np.std(null, ddof=1)) if permutations > 1 else None,
            "p": float((1 + extreme) / (1 + permutations)),
        }
    return rows


def similarity_map(first: Sequence[Any], second: Sequence[Any], metric: str = "linear_cka_unbiased") -> np.ndarray:
    """Similarity of each of several layers with each of others, float64 of shape (len(first), len(second)).

    Where a pair has no value (see `similarity`) the entry is NaN.
    """
    if metric not in SIMILARITIES:
        raise unknown_name("similarity", metric, list(SIMILARITIES))
    rows, columns = [Matrix(x) for x in first], [Matrix(y) for y in second]
    out = np.full((len(rows), len(columns)), np.nan)
    for i, a in enumerate(rows):
        for j, b in enumerate(columns):
            try:
                out[i, j] = SIMILARITIES[metric].compute(a, b)
            except NotApplicable:
                continue
    return out
