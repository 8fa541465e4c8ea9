"""Hypersphere metrics: how directions spread over the unit sphere, and how near those lie that should be near."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.special import hyp0f1

T = 2.0


def uniformity_reference(d: int, t: float = T) -> float:
    """Return the uniformity of the uniform distribution on the sphere in d dimensions: −2t + log ₀F₁(; d/2; t²).

    It is not a minimum: n <= d + 1 points can go to −2tn/(n − 1).
    """
    return float(-2 * t + np.log(hyp0f1(d / 2, t * t)))


def uniformity_jensen(distance_mean: float, t: float = T) -> float:
    """Return −t·mean ‖z_i − z_j‖² = −2t(1 − mean cosine), by Jensen's inequality a lower bound of uniformity."""
    return -t * distance_mean


def alignment(first: np.ndarray, second: np.ndarray, power: float = 2.0) -> float:
    """Return the mean of ‖z_i − z_i⁺‖^power over pairs of unit rows, float64 of shape (m, d) each.

    Wang & Isola (2020), "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", ICML, eq. 1.
    """
    return float((((first - second) ** 2).sum(1) ** (power / 2)).mean())


def class_alignment(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> float:
    """Return the mean squared distance of two different rows of a class, averaged over classes of at least two rows.

    Parameters
    ----------
    counts : int64 ndarray of shape (c,)
    sums : float64 ndarray of shape (c, d)
        Σ w over the rows of each class, w = z − any common point.
    squares : float64 ndarray of shape (c,)
        Σ ‖w‖² over the rows of each class.

    Notes
    -----
    2n/(n − 1)·(1 − ‖z̄_c‖²) in terms of w: the common point drops out, and digits of near directions are kept.
    """
    many = counts > 1
    n, mean = counts[many], sums[many] / counts[many, None]
    spread = np.maximum(squares[many] / n - (mean**2).sum(1), 0)
    return float((2 * n / (n - 1) * spread).mean())


def class_separation(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> float:
    """Return the mean squared distance of rows of two different classes, averaged over pairs of classes.

    2(1 − z̄_a·z̄_b) in the terms of `class_alignment`.
    """
    mean, square = sums / counts[:, None], squares / counts
    pairs = [square[a] + square[b] - 2 * float(mean[a] @ mean[b]) for a, b in combinations(range(len(counts)), 2)]
    return float(np.mean(pairs))
