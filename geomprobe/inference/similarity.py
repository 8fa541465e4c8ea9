"""How far each row moves the similarity of two encoders, and how far its standard error can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

import geomprobe.inference.jackknife as jackknife
from geomprobe.common import unknown_name
from geomprobe.inference.estimate import JACKKNIFE, RESOLUTION, Estimate, NoInterval
from geomprobe.inference.influence import NEIGHBOUR_ROWS, check_tail, number_clusters
from geomprobe.inference.intervals import TAIL_DEGREES, heavy_tailed
from geomprobe.inference.probe_tests import rank_influence
from geomprobe.inference.sphere import Checked, checked_rows, second_order
from geomprobe.metrics.embeddings import NotApplicable, TooFewRows
from geomprobe.metrics.similarity import (
    COLUMNS,
    NEIGHBOURS,
    REACH,
    ROUNDING,
    RSA_ROWS,
    SIMILARITIES,
    Matrix,
    cosine_row_means,
    cosines_with,
    distances_with,
    hsic,
    similarity_rows,
)
from geomprobe.vectors import VectorSource

CKA_DEGREES = 0.25
"""Where tails are heavy, fewest degrees of freedom for each row of the biased CKA."""
EQUAL = 1e-6
"""Procrustes distance below which both sides are equal up to rounding: √ of what float64 resolves, and some."""


def _row_products(a: Matrix, b: Matrix, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """X_i·XᵀY·y_i, the part of each of some rows in ‖XᵀY‖_F², float64 (m,)."""
    return ((a.centred[rows] @ a.cross(b)) * b.centred[rows]).sum(1).numpy()


def _left_out(value: float, cross: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N − 1)·(value − cross/√(a·b)) less its mean, these being the parts without each row; NaN if undefined."""
    product = a * b
    if not (product > 0).all():
        return np.full(len(cross), np.nan)
    moved = (len(cross) - 1) * (value - cross / np.sqrt(product))
    return moved - moved.mean()


def linear_cka(a: Matrix, b: Matrix, value: float) -> np.ndarray:
    """Influence of each row on linear CKA, float64 (n,): what leaving it out does, exactly.

    Without row i, XᵀY loses n/(n − 1)·x_i y_iᵀ, the change of the centre included.
    """
    w = a.n / (a.n - 1)

    def without(one: Matrix, other: Matrix) -> np.ndarray:
        whole = float((one.cross(other) ** 2).sum())
        return whole - 2 * w * _row_products(one, other) + w**2 * (one.square * other.square).numpy()

    return _left_out(value, without(a, b), without(a, a), without(b, b))


def linear_cka_unbiased(a: Matrix, b: Matrix, value: float) -> np.ndarray:
    """Influence of each row on unbiased linear CKA, float64 (n,): what leaving it out does, exactly.

    Beside ‖XᵀY‖_F² (see `linear_cka`) the squared lengths s of all other rows change with the centre, to
    s_j + 2e·x_j·x_i + e²·s_i with e = 1/(n − 1); their products are expanded.
    """
    n = a.n
    w, e = n / (n - 1), 1 / (n - 1)

    def without(one: Matrix, other: Matrix) -> np.ndarray:
        own, products = (one.square * other.square).numpy(), _row_products(one, other)
        whole = float((one.cross(other) ** 2).sum())
        cross = whole - 2 * w * products + w**2 * own
        mixed = other.centred @ (one.square @ other.centred) + one.centred @ (other.square @ one.centred)
        s, t = one.square.numpy(), other.square.numpy()
        lengths = own.sum() - own + 2 * e * (mixed.numpy() - 2 * own) + e**2 * (t * (s.sum() - s) + s * (t.sum() - t))
        lengths += 4 * e**2 * (products - own) - 4 * e**3 * own + (n - 1) * e**4 * own
        return hsic(cross, lengths, s.sum() - w * s, t.sum() - w * t, n - 1)

    return _left_out(value, without(a, b), without(a, a), without(b, b))


