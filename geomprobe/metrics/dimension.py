"""Metrics of dimension beyond the covariance spectrum: kernel entropy, discriminant rank, nearest neighbours.

Pure functions first, then their records.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.linalg

import geomprobe.metrics.spectrum_derivatives as derivatives
from geomprobe.metrics.embeddings import EXACT_ROWS, Embeddings
from geomprobe.metrics.records import (
    OF_DIRECTIONS,
    OF_SPREAD,
    ROTATION,
    SHIFT,
    Metric,
    Statistic,
    Value,
    joined,
    of_directions,
)
from geomprobe.metrics.spectrum import entropy
from geomprobe.metrics.spectrum_derivatives import OfSpectrum
from geomprobe.metrics.undefined import NotApplicable, TooFewRows
from geomprobe.results.record import RATIO
from geomprobe.vectors.groups import connected

TWONN_DISCARD = 0.1
MLE_K = 20
LIDAR_DELTA = 1e-4
LIDAR_EPSILON = 1e-7


def vendi_score(eigenvalues: np.ndarray) -> float:
    """Exp H(λ), λ the eigenvalues of ZZᵀ/n (or ZᵀZ/n: the others are zero), which sum to one.

    Friedman & Dieng (2023), "The Vendi Score", TMLR, eq. 2, with the cosine kernel.
    """
    return float(np.exp(entropy(eigenvalues / eigenvalues.sum())))


def scatters(member: np.ndarray, outside: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance of the object means, and the mean over objects of the covariance of their views.

    Parameters
    ----------
    member : int64 ndarray of shape (m,)
        Object of each view.
    outside : float64 ndarray of shape (objects, d)
        Mean of each object, less the mean of these means.
    inside : float64 ndarray of shape (m, d)
        Each view less its object's mean.
    """
    weighted = inside / np.sqrt(len(outside) * np.bincount(member)[member])[:, None]
    return outside.T @ outside / len(outside), weighted.T @ weighted


def lidar(between: np.ndarray, within: np.ndarray, delta: float = LIDAR_DELTA, epsilon: float = LIDAR_EPSILON) -> float:
    """Exp(−Σ p log p), p = λ/Σλ + ε, λ the eigenvalues of W^(−1/2) B W^(−1/2) with W = within + δI.

    Parameters
    ----------
    between, within : float64 ndarray of shape (d, d)
        Covariance of the object means, and mean covariance of the views around their object's mean.

    Notes
    -----
    Thilak et al. (2024), "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures", ICLR, eq. 5.
    The generalised eigenvalues of (B, W) are those of W^(−1/2) B W^(−1/2), with no root to take.
    """
    values = scipy.linalg.eigh(between, within + delta * np.eye(len(within)), eigvals_only=True)
    values = np.maximum(values, 0)
    return float(np.exp(entropy(values / values.sum() + epsilon)))


def two_nn(distances: np.ndarray, discard: float = TWONN_DISCARD) -> float:
    """TwoNN dimension: slope through the origin of −log(1 − F(μ)) on log μ, μ = r_2/r_1.

    Parameters
    ----------
    distances : float64 ndarray of shape (n, >= 2)
        Distances to the nearest and second nearest other row, positive.
    discard : float
        Share of the largest μ that is left out.

    Notes
    -----
    Facco et al. (2017), "Estimating the intrinsic dimension of datasets by a minimal neighborhood information",
    Scientific Reports 7; the linear fit of its algorithm box.
    """
    n = len(distances)
    x = np.sort(np.log(distances[:, 1] / distances[:, 0]))[: int(n * (1 - discard))]
    y = -np.log1p(-np.arange(1, len(x) + 1) / n)
    return float((x @ y) / (x @ x))


def levina_bickel(distances: np.ndarray) -> float:
    """Maximum likelihood dimension from distances to the k nearest rows, (n, k), ascending and positive.

    Per row (k − 1)/Σ_j log(r_k/r_j), combined by the harmonic mean. Levina & Bickel (2004), NeurIPS, eq. 8, with the
    correction of MacKay & Ghahramani (2005).
    """
    k = distances.shape[1]
    inverse = np.log(distances[:, -1:] / distances).sum(1) / (k - 1)
    return float(1 / inverse.mean())


def _vendi_score(embeddings: Embeddings) -> Value:
    if not embeddings.direction_sums[0]:
        raise NotApplicable("no row has a direction")
    return of_directions(embeddings, vendi_score(embeddings.direction_spectrum.values))


