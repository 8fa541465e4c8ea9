"""Standard errors of probe scores: rows that share a sentence count as one cluster.

Beside the interval stand the ``contributions``: how much each cluster, or group of clusters, moves the score, with
SE² = g/(g−1) Σ contributions². On the same rows those of two encoders differ by the contributions to the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import t as student

JACKKNIFE_GROUPS = 40


def mean_interval(influence: np.ndarray, value: float, clusters: np.ndarray) -> dict[str, Any]:
    """Return se, ci_low, ci_high, ci_method and contributions of a statistic that is, to first order, a mean over rows.

    Parameters
    ----------
    influence : ndarray of shape (n,)
        What each row adds; its mean is removed. For a mean, the values themselves.
    value : float
        The statistic.
    clusters : int64 ndarray of shape (n,)

    Notes
    -----
    The cluster-robust variance G/(G−1) Σ_g (Σ_{i∈g} (a_i − ā))² / n² (Liang & Zeger 1986), Student's t with G−1 degrees
    of freedom for G clusters.
    """
    n = len(influence)
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], influence - influence.mean())
    g = len(sums)
    if g < 2:
        return {}
    return interval(value, sums / n, "cluster-robust, t")


def jackknife_interval(statistic: Callable[[np.ndarray], float], n: int, clusters: np.ndarray) -> dict[str, Any]:
    """Return the same for any ``statistic(rows)`` by the delete-a-group jackknife (Kott 2001).

    Clusters are dealt to at most 40 groups in a fixed random order.
    """
    names, of = np.unique(clusters, return_inverse=True)
    g = min(JACKKNIFE_GROUPS, len(names))
    if g < 3:
        return {}
    group = (np.random.default_rng(0).permutation(len(names)) % g)[of]
    left_out = np.array([statistic(np.flatnonzero(group != k)) for k in range(g)])
    if not np.isfinite(left_out).all():
        return {}
    moved = (g - 1) / g * (left_out.mean() - left_out)
    return interval(statistic(np.arange(n)), moved, f"delete-a-group jackknife, {g} groups, t")


def interval(value: float, contributions: np.ndarray, method: str) -> dict[str, Any]:
    """Return the columns of a 95 % interval from the contributions of g groups, empty where the value is undefined."""
    g = len(contributions)
    se = float(np.sqrt(g / (g - 1) * (contributions**2).sum()))
    if not np.isfinite(value) or not np.isfinite(se):
        return {}
    margin = float(student.ppf(0.975, g - 1)) * se
    found = {"se": se, "ci_low": value - margin, "ci_high": value + margin, "ci_method": method}
    return found | {"contributions": contributions}
