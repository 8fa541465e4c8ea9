"""The published probes: what they predict for rows they were not fitted on, and the scores of their predictions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geomprobe.inference import probe_tests
from geomprobe.probes.closed_form import Folds
from geomprobe.probes.lexical import top
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
    tops = [top(token for token in row.tolist() if token not in left_out) for row in ids]
    return np.array([-1 if token is None else token for token in tops], np.int64)


def top_words(texts: Sequence[str]) -> np.ndarray:
    """Number of the most frequent word of each text (the first on ties), int64 (n,); -1 where it has none."""
    numbers: dict[str | None, int] = {None: -1}
    return np.array([numbers.setdefault(top(words(text)), len(numbers) - 1) for text in texts], np.int64)


def frequent(targets: np.ndarray) -> np.ndarray:
    """Whether at least five rows share the target of a row, bool (n,)."""
    values, inverse, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return (counts[inverse] >= MIN_CLASS_ROWS) & (values[inverse] >= 0)


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


def make_folds(X: np.ndarray, y: np.ndarray, n_folds: int) -> Folds:
    """Folds of the published analysis: plain ones for scores (float64), stratified ones for classes (int64)."""
    from sklearn.model_selection import KFold, StratifiedKFold

    scores = np.issubdtype(y.dtype, np.floating)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds
        return list((KFold if scores else StratifiedKFold)(n_folds).split(X, y))


def predict(X: np.ndarray, y: np.ndarray, folds: Folds, scaling: str, max_iter: int, seed: int) -> Probed:
    """Predictions of the published probe for the rows that the folds leave out, in their order.

    With scaling "all-rows" the scaler sees these rows too, as in the published analysis.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,)
        int64 classes (logistic regression) or float64 scores (ridge regression).
    folds : sequence of (fitted rows, predicted rows)
    """
    from joblib import Parallel, delayed  # type: ignore[import-untyped]
    from loky import cpu_count
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import StandardScaler

    X = np.asarray(X, np.float64)
    if scaling == "all-rows":
        X = StandardScaler().fit_transform(X)
    jobs = min(len(folds), cpu_count())  # saga runs without the interpreter's lock
    fits = (delayed(fitted)(X[rest], y[rest], X[rows], scaling, max_iter, seed) for rest, rows in folds)
    with warnings.catch_warnings():  # around all threads: filters of warnings belong to the process
        warnings.simplefilter("ignore", ConvergenceWarning)  # the note of a number says so
        done = Parallel(n_jobs=jobs, prefer="threads")(fits)
    predictions, fold = np.empty_like(y), np.empty(len(y), np.int64)
    for number, ((_, rows), (predicted, _)) in enumerate(zip(folds, done, strict=True)):
        predictions[rows], fold[rows] = predicted, number
    every = np.sort(np.concatenate([rows for _, rows in folds]))
    return Probed(predictions[every], fold[every], sum(stopped for _, stopped in done))


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
