"""How far each row moves the similarity of two encoders, and how far its standard error can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from geomprobe.inference import JACKKNIFE, Influence, interval, number_clusters, shards, unless_few_decide
from geomprobe.inference.intervals import TAIL_DEGREES, heavy_tailed
from geomprobe.inference.probe_tests import spearman_influence
from geomprobe.inference.sphere import checked_rows, second_order
from geomprobe.metrics.cloud import NotApplicable
from geomprobe.metrics.similarity import NEIGHBOURS, Side, cosine_row_means, cosines_with, hsic

CKA_DEGREES = 0.25
"""Where tails are heavy, fewest degrees of freedom for each row of the biased CKA."""
EQUAL = 1e-6
"""Procrustes distance below which both sides are equal up to rounding: √ of what float64 resolves, and some."""


def _row_products(a: Side, b: Side) -> np.ndarray:
    """Return x_i·XᵀY·y_i, the part of each row in ‖XᵀY‖_F², float64 (n,)."""
    return ((a.centred @ a.cross(b)) * b.centred).sum(1).numpy()


def _left_out(value: float, cross: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N − 1)·(value − cross/√(a·b)) less its mean, these being the parts without each row; NaN if undefined."""
    product = a * b
    if not (product > 0).all():
        return np.full(len(cross), np.nan)
    moved = (len(cross) - 1) * (value - cross / np.sqrt(product))
    return moved - moved.mean()


def linear_cka(a: Side, b: Side, value: float) -> np.ndarray:
    """Return the influence of each row on linear CKA, float64 (n,): what leaving it out does, exactly.

    Without row i, XᵀY loses n/(n − 1)·x_i y_iᵀ, the change of the centre included.
    """
    w = a.n / (a.n - 1)

    def without(one: Side, other: Side) -> np.ndarray:
        whole = float((one.cross(other) ** 2).sum())
        return whole - 2 * w * _row_products(one, other) + w**2 * (one.square * other.square).numpy()

    return _left_out(value, without(a, b), without(a, a), without(b, b))


def linear_cka_unbiased(a: Side, b: Side, value: float) -> np.ndarray:
    """Return the influence of each row on unbiased linear CKA, float64 (n,): what leaving it out does, exactly.

    Beside ‖XᵀY‖_F² (see `linear_cka`) the squared lengths s of all other rows change with the centre, to
    s_j + 2e·x_j·x_i + e²·s_i with e = 1/(n − 1); their products are expanded.
    """
    n = a.n
    w, e = n / (n - 1), 1 / (n - 1)

    def without(one: Side, other: Side) -> np.ndarray:
        own, products = (one.square * other.square).numpy(), _row_products(one, other)
        whole = float((one.cross(other) ** 2).sum())
        cross = whole - 2 * w * products + w**2 * own
        mixed = other.centred @ (one.square @ other.centred) + one.centred @ (other.square @ one.centred)
        s, t = one.square.numpy(), other.square.numpy()
        lengths = own.sum() - own + 2 * e * (mixed.numpy() - 2 * own) + e**2 * (t * (s.sum() - s) + s * (t.sum() - t))
        lengths += 4 * e**2 * (products - own) - 4 * e**3 * own + (n - 1) * e**4 * own
        return hsic(cross, lengths, s.sum() - w * s, t.sum() - w * t, n - 1)

    return _left_out(value, without(a, b), without(a, a), without(b, b))


def procrustes(a: Side, b: Side, value: float) -> np.ndarray:
    """Return the influence of each row on the Procrustes distance, float64 (n,).

    ‖XᵀY‖_* = Σ u_k·XᵀY·v_k moves by Σ_k (u_k·x_i)(v_k·y_i), the lengths of both sides by ‖x_i‖² and ‖y_i‖².
    """
    u, values, vt = torch.linalg.svd(a.cross(b), full_matrices=False)
    nuclear, n = float(values.sum()), a.n
    moved = n * ((a.centred @ u) * (b.centred @ vt.T)).sum(1).numpy() - nuclear
    scaled = nuclear * (n * (a.square + b.square).numpy() / 2 - 1)
    return -(moved - scaled) / value


def _second_order(name: str, a: Side, b: Side, rows: np.ndarray) -> float:
    """Return the variance of the second-order term of CKA; for the Procrustes distance the same share of its variance.

    From what each pair of CHECKED_ROWS seeded rows adds to the unbiased CKA, linearised.
    """
    chosen = checked_rows(a.n, 0)
    upper = np.triu_indices(len(chosen), 1)
    k, m = ((side.centred[chosen] @ side.centred[chosen].T).numpy()[upper] for side in (a, b))
    pairs = a.n * (a.n - 1)
    own_a, own_b = ((side.self_product - float((side.square**2).sum())) / pairs for side in (a, b))
    cross = (float((a.cross(b) ** 2).sum()) - float((a.square * b.square).sum())) / pairs
    size = np.sqrt(own_a * own_b)
    terms = k * m / size - cross / size / 2 * (k**2 / own_a + m**2 / own_b)
    means = (_row_products(a, b) - (a.square * b.square).numpy()) / (a.n - 1) / size
    for side, own in ((a, own_a), (b, own_b)):
        means -= cross / size / 2 * (_row_products(side, side) - (side.square**2).numpy()) / (a.n - 1) / own
    found = second_order(terms, means)
    if name == "procrustes":
        first = 4 * float(np.var(means)) / a.n
        found *= float(np.var(rows)) / a.n / first if first > 0 else 0.0
    return found


