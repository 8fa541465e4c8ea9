"""How far each row moves the similarity of two encoders, and how far its standard error can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

import geomprobe.inference.jackknife as jackknife
import geomprobe.metrics.matrix as matrix
from geomprobe.inference.estimate import JACKKNIFE, RESOLUTION, Estimate, NoInterval
from geomprobe.inference.influence import NEIGHBOUR_ROWS, check_tail, number_clusters
from geomprobe.inference.intervals import TAIL_DEGREES, heavy_tailed, holm
from geomprobe.inference.probe_tests import rank_influence
from geomprobe.inference.sphere import Checked, checked_rows, second_order
from geomprobe.metrics.matrix import Matrix
from geomprobe.metrics.similarity import (
    COLUMNS,
    SIMILARITIES,
    Similarity,
    check_similarity,
    row_products,
    shared,
    similarity_rows,
)
from geomprobe.metrics.undefined import NotApplicable, TooFewRows
from geomprobe.vectors import VectorSource

DIFFERENCE_COLUMNS = (
    *("metric", "value_a", "value_b", "diff", "se", "ci_low", "ci_high", "ci_method", "p", "p_holm"),
    *("n", "status", "note"),
)
EQUAL = 1e-6
"""Distance below which both sides are equal up to rounding: √ of what float64 resolves, and some."""


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
    def cosines_there(self) -> np.ndarray:
        """Cosines in b of each row with its neighbours in a, (n, REACH)."""
        return matrix.cosines_with(self.b, self.a.ranked[0])

    @cached_property
    def cka_orders(self) -> tuple[float, float]:
        """Variances of the first- and of the second-order term of the unbiased CKA, linearised as a mean over pairs.

        Both from the checked rows.
        """
        a, b, rows, n = self.a, self.b, self.checked.rows, self.a.n
        k, m = ((side.centred[rows] @ side.centred[rows].T).numpy() for side in (a, b))
        both = ((a, a), (b, b), (a, b))
        own_a, own_b, cross = (
            (one.product(other) - float((one.square * other.square).sum())) / (n * (n - 1)) for one, other in both
        )
        size = np.sqrt(own_a * own_b)
        terms = k * m / size - cross / size / 2 * (k**2 / own_a + m**2 / own_b)
        h_a, h_b, h = (
            (row_products(one, other, rows) - (one.square * other.square)[rows].numpy()) / (n - 1)
            for one, other in both
        )
        means = h / size - cross / size / 2 * (h_a / own_a + h_b / own_b)  # of mean 0
        homes, units = (self.checked.homes, self.checked.groups) if self.checked.whole else (np.arange(len(rows)), n)
        first = 4 * float((np.bincount(homes, means) ** 2).mean()) * units / n**2
        return first, second_order(terms, self.checked, means, 0.0)


def _pair_ranks(pair: Compared, value: float) -> Estimate:
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


def _neighbours(record: Similarity, pair: Compared, value: float) -> Estimate:
    """Contributions whose standard error is that of the delete-a-shard jackknife, from one search.

    Without a shard the next in each row's list take the places of its rows. New neighbours move the value more than
    another sample would: the error is never too small on average (Efron & Stein 1981, "The jackknife estimate of
    variance", Annals of Statistics 9), far too large here, and labelled.
    """
    a, b, clusters = pair.a, pair.b, pair.clusters
    if int(clusters.max()) + 1 < NEIGHBOUR_ROWS:
        raise NoInterval(f"fewer than {NEIGHBOUR_ROWS} independent rows")
    assert record.of_lists is not None
    home = jackknife.shards(clusters, 0)
    lists, cosines = zip(a.ranked, b.ranked, strict=True)
    homes = [home[near] for near in lists]
    values = np.empty(int(home.max()) + 1)
    for s in range(len(values)):
        kept = np.flatnonzero(home != s)
        there = [of[kept] != s for of in homes]
        if min(int(one.sum(1).min()) for one in there) < matrix.NEIGHBOURS:
            raise NoInterval("a shard of rows holds most of a row's neighbours")
        # the first NEIGHBOURS that are left of each list
        first = [one & (np.cumsum(one, 1) <= matrix.NEIGHBOURS) for one in there]
        near = [one[kept][at].reshape(-1, matrix.NEIGHBOURS) for one, at in zip(lists, first, strict=True)]
        kernels = partial(_kernels_without, pair, cosines, kept, first)
        values[s] = record.of_lists(shared(*near), kernels)
    rows = jackknife.spread(values, home)
    if np.ptp(values) <= RESOLUTION:
        raise NoInterval("no row tells the neighbours of the sides apart")
    second = float((rows**2).sum()) / a.n**2
    return Estimate.of_rows(value, rows, clusters, method=JACKKNIFE, second_order=second)


def _kernels_without(
    pair: Compared, cosines: tuple[np.ndarray, np.ndarray], kept: np.ndarray, first: list[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Row-centred cosines of the kept rows, as `geomprobe.metrics.similarity.aligned` takes them."""
    means = [matrix.cosine_row_means(side, kept) for side in (pair.a, pair.b)]
    of = ((cosines[0], 0, 0), (cosines[1], 1, 1), (pair.cosines_there, 0, 1))
    return tuple(near[kept][first[at]].reshape(-1, matrix.NEIGHBOURS) - means[side][:, None] for near, at, side in of)


def _equal(record: Similarity, pair: Compared, value: float) -> bool:
    """Whether both sides are equal up to what the similarity does not see, and to rounding."""
    if record.distance:
        return value < EQUAL
    if record.of_lists is None:
        return 1 - value < RESOLUTION
    if value < 0.99:  # rounding chooses other neighbours only among equally near ones
        return False
    here, there = (matrix.distances_with(side, pair.a.ranked[0]) for side in (pair.a, pair.b))
    return float(np.abs(here - there).max()) <= matrix.ROUNDING * max(pair.a.eps, pair.b.eps)


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
    record = SIMILARITIES[name]
    try:
        if _equal(record, pair, value):
            return Estimate.of_rows(value, np.zeros(pair.a.n), pair.clusters)
        if record.of_lists is not None:
            return _neighbours(record, pair, value)
        if record.influences is not None:
            return _products(record, record.influences(pair.a, pair.b, value), pair, value)
        return _pair_ranks(pair, value)
    except (NoInterval, NotApplicable) as reason:
        return Estimate.refused(value, reason)


def _products(record: Similarity, rows: np.ndarray, pair: Compared, value: float) -> Estimate:
    """A similarity that is a function of products of rows, from the influences of these."""
    if not np.isfinite(rows).all():
        raise NoInterval("not defined once a row is left out")
    first, second = pair.cka_orders
    if record.second_order == "scaled":
        contributions = np.bincount(pair.clusters, rows) / len(rows)
        second = second * float((contributions**2).sum()) / first if first > 0 else 0.0
    found = Estimate.of_rows(value, rows, pair.clusters, second_order=second)
    if pair.heavy_tailed:
        assert found.contributions is not None
        check_tail(found.contributions, record.tail_degrees or TAIL_DEGREES[1])
    return found


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
    chosen = _chosen(metrics)
    sides = _sides((first, second), matrix.REACH if intervals else matrix.NEIGHBOURS + 1, clusters)
    found = _measured((first, second), sides, chosen, clusters, seed, permutations, intervals)
    rows = [row | (one.interval().to_row() if one else {}) for row, one in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def similarity_difference(
    first: tuple[Any, Any],
    second: tuple[Any, Any],
    *,
    metrics: Sequence[str] | None = None,
    clusters: Any = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How much more alike the second pair of vectors is than the first, on the same rows.

    Parameters
    ----------
    first, second : pair of array-like of shape (n, d)
        Each as `similarity` takes it; row i of all four belongs to the same text. One side may be the same in both
        pairs: ``(A, B), (A, C)`` asks whether C is more like A than B is.
    metrics : sequence of str, optional
        Names of SIMILARITIES; default: all.
    clusters : array-like of shape (n,), optional
        Rows with the same value are not independent.
    seed : int
        Of the rows that RSA reads, the same in both pairs.

    Returns
    -------
    DataFrame
        A row a similarity: metric, value_a and value_b (of the first and of the second pair), diff (b − a), its se,
        ci_low, ci_high and ci_method, p of "no difference", p_holm (adjusted over the rows of this table; the interval
        is not), n, status, note. Of procrustes, a distance, a positive diff says that the second pair is less alike.

    Raises
    ------
    ValueError
        Where the numbers of rows differ, there are fewer than two, or rows are not finite; it is not two pairs.

    Notes
    -----
    The standard error is that of the difference of the contributions of each row (or cluster), so that what both pairs
    share cancels. mutual_knn and cknna come from a jackknife that is too wide: they find a difference only where it is
    large, and are labelled.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(200, 8))
    >>> near, far = (Z + noise * rng.normal(size=(200, 8)) for noise in (0.5, 0.8))
    >>> cka = gp.similarity_difference((Z, near), (Z, far), metrics=["linear_cka"]).loc[0]
    >>> f"{cka['diff']:.2f}, 95 % interval {cka.ci_low:.2f} to {cka.ci_high:.2f}"
    '-0.19, 95 % interval -0.22 to -0.16'
    """
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in (first, second)):
        raise ValueError("first and second are pairs of vectors: (A, B) and (A, C)")
    chosen = _chosen(metrics)
    sides = _sides((*first, *second), matrix.REACH, clusters)
    pairs = ((first, sides[:2]), (second, sides[2:]))
    found = [_measured(sources, pair, chosen, clusters, seed) for sources, pair in pairs]
    rows = [_difference(*a, *b) for a, b in zip(*found, strict=True)]
    frame = pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))
    frame["p_holm"] = holm(frame["p"].to_numpy(float))
    return frame


def _difference(a: dict[str, Any], of_a: Estimate | None, b: dict[str, Any], of_b: Estimate | None) -> dict[str, Any]:
    """Row of `similarity_difference`, of what is known of both pairs."""
    row = {"metric": a["metric"], "value_a": a.get("value"), "value_b": b.get("value"), "n": a["n"]}
    if of_a is None or of_b is None:
        failed = a if of_a is None else b
        return row | {"status": failed["status"], "note": failed["note"]}
    found = of_b.minus(of_a).interval()
    return row | {"diff": found.value, "p": found.p, "status": "ok", "note": a["note"]} | found.to_row()


def _chosen(metrics: Sequence[str] | None) -> list[str]:
    chosen = [metrics] if isinstance(metrics, str) else list(metrics or SIMILARITIES)
    for name in chosen:
        check_similarity(name)
    return chosen


def _sides(sources: Sequence[Any], reach: int, clusters: Any) -> list[Matrix]:
    """The sources as matrices; one that is given twice is made once."""
    made = {id(source): Matrix(source, reach) for source in sources}
    sides = [made[id(source)] for source in sources]
    rows = [side.n for side in sides]
    if len(set(rows)) > 1:
        raise ValueError(f"all sides must have the same rows: {', '.join(map(str, rows))}")
    if rows[0] < 2:
        raise TooFewRows(f"similarity needs at least two rows, not {rows[0]}")
    if clusters is not None and len(clusters) != rows[0]:
        raise ValueError(f"clusters must have a value a row: {len(clusters)} for {rows[0]} rows")
    return sides


def _measured(
    sources: Sequence[Any],
    sides: Sequence[Matrix],
    chosen: Sequence[str],
    clusters: Any,
    seed: int,
    permutations: int = 0,
    intervals: bool = True,
) -> list[tuple[dict[str, Any], Estimate | None]]:
    """Row of each similarity of two sides without its interval, and the estimate behind it (None without one)."""
    n = sides[0].n

    def rows_of(names: list[str], pair: Compared, rng: np.random.Generator, note: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, row in similarity_rows(names, pair.a, pair.b, permutations, rng, note).items():
            known = intervals and row["status"] == "ok"
            found[name] = row, estimate_of(name, pair, row["value"]) if known else None
        return found

    numbers = number_clusters(clusters, n)
    most = {name: SIMILARITIES[name].most_rows or n for name in chosen}
    whole = [name for name in chosen if most[name] >= n]
    rows = rows_of(whole, Compared(sides[0], sides[1], numbers), np.random.default_rng(seed), None)
    for name in (name for name in chosen if name not in whole):
        rng = np.random.default_rng(seed)
        sample = np.sort(rng.choice(n, most[name], replace=False))
        sampled = [Matrix(VectorSource(source).take(sample)) for source in sources]
        for part, side in zip(sampled, sides, strict=True):
            part.eps = side.eps  # of the rows as given
        pair = Compared(sampled[0], sampled[1], number_clusters(numbers[sample], len(sample)))
        rows |= rows_of([name], pair, rng, f"seeded sample of {len(sample):,} rows")
    return [rows[name] for name in chosen]
