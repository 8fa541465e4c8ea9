"""From predictions to rows: each score of a probe with its interval, and the same score of each control."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import geomprobe.probes.controls as controls
from geomprobe.probes.definitions import RECORDS
from geomprobe.probes.estimators import Classified, Regressed, pearson, spearman
from geomprobe.probes.records import result_row
from geomprobe.probes.uncertainty import jackknife_interval, mean_interval


def classification_rows(
    prefix: str,
    named: dict[str | None, Classified],
    train: np.ndarray,
    held_out: np.ndarray,
    clusters: np.ndarray,
    scores: tuple[str, ...] = ("accuracy", "skill", "macro_f1", "mcc", "log_loss", "usable_bits", "usable_share"),
    **columns: Any,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a classification probe (key None) and of its controls; guessing is added where None is given.

    Parameters
    ----------
    prefix : str
        First part of the metrics' names.
    named : dict
        Control, or None for the probe -> its predictions.
    train, held_out : ndarray
        Labels of the two splits.
    clusters : ndarray of shape (n_held_out,)
        Rows of one cluster are not independent.
    scores : tuple of str
        Which scores.
    columns
        Further columns of every row: n, d, seed and so on.
    """
    guess = controls.majority(train, held_out)
    if None in named:
        stratified = controls.stratified_accuracy(train, held_out)
        yield result_row(f"{prefix}_accuracy", stratified, control="stratified", note="expected value", **columns)
        named = {**named, "majority": guess}
    for control, scored in named.items():
        for name in scores:
            value, uncertainty = _score(name, scored, guess, clusters, control is None)
            yield result_row(f"{prefix}_{name}", value, control=control, note=scored.note, **columns) | uncertainty
        for record in RECORDS.values():
            if record.probe == prefix and record.statistic is not None:
                found = _statistic(record.statistic, scored, clusters, control is None)
                yield result_row(record.name, found[0], control=control, note=scored.note, **columns) | found[1]


def _statistic(
    function: Callable[[Classified], float], scored: Classified, clusters: np.ndarray, jackknife: bool
) -> tuple[float, dict[str, Any]]:
    value = function(scored)
    if not jackknife:
        return value, {}
    return value, jackknife_interval(lambda rows: function(scored.take(rows)), len(scored.right), clusters)


def _score(
    name: str, scored: Classified, guess: Classified, clusters: np.ndarray, jackknife: bool
) -> tuple[float, dict[str, Any]]:
    """A score and its interval; scores that are no mean over rows have one for the probe only."""
    right, luck = scored.right, guess.right
    loss, entropy = scored.log_loss, guess.log_loss
    if name in ("macro_f1", "mcc"):
        return _statistic(lambda found: getattr(found, name), scored, clusters, jackknife)
    if name == "accuracy":
        value, influence = right.mean(), right
    elif name == "log_loss":
        value, influence = loss.mean(), loss
    elif name == "usable_bits":
        value, influence = entropy.mean() - loss.mean(), entropy - loss
    elif name == "usable_share":
        value = 1 - loss.mean() / entropy.mean() if entropy.mean() else float("nan")
        influence = ((1 - value) * entropy - loss) / (entropy.mean() or 1.0)
    else:
        room = 1 - luck.mean()
        value = (right.mean() - luck.mean()) / room if room else float("nan")
        influence = (right - (1 - value) * luck) / (room or 1.0)
    return float(value), mean_interval(influence, float(value), clusters) if np.isfinite(value) else {}


def correlation_rows(
    metrics: tuple[str, str], named: dict[str | None, Regressed], clusters: np.ndarray, **columns: Any
) -> Iterator[dict[str, Any]]:
    """Yield the rows of Spearman's and Pearson's correlation, named by ``metrics``, of predictions with scores."""
    for control, scored in named.items():
        y, p = scored.labels, scored.predictions
        for metric, function in zip(metrics, (spearman, pearson), strict=True):
            row = result_row(metric, function(y, p), control=control, **columns)
            if row["status"] == "ok":
                row |= jackknife_interval(on_rows(function, y, p), len(y), clusters)
            yield row


def on_rows(statistic: Callable[..., float], *columns: np.ndarray) -> Callable[[np.ndarray], float]:
    """A statistic of some columns as a function of the rows that count, for the jackknife."""
    return lambda rows: statistic(*(column[rows] for column in columns))


def partial_spearman(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Partial rank correlation of a and b given a third variable; NaN where that is undefined.

    (r_ab − r_ac r_bc) / sqrt((1 − r_ac²)(1 − r_bc²)) with Spearman's r (Kendall & Stuart 1961, chapter 27).
    """
    ab, ac, bc = spearman(a, b), spearman(a, given), spearman(b, given)
    rest = (1 - ac**2) * (1 - bc**2)
    return float((ab - ac * bc) / np.sqrt(rest)) if rest > 1e-12 else float("nan")
