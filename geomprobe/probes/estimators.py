"""The linear probes themselves: what a scikit-learn pipeline with scaling and regularisation inside folds finds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.stats import pearsonr, spearmanr
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from geomprobe.probes.closed_form import LOG_SMALLEST, Folds, discriminant, r2, ridge
from geomprobe.probes.logistic import PreconditionedLogisticRegression

FOLDS = 3
CS = (1e-3, 1e-2, 1e-1, 1.0)
WIDE_CS = (1e-4, 1e-3, 1e-2, 1e-1)  # more features than WIDE need a stronger penalty
SPARSE_CS = (1e-1, 1.0, 10.0, 100.0)  # TF-IDF rows have unit norm and are not scaled, so the useful range lies higher
ALPHAS = (1.0, 1e1, 1e2, 1e3)
FIXED_ALPHA = 1e2  # where rows are too few for folds
SHRINKAGES = (1e-2, 3e-1)
FIXED_SHRINKAGE = 0.1
SPARSE_ALPHAS = (1e-1, 1.0, 1e1, 1e2)
WIDE = 512
MAX_ITER = 500


@dataclass(frozen=True)
class Classified:
    """Held-out predictions of a classifier.

    Attributes
    ----------
    labels, predictions : int64 ndarray of shape (n,)
    log_loss : float64 ndarray of shape (n,)
        -log2 of the probability given to the true class, in bits.
    note : str
        What a reader must know, such as a solver that did not converge.
    model : Pipeline or None
        The fitted estimator.
    """

    labels: np.ndarray
    predictions: np.ndarray
    log_loss: np.ndarray
    note: str = ""
    model: Any = None

    @property
    def right(self) -> np.ndarray:
        """1 where the prediction is the label, 0 else, float64 (n,)."""
        return (self.labels == self.predictions).astype(np.float64)

    @property
    def accuracy(self) -> float:
        """Share of the predictions that are right."""
        return float(self.right.mean())


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation, NaN where one side is constant."""
    return _correlation(spearmanr, a, b)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation, NaN where one side is constant."""
    return _correlation(pearsonr, a, b)


def _correlation(function: Any, a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(function(a, b).statistic)


def make_folds(
    labels: np.ndarray, groups: np.ndarray | None, *, stratify: bool, seed: int, n_folds: int = FOLDS
) -> Folds | None:
    """Folds in which regularisation is chosen, or None where the rows do not allow two folds.

    Classes are balanced over folds (``stratify``) and rows of one group stay together. A class in fewer rows than
    folds cannot be balanced; scikit-learn then spreads what there is.
    """
    n = len(labels)
    if n < 2 * n_folds:
        return None
    grouped = groups is not None and len(np.unique(groups)) < n
    splitter = StratifiedGroupKFold if grouped else StratifiedKFold if stratify else KFold
    target = labels if stratify else np.zeros(n, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "least populated class has fewer members than folds"
        try:
            made = splitter(n_folds, shuffle=True, random_state=seed)
            folds = list(made.split(np.zeros((n, 1)), target, groups if grouped else None))
        except ValueError:  # no class has as many rows as folds
            return None
    if any(len(test) == 0 for _, test in folds):
        return None
    if stratify and any(len(np.unique(labels[train])) < 2 for train, _ in folds):
        return None
    return folds


def of_true_class(values: np.ndarray, classes: np.ndarray, y: np.ndarray, unseen: float) -> np.ndarray:
    """What each row gives to its true class, (n,), of values by class, (n, n_classes); `unseen` where it has none."""
    column = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    return np.where(classes[column] == y, values[np.arange(len(y)), column], unseen)


def true_class_log2(estimator: Any, x: Any, y: np.ndarray) -> np.ndarray:
    """Log2 of the probability that a classifier gives to the true class of each row, shape (n,).

    A class that the classifier never saw counts as float64's smallest relative step, 2**-52.
    """
    p = of_true_class(estimator.predict_proba(x), estimator.classes_, y, 0.0)
    return np.log2(np.maximum(p, np.finfo(np.float64).eps))


def classifier(x: Any, *, scale: bool = True) -> Pipeline:
    """Logistic-regression pipeline for features ``x``; sparse ones are never scaled."""
    if issparse(x):
        return Pipeline([("fit", LogisticRegression(max_iter=MAX_ITER))])
    tolerance = 1e-5 if x.dtype == np.float32 else 1e-8
    model = PreconditionedLogisticRegression(tol=tolerance, max_iter=MAX_ITER)
    return Pipeline([("scale", StandardScaler()), ("fit", model)] if scale else [("fit", model)])


def fit_classifier(x: Any, y: np.ndarray, folds: Folds | None, *, scale: bool = True) -> Pipeline:
    """Fit a logistic regression; C is chosen in ``folds`` by log loss (C = 0.01 where there are none)."""
    pipeline = classifier(x, scale=scale)
    wide = x.shape[1] > WIDE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported in the row's note instead
        if folds is None:
            c = 1e-2 if not issparse(x) else 1.0
        else:
            c = _best_c(pipeline, x, y, folds, SPARSE_CS if issparse(x) else WIDE_CS if wide else CS)
        return pipeline.set_params(fit__C=c).fit(x, y)


def _best_c(pipeline: Pipeline, x: Any, y: np.ndarray, folds: Folds, cs: tuple[float, ...]) -> float:
    """C of the best mean log2 probability of the true class over folds, the smallest on ties.

    What GridSearchCV over the pipeline does, but a fold is scaled once, and each C begins at the weights of the one
    before: that decides how many steps a solver takes, not where it ends.
    """
    scores = np.zeros((len(folds), len(cs)))
    for i, (train, test) in enumerate(folds):
        fold = clone(pipeline)
        x_train, x_test = x[train], x[test]
        if "scale" in fold.named_steps:
            x_train = fold.named_steps["scale"].fit_transform(x_train)
            x_test = fold.named_steps["scale"].transform(x_test)
        model = fold.named_steps["fit"].set_params(warm_start=True)
        for j, c in enumerate(cs):
            model.set_params(C=c).fit(x_train, y[train])
            scores[i, j] = true_class_log2(model, x_test, y[test]).mean()
    return cs[int(scores.mean(axis=0).argmax())]


def classify(
    x: Any, y: np.ndarray, x_held_out: Any, y_held_out: np.ndarray, folds: Folds | None, *, scale: bool = True
) -> Classified:
    """Fit on (x, y) and return predictions for the held-out rows; ``y`` must hold two classes at least."""
    return predict(fit_classifier(x, y, folds, scale=scale), x_held_out, y_held_out)


def predict(best: Any, x_held_out: Any, y_held_out: np.ndarray) -> Classified:
    """Predictions of a fitted logistic-regression pipeline."""
    model = best.named_steps["fit"]
    note = f"C={model.C:g}"
    if np.max(model.n_iter_) >= model.max_iter:
        note += "; the solver stopped at its iteration limit"
    log_loss = -true_class_log2(best, x_held_out, y_held_out)
    return Classified(y_held_out, best.predict(x_held_out), log_loss, note, best)


def discriminate(
    x: np.ndarray, y: np.ndarray, x_held_out: np.ndarray, y_held_out: np.ndarray, folds: Folds | None
) -> Classified:
    """Fit linear discriminant analysis and return predictions for the held-out rows.

    In closed form, so that a hundred classes cost no more than two; the covariance of the standardised features is
    shrunk towards its diagonal mean by a share chosen in ``folds`` by log loss.
    """
    shrinkages = SHRINKAGES if folds is not None else (FIXED_SHRINKAGE,)
    classes, log_p, shrinkage = discriminant(x, y, x_held_out, folds, shrinkages)
    bits = -np.maximum(of_true_class(log_p, classes, y_held_out, -np.inf), LOG_SMALLEST) / np.log(2)
    return Classified(y_held_out, classes[log_p.argmax(axis=1)], bits, f"shrinkage={shrinkage:g}")


def regress(x: Any, y: np.ndarray, x_held_out: Any, folds: Folds | None) -> np.ndarray:
    """Fit ridge regression (penalty chosen in ``folds`` by R²; dense features standardised), predict held-out rows."""
    if not issparse(x):
        return ridge(x, y, x_held_out, folds, ALPHAS if folds is not None else (FIXED_ALPHA,))
    if folds is None:
        return Ridge(alpha=1.0).fit(x, y).predict(x_held_out)
    search = GridSearchCV(
        Ridge(), {"alpha": list(SPARSE_ALPHAS)}, cv=folds, scoring=make_scorer(r2), error_score="raise"
    )
    return search.fit(x, y).predict(x_held_out)
