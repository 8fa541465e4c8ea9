"""Ridge regression and discriminant analysis from sums over folds: one pass over the rows, whatever is tried in them.

Folds are a partition of the rows, so the sums over the rows that a fold is fitted on are those over all rows less those
over its own. What is found equals scikit-learn's StandardScaler with Ridge, or with
LinearDiscriminantAnalysis(solver="lsqr"), fitted anew for every fold and every value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import log_softmax
from sklearn.metrics import r2_score

Folds = Sequence[tuple[np.ndarray, np.ndarray]]
Predict = Callable[[np.ndarray], np.ndarray]

CONSTANT = 1e-12  # a variance this far below that of all rows is rounding: the feature is constant in the fold
LOG_SMALLEST = float(np.log(np.finfo(np.float64).eps))  # what a class counts as that a classifier never saw


def r2(y: np.ndarray, predictions: np.ndarray) -> float:
    """R² of predictions of shape (n,) or (n, n_targets), targets weighted by their variance."""
    return float(r2_score(y, predictions, multioutput="variance_weighted"))


class Sums(NamedTuple):
    """Sums over some rows of features x and targets y, both less the means of all rows.

    Attributes
    ----------
    n : int
    x : ndarray of shape (d,)
    y : ndarray of shape (n_targets,)
    xx : ndarray of shape (d, d)
    xy : ndarray of shape (d, n_targets)
    yy : ndarray of shape (n_targets,)
        Sums of squares.
    """

    n: int
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Sums:
        """Sums over all rows given."""
        return cls(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, (y**2).sum(axis=0))

    @property
    def mean(self) -> np.ndarray:
        """Mean of x, (d,)."""
        return self.x / self.n

    def spread(self, of_all: np.ndarray) -> np.ndarray:
        """Standard deviation of x (ddof 0), 1 where the feature is constant, (d,)."""
        variance = np.diag(self.xx) / self.n - self.mean**2
        return np.sqrt(np.where(variance > CONSTANT * of_all, variance, 1.0))


@dataclass(frozen=True)
class Scaled:
    """Sums as standardised features see them: centred and divided by ``spread``."""

    sums: Sums
    spread: np.ndarray

    @cached_property
    def xx(self) -> np.ndarray:
        """Scatter about the mean, (d, d)."""
        s = self.sums
        return (s.xx - s.n * np.outer(s.mean, s.mean)) / np.outer(self.spread, self.spread)

    @cached_property
    def xy(self) -> np.ndarray:
        """Products with the centred targets, (d, n_targets)."""
        s = self.sums
        return (s.xy - np.outer(s.mean, s.y)) / self.spread[:, None]

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Features, less the means of all rows, on this scale."""
        return (x - self.sums.mean) / self.spread


