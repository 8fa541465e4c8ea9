"""The published probes: what they predict for rows they were not fitted on, and the scores of their predictions."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from geomprobe.inference import probe_tests
from geomprobe.tasks.words import words

MIN_CLASS_ROWS = 5


@dataclass(frozen=True)
class Probed:
    """Predictions of a probe for rows it was not fitted on.

    Attributes
    ----------
    predictions : ndarray of shape (n,)
    fold : int64 ndarray of shape (n,)
        The fold in which each row was predicted.
    stopped : int
        Fits that ended at the iteration limit.
    """

    predictions: np.ndarray
    fold: np.ndarray
    stopped: int = 0


def top_tokens(ids: Sequence[np.ndarray], special: Sequence[int]) -> np.ndarray:
    """Most frequent token of each row of ids (the first on ties), special ones left out; -1 where there is none.

    Returns
    -------
    int64 ndarray of shape (n,)
    """
    left_out = set(special)
    counts = (Counter(t for t in row.tolist() if t not in left_out) for row in ids)
    return np.array([count.most_common(1)[0][0] if count else -1 for count in counts], np.int64)


def top_words(texts: Sequence[str]) -> np.ndarray:
    """Number of the most frequent word of each text (the first on ties), int64 (n,); -1 where it has none."""
    numbers: dict[str, int] = {}
    tops = [Counter(found).most_common(1)[0][0] if (found := words(text)) else None for text in texts]
    return np.array([-1 if top is None else numbers.setdefault(top, len(numbers)) for top in tops], np.int64)


def frequent(targets: np.ndarray) -> np.ndarray:
    """Whether at least five rows share the target of a row, bool (n,)."""
    values, inverse, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return (counts[inverse] >= MIN_CLASS_ROWS) & (values[inverse] >= 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the solver's warning that it stopped at the limit; the note of a number says so."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def fitted(
    X: np.ndarray, y: np.ndarray, X_new: np.ndarray, scaling: str, max_iter: int, seed: int
) -> tuple[np.ndarray, bool]:
    """Predictions of the published probe for new rows, and whether it stopped at the iteration limit.

    With scaling "folds" the features are scaled on the fitted rows; otherwise they are scaled already.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    if scaling == "folds":
        scaler = StandardScaler().fit(X)
        X, X_new = scaler.transform(X), scaler.transform(X_new)
    if np.issubdtype(y.dtype, np.floating):
        return Ridge().fit(X, y).predict(X_new), False
    if len(np.unique(y)) == 1:  # a rare class lies in the fold that is left out
        return np.full(len(X_new), y[0]), False
    model = LogisticRegression(solver="saga", C=1.0, max_iter=max_iter, random_state=seed)
    model.fit(X, y)
    return model.predict(X_new), bool(np.max(model.n_iter_) >= max_iter)


def cross_validated(X: np.ndarray, y: np.ndarray, n_folds: int, scaling: str, max_iter: int, seed: int) -> Probed:
    """Predictions of the published probe for every row, each in the fold that leaves it out.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,)
        int64 classes (stratified folds, logistic regression) or float64 scores (plain folds, ridge regression).
    """
    from joblib import Parallel, delayed  # type: ignore[import-untyped]
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    X = np.asarray(X, np.float64)
    if scaling == "all-rows":
        X = StandardScaler().fit_transform(X)
    scores = np.issubdtype(y.dtype, np.floating)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds
        folds = list((KFold if scores else StratifiedKFold)(n_folds).split(X, y))
    jobs = min(n_folds, os.cpu_count() or 1)  # saga runs without the interpreter's lock
    fits = (delayed(fitted)(X[rest], y[rest], X[held], scaling, max_iter, seed) for rest, held in folds)
    with quiet():  # around all threads: filters of warnings belong to the process
        done = Parallel(n_jobs=jobs, prefer="threads")(fits)
    predictions, fold = np.empty_like(y), np.empty(len(y), np.int64)
    for number, ((_, held), (predicted, _)) in enumerate(zip(folds, done, strict=True)):
        predictions[held], fold[held] = predicted, number
    return Probed(predictions, fold, sum(stopped for _, stopped in done))


def held_out(X: np.ndarray, y: np.ndarray, X_new: np.ndarray, scaling: str, max_iter: int, seed: int) -> Probed:
    """Predictions of the published probe, fitted on train rows, for other rows.

    With scaling "all-rows" the scaler sees the new rows too, as in the published analysis.
    """
    from sklearn.preprocessing import StandardScaler

    X, X_new = np.asarray(X, np.float64), np.asarray(X_new, np.float64)
    if scaling == "all-rows":
        scaler = StandardScaler().fit(np.concatenate([X, X_new]))
        X, X_new = scaler.transform(X), scaler.transform(X_new)
    with quiet():
        predictions, stopped = fitted(X, y, X_new, scaling, max_iter, seed)
    return Probed(predictions, np.zeros(len(X_new), np.int64), int(stopped))


def accuracy(y: np.ndarray, probed: Probed) -> tuple[float, np.ndarray]:
    """Mean over folds of the accuracy, and how much each row moves it, float64 (n,)."""
    right = (y == probed.predictions).astype(np.float64)
    sizes = np.bincount(probed.fold)
    means = np.bincount(probed.fold, right) / sizes
    return float(means.mean()), (right - means[probed.fold]) / (sizes[probed.fold] * len(sizes))


def macro_f1(y: np.ndarray, probed: Probed) -> float:
    """Mean over folds of the macro F1."""
    from sklearn.metrics import f1_score

    folds = [probed.fold == number for number in range(probed.fold.max() + 1)]
    return float(np.mean([f1_score(y[f], probed.predictions[f], average="macro", zero_division=0) for f in folds]))


def spearman(y: np.ndarray, probed: Probed) -> tuple[float, np.ndarray]:
    """Return Spearman's correlation over all rows, and how much each row moves it."""
    from scipy.stats import spearmanr

    moved = probe_tests.CORRELATIONS["spearman"](probed.predictions, y) / len(y)
    return float(spearmanr(y, probed.predictions).statistic), moved


def majority(y: np.ndarray) -> float:
    """Share of the most frequent class."""
    return float(np.unique(y, return_counts=True)[1].max() / len(y))
