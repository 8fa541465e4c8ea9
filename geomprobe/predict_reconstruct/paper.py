"""The formulas and probes of the published analysis of Predict and Reconstruct (arXiv 2606.05173), number for number.

Arrays in, numbers out; float64. What the published code leaves to chance is seeded here. `protocol.PAPER` is
the bundle of its choices; each of them can be replaced alone.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from geomprobe import inference
from geomprobe.analysis.grid import pair_vectors
from geomprobe.analysis.texts import TaskTexts
from geomprobe.encoders import Encoder
from geomprobe.inference import Estimate, probe_tests
from geomprobe.metrics.cloud import TooFewRows, too_few
from geomprobe.probes.semantic import labelled_rows, pair_features
from geomprobe.results import INFLUENCE_COLUMNS, RESULT_COLUMNS, table
from geomprobe.tasks.base import Task, sentence_groups
from geomprobe.tasks.words import words

DEFINITION = "paper"
T = 2.0
MIN_CLASS_ROWS = 5
TOKEN_FOLDS, TASK_FOLDS = 3, 5
SCORE_EDGES = (1, 2, 3, 4)  # STS-B scores become five classes for alignment and class distances
BLOCK = 1024
NO_TRAIN = "the task has no train split"
TOO_FEW = TooFewRows.status

_TOP = (
    "mean over 3 folds of the validation rows of the accuracy for the most frequent {0} of a row ({1} of at least 5 "
    "rows); scaled on all rows, logistic regression by saga, C = 1, 500 iterations"
)
_TOP_SKILL = "(accuracy − majority) / (1 − majority), majority: share of the most frequent {0}"
FORMULAS = {
    "effective_rank": "exp H(σ/Σσ), σ the singular values of the centred matrix",
    "spectral_entropy": "H(p)/log min(N, D), p = σ²/Σσ², σ the singular values of the centred matrix",
    "stable_rank": "Σσ²/σ_1²",
    "rank_90": "smallest k whose leading k of σ² hold 90 % of their sum",
    "uniformity": "log mean_{i<j} exp(−2‖z_i−z_j‖²) over a seeded random 1,000 rows where there are more, else all",
    "alignment": "unweighted mean over classes of mean_{i<j} (‖z_i−z_j‖²)²; STS-B classes: score cut at 1, 2, 3, 4",
    "class_distance_within": "mean ‖z_i−z_j‖ over all pairs of rows of one class, pooled over classes",
    "class_distance_between": "mean ‖z_i−z_j‖ over all pairs of rows of two classes",
    "class_distance_ratio": "class_distance_within / class_distance_between",
    "lexical_top_token_accuracy": _TOP.format("token", "special tokens left out, tokens"),
    "lexical_top_token_skill": _TOP_SKILL.format("token"),
    "lexical_top_word_accuracy": _TOP.format("word", "words"),
    "lexical_top_word_skill": _TOP_SKILL.format("word"),
    "semantic_accuracy": "mean over 5 folds of the validation rows of the accuracy for the label; "
    "scaled on all rows, logistic regression by saga, C = 1, 500 iterations",
    "semantic_macro_f1": "mean over the same 5 folds of the unweighted mean of F1 over classes",
    "semantic_skill": "(accuracy − majority) / (1 − majority), majority: share of the most frequent label",
    "sts_probe_spearman": "Spearman correlation of the score with the predictions of ridge regression (penalty 1) in 5 "
    "folds of the validation rows, scaled on all rows",
    "semantic_lexical_balance": "task probe / token probe: semantic_accuracy (STS-B: sts_probe_spearman) / "
    "lexical_top_token_accuracy (token_target=word: lexical_top_word_accuracy)",
    "semantic_lexical_skill_gap": "semantic_skill (STS-B: sts_probe_spearman) − lexical_top_token_skill "
    "(token_target=word: lexical_top_word_skill; in the corrected column of an audit lexical_word_content_skill, or "
    "lexical_top_word_skill where a task is too small)",
}
SOURCE = "arXiv 2606.05173 (2026), its analysis code"
_COSINE = "rotation and scale of the vectors"
_AFFINE = "rotation, shift and scale of the vectors, up to the regularisation"
_WORDING = "higher: more of the wording is linearly readable"
_BALANCE = "higher: the label is read better against the wording"
DEFINITIONS: dict[str, dict[str, Any]] = {
    name: {
        "name": name,
        "family": family,
        "formula": FORMULAS[name],
        "range": range_,
        "direction": direction,
        "invariances": invariances,
        "source": SOURCE,
    }
    for name, family, range_, direction, invariances in (
        ("class_distance_within", "hypersphere", "[0, 2]", "larger: rows of a class lie further apart", _COSINE),
        ("class_distance_between", "hypersphere", "[0, 2]", "larger: rows of two classes lie further apart", _COSINE),
        ("class_distance_ratio", "hypersphere", "[0, ∞)", "smaller: classes are more compact", _COSINE),
        ("lexical_top_token_accuracy", "lexical", "[0, 1]", _WORDING, _AFFINE),
        ("lexical_top_token_skill", "lexical", "(−∞, 1], 0 for the most frequent token", _WORDING, _AFFINE),
        ("semantic_lexical_balance", "lexical", "(−∞, ∞)", _BALANCE, _AFFINE),
        ("semantic_lexical_skill_gap", "lexical", "(−∞, ∞)", _BALANCE, _AFFINE),
    )
}
"""Metrics that only this analysis has; the others of FORMULAS share name and family with a metric of the registry or
of the probes."""


def published_definitions(known: Mapping[str, dict[str, Any]], used: Iterable[str]) -> dict[str, Any]:
    """Return the definitions of the metrics of this module that occur, with the formulas of this module.

    Parameters
    ----------
    known : mapping
        Definitions of every metric, by name.
    used : iterable of str
    """
    own = [name for name in used if name in FORMULAS]
    formulas = {name: {"formula": FORMULAS[name], "definitions": {DEFINITION: FORMULAS[name]}} for name in own}
    known = {**known, **DEFINITIONS}
    return {name: known[name] | formulas[name] | {"source": SOURCE} for name in own}


# ---- geometry --------------------------------------------------------------------------------------------------------


def singular_values(Z: np.ndarray) -> np.ndarray:
    """Return the min(n, d) singular values of the centred matrix, largest first; Z of shape (n, d)."""
    Z = np.asarray(Z, np.float64)
    return np.linalg.svd(Z - Z.mean(0), compute_uv=False)


def entropy(p: np.ndarray) -> float:
    """Return −Σ p log p in nats, with 0 log 0 = 0."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def spectral_entropy(sigma: np.ndarray, bound: int) -> float:
    """Return H(σ²/Σσ²)/log bound; NaN for a bound of one."""
    p = sigma**2 / (sigma**2).sum()
    return entropy(p) / float(np.log(bound)) if bound > 1 else float("nan")