def lidar_objects(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Objects of LiDAR: the connected rows of the declared positive pairs, whose rows are their views.

    Returns
    -------
    rows : int64 ndarray of shape (m,)
        Rows in any pair.
    member : int64 ndarray of shape (m,)
        Object of each.
    outside : float64 ndarray of shape (objects, d)
        Mean of each object, less the mean of these means.
    inside : float64 ndarray of shape (m, d)
        Each row less its object's mean.
    """
    assert embeddings.positives is not None
    used, compact = np.unique(embeddings.positives, return_inverse=True)
    objects, member = connected(compact.reshape(-1, 2), len(used))
    if objects < 2:
        if len(embeddings.positives) < 2:
            raise TooFewRows("1 positive pair; at least 2 that share no row are needed")
        raise NotApplicable("the positive pairs make one object only")
    x = embeddings.take(used).cpu().numpy()
    means = np.zeros((objects, embeddings.d))
    np.add.at(means, member, x)
    means /= np.bincount(member)[:, None]
    outside = means - means.mean(0)
    if not outside.any():
        raise NotApplicable("all objects have the same mean")
    return used, member, outside, x - means[member]


def _lidar(embeddings: Embeddings) -> Value:
    rows, member, outside, inside = lidar_objects(embeddings)
    try:
        value = lidar(*scatters(member, outside, inside))
    except np.linalg.LinAlgError:
        raise NotApplicable("views differ so much in size that float64 does not resolve their spread") from None
    return Value(value, len(rows), f"{len(outside)} objects")


def _neighbour_dimension(embeddings: Embeddings, k: int, estimate: Callable[[np.ndarray], float]) -> Value:
    found = embeddings.point_neighbours(k)
    if np.median(found.distances[:, -1] / found.distances[:, 0]) < 1 + 1e-9:
        raise NotApplicable(f"the {k} nearest rows of most rows are equally far")
    note = f"seeded sample of {EXACT_ROWS:,} rows" if not embeddings.reads_all_pairs else None
    duplicates = f"{found.dropped} duplicated row{'s' if found.dropped > 1 else ''} dropped" if found.dropped else None
    return Value(estimate(found.distances), len(found.distances), joined(note, duplicates))


_metric = partial(Metric, family="dimension")
METRICS = (
    _metric(
        name="vendi_score",
        compute=_vendi_score,
        formula="exp H(eigenvalues of ZZᵀ/N), Z the unit rows",
        range="[1, min(N, D)]",
        direction="larger: more different directions",
        invariances=OF_DIRECTIONS,
        source="Friedman & Dieng 2023, TMLR, eq. 2, cosine kernel",
        margin=RATIO,
        rank=True,
        order=150,
        of_spectrum=OfSpectrum(
            derivatives.vendi_score, "directions", lambda sums, r, d: np.exp(derivatives.left_out_of_shares(sums, r, d))
        ),
    ),
    _metric(
        name="lidar",
        compute=_lidar,
        formula="exp(−Σ p log p), p = λ/Σλ + 1e-7, λ the eigenvalues of W^(−1/2) B W^(−1/2), W with 1e-4·I added; "
        "objects are the connected rows of the positive pairs",
        range="[1, min(objects − 1, D)] (up to the added 1e-7)",
        direction="larger: objects differ in more dimensions than their views do",
        invariances=(ROTATION, SHIFT),
        source="Thilak et al. 2024, ICLR, eq. 5",
        needs="positives",
        default_views=(),
        statistic=Statistic("objects"),
        margin=RATIO,
        tail="lengths",
        left_out_overstates=True,
    ),
    _metric(
        name="intrinsic_dimension",
        compute=lambda c: _neighbour_dimension(c, 2, two_nn),
        formula="TwoNN: slope through 0 of −log(1 − F(μ)) on log μ, μ = r_2/r_1 (Euclidean), largest 10 % left out, "
        "duplicated rows dropped",
        range="(0, ∞)",
        direction="larger: the cloud has more dimensions nearby",
        invariances=OF_SPREAD,
        source="Facco et al. 2017, Scientific Reports 7",
        needs="rows",
        default_views=(),
        statistic=Statistic("neighbour ratios"),
        margin=RATIO,
        of_neighbours=True,
        left_out_overstates=True,
        others={
            "mle": (
                lambda c: _neighbour_dimension(c, MLE_K, levina_bickel),
                "maximum likelihood over 20 neighbours, harmonic mean over rows "
                "(Levina & Bickel 2004; MacKay & Ghahramani 2005)",
            )
        },
    ),
)
