"""Spectrum metrics: how many dimensions a cloud uses. Pure functions of eigenvalues, singular values or moments."""

from __future__ import annotations

import numpy as np

ALPHA_RANGE = (11, 500)


def entropy(p: np.ndarray) -> float:
    """Return the Shannon entropy −Σ p log p in nats, with 0 log 0 = 0; p of shape (k,) need not sum to one."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum()) + 0.0  # not −0 for a single p


def effective_rank(eigenvalues: np.ndarray) -> float:
    """Return exp H(σ/Σσ) with σ the square roots of the covariance eigenvalues, shape (k,).

    Roy & Vetterli (2007), "The effective rank: a measure of effective dimensionality", EUSIPCO, eq. 3.
    """
    sigma = np.sqrt(eigenvalues / eigenvalues[0])
    return float(np.exp(entropy(sigma / sigma.sum())))


def rankme(uncentred_eigenvalues: np.ndarray, epsilon: float = 1e-7) -> float:
    """Return exp(−Σ p log p), p = σ/Σσ + ε, with σ the singular values of the uncentred matrix, min(n, d) of them.

    Garrido et al. (2023), "RankMe", ICML, eq. 2. With ε the terms sum to slightly more than one, as published.
    """
    sigma = np.sqrt(uncentred_eigenvalues / uncentred_eigenvalues[0])
    return float(np.exp(entropy(sigma / sigma.sum() + epsilon)))


def spectral_entropy(eigenvalues: np.ndarray, largest: int) -> float:
    """Return H(p)/log largest with p = λ/Σλ, for the most equal eigenvalues that there could be, at least two."""
    return entropy(eigenvalues / eigenvalues.sum()) / float(np.log(largest))


def participation_ratio(eigenvalues: np.ndarray) -> float:
    """Return (Σλ)²/Σλ². Gao et al. (2017), "A theory of multineuronal dimensionality", bioRxiv 214262."""
    x = eigenvalues / eigenvalues[0]
    return float(x.sum() ** 2 / (x**2).sum())


def participation_ratio_unbiased(eigenvalues: np.ndarray, quartic: float, n: int) -> float:
    """Return the ratio of unbiased estimates of (tr Σ)² and tr Σ², for n >= 4 rows.

    Parameters
    ----------
    eigenvalues : float64 ndarray of shape (k,)
        Of the covariance with 1/n.
    quartic : float
        Σ ‖x − x̄‖⁴ over the rows.
    n : int

    Notes
    -----
    With S the covariance with 1/(n − 1) and Q = quartic/(n − 1):
    tr Σ² ← (n−1)/(n(n−2)(n−3)) · [(n−1)(n−2) tr S² + (tr S)² − nQ],
    (tr Σ)² ← (n−1)/(n(n−2)(n−3)) · [2 tr S² + (n²−3n+1)(tr S)² − nQ].
    Himeno & Yamada (2014), "Estimations for some functions of covariance matrix in high dimension under
    non-normality and its applications", J. Multivariate Analysis 130, eq. 2.2.
    """
    trace = float(eigenvalues.sum()) * n / (n - 1)
    x = eigenvalues / eigenvalues.sum() * trace  # = eigenvalues of S
    square = float((x**2).sum())
    q = quartic / (n - 1)
    numerator = 2 * square + (n * n - 3 * n + 1) * trace**2 - n * q
    denominator = (n - 1) * (n - 2) * square + trace**2 - n * q
    return numerator / denominator


def stable_rank(eigenvalues: np.ndarray) -> float:
    """Return Σλ/λ_1. Rudelson & Vershynin (2007), "Sampling from large matrices", J. ACM 54(4)."""
    return float((eigenvalues / eigenvalues[0]).sum())


def rank_at(eigenvalues: np.ndarray, share: float) -> int:
    """Return the smallest k whose leading k eigenvalues hold at least `share` of the variance."""
    cumulative = np.cumsum(eigenvalues / eigenvalues.sum())
    # the last sum may end at 1 − 1e-16
    return int(np.searchsorted(cumulative, share - 1e-12)) + 1


def alpha_req(eigenvalues: np.ndarray, first: int = ALPHA_RANGE[0], last: int = ALPHA_RANGE[1]) -> float:
    """Return the decay exponent α of λ_k ∝ k^−α, by weighted least squares of log λ on log k over first <= k <= last.

    The weights 1/k give each stretch of log k the same say. Eigenvalues that are zero are left out; at least three are
    needed, else ValueError. Agrawal et al. (2022), "α-ReQ", NeurIPS; the fit of Stringer et al. (2019), Nature 571.
    """
    k = np.arange(first, min(last, len(eigenvalues)) + 1)
    values = eigenvalues[first - 1 : last]
    k, values = k[values > 0], values[values > 0]
    if len(k) < 3:
        raise ValueError(f"fewer than three positive eigenvalues with {first} <= k <= {last}")
    x, y, weight = np.log(k), np.log(values), 1 / k
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    return float(-(weight * x * y).sum() / (weight * x * x).sum())