def procrustes(a: Matrix, b: Matrix, value: float) -> np.ndarray:
    """Influence of each row on the Procrustes distance, float64 (n,).

    ‖XᵀY‖_* = Σ u_k·XᵀY·v_k moves by x_i·(Σ_k u_k v_kᵀ)·y_i, the lengths of both sides by ‖x_i‖² and ‖y_i‖².
    """
    u, values, vt = torch.linalg.svd(a.cross(b), full_matrices=False)
    nuclear, n = float(values.sum()), a.n
    moved = n * ((a.centred @ (u @ vt)) * b.centred).sum(1).numpy() - nuclear
    scaled = nuclear * (n * (a.square + b.square).numpy() / 2 - 1)
    return -(moved - scaled) / value


@dataclass
class Compared:
    """Two sides, and what the influences on several similarities share, computed once and on demand.

    Attributes
    ----------
    a, b : Matrix
        The neighbours of either are searched REACH deep.
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    """

    a: Matrix
    b: Matrix
    clusters: np.ndarray

    @cached_property
    def checked(self) -> Checked:
        """Rows whose pairs are looked at one by one."""
        return checked_rows(self.clusters, np.ones(self.a.n, bool), 0)

    @cached_property
    def heavy_tailed(self) -> bool:
        """Whether the lengths of the rows of either side have a heavy tail."""
        # with the participation ratio of a side whose spread is 1
        return any(heavy_tailed(side.square.numpy(), 1 / side.self_product) for side in (self.a, self.b))

    @cached_property
    def cka_orders(self) -> tuple[float, float]:
        """Variances of the first- and of the second-order term of the unbiased CKA, linearised as a mean over pairs.

        Both from the checked rows.
        """
        a, b, rows, n = self.a, self.b, self.checked.rows, self.a.n
        k, m = ((side.centred[rows] @ side.centred[rows].T).numpy() for side in (a, b))
        own_a, own_b, cross = (
            (float((one.cross(other) ** 2).sum()) - float((one.square * other.square).sum())) / (n * (n - 1))
            for one, other in ((a, a), (b, b), (a, b))
        )
        size = np.sqrt(own_a * own_b)
        terms = k * m / size - cross / size / 2 * (k**2 / own_a + m**2 / own_b)
        h_a, h_b, h = (
            (_row_products(one, other, rows) - (one.square * other.square)[rows].numpy()) / (n - 1)
            for one, other in ((a, a), (b, b), (a, b))
        )
        means = h / size - cross / size / 2 * (h_a / own_a + h_b / own_b)  # of mean 0
        homes, units = (self.checked.homes, self.checked.groups) if self.checked.whole else (np.arange(len(rows)), n)
        first = 4 * float((np.bincount(homes, means) ** 2).mean()) * units / n**2
        return first, second_order(terms, self.checked, means, 0.0)


def _second_order(name: str, pair: Compared, rows: np.ndarray) -> float:
    """Variance of the second-order term of CKA; for the Procrustes distance the same share of its own."""
    first, second = pair.cka_orders
    if name != "procrustes":
        return second
    contributions = np.bincount(pair.clusters, rows) / len(rows)
    return second * float((contributions**2).sum()) / first if first > 0 else 0.0


def _rsa_spearman(pair: Compared, value: float) -> Estimate:
    """Row means of what pairs of rows move Spearman's correlation by, the moving ranks of all pairs included."""
    n = pair.a.n
    upper = np.triu_indices(n, 1)
    middle = upper[0].size + 1  # twice the mean rank
    ranks = (np.rint(2 * side.ranks[upper]).astype(np.int64) + middle for side in (pair.a, pair.b))
    square = np.zeros((n, n))
    square[upper] = rank_influence(*ranks)
    square += square.T
    means = square.sum(0) / (n - 1)
    rows = pair.checked.rows
    second = second_order(square[np.ix_(rows, rows)], pair.checked, means[rows], float(means.mean()))
    return Estimate.of_rows(value, 2 * (means - means.mean()), pair.clusters, second_order=second)


