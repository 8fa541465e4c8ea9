"""Dimension metrics beyond the covariance spectrum: kernel entropy, discriminant rank, nearest-neighbour estimates."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from geomprobe.metrics.spectrum import entropy

TWONN_DISCARD = 0.1
MLE_K = 20
LIDAR_DELTA = 1e-4
LIDAR_EPSILON = 1e-7


def vendi_score(eigenvalues: np.ndarray) -> float:
    """Return exp H(λ), λ the eigenvalues of ZZᵀ/n (or ZᵀZ/n: the others are zero), which sum to one.

    Friedman & Dieng (2023), "The Vendi Score", TMLR, eq. 2, with the cosine kernel.
    """
    return float(np.exp(entropy(eigenvalues / eigenvalues.sum())))


def scatters(member: np.ndarray, outside: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of the object means, and the mean over objects of the covariance of their views.

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
    """Return exp(−Σ p log p), p = λ/Σλ + ε, λ the eigenvalues of W^(−1/2) B W^(−1/2) with W = within + δI.

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
    """Return the TwoNN dimension: slope through the origin of −log(1 − F(μ)) on log μ, μ = r_2/r_1.

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
    """Return the maximum likelihood dimension from distances to the k nearest rows, (n, k), ascending and positive.

    Per row (k − 1)/Σ_j log(r_k/r_j), combined by the harmonic mean. Levina & Bickel (2004), NeurIPS, eq. 8, with the
    correction of MacKay & Ghahramani (2005).
    """
    k = distances.shape[1]
    inverse = np.log(distances[:, -1:] / distances).sum(1) / (k - 1)
    return float(1 / inverse.mean())
