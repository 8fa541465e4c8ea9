"""Isotropy metrics: whether directions, coordinates or neighbours are favoured."""

from __future__ import annotations

import numpy as np

HUBNESS_K = 10


def isoscore(participation_ratio: float, d: int) -> float:
    """Return (PR − 1)/(d − 1), for d > 1. Rudman et al. (2022), "IsoScore", Findings of ACL, in closed form."""
    return (participation_ratio - 1) / (d - 1)


def partition_isotropy(log_partition: np.ndarray) -> float:
    """Return min Z(c)/max Z(c) from log Z(c) = logsumexp_i c·x_i over the directions c, shape (m,).

    Mu & Viswanath (2018), "All-but-the-top", ICLR, eq. 5.
    """
    return float(np.exp(log_partition.min() - log_partition.max()))


def rogue_share(contributions: np.ndarray, k: int) -> float:
    """Return the share of the mean cosine that the k coordinates with the largest contributions carry.

    Parameters
    ----------
    contributions : float64 ndarray of shape (d,)
        Mean over pairs of z_i[c]·z_j[c] for each coordinate c; they sum to the mean cosine.

    Notes
    -----
    Timkey & van Schijndel (2021), "All bark and no bite", EMNLP, section 3.1, over all pairs instead of sampled ones.
    """
    return float(np.sort(contributions)[::-1][:k].sum() / contributions.sum())


def skewness(x: np.ndarray) -> float:
    """Return mean((x − x̄)³)/sd³ with 1/n, for x of shape (n,) that is not constant."""
    y = x - x.mean()
    return float((y**3).mean() / (y**2).mean() ** 1.5)