def _choose(
    x: np.ndarray,
    y: np.ndarray,
    folds: Folds | None,
    values: Sequence[float],
    fit: Callable[[Scaled, float], Predict],
    score: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[Predict, float]:
    """Fit to all rows with the value of the best mean score over folds (the first value without folds).

    ``fit(sums, value)`` gives a function from rows on the scale of the sums to predictions, and ``score(test rows,
    predictions)`` a number that is better when higher.
    """
    parts = [Sums.of(x[test], y[test]) for _, test in folds] if folds is not None else [Sums.of(x, y)]
    of_folds: Any = zip(*parts, strict=True)
    whole = Sums(*(reduce(add, each) for each in of_folds))
    variance = np.diag(whole.xx) / whole.n
    value = values[0]
    if folds is not None:
        scores = np.zeros((len(parts), len(values)))
        for i, (part, (_, test)) in enumerate(zip(parts, folds, strict=True)):
            both: Any = zip(whole, part, strict=True)
            left = Sums(*(all_rows - own for all_rows, own in both))
            scaled = Scaled(left, left.spread(variance))
            rows = scaled.rows(x[test])
            scores[i] = [score(test, fit(scaled, value)(rows)) for value in values]
        value = values[int(scores.mean(axis=0).argmax())]
    scaled = Scaled(whole, whole.spread(variance))
    found = fit(scaled, value)
    return lambda rows: found(scaled.rows(rows)), value


def _centred(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X less its mean, with columns that do not vary (but for rounding) set to zero, and the mean."""
    mean = x.mean(axis=0)
    x = x - mean
    x[:, np.abs(x).max(axis=0) <= len(x) * np.finfo(np.float64).eps * np.abs(mean)] = 0.0
    return x, mean


def ridge(
    x: np.ndarray, y: np.ndarray, x_held_out: np.ndarray, folds: Folds | None, penalties: Sequence[float]
) -> np.ndarray:
    """Predictions of ridge regression on standardised features for held-out rows.

    Parameters
    ----------
    x : float64 ndarray of shape (n, d)
    y : float64 ndarray of shape (n,) or (n, n_targets)
    x_held_out : float64 ndarray of shape (m, d)
    folds : sequence of (train rows, test rows), or None
        The test rows are a partition of the rows.
    penalties : sequence of float
        Tried in the folds, the best by R²; without folds the first one is taken.

    Returns
    -------
    float64 ndarray of shape (m,) or (m, n_targets)
    """
    targets = y.reshape(len(y), -1).astype(np.float64)
    x, mean = _centred(x)
    level = targets.mean(axis=0)

    def fit(scaled: Scaled, penalty: float) -> Predict:
        scatter = scaled.xx + penalty * np.eye(x.shape[1])
        weights = cho_solve(cho_factor(scatter, overwrite_a=True, check_finite=False), scaled.xy, check_finite=False)
        intercept = level + scaled.sums.y / scaled.sums.n
        return lambda rows: (rows @ weights + intercept).reshape(-1, *y.shape[1:])

    predict, _ = _choose(x, targets - level, folds, penalties, fit, lambda test, p: r2(y[test], p))
    return predict(x_held_out - mean)


def discriminant(
    x: np.ndarray, y: np.ndarray, x_held_out: np.ndarray, folds: Folds | None, shrinkages: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, float]:
    """What linear discriminant analysis of standardised features says of held-out rows.

    Parameters
    ----------
    x : float64 ndarray of shape (n, d)
    y : int64 ndarray of shape (n,)
    x_held_out : float64 ndarray of shape (m, d)
    folds : as in `ridge`
    shrinkages : sequence of float
        Tried in the folds, the best by log loss; the covariance within classes is shrunk towards its diagonal mean by
        the share.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    log_probabilities : float64 ndarray of shape (m, n_classes)
        Natural logarithms; -inf for a class that the fitted rows did not hold.
    shrinkage : float
    """
    classes, codes = np.unique(y, return_inverse=True)
    indicators = np.eye(len(classes))[codes]
    x, mean = _centred(x)

    def fit(scaled: Scaled, shrinkage: float) -> Predict:
        s = scaled.sums
        counts = s.yy  # squares of indicators are indicators
        seen = counts > 0.5
        priors = counts[seen] / s.n
        means = scaled.rows(s.xy.T[seen] / counts[seen, None])
        within = scaled.xx / s.n - (means.T * priors) @ means
        d = len(within)
        covariance = (1 - shrinkage) * within + shrinkage * np.trace(within) / d * np.eye(d)
        weights = _solve(covariance, means.T)
        intercept = np.log(priors) - 0.5 * np.einsum("gd,dg->g", means, weights)

        def log_probabilities(rows: np.ndarray) -> np.ndarray:
            found = np.full((len(rows), len(classes)), -np.inf)
            found[:, seen] = log_softmax(rows @ weights + intercept, axis=1)
            return found

        return log_probabilities

    def score(test: np.ndarray, log_p: np.ndarray) -> float:
        return float(np.maximum(log_p[np.arange(len(test)), codes[test]], LOG_SMALLEST).mean())

    predict, shrinkage = _choose(x, indicators, folds, shrinkages, fit, score)
    return classes, predict(x_held_out - mean), shrinkage


def _solve(matrix: np.ndarray, right: np.ndarray) -> Any:
    """Solve a positive definite system; one without any variance by least squares."""
    try:
        return cho_solve(cho_factor(matrix, check_finite=False), right, check_finite=False)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, right, rcond=None)[0]
