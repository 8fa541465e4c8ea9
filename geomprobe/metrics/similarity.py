"""Similarity of two encoders or layers that saw the same rows: CKA, Procrustes, shared neighbours, RSA.

Each with how far its rows move it, then their records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from geomprobe.common import unknown_name
from geomprobe.metrics.matrix import Matrix, cosine_row_means, cosines_with
from geomprobe.metrics.records import OF_DIRECTIONS, OF_SPREAD
from geomprobe.metrics.undefined import NotApplicable, TooFewRows, too_few, undefined
from geomprobe.results.record import Record

RSA_ROWS = 2000
COLUMNS = (
    *("metric", "value", "se", "ci_low", "ci_high", "ci_method"),
    *("null_mean", "null_sd", "p", "n", "status", "note"),
)
Number = TypeVar("Number", float, np.ndarray)


def row_products(a: Matrix, b: Matrix, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """X_i·XᵀY·y_i, the part of each of some rows in ‖XᵀY‖_F², float64 (m,)."""
    return ((a.centred[rows] @ a.cross(b)) * b.centred[rows]).sum(1).numpy()


def _left_out(without: Callable[[Matrix, Matrix], np.ndarray], a: Matrix, b: Matrix, value: float) -> np.ndarray:
    """(N − 1)·(value − value without each row) less its mean, from products without each row; NaN if undefined."""
    cross, size = without(a, b), without(a, a) * without(b, b)
    if not (size > 0).all():
        return np.full(a.n, np.nan)
    moved = (a.n - 1) * (value - cross / np.sqrt(size))
    return moved - moved.mean()


def linear_cka(a: Matrix, b: Matrix) -> float:
    """Return ‖XᵀY‖_F²/(‖XᵀX‖_F ‖YᵀY‖_F), X and Y centred. Kornblith et al. (2019), ICML, eq. 5."""
    return a.product(b) / float(np.sqrt(a.self_product * b.self_product))


def _products_without(a: Matrix, b: Matrix) -> np.ndarray:
    """‖XᵀY‖_F² without each row, exactly: XᵀY loses n/(n − 1)·x_i y_iᵀ, the change of the centre included."""
    w = a.n / (a.n - 1)
    return a.product(b) - 2 * w * row_products(a, b) + w**2 * (a.square * b.square).numpy()


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


def _hsic(a: Matrix, b: Matrix) -> float:
    x, y = a.square, b.square
    return hsic(a.product(b), float(x @ y), float(x.sum()), float(y.sum()), a.n)


def linear_cka_unbiased(a: Matrix, b: Matrix) -> float:
    """Return CKA with unbiased HSIC estimates (Song et al. 2012; Nguyen et al. 2021, ICLR): signed, 0 on average for
    independent data at any n and d; n >= 4."""
    if a.n < 4:
        raise TooFewRows(too_few(a.n, 4))
    own_a, own_b = _hsic(a, a), _hsic(b, b)
    # sums of squares in exact arithmetic; zero where all distances between rows are equal
    if min(own_a / a.self_product, own_b / b.self_product) < 1e-12:
        raise NotApplicable("all rows of one side are equally far from each other")
    return _hsic(a, b) / float(np.sqrt(own_a * own_b))


def _hsic_without(a: Matrix, b: Matrix) -> np.ndarray:
    """Unbiased HSIC without each row, exactly.

    Besides ‖XᵀY‖_F² the squared lengths s of all other rows change with the centre, to s_j + 2e·x_j·x_i + e²·s_i with
    e = 1/(n − 1); their products are expanded.
    """
    n = a.n
    w, e = n / (n - 1), 1 / (n - 1)
    own, products = (a.square * b.square).numpy(), row_products(a, b)
    mixed = b.centred @ (a.square @ b.centred) + a.centred @ (b.square @ a.centred)
    s, t = a.square.numpy(), b.square.numpy()
    lengths = own.sum() - own + 2 * e * (mixed.numpy() - 2 * own) + e**2 * (t * (s.sum() - s) + s * (t.sum() - t))
    lengths += 4 * e**2 * (products - own) - 4 * e**3 * own + (n - 1) * e**4 * own
    return hsic(_products_without(a, b), lengths, s.sum() - w * s, t.sum() - w * t, n - 1)


def procrustes(a: Matrix, b: Matrix) -> float:
    """Min over orthogonal Q of ‖X − YQ‖_F = √(2 − 2‖XᵀY‖_*), X and Y centred and scaled to Frobenius norm 1.

    Williams et al. (2021), "Generalized shape metrics on neural representations", NeurIPS; a metric.
    """
    nuclear = float(torch.linalg.svdvals(a.cross(b)).sum())
    return float(np.sqrt(max(0.0, 2 - 2 * nuclear)))


def _procrustes_influences(a: Matrix, b: Matrix, value: float) -> np.ndarray:
    """To first order: ‖XᵀY‖_* = Σ u_k·XᵀY·v_k moves by x_i·(Σ_k u_k v_kᵀ)·y_i, the lengths by ‖x_i‖² and ‖y_i‖²."""
    u, values, vt = torch.linalg.svd(a.cross(b), full_matrices=False)
    nuclear, n = float(values.sum()), a.n
    moved = n * ((a.centred @ (u @ vt)) * b.centred).sum(1).numpy() - nuclear
    scaled = nuclear * (n * (a.square + b.square).numpy() / 2 - 1)
    return -(moved - scaled) / value


def shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether each neighbour in a is a neighbour in b, bool, from their row numbers, both of shape (n, k)."""
    return (a[:, :, None] == b[:, None, :]).any(2)


