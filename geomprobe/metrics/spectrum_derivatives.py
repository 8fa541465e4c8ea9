"""How functions of eigenvalues move with them: ∂f/∂λ, and entropies once a row is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ALPHA_RANGE = (11, 500)
RANKME_EPSILON = 1e-7

Slope = Callable[[np.ndarray, int], np.ndarray | None]
"""∂f/∂λ at eigenvalues of shape (r,) in d dimensions; None where the metric has no value."""
LeftOut = Callable[[np.ndarray, int, int], np.ndarray]
"""The same function of Σσ, Σσ log σ, Σλ, Σλ log λ, Σλ², λ_1 (first axis), for r eigenvalues in d dimensions.

Rows that are left out change these sums exactly. The slope would not do where N is not far above D: a row that holds
much of a small eigenvalue moves an entropy far from linearly. The slope gives half of the error of rankme at N = 200,
D = 128 around a large mean, and twice the error of effective_rank at N = 200, D = 384.
"""


@dataclass(frozen=True)
class OfSpectrum:
    """A function of the eigenvalues, for its interval.

    Attributes
    ----------
    slope : Slope
    spectrum : {"centred", "uncentred", "directions"}
    left_out : LeftOut or None
        None where no such sums give it: counts and slopes of eigenvalues.
    column : int
        Place in the product that makes the influences of all such metrics: elsewhere in it, last bits differ.
    """

    slope: Slope
    spectrum: str = "centred"
    left_out: LeftOut | None = None
    column: int = 99


def _over_roots(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return σ, 1/(2σ) (0 where σ is 0) and σ/Σσ."""
    sigma = np.sqrt(values)
    positive = sigma > 0
    half = np.where(positive, 0.5 / np.where(positive, sigma, 1), 0.0)
    return sigma, half, sigma / sigma.sum()


def _log(p: np.ndarray) -> np.ndarray:
    return np.log(np.where(p > 0, p, 1.0))


def perplexity(share: np.ndarray, epsilon: float) -> np.ndarray:
    """∂/∂x of exp(−Σ p log p) times Σx, p = x/Σx + ε, from the shares x/Σx."""
    p = share + epsilon
    inner = -(np.log(p) + 1)
    return np.exp(-(p * np.log(p)).sum()) * (inner - float(inner @ share))


def effective_rank(values: np.ndarray, d: int) -> np.ndarray:
    """∂/∂λ of exp H(p), p = σ/Σσ: −exp(H)·(log p + H)/(2σ·Σσ)."""
    sigma, half, p = _over_roots(values)
    entropy = -float((p * _log(p)).sum())
    return -np.exp(entropy) * (_log(p) + entropy) * half / sigma.sum()


def rankme(values: np.ndarray, d: int) -> np.ndarray:
    """∂/∂λ of exp(−Σ p log p), p = σ/Σσ + ε."""
    sigma, half, share = _over_roots(values)
    return perplexity(share, RANKME_EPSILON) * half / sigma.sum()


def spectral_entropy(values: np.ndarray, d: int) -> np.ndarray | None:
    """∂/∂λ of H(p)/log r, p = λ/Σλ: −(log p + H)/(Σλ·log r)."""
    if len(values) < 2:
        return None
    p = values / values.sum()
    entropy = -float((p * _log(p)).sum())
    return np.where(p > 0, -(_log(p) + entropy), 0.0) / (values.sum() * np.log(len(values)))


def participation_ratio(values: np.ndarray, d: int) -> np.ndarray:
    """∂/∂λ of (Σλ)²/Σλ²."""
    a, b = values.sum(), (values**2).sum()
    return 2 * a / b - 2 * a**2 / b**2 * values


def isoscore(values: np.ndarray, d: int) -> np.ndarray | None:
    """∂/∂λ of (PR − 1)/(D − 1)."""
    return participation_ratio(values, d) / (d - 1) if d > 1 else None


def stable_rank(values: np.ndarray, d: int) -> np.ndarray:
    """∂/∂λ of Σλ/λ_1."""
    slope = np.full(len(values), 1 / values[0])
    slope[0] -= values.sum() / values[0] ** 2
    return slope


def alpha_req(values: np.ndarray, d: int) -> np.ndarray | None:
    """∂/∂λ of minus the slope of log λ on log k, weights 1/k, over the declared range."""
    first, last = ALPHA_RANGE
    k = np.arange(1, len(values) + 1)
    used = (k >= first) & (k <= last) & (values > 0)
    if used.sum() < 3:
        return None
    x, weight = np.log(k[used]), 1 / k[used]
    x = x - np.average(x, weights=weight)
    slope = np.zeros(len(values))
    slope[used] = -weight * x / (weight * x * x).sum() / values[used]
    return slope


def vendi_score(values: np.ndarray, d: int) -> np.ndarray:
    """∂/∂λ of exp(−Σ λ log λ), for eigenvalues that sum to one."""
    entropy = -float((values * _log(values)).sum())
    return np.where(values > 0, -np.exp(entropy) * (_log(values) + 1), 0.0)


def rank_crossing(values: np.ndarray, share: float) -> np.ndarray:
    """∂/∂λ of the k at which the cumulative variance, joined by straight lines, reaches a share of the whole."""
    total = values.sum()
    cumulative = np.cumsum(values / total)
    k = min(int(np.searchsorted(cumulative, share - 1e-12)), len(values) - 1)
    below = cumulative[k - 1] if k else 0.0
    part = (share - below) * total / values[k]  # how far into step k the crossing lies
    inside = np.zeros(len(values))
    inside[:k] = 1.0
    inside[k] = part
    return -(inside - share) / values[k]


def left_out_of_roots(sums: np.ndarray, r: int, d: int) -> np.ndarray:
    """exp H(p), p = σ/Σσ."""
    return np.exp(np.log(sums[0]) - sums[1] / sums[0])


def left_out_of_shares(sums: np.ndarray, r: int, d: int) -> np.ndarray:
    """H(p), p = λ/Σλ."""
    return np.log(sums[2]) - sums[3] / sums[2]


def left_out_of_squares(sums: np.ndarray, r: int, d: int) -> np.ndarray:
    """(Σλ)²/Σλ²."""
    return sums[2] ** 2 / sums[4]


def left_out_of_first(sums: np.ndarray, r: int, d: int) -> np.ndarray:
    """Σλ/λ_1."""
    return sums[2] / sums[5]
