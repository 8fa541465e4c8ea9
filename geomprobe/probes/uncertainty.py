"""Standard errors of probe scores: rows that share a sentence count as one cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from geomprobe.inference.estimate import Estimate, by_count

JACKKNIFE_GROUPS = 40


def mean_interval(influence: np.ndarray, value: float, clusters: np.ndarray) -> dict[str, Any]:
    """Columns of `Estimate.to_row` of a statistic that is, to first order, a mean over rows.

    Empty where the statistic is undefined, or there are fewer than two clusters.

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
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], influence - influence.mean())
    return _interval(value, sums / len(influence), "cluster-robust, t", fewest=2)


def jackknife_interval(statistic: Callable[[np.ndarray], float], n: int, clusters: np.ndarray) -> dict[str, Any]:
    """Same for any ``statistic(rows)`` by the delete-a-group jackknife (Kott 2001).

    Clusters are dealt to at most 40 groups in a fixed random order; fewer than three clusters give no interval.
    """
    names, of = np.unique(clusters, return_inverse=True)
    g = min(JACKKNIFE_GROUPS, len(names))
    if g < 3:
        return {}
    group = (np.random.default_rng(0).permutation(len(names)) % g)[of]
    left_out = np.array([statistic(np.flatnonzero(group != k)) for k in range(g)])
    contributions = (g - 1) / g * (left_out.mean() - left_out)
    return _interval(statistic(np.arange(n)), contributions, f"delete-a-group jackknife, {g} groups, t", fewest=3)


def _interval(value: float, contributions: np.ndarray, method: str, fewest: int) -> dict[str, Any]:
    if len(contributions) < fewest or not np.isfinite([value, *contributions]).all():
        return {}
    return Estimate(value, contributions, rule=by_count, method=method).to_row()