def _rsa_spearman(a: Side, b: Side) -> Influence:
    """Row means of what pairs of rows move Spearman's correlation by, the moving ranks of all pairs included."""
    upper = np.triu_indices(a.n, 1)
    moved = spearman_influence(*((side.z @ side.z.T).numpy()[upper] for side in (a, b)))
    square = np.zeros((a.n, a.n))
    square[upper] = moved
    means = (square.sum(0) + square.sum(1)) / (a.n - 1)
    return Influence(0.0, 2 * (means - means.mean()), second_order=second_order(moved, means))


def _neighbours(a: Side, b: Side, name: str, clusters: np.ndarray) -> Influence:
    """Influences whose standard error is that of the delete-a-shard jackknife, from one search.

    Without a shard the next in each row's list take the places of its rows. New neighbours move the value more than
    another sample would: the error is never too small on average (Efron & Stein 1981, "The jackknife estimate of
    variance", Annals of Statistics 9), far too large here, and labelled.
    """
    home = shards.shards(clusters, 0)
    if a.n - np.bincount(home).max() <= NEIGHBOURS:
        raise NotApplicable("a shard of rows leaves too few others")
    lists = a.ranked, b.ranked
    read = ((a, lists[0]), (b, lists[1]), (b, lists[0])) if name == "cknna" else ()
    cosines = [cosines_with(side, near) for side, near in read]
    values = np.empty(int(home.max()) + 1)
    for s in range(len(values)):
        kept = np.flatnonzero(home != s)
        there = [home[near[kept]] != s for near in lists]
        if min(int(one.sum(1).min()) for one in there) < NEIGHBOURS:
            raise NotApplicable("a shard of rows holds most of a row's neighbours")
        places = [np.argsort(~one, 1, kind="stable")[:, :NEIGHBOURS] for one in there]
        near = [np.take_along_axis(one[kept], at, 1) for one, at in zip(lists, places, strict=True)]
        shared = (near[0][:, :, None] == near[1][:, None, :]).any(2)
        if name == "mutual_knn":
            values[s] = shared.mean()
            continue
        means = [cosine_row_means(side, kept) for side in (a, b)]
        k, m, m_there = (
            np.take_along_axis(cosine[kept], places[at], 1) - means[side][:, None]
            for cosine, at, side in zip(cosines, (0, 1, 0), (0, 1, 1), strict=True)
        )
        own = float((k**2).sum() * (m**2).sum())
        values[s] = (k * m_there)[shared].sum() / np.sqrt(own) if own else np.nan
    rows = shards.spread(values, home)
    return Influence(0.0, rows, JACKKNIFE, second_order=float((rows**2).sum()) / a.n**2)


def influence(name: str, a: Side, b: Side, value: float, clusters: np.ndarray) -> Influence:
    """Return how each row moves a similarity.

    Parameters
    ----------
    name : str
        Of `geomprobe.metrics.similarity.SIMILARITIES`.
    a, b : Side
    value : float
        As measured.
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    """
    if name in ("mutual_knn", "cknna"):
        try:
            return replace(_neighbours(a, b, name, clusters), value=value)
        except NotApplicable as reason:
            return Influence(value, None, refused=str(reason))
    if name == "rsa_spearman":
        return replace(_rsa_spearman(a, b), value=value)
    if name == "procrustes" and value < EQUAL:
        return Influence(value, np.zeros(a.n))
    rows = {"linear_cka": linear_cka, "linear_cka_unbiased": linear_cka_unbiased, "procrustes": procrustes}[name](
        a, b, value
    )
    if not np.isfinite(rows).all():
        return Influence(value, None, refused="not defined once a row is left out")
    found = Influence(value, rows, second_order=_second_order(name, a, b, rows))
    # with the participation ratio of a side whose spread is 1
    if not any(heavy_tailed(side.square.numpy(), 1 / side.self_product) for side in (a, b)):
        return found
    # the biased CKA holds fourth powers of lengths, which the unbiased one takes out
    return unless_few_decide(found, clusters, CKA_DEGREES if name == "linear_cka" else TAIL_DEGREES[1])


def with_intervals(rows: Mapping[str, dict[str, Any]], a: Side, b: Side, clusters: Any) -> None:
    """Fill se, ci_low, ci_high and ci_method of the rows of `geomprobe.metrics.similarity.similarity`, in place.

    Parameters
    ----------
    rows : mapping of similarity name to row
    a, b : Side
    clusters : array-like of shape (n,), optional
    """
    numbers = number_clusters(clusters, a.n)
    for name, row in rows.items():
        if row["status"] == "ok":
            found = interval(influence(name, a, b, row["value"], numbers), numbers)
            row |= {"se": found.se, "ci_low": found.low, "ci_high": found.high, "ci_method": found.method}