def mutual_knn(a: Matrix, b: Matrix) -> float:
    """Mean share of the 10 nearest neighbours (by cosine) of a row that both sides name.

    Huh et al. (2024), "The Platonic Representation Hypothesis", ICML, appendix A.
    """
    return float(shared(a.neighbours, b.neighbours).mean())


def cknna(a: Matrix, b: Matrix) -> float:
    """Return Align(K, L)/√(Align(K, K)·Align(L, L)), where Align sums products of row-centred cosines over the pairs
    (i, j) with j among the 10 nearest of i on both sides: CKA over shared neighbours.

    Huh et al. (2024), ICML, eqs. 7 and 8. (The authors' code masks the kernels first and centres the masked ones.)
    """
    own_a, own_b = a.near_kernel, b.near_kernel
    there = cosines_with(b, a.neighbours) - cosine_row_means(b)[:, None]
    return aligned(shared(a.neighbours, b.neighbours), own_a, own_b, there)


def aligned(both: np.ndarray, k: np.ndarray, m: np.ndarray, there: np.ndarray) -> float:
    """CKNNA from which neighbours are shared and row-centred cosines, all of shape (n, NEIGHBOURS); NaN if undefined.

    Of each side with its own neighbours, and of the second with those of the first.
    """
    own = float((k**2).sum() * (m**2).sum())
    return float((k * there)[both].sum() / np.sqrt(own)) if own else np.nan


def rsa_spearman(a: Matrix, b: Matrix) -> float:
    """Return Spearman's correlation over pairs of rows between their cosines on either side.

    Kriegeskorte et al. (2008), Frontiers in Systems Neuroscience 2, with cosine dissimilarity.
    """
    if not a.rank_square or not b.rank_square:
        raise undefined(a.n, 3, "all pairs of one side have the same cosine")
    return float(np.vdot(a.ranks, b.ranks) / np.sqrt(a.rank_square * b.rank_square))


