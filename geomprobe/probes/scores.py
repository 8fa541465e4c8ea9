"""From predictions to rows: each score of a probe with its interval, and the same score of each control.

In intervals, rows that share a sentence count as one cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

import geomprobe.probes.controls as controls
from geomprobe.inference.estimate import Estimate, by_count
from geomprobe.probes.definitions import RECORDS, Score
from geomprobe.probes.estimators import Classified, spearman
from geomprobe.probes.records import result_row

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


def mean_row(metric: str, value: float, influence: np.ndarray, clusters: np.ndarray, **columns: Any) -> dict[str, Any]:
    """Row of a score that is, to first order, a mean over rows, with its interval.

    Parameters
    ----------
    influence, clusters : ndarray of shape (n,)
        As `mean_interval` takes them.
    columns
        Further columns: n, d, seed and so on.
    """
    return result_row(metric, value, **columns) | mean_interval(influence, value, clusters)


def statistic_row(
    metric: str, statistic: Callable[..., float], data: tuple[np.ndarray, ...], clusters: np.ndarray, **columns: Any
) -> dict[str, Any]:
    """Row of any statistic of arrays of shape (n,), with its interval by the jackknife over clusters, (n,)."""
    row = result_row(metric, statistic(*data), **columns)
    return row | jackknife_interval(lambda rows: statistic(*(part[rows] for part in data)), len(clusters), clusters)


def scores_of(probe: str) -> list[Score]:
    """The scores that are computed from the held-out predictions of a probe."""
    return [record for record in RECORDS.values() if record.probe == probe]


def classification_rows(
    probe: str,
    predictions: Mapping[str | None, Classified],
    train: np.ndarray,
    held_out: np.ndarray,
    clusters: np.ndarray,
    **columns: Any,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a classification probe (key None) and of its controls; guessing is added where None is given.

    Parameters
    ----------
    probe : str
        As the records of its scores name it.
    predictions : mapping
        Control, or None for the probe -> its predictions.
    train, held_out : ndarray
        Labels of the two splits.
    clusters : ndarray of shape (n_held_out,)
        Rows of one cluster are not independent.
    columns
        Further columns of every row: n, d, seed and so on.
    """
    guess = controls.majority(train, held_out)
    if None in predictions:
        value = controls.stratified_accuracy(train, held_out)
        accuracy = next(record.name for record in scores_of(probe) if record.score == "accuracy")
        yield result_row(accuracy, value, control="stratified", note="expected value", **columns)
        predictions = {**predictions, "majority": guess}
    for control, found in predictions.items():
        here = columns | {"control": control, "note": found.note}
        for record in scores_of(probe):
            if record.mean is not None:
                yield mean_row(record.name, *record.mean(found, guess), clusters, **here)
            elif record.statistic is not None:
                data = found.labels, found.predictions
                if control is None:
                    yield statistic_row(record.name, record.statistic, data, clusters, **here)
                else:  # the jackknife takes long
                    yield result_row(record.name, record.statistic(*data), **here)


def correlation_rows(
    probe: str,
    labels: np.ndarray,
    predictions: Mapping[str | None, np.ndarray],
    clusters: np.ndarray,
    **columns: Any,
) -> Iterator[dict[str, Any]]:
    """Yield the correlations of scores with what a probe (key None) and its controls predict, all of shape (n,)."""
    for control, predicted in predictions.items():
        for record in scores_of(probe):
            if record.correlation is not None:
                data = labels, predicted
                yield statistic_row(record.name, record.correlation, data, clusters, control=control, **columns)


def partial_spearman(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Partial rank correlation of a and b given a third variable; NaN where that is undefined.

    (r_ab − r_ac r_bc) / sqrt((1 − r_ac²)(1 − r_bc²)) with Spearman's r (Kendall & Stuart 1961, chapter 27).
    """
    ab, ac, bc = spearman(a, b), spearman(a, given), spearman(b, given)
    rest = (1 - ac**2) * (1 - bc**2)
    return float((ab - ac * bc) / np.sqrt(rest)) if rest > 1e-12 else float("nan")
