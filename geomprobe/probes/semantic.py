"""Semantic probes: is the task's label or score linearly readable from the vectors, and more so than from controls?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from geomprobe.probes import controls
from geomprobe.probes.estimators import Classified, Folds, classify, make_folds, pearson, regress, spearman
from geomprobe.probes.rows import PairVectors, missing_row, once_per_task, result_row, sentence_groups
from geomprobe.tasks.base import Task


def pair_features(vectors: PairVectors) -> np.ndarray:
    """Return what a probe sees: z for single sentences, [u; v; |u−v|; u∗v] for pairs, float64 (n, d) or (n, 4d)."""
    u = vectors.first.astype(np.float64, copy=False)
    if vectors.second is None:
        return u
    v = vectors.second.astype(np.float64, copy=False)
    return np.hstack([u, v, np.abs(u - v), u * v])


def cosines(vectors: PairVectors) -> np.ndarray:
    """Return cos(u, v) of each pair, float64 (n,); 0 where a vector is zero."""
    assert vectors.second is not None
    u, v = vectors.first.astype(np.float64), vectors.second.astype(np.float64)
    norms = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    return np.einsum("ij,ij->i", u, v) / np.where(norms == 0, 1.0, norms)


@once_per_task
def _folds(task: Task, seed: int) -> Folds | None:
    split = task.train
    return make_folds(split.labels, sentence_groups(split), stratify=task.kind == "classification", seed=seed)


@once_per_task
def _tfidf(task: Task) -> tuple[list[Any], list[Any]]:
    return controls.tfidf(task.train, task.validation)


@once_per_task
def _text_controls(task: Task, seed: int) -> dict[str, Any]:
    """Predictions from the texts alone, by the same estimators: {"bow": …, "length": …}."""
    train, validation, folds = task.train, task.validation, _folds(task, seed)
    fit = classify if task.kind == "classification" else regress
    bow_train, bow_validation = (controls.sparse_pair_features(sides) for sides in _tfidf(task))
    lengths = controls.length_features(train), controls.length_features(validation)
    return {
        "bow": fit(bow_train, train.labels, bow_validation, validation.labels, folds),
        "length": fit(lengths[0], train.labels, lengths[1], validation.labels, folds),
    }


@once_per_task
def _projection_control(task: Task, seed: int, d: int) -> Any:
    """Predictions from a random projection of the bag of words to the dimension of the vectors."""
    sides = [PairVectors(*(controls.project(side, d, seed) for side in split)) for split in _tfidf(task)]
    fit = classify if task.kind == "classification" else regress
    features = [pair_features(side) for side in sides]
    return fit(features[0], task.train.labels, features[1], task.validation.labels, _folds(task, seed))


def semantic_probe(
    task: Task, train: PairVectors | None, validation: PairVectors, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return result rows (probe and controls) and per-example rows of a task's label or score.

    Fitted on ``task.train``, scored on ``task.validation``; see `geomprobe.probes.DEFINITIONS` for the metrics.
    """
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    if task.kind == "regression":
        rows += _cosine_rows(task, validation, seed)
        examples += _example_rows("cosine", task, cosines(validation), None)
    main = "semantic_accuracy" if task.kind == "classification" else "sts_probe_spearman"
    size = {"n": len(task.validation), "d": validation.d, "seed": seed}
    if train is None or task.train is None:
        return [*rows, missing_row(main, "the task has no train split", **size, status="not applicable")], examples
    if len(np.unique(task.train.labels)) < 2:
        return [*rows, missing_row(main, "the train split holds one class only", **size)], examples

    y, y_held_out = task.train.labels, task.validation.labels
    fit = classify if task.kind == "classification" else regress
    probe = fit(pair_features(train), y, pair_features(validation), y_held_out, _folds(task, seed))
    named: dict[str | None, Any] = {None: probe, **_text_controls(task, seed)}
    named["bow_projection"] = _projection_control(task, seed, validation.d)
    if task.kind == "classification":
        rows += classification_rows("semantic", named, y, y_held_out, **size)
        examples += _example_rows("semantic", task, probe.predictions, probe.log_loss)
    else:
        for control, scored in named.items():
            rows.append(result_row("sts_probe_spearman", scored.spearman, control=control, **size))
            rows.append(result_row("sts_probe_pearson", scored.pearson, control=control, **size))
        examples += _example_rows("semantic", task, probe.predictions, None)
    return rows, examples


def classification_rows(
    prefix: str, named: dict[str | None, Classified], train: np.ndarray, held_out: np.ndarray, **size: Any
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a classification probe (key None) and its controls, guessing included."""
    guess = controls.majority(train, held_out)
    stratified = controls.stratified_accuracy(train, held_out)
    ceiling = 1.0 - guess.accuracy
    entropy = float(guess.log_loss.mean())
    for control, scored in {**named, "majority": guess}.items():
        loss = float(scored.log_loss.mean())
        values = {
            "accuracy": scored.accuracy,
            "skill": (scored.accuracy - guess.accuracy) / ceiling if ceiling else float("nan"),
            "macro_f1": scored.macro_f1,
            "mcc": scored.mcc,
            "log_loss": loss,
            "usable_bits": entropy - loss,
            "usable_share": (entropy - loss) / entropy if entropy else float("nan"),
        }
        for name, value in values.items():
            yield result_row(f"{prefix}_{name}", value, control=control, note=scored.note, **size)
    yield result_row(f"{prefix}_accuracy", stratified, control="stratified", note="expected value", **size)


def _cosine_rows(task: Task, validation: PairVectors, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the correlation of the score with the cosine of the vectors and, as a control, of TF-IDF rows."""
    measured: dict[str | None, np.ndarray] = {None: cosines(validation)}
    if task.train is not None:
        u, v = _tfidf(task)[1]
        measured["bow"] = np.asarray(u.multiply(v).sum(axis=1)).ravel()  # TF-IDF rows have unit norm
    scores = task.validation.labels
    for control, cosine in measured.items():
        size = {"n": len(scores), "d": validation.d, "seed": seed, "control": control}
        yield result_row("sts_cosine_spearman", spearman(scores, cosine), **size)
        yield result_row("sts_cosine_pearson", pearson(scores, cosine), **size)


def _example_rows(
    probe: str, task: Task, predictions: np.ndarray, log_loss: np.ndarray | None
) -> Iterator[dict[str, Any]]:
    for i, row_id in enumerate(task.validation.row_ids):
        yield {
            "probe": probe,
            "row_id": row_id,
            "label": float(task.validation.labels[i]),
            "prediction": float(predictions[i]),
            "log_loss": None if log_loss is None else float(log_loss[i]),
        }