def effective_rank(sigma: np.ndarray) -> float:
    """Return exp H(σ/Σσ)."""
    return float(np.exp(entropy(sigma / sigma.sum())))


def stable_rank(sigma: np.ndarray) -> float:
    """Return Σσ²/σ_1²."""
    return float((sigma**2).sum() / sigma[0] ** 2)


def rank_90(sigma: np.ndarray) -> int:
    """Return the smallest k whose leading k of σ² hold 90 % of their sum."""
    return int(np.searchsorted(np.cumsum(sigma**2) / (sigma**2).sum(), 0.9)) + 1


def directions(Z: np.ndarray, centre: bool = False) -> np.ndarray:
    """Return the rows divided by their norm, less their mean first if asked; (n, d) float64, zero rows stay zero."""
    Z = np.asarray(Z, np.float64)
    Z = Z - Z.mean(0) if centre else Z
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    return Z / np.where(norms == 0, 1.0, norms)


def pair_blocks(z: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (i, j, squared distances) of all pairs of rows i < j, in blocks of rows; z of shape (n, d)."""
    w = z - z.mean(0)  # distances stay, and near directions keep their digits
    squares = (w**2).sum(1)
    for start in range(0, len(w), BLOCK):
        part = w[start : start + BLOCK]
        distances = squares[start : start + BLOCK, None] + squares[None, start:] - 2 * part @ w[start:].T
        i, j = np.nonzero(np.arange(len(part))[:, None] < np.arange(len(w) - start)[None, :])
        yield i + start, j + start, np.maximum(distances[i, j], 0)


def uniformity_sample(n: int, most: int | None, seed: int) -> np.ndarray:
    """Return the numbers of the rows that uniformity reads: all n, or `most` of them drawn without replacement."""
    if most is None or n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def uniformity(z: np.ndarray, t: float = T) -> float:
    """Return log mean_{i<j} exp(−t‖z_i−z_j‖²) over the rows of z, shape (n, d)."""
    total = sum(float(np.exp(-t * squared).sum()) for _, _, squared in pair_blocks(z))
    return float(np.log(total / (len(z) * (len(z) - 1) / 2)))


def alignment(z: np.ndarray, classes: np.ndarray, power: int = 4) -> float:
    """Return the unweighted mean over classes of mean_{i<j} ‖z_i−z_j‖^power; classes of one row are left out."""
    means = []
    for label in np.unique(classes):
        rows = z[classes == label]
        if len(rows) > 1:
            total = sum(float((squared ** (power / 2)).sum()) for _, _, squared in pair_blocks(rows))
            means.append(total / (len(rows) * (len(rows) - 1) / 2))
    return float(np.mean(means)) if means else float("nan")


def class_distances(z: np.ndarray, classes: np.ndarray, squared: bool = False) -> tuple[float, float]:
    """Return the mean distance of two rows of one class, and of two classes, each pooled over all pairs."""
    sums, counts = np.zeros(2), np.zeros(2)
    for i, j, square in pair_blocks(z):
        same = classes[i] == classes[j]
        distance = square if squared else np.sqrt(square)
        sums += distance[same].sum(), distance[~same].sum()
        counts += same.sum(), (~same).sum()
    within, between = (float(s / c) if c else float("nan") for s, c in zip(sums, counts, strict=True))
    return within, between


def score_classes(labels: np.ndarray) -> np.ndarray:
    """Return the classes of labels: themselves, or for scores their interval between 1, 2, 3 and 4."""
    return np.digitize(labels, SCORE_EDGES) if np.issubdtype(labels.dtype, np.floating) else labels


# ---- probes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probed:
    """What a probe predicts for rows it was not fitted on.

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
    """Return the most frequent token of each row of ids (the first on ties), special ones left out; -1 where none is.

    Returns
    -------
    int64 ndarray of shape (n,)
    """
    left_out = set(special)
    counts = (Counter(t for t in row.tolist() if t not in left_out) for row in ids)
    return np.array([count.most_common(1)[0][0] if count else -1 for count in counts], np.int64)


def top_words(texts: Sequence[str]) -> np.ndarray:
    """Return the number of the most frequent word of each text (the first on ties); -1 where it has none."""
    numbers: dict[str, int] = {}
    tops = [Counter(found).most_common(1)[0][0] if (found := words(text)) else None for text in texts]
    return np.array([-1 if top is None else numbers.setdefault(top, len(numbers)) for top in tops], np.int64)


def frequent(targets: np.ndarray) -> np.ndarray:
    """Return which rows have a target that at least five rows share, bool (n,)."""
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
    """Return the predictions for new rows of the published probe, and whether it stopped at the iteration limit.

    With scaling "folds" the features are scaled on the rows that are fitted; otherwise they come scaled.
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


def cross_validated(X: np.ndarray, y: np.ndarray, n_folds: int, choices: Published, seed: int) -> Probed:
    """Return what the published probe predicts for every row, each in the fold that leaves it out.

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
    if choices.scaling == "all-rows":
        X = StandardScaler().fit_transform(X)
    scores = np.issubdtype(y.dtype, np.floating)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds
        folds = list((KFold if scores else StratifiedKFold)(n_folds).split(X, y))
    jobs = min(n_folds, os.cpu_count() or 1)  # saga runs without the interpreter's lock
    fits = (delayed(fitted)(X[rest], y[rest], X[held], choices.scaling, choices.max_iter, seed) for rest, held in folds)
    with quiet():  # around all threads: filters of warnings belong to the process
        done = Parallel(n_jobs=jobs, prefer="threads")(fits)
    predictions, fold = np.empty_like(y), np.empty(len(y), np.int64)
    for number, ((_, held), (predicted, _)) in enumerate(zip(folds, done, strict=True)):
        predictions[held], fold[held] = predicted, number
    return Probed(predictions, fold, sum(stopped for _, stopped in done))


def held_out(X: np.ndarray, y: np.ndarray, X_new: np.ndarray, choices: Published, seed: int) -> Probed:
    """Return what the published probe, fitted on train rows, predicts for other rows.

    With scaling "all-rows" the scaler sees the new rows too, as in the published analysis.
    """
    from sklearn.preprocessing import StandardScaler

    X, X_new = np.asarray(X, np.float64), np.asarray(X_new, np.float64)
    if choices.scaling == "all-rows":
        scaler = StandardScaler().fit(np.concatenate([X, X_new]))
        X, X_new = scaler.transform(X), scaler.transform(X_new)
    with quiet():
        predictions, stopped = fitted(X, y, X_new, choices.scaling, choices.max_iter, seed)
    return Probed(predictions, np.zeros(len(X_new), np.int64), int(stopped))


def accuracy(y: np.ndarray, probed: Probed) -> tuple[float, np.ndarray]:
    """Return the mean over folds of the accuracy, and how much each row moves it, float64 (n,)."""
    right = (y == probed.predictions).astype(np.float64)
    sizes = np.bincount(probed.fold)
    means = np.bincount(probed.fold, right) / sizes
    return float(means.mean()), (right - means[probed.fold]) / (sizes[probed.fold] * len(sizes))


def macro_f1(y: np.ndarray, probed: Probed) -> float:
    """Return the mean over folds of the macro F1."""
    from sklearn.metrics import f1_score

    folds = [probed.fold == number for number in range(probed.fold.max() + 1)]
    return float(np.mean([f1_score(y[f], probed.predictions[f], average="macro", zero_division=0) for f in folds]))


def spearman(y: np.ndarray, probed: Probed) -> tuple[float, np.ndarray]:
    """Return Spearman's correlation over all rows, and how much each row moves it."""
    from scipy.stats import spearmanr

    moved = probe_tests.CORRELATIONS["spearman"](probed.predictions, y) / len(y)
    return float(spearmanr(y, probed.predictions).statistic), moved


def majority(y: np.ndarray) -> float:
    """Return the share of the most frequent class."""
    return float(np.unique(y, return_counts=True)[1].max() / len(y))


@dataclass(frozen=True)
class Published:
    """Choices of formulas and probes of the published analysis of Predict and Reconstruct (arXiv 2606.05173).

    Attributes
    ----------
    uniformity_rows : int or None
        Most rows whose pairs uniformity is taken over, drawn with the seed; None reads all pairs.
    centre : bool
        Whether the mean vector is subtracted before directions are taken.
    alignment_power : {4, 2}
        Power of the distance of two rows of a class.
    class_distance : {"unsquared", "squared"}
        What is averaged over the pairs within and between classes.
    entropy_bound : {"N", "N-1"}
        Spectral entropy is divided by log min(N, D) or log min(N - 1, D).
    token_target : {"token", "word"}
        Whether the token probe names the most frequent token or the most frequent word of a row.
    scaling : {"all-rows", "folds"}
        Whether the scaler of a probe sees all rows, or the rows that the probe is fitted on.
    probe_rows : {"validation", "train"}
        Probes cross-validated on the validation split, or fitted on train (`max_train_rows` of it) and scored on
        validation.
    score : {"accuracy", "skill"}
        "skill" adds (accuracy - majority) / (1 - majority), majority being the share of the most frequent class of the
        scored rows, and the difference of the skills of the task probe and the token probe.
    max_iter : int
        Most iterations of the probes' solver.
    parts : tuple of {"geometry", "task", "token"}
        What is computed.
    """

    uniformity_rows: int | None = 1000
    centre: bool = False
    alignment_power: int = 4
    class_distance: str = "unsquared"
    entropy_bound: str = "N"
    token_target: str = "token"
    scaling: str = "all-rows"
    probe_rows: str = "validation"
    score: str = "accuracy"
    max_iter: int = 500
    parts: tuple[str, ...] = ("geometry", "task", "token")

    def prepare(self, task: Task, train_poolings: bool) -> Task:
        """Task with its labelled rows alone; without a train split where nothing is fitted on it."""
        train, validation = (None if s is None else s.take(labelled_rows(s)) for s in (task.train, task.validation))
        assert validation is not None
        fits_on_train = self.probe_rows == "train" or train_poolings
        return replace(task, train=train if fits_on_train else None, validation=validation)

    def measure(self, encoder: Encoder, texts: TaskTexts, vectors: np.ndarray, seed: int) -> dict[str, pd.DataFrame]:
        """Tables of one cell by the published formulas, from the vectors of all its texts."""
        return measure_rows(published_rows(encoder, texts, vectors, self), self, seed)

    def definitions(self, known: Mapping[str, dict[str, Any]], used: Iterable[str]) -> dict[str, Any]:
        """Definitions of the metrics that occur, with the published formulas."""
        return published_definitions(known, used)

    def replaced(self, **choices: Any) -> Published:
        """The analysis with some of its choices replaced."""
        return replace(self, **choices)


# ---- a cell ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """The rows that a cell is measured on.

    Attributes
    ----------
    Z : float ndarray of shape (n, d)
        Vectors of the rows of geometry and of the token probe.
    classes : int64 ndarray of shape (n,) or None
        Their classes; None where each sentence of a pair is a row of its own.
    clusters : int64 ndarray of shape (n,)
        Rows with the same number share a sentence and are not independent.
    targets : int64 ndarray of shape (n,)
        What the token probe names, -1 for nothing.
    X, y : ndarray of shape (m, k), (m,)
        Features and labels of the task probe.
    y_clusters : int64 ndarray of shape (m,)
    train : tuple of (Z, targets, X, y) or None
        The same of the train split, where probes are fitted there.
    """

    Z: np.ndarray
    classes: np.ndarray | None
    clusters: np.ndarray
    targets: np.ndarray
    X: np.ndarray
    y: np.ndarray
    y_clusters: np.ndarray
    train: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None


class Sheet:
    """The rows and influences of a cell as they are found."""

    def __init__(self, d: int, view: str, seed: int, clusters: int):
        self.place = {"view": view, "definition": DEFINITION, "d": d, "seed": seed}
        self.n_clusters = clusters
        self.rows: list[dict[str, Any]] = []
        self.influences: list[dict[str, Any]] = []
        self.contributions: dict[str, tuple[float, np.ndarray]] = {}

    def add(
        self,
        metric: str,
        value: float,
        n: int,
        contributions: np.ndarray | None = None,
        *,
        unattributed_variance: float = 0.0,
        note: str = "",
    ) -> None:
        """Add a number; `contributions` is how much each cluster of rows moves it, float64 (g,)."""
        if not np.isfinite(value):
            few = n < 3  # which leave nothing to compare, whatever they hold
            self.missing(
                metric,
                n,
                too_few(n, 3) if few else note or "undefined on these rows",
                TOO_FEW if few else "not applicable",
            )
            return
        row = self.place | {"metric": metric, "n": n, "note": note, "status": "ok", "value": value}
        row["ci_method"] = "no valid interval: none is derived for this formula"
        if contributions is not None:
            contributions = np.pad(contributions, (0, self.n_clusters - len(contributions)))
            self.contributions[metric] = value, contributions
            row |= Estimate(value, contributions, unattributed_variance).interval().to_row()
            key = {"view": self.place["view"], "metric": metric, "definition": DEFINITION}
            kept = {"contributions": contributions.astype(np.float32), "extra": unattributed_variance}
            self.influences.append(key | kept)
        self.rows.append(row)

    def missing(self, metric: str, n: int, reason: str, status: str = "not applicable") -> None:
        """Add the row that stands where a number could not be computed."""
        self.rows.append(self.place | {"metric": metric, "n": n, "status": status, "note": reason})


def measure_rows(rows: Rows, choices: Published, seed: int) -> dict[str, Any]:
    """Measure a cell by the formulas of this module.

    Returns
    -------
    dict
        "results" and "influences": tables with the columns of the results folder, without those of the cell.
    """
    numbers, clusters = np.unique(rows.clusters, return_inverse=True)
    sheet = Sheet(rows.Z.shape[1], "centred" if choices.centre else "raw", seed, len(numbers))
    if "geometry" in choices.parts:
        _geometry(sheet, rows, clusters, choices, seed)
    if "token" in choices.parts:
        _token_probe(sheet, rows, clusters, choices, seed)
    if "task" in choices.parts:
        _task_probe(sheet, rows, np.searchsorted(numbers, rows.y_clusters), choices, seed)
    if {"token", "task"} <= set(choices.parts):
        _balance(sheet, choices)
    return {"results": table(sheet.rows, RESULT_COLUMNS), "influences": table(sheet.influences, INFLUENCE_COLUMNS)}


def _geometry(sheet: Sheet, rows: Rows, clusters: np.ndarray, choices: Published, seed: int) -> None:
    Z = np.asarray(rows.Z, np.float64)
    n, d = Z.shape
    spectral = ("effective_rank", "stable_rank", "rank_90")
    if n < 2:
        for metric in (*spectral, "spectral_entropy", "uniformity"):
            sheet.missing(metric, n, too_few(n, 2), TOO_FEW)
        return
    moved = _influences(Z, spectral, "raw", clusters)
    sigma = singular_values(Z)
    if sigma[0] > 0:
        bound = min(n, d) if choices.entropy_bound == "N" else min(n - 1, d)
        sheet.add("effective_rank", effective_rank(sigma), n, **moved["effective_rank"])
        sheet.add("spectral_entropy", spectral_entropy(sigma, bound), n)
        sheet.add("stable_rank", stable_rank(sigma), n, **moved["stable_rank"])
        sheet.add("rank_90", rank_90(sigma), n, **moved["rank_90"])
    else:
        for metric in (*spectral, "spectral_entropy"):
            sheet.missing(
                metric,
                n,
                *(
                    ("2 rows that are equal; at least 2 different rows are needed", TOO_FEW)
                    if n == 2
                    else ("all rows are equal",)
                ),
            )
    z = directions(Z, choices.centre)
    sample = uniformity_sample(n, choices.uniformity_rows, seed)
    view = "centred" if choices.centre else "raw"  # the mean that is removed is an estimate, too
    moved = _influences(Z[sample], ("uniformity",), view, clusters[sample], len(np.unique(clusters)))
    note = "" if len(sample) == n else f"pairs of {len(sample):,} of {n:,} rows, drawn with the seed"
    sheet.add("uniformity", uniformity(z[sample]), len(sample), note=note, **moved["uniformity"])
    if rows.classes is not None:
        sheet.add("alignment", alignment(z, rows.classes, choices.alignment_power), n)
        within, between = class_distances(z, rows.classes, choices.class_distance == "squared")
        sheet.add("class_distance_within", within, n)
        sheet.add("class_distance_between", between, n)
        sheet.add("class_distance_ratio", within / between if between else float("nan"), n)


def _influences(
    Z: np.ndarray, names: Sequence[str], view: str, clusters: np.ndarray, g: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return how each cluster moves metrics that the registry has by the same formula; {} where it is not known."""
    frame, found = inference.measure(Z, metrics=names, views=[view], clusters=clusters)
    moved: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, estimate in zip(frame["metric"], found, strict=True):
        if estimate is not None and estimate.contributions is not None:
            contributions = np.zeros(g or int(clusters.max()) + 1)
            contributions[np.unique(clusters)] = estimate.contributions
            unattributed = estimate.unattributed_variance
            moved[str(name)] = {"contributions": contributions, "unattributed_variance": unattributed}
    return moved


def _probed(
    X: np.ndarray, y: np.ndarray, train: tuple[np.ndarray, np.ndarray] | None, folds: int, choices: Published, seed: int
) -> Probed:
    if choices.probe_rows == "validation":
        return cross_validated(X, y, folds, choices, seed)
    assert train is not None
    return held_out(*train, X, choices, seed)


def _note(probed: Probed, choices: Published) -> str:
    fits = int(probed.fold.max()) + 1
    return f"{probed.stopped} of {fits} fits stopped at {choices.max_iter} iterations" if probed.stopped else ""


def _scored(sheet: Sheet, stem: str, y: np.ndarray, probed: Probed, clusters: np.ndarray, choices: Published) -> None:
    value, moved = accuracy(y, probed)
    by_cluster = np.bincount(clusters, moved)
    sheet.add(f"{stem}_accuracy", value, len(y), by_cluster, note=_note(probed, choices))
    if choices.score == "skill":
        room = 1 - majority(y)
        skill = (value - 1 + room) / room if room else float("nan")
        sheet.add(f"{stem}_skill", skill, len(y), by_cluster / (room or 1.0))


def _token_stem(choices: Published) -> str:
    """Return what the names of the token probe's numbers begin with: they say whether it names tokens or words."""
    return f"lexical_top_{choices.token_target}"


def _token_probe(sheet: Sheet, rows: Rows, clusters: np.ndarray, choices: Published, seed: int) -> None:
    stem, train = _token_stem(choices), None
    if choices.probe_rows == "train":
        if rows.train is None:
            sheet.missing(f"{stem}_accuracy", len(rows.targets), NO_TRAIN)
            return
        Z, targets = rows.train[:2]
        keep = frequent(targets)
        train = np.asarray(Z)[keep], targets[keep]
        use = np.isin(rows.targets, train[1])
    else:
        use = frequent(rows.targets)
    y = rows.targets[use]
    if len(np.unique(y if train is None else train[1])) < 2 or not len(y):
        words = f"2 {choices.token_target}s that each lead at least 5 rows are needed"
        sheet.missing(f"{stem}_accuracy", len(y), f"{len(rows.targets):,} rows; {words}", TOO_FEW)
        return
    probed = _probed(rows.Z[use], y, train, TOKEN_FOLDS, choices, seed)
    _scored(sheet, stem, y, probed, clusters[use], choices)


def _task_probe(sheet: Sheet, rows: Rows, clusters: np.ndarray, choices: Published, seed: int) -> None:
    y, train = rows.y, rows.train and rows.train[2:]
    scores = np.issubdtype(y.dtype, np.floating)
    name = "sts_probe_spearman" if scores else "semantic_accuracy"
    if choices.probe_rows == "train" and train is None:
        sheet.missing(name, len(y), NO_TRAIN)
        return
    if choices.probe_rows == "train" and train is not None and len(np.unique(train[1])) < 2:
        sheet.missing(name, len(y), f"{len(train[1]):,} train rows of 1 label; at least 2 labels are needed", TOO_FEW)
        return
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2 or (not scores and counts.max() < TASK_FOLDS) or len(y) < TASK_FOLDS:
        have = f"{len(y):,} row{'' if len(y) == 1 else 's'} of {len(classes)} label{'' if len(classes) == 1 else 's'}"
        of_a_class = "" if scores else f", {TASK_FOLDS} of them of one class,"
        needed = f"{TASK_FOLDS} rows{of_a_class} and 2 labels are needed for {TASK_FOLDS} folds"
        sheet.missing(name, len(y), f"{have}; at least {needed}", TOO_FEW)
        return
    probed = _probed(rows.X, y, train, TASK_FOLDS, choices, seed)
    if scores:
        value, moved = spearman(y, probed)
        sheet.add(name, value, len(y), np.bincount(clusters, moved))
        return
    _scored(sheet, "semantic", y, probed, clusters, choices)
    sheet.add("semantic_macro_f1", macro_f1(y, probed), len(y))


def _balance(sheet: Sheet, choices: Published) -> None:
    forms = [("semantic_lexical_balance", "accuracy")]
    forms += [("semantic_lexical_skill_gap", "skill")] if choices.score == "skill" else []
    for metric, score in forms:
        task = sheet.contributions.get("sts_probe_spearman") or sheet.contributions.get(f"semantic_{score}")
        token = sheet.contributions.get(f"{_token_stem(choices)}_{score}")
        if task is None or token is None or (score == "accuracy" and token[0] == 0):
            continue
        (s, of_task), (t, of_token) = task, token
        n = next(row["n"] for row in sheet.rows if row["metric"] in ("sts_probe_spearman", "semantic_accuracy"))
        if score == "skill":
            sheet.add(metric, s - t, n, of_task - of_token)
        else:
            sheet.add(metric, s / t, n, (of_task - s / t * of_token) / t)


# ---- from a task to rows ---------------------------------------------------------------------------------------------


def published_rows(encoder: Encoder, texts: TaskTexts, vectors: np.ndarray, choices: Published) -> Rows:
    """Return what the published formulas are computed on: the rows of validation, repeated ones too.

    Where the sentences of a pair are encoded apart, geometry and the token probe take the unique sentences.
    """
    task, (first, second) = texts.task, texts.validation
    at = first if second is None else texts.geometry
    clusters, y_clusters = published_clusters(texts)
    if "token" not in choices.parts:
        targets = np.full(len(texts.texts), -1)
    elif choices.token_target == "word":
        targets = top_words(texts.texts)
    else:
        targets = top_tokens(encoder.tokenize(texts.texts)[0], encoder.tokenizer.all_special_ids)
    train = None
    if task.train is not None and texts.train is not None:
        sides = [side for side in texts.train if side is not None]
        once = sides[0] if len(sides) == 1 else np.unique(np.concatenate(sides))
        X = pair_features(pair_vectors(vectors, texts.train))
        train = vectors[once], targets[once], X, task.train.labels
    return Rows(
        vectors[at],
        score_classes(task.validation.labels) if second is None else None,
        clusters,
        targets[at],
        pair_features(pair_vectors(vectors, texts.validation)),
        task.validation.labels,
        y_clusters,
        train,
    )


def published_clusters(texts: TaskTexts) -> tuple[np.ndarray, np.ndarray]:
    """Return the clusters of the rows of geometry, and of those of the task probe (the validation rows), int64."""
    first, second = texts.validation
    if second is None:
        clusters = sentence_groups(texts.task.validation)
        return clusters, clusters
    clusters = texts.task.geometry_rows.clusters
    home = dict(zip(texts.geometry.tolist(), clusters.tolist(), strict=True))
    return clusters, np.array([home[row] for row in first.tolist()], np.int64)