def _neighbours(pair: Compared, name: str, value: float) -> Estimate:
    """Contributions whose standard error is that of the delete-a-shard jackknife, from one search.

    Without a shard the next in each row's list take the places of its rows. New neighbours move the value more than
    another sample would: the error is never too small on average (Efron & Stein 1981, "The jackknife estimate of
    variance", Annals of Statistics 9), far too large here, and labelled.
    """
    a, b, clusters = pair.a, pair.b, pair.clusters
    if int(clusters.max()) + 1 < NEIGHBOUR_ROWS:
        raise NoInterval(f"fewer than {NEIGHBOUR_ROWS} independent rows")
    home = jackknife.shards(clusters, 0)
    lists = a.ranked[0], b.ranked[0]
    cosines = (a.ranked[1], b.ranked[1], cosines_with(b, lists[0])) if name == "cknna" else ()
    homes = [home[near] for near in lists]
    values = np.empty(int(home.max()) + 1)
    for s in range(len(values)):
        kept = np.flatnonzero(home != s)
        there = [of[kept] != s for of in homes]
        if min(int(one.sum(1).min()) for one in there) < NEIGHBOURS:
            raise NoInterval("a shard of rows holds most of a row's neighbours")
        # the first NEIGHBOURS that are left of each list
        first = [one & (np.cumsum(one, 1) <= NEIGHBOURS) for one in there]
        near = [one[kept][at].reshape(-1, NEIGHBOURS) for one, at in zip(lists, first, strict=True)]
        shared = (near[0][:, :, None] == near[1][:, None, :]).any(2)
        if name == "mutual_knn":
            values[s] = shared.mean()
            continue
        means = [cosine_row_means(side, kept) for side in (a, b)]
        k, m, m_there = (
            cosine[kept][first[at]].reshape(-1, NEIGHBOURS) - means[side][:, None]
            for cosine, at, side in zip(cosines, (0, 1, 0), (0, 1, 1), strict=True)
        )
        own = float((k**2).sum() * (m**2).sum())
        values[s] = (k * m_there)[shared].sum() / np.sqrt(own) if own else np.nan
    rows = jackknife.spread(values, home)
    if np.ptp(values) <= RESOLUTION:
        raise NoInterval("no row tells the neighbours of the sides apart")
    second = float((rows**2).sum()) / a.n**2
    return Estimate.of_rows(value, rows, clusters, method=JACKKNIFE, second_order=second)


def _equal(name: str, pair: Compared, value: float) -> bool:
    """Whether both sides are equal up to what the similarity does not see, and to rounding."""
    if name == "procrustes":
        return value < EQUAL
    if name not in ("mutual_knn", "cknna"):
        return 1 - value < RESOLUTION
    if value < 0.99:  # rounding chooses other neighbours only among equally near ones
        return False
    here, there = (distances_with(side, pair.a.ranked[0]) for side in (pair.a, pair.b))
    return float(np.abs(here - there).max()) <= ROUNDING * max(pair.a.eps, pair.b.eps)


def estimate_of(name: str, pair: Compared, value: float) -> Estimate:
    """A similarity with the contribution of each cluster of rows, refused where there is no valid interval.

    Parameters
    ----------
    name : str
        Of `geomprobe.metrics.similarity.SIMILARITIES`.
    pair : Compared
    value : float
        As measured.
    """
    try:
        return _estimate_of(name, pair, value)
    except (NoInterval, NotApplicable) as reason:
        return Estimate.refused(value, reason)


def _estimate_of(name: str, pair: Compared, value: float) -> Estimate:
    a, b = pair.a, pair.b
    if _equal(name, pair, value):
        return Estimate.of_rows(value, np.zeros(a.n), pair.clusters)
    if name in ("mutual_knn", "cknna"):
        return _neighbours(pair, name, value)
    if name == "rsa_spearman":
        return _rsa_spearman(pair, value)
    rows = {"linear_cka": linear_cka, "linear_cka_unbiased": linear_cka_unbiased, "procrustes": procrustes}[name](
        a, b, value
    )
    if not np.isfinite(rows).all():
        raise NoInterval("not defined once a row is left out")
    found = Estimate.of_rows(value, rows, pair.clusters, second_order=_second_order(name, pair, rows))
    if pair.heavy_tailed:
        # the biased CKA holds fourth powers of lengths, which the unbiased one takes out
        check_tail(found, CKA_DEGREES if name == "linear_cka" else TAIL_DEGREES[1])
    return found