Influences = Callable[[Matrix, Matrix, float], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Similarity(Record):
    """A similarity and its contract.

    Attributes
    ----------
    compute : callable
    distance : bool
        Whether equal sides have the value 0, and smaller values than the permutation null's are extreme; else 1, and
        larger ones.
    influences : callable or None
        Influence of each row, float64 (n,), from both sides and the value, where it is a function of products of rows.
    second_order : {"own", "scaled"}
        Of these, whether the second-order term is that of CKA, or has the same share in the variance.
    tail_degrees : float or None
        Where the lengths of the rows have a heavy tail, fewest degrees of freedom a row; None: as for any metric.
    of_lists : callable or None
        Value from which neighbours are shared, (n, NEIGHBOURS), and a function that gives the further arguments of
        `aligned`, where it is a function of nearest neighbours.
    most_rows : int or None
        How many rows it reads at most: of more, a seeded sample.
    """

    family: str = "similarity"
    compared: bool = False
    compute: Callable[[Matrix, Matrix], float]
    distance: bool = False
    influences: Influences | None = None
    second_order: str = "own"
    tail_degrees: float | None = None
    of_lists: Callable[[np.ndarray, Callable[[], tuple[np.ndarray, ...]]], float] | None = None
    most_rows: int | None = None


SIMILARITIES: dict[str, Similarity] = {
    entry.name: entry
    for entry in (
        Similarity(
            name="linear_cka",
            compute=linear_cka,
            formula="‖XᵀY‖_F²/(‖XᵀX‖_F ‖YᵀY‖_F), columns centred",
            range="[0, 1]",
            direction="larger: more alike; biased upwards where D is not small against N (read it beside its null)",
            invariances=OF_SPREAD,
            source="Kornblith et al. 2019, ICML, eq. 5",
            influences=lambda a, b, value: _left_out(_products_without, a, b, value),
            # it holds fourth powers of lengths, which the unbiased one takes out
            tail_degrees=0.25,
        ),
        Similarity(
            name="linear_cka_unbiased",
            compute=linear_cka_unbiased,
            formula="HSIC₁(X, Y)/√(HSIC₁(X, X)·HSIC₁(Y, Y)) with the unbiased HSIC₁",
            range="[−1, 1]",
            direction="larger: more alike; 0 on average for independent data",
            invariances=OF_SPREAD,
            source="Song et al. 2012, JMLR 13, eq. 5; Nguyen et al. 2021, ICLR",
            influences=lambda a, b, value: _left_out(_hsic_without, a, b, value),
        ),
        Similarity(
            name="procrustes",
            compute=procrustes,
            formula="√(2 − 2‖XᵀY‖_*), columns centred, each side scaled to Frobenius norm 1",
            range="[0, √2]",
            direction="smaller: more alike; a metric",
            invariances=OF_SPREAD,
            source="Williams et al. 2021, NeurIPS",
            distance=True,
            influences=_procrustes_influences,
            second_order="scaled",
        ),
        Similarity(
            name="mutual_knn",
            compute=mutual_knn,
            formula="mean share of the 10 nearest neighbours (by cosine) that both sides name",
            range="[0, 1]",
            direction="larger: more alike nearby; 10/(N−1) for independent data",
            invariances=OF_DIRECTIONS,
            source="Huh et al. 2024, ICML, appendix A",
            of_lists=lambda both, kernels: float(both.mean()),
        ),
        Similarity(
            name="cknna",
            compute=cknna,
            formula="Align(K, L)/√(Align(K, K)·Align(L, L)), row-centred cosines over shared 10 nearest neighbours",
            range="[−1, 1]",
            direction="larger: more alike nearby",
            invariances=OF_DIRECTIONS,
            source="Huh et al. 2024, ICML, eqs. 7 and 8",
            of_lists=lambda both, kernels: aligned(both, *kernels()),
        ),
        Similarity(
            name="rsa_spearman",
            compute=rsa_spearman,
            formula="Spearman's correlation over pairs of rows between the cosines on either side",
            range="[−1, 1]",
            direction="larger: more alike",
            invariances=OF_DIRECTIONS,
            source="Kriegeskorte et al. 2008, Frontiers in Systems Neuroscience 2",
            most_rows=RSA_ROWS,
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
        extreme = np.sum(np.array(null) <= value if SIMILARITIES[name].distance else np.array(null) >= value)
        rows[name] |= {
            "null_mean": float(np.mean(null)),
            "null_sd": float(np.std(null, ddof=1)) if permutations > 1 else None,
            "p": float((1 + extreme) / (1 + permutations)),
        }
    return rows


def check_similarity(name: str) -> None:
    """Raise UsageError where no similarity has that name."""
    if name not in SIMILARITIES:
        raise unknown_name("similarity", name, list(SIMILARITIES))


def similarity_map(first: Sequence[Any], second: Sequence[Any], metric: str = "linear_cka_unbiased") -> np.ndarray:
    """Similarity of each of several layers with each of others, float64 of shape (len(first), len(second)).

    Where a pair has no value (see `similarity`) the entry is NaN.
    """
    check_similarity(metric)
    rows, columns = [Matrix(x) for x in first], [Matrix(y) for y in second]
    out = np.full((len(rows), len(columns)), np.nan)
    for i, a in enumerate(rows):
        for j, b in enumerate(columns):
            try:
                out[i, j] = SIMILARITIES[metric].compute(a, b)
            except NotApplicable:
                continue
    return out
