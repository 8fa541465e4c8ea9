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
from sklearn.metrics import f1_score, matthews_corrcoef, r2_score
from sklearn.model_selection import GridSearchCV, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from geomprobe.probes.closed_form import Folds, discriminant, ridge
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
LOG_SMALLEST = float(np.log(np.finfo(np.float64).eps))  # what a class counts as that a classifier never saw
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

    def take(self, rows: np.ndarray) -> Classified:
        """Given rows."""
        return Classified(self.labels[rows], self.predictions[rows], self.log_loss[rows])

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def macro_f1(self) -> float:
        return float(f1_score(self.labels, self.predictions, average="macro", zero_division=0.0))

    @property
    def mcc(self) -> float:
        return float(matthews_corrcoef(self.labels, self.predictions))


@dataclass(frozen=True)
class Regressed:
    """Held-out predictions of a regression; ``labels`` and ``predictions`` have shape (n,) or (n, n_targets)."""

    labels: np.ndarray
    predictions: np.ndarray

    @property
    def r2(self) -> float:
        return float(r2_score(self.labels, self.predictions, multioutput="variance_weighted"))

    @property
    def spearman(self) -> float:
        return spearman(self.labels, self.predictions)

    @property
    def pearson(self) -> float:
        return pearson(self.labels, self.predictions)


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
    rows = np.zeros((n, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "least populated class has fewer members than folds"
        try:
            if groups is not None and len(np.unique(groups)) < n:
                target = labels if stratify else np.zeros(n, np.int64)
                folds = list(StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(rows, target, groups))
            elif stratify:
                folds = list(StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(rows, labels))
            else:
                folds = list(KFold(n_folds, shuffle=True, random_state=seed).split(rows))
        except ValueError:  # no class has as many rows as folds
            return None
    if any(len(test) == 0 for _, test in folds):
        return None
    if stratify and any(len(np.unique(labels[train])) < 2 for train, _ in folds):
        return None
    return folds


def true_class_log2(estimator: Any, x: Any, y: np.ndarray) -> np.ndarray:
    """Log2 of the probability that a classifier gives to the true class of each row, shape (n,).

    A class that the classifier never saw counts as float64's smallest relative step, 2**-52.
    """
    probabilities = estimator.predict_proba(x)
    classes = estimator.classes_
    column = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    seen = classes[column] == y
    p = np.where(seen, probabilities[np.arange(len(y)), column], 0.0)
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

    def score(truth: np.ndarray, log_p: np.ndarray) -> float:
        return float(np.maximum(log_p[np.arange(len(truth)), truth], LOG_SMALLEST).mean())

    classes, log_p, shrinkage = discriminant(x, y, x_held_out, folds, shrinkages, score)
    column = np.searchsorted(classes, y_held_out).clip(max=len(classes) - 1)
    true = np.where(classes[column] == y_held_out, log_p[np.arange(len(y_held_out)), column], -np.inf)
    bits = -np.maximum(true, LOG_SMALLEST) / np.log(2)
    return Classified(y_held_out, classes[log_p.argmax(axis=1)], bits, f"shrinkage={shrinkage:g}")


def regress(x: Any, y: np.ndarray, x_held_out: Any, y_held_out: np.ndarray, folds: Folds | None) -> Regressed:
    """Fit ridge regression (penalty chosen in ``folds`` by R²; dense features standardised), predict held-out rows."""
    if not issparse(x):
        penalties = ALPHAS if folds is not None else (FIXED_ALPHA,)
        return Regressed(y_held_out, ridge(x, y, x_held_out, folds, penalties, lambda a, b: Regressed(a, b).r2))
    if folds is None:
        return Regressed(y_held_out, Ridge(alpha=1.0).fit(x, y).predict(x_held_out))
    search = GridSearchCV(Ridge(), {"alpha": list(SPARSE_ALPHAS)}, cv=folds, scoring=weighted_r2, error_score="raise")
    return Regressed(y_held_out, search.fit(x, y).predict(x_held_out))


def weighted_r2(estimator: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Score for the choice of the ridge penalty: R², targets weighted by their variance."""
    return Regressed(y, estimator.predict(x)).r2