def with_intervals(rows: Mapping[str, dict[str, Any]], a: Matrix, b: Matrix, clusters: Any) -> None:
    """Fill se, ci_low, ci_high and ci_method of the rows of `geomprobe.metrics.similarity.similarity`, in place.

    Parameters
    ----------
    rows : mapping of similarity name to row
    a, b : Matrix
    clusters : array-like of shape (n,), optional
    """
    pair = Compared(a, b, number_clusters(clusters, a.n))
    for name, row in rows.items():
        if row["status"] == "ok":
            row |= estimate_of(name, pair, row["value"]).interval().to_row()


def similarity(
    first: Any,
    second: Any,
    *,
    metrics: Sequence[str] | None = None,
    clusters: Any = None,
    permutations: int = 100,
    intervals: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two sets of vectors of the same rows.

    Parameters
    ----------
    first, second : array-like of shape (n, d_1) and (n, d_2)
        numpy or torch, any float type, any device (computed on the CPU); row i of both belongs to the same text.
    metrics : sequence of str, optional
        Names of SIMILARITIES; default: all.
    clusters : array-like of shape (n,), optional
        Rows with the same value are not independent; for intervals.
    permutations : int
        Random orders of the second side's rows that the null distribution is drawn from; 0 for none.
    intervals : bool
        Whether to fill se, ci_low, ci_high and ci_method: the 95 % interval for the expected value at this number of
        rows, and how it was made.
    seed : int

    Returns
    -------
    DataFrame
        Columns metric, value, se, ci_low, ci_high, ci_method, null_mean, null_sd, p (share of the null at least as
        extreme, the identity counted), n, status, note. RSA reads a seeded sample of at most 2,000 rows, and says so.

    Raises
    ------
    ValueError
        Where the numbers of rows differ, there are fewer than two, or rows are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(200, 8))
    >>> noisy = Z + 0.5 * rng.normal(size=(200, 8))
    >>> cka = gp.similarity(Z, noisy, metrics=["linear_cka"]).loc[0]
    >>> f"{cka.value:.2f}, by chance {cka.null_mean:.2f}"
    '0.79, by chance 0.04'
    """
    chosen = [metrics] if isinstance(metrics, str) else list(metrics or SIMILARITIES)
    for name in chosen:
        if name not in SIMILARITIES:
            raise unknown_name("similarity", name, list(SIMILARITIES))
    reach = REACH if intervals else NEIGHBOURS + 1
    a, b = Matrix(first, reach), Matrix(second, reach)
    if a.n != b.n:
        raise ValueError(f"both sides must have the same rows: {a.n} and {b.n}")
    if a.n < 2:
        raise TooFewRows(f"similarity needs at least two rows, not {a.n}")
    together = [name for name in chosen if name != "rsa_spearman" or a.n <= RSA_ROWS]
    if clusters is not None and len(clusters) != a.n:
        raise ValueError(f"clusters must have a value a row: {len(clusters)} for {a.n} rows")
    rows = similarity_rows(together, a, b, permutations, np.random.default_rng(seed), None)
    fill = with_intervals if intervals else lambda *_: None
    fill(rows, a, b, clusters)
    if len(together) < len(chosen):
        rng = np.random.default_rng(seed)
        sample = np.sort(rng.choice(a.n, RSA_ROWS, replace=False))
        sampled = Matrix(VectorSource(first).take(sample)), Matrix(VectorSource(second).take(sample))
        sampled[0].eps, sampled[1].eps = a.eps, b.eps  # of the rows as given
        more = similarity_rows(["rsa_spearman"], *sampled, permutations, rng, f"seeded sample of {RSA_ROWS:,} rows")
        fill(more, *sampled, None if clusters is None else np.asarray(clusters)[sample])
        rows |= more
    return pd.DataFrame([rows[name] for name in chosen], columns=list(COLUMNS))
