"""Semantic probes: is the task's label or score linearly readable from the vectors, and more so than from controls?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import geomprobe.probes.controls as controls
import geomprobe.probes.information as information
from geomprobe.probes.estimators import (
    WIDE,
    Classified,
    Folds,
    Regressed,
    classifier,
    classify,
    make_folds,
    predict,
    regress,
)
from geomprobe.probes.records import (
    PairVectors,
    example_rows,
    missing_row,
    once_per_task,
    result_row,
    train_split,
    without_train,
)
from geomprobe.probes.scores import classification_rows, correlation_rows, on_rows, partial_spearman
from geomprobe.probes.uncertainty import jackknife_interval, mean_interval
from geomprobe.tasks.base import Split, Task, sentence_groups
from geomprobe.tasks.words import word_overlap

Records = list[dict[str, Any]]


def pair_features(vectors: PairVectors) -> np.ndarray:
    """What a probe sees: z for single sentences, [u; v; |u−v|; u∗v] for pairs, float64 (n, d) or (n, 4d)."""
    u = vectors.first.astype(np.float64, copy=False)
    if vectors.second is None:
        return u
    v = vectors.second.astype(np.float64, copy=False)
    return np.hstack([u, v, np.abs(u - v), u * v])


def classifier_features(vectors: PairVectors) -> np.ndarray:
    """Pair features as the classifier takes them: float32 where they are wide, (n, d) or (n, 4d).

    Log losses agree with those in float64 to 1e-5 bits, in half of the time.
    """
    x = pair_features(vectors)
    return x.astype(np.float32) if x.shape[1] > WIDE else x


def cosines(vectors: PairVectors) -> np.ndarray:
    """Cos(u, v) of each pair, float64 (n,); 0 where a vector is zero."""
    assert vectors.second is not None
    u, v = vectors.first.astype(np.float64), vectors.second.astype(np.float64)
    norms = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    return np.einsum("ij,ij->i", u, v) / np.where(norms == 0, 1.0, norms)


def labelled_rows(split: Split) -> np.ndarray:
    """Positions of rows that have a label: a finite score, or a class that is not negative."""
    if np.issubdtype(split.labels.dtype, np.floating):
        return np.flatnonzero(np.isfinite(split.labels))
    return np.flatnonzero(split.labels >= 0)


def semantic_probe(
    task: Task, train: PairVectors | None, validation: PairVectors, seed: int
) -> tuple[Records, list[dict[str, Any]]]:
    """Result rows (probe and controls) and per-example rows of a task's label or score.

    Fitted on ``task.train``, scored on ``task.validation``; rows without a label are left out of both. See
    `geomprobe.probes.DEFINITIONS` for the metrics.
    """
    main = "semantic_accuracy" if task.kind == "classification" else "sts_probe_spearman"
    task, train, validation, dropped = _with_labels(task, train, validation)
    note = f"{dropped} rows without a label left out" if dropped else ""
    size: dict[str, Any] = {"n": len(task.validation), "d": validation.d, "seed": seed}
    if not len(task.validation):
        return [missing_row(main, "no validation row has a label", **size, status="not applicable")], []
    rows, examples = _similarity(task, validation, size)
    if train is None or task.train is None:
        rows.append(missing_row(main, *without_train(task), **size))
    elif len(np.unique(task.train.labels)) < 2:
        few = task.kind == "regression" or len(task.label_names) > 1 or len(task.train) < 2
        status = "too few rows" if few else "not applicable"  # more rows would hold that one class, too
        rows.append(missing_row(main, _labels_note(task.train), status, **size))
    else:
        probe = _classification if task.kind == "classification" else _regression
        found = probe(task, train, validation, seed, size)
        rows, examples = rows + found[0], examples + found[1]
    for row in rows:
        row["note"] = "; ".join(part for part in (row["note"], note) if part)
    return rows, examples


def _labels_note(train: Split) -> str:
    n, labels = len(train), len(np.unique(train.labels))
    kinds = f"{labels} different label{'' if labels == 1 else 's'}"
    return f"{n:,} labelled train row{'' if n == 1 else 's'} with {kinds}; at least 2 labels are needed"


def _with_labels(
    task: Task, train: PairVectors | None, validation: PairVectors
) -> tuple[Task, PairVectors | None, PairVectors, int]:
    """Task and its vectors without unlabelled rows, and how many these were."""
    dropped = 0
    if train is not None and task.train is not None:
        keep = labelled_rows(task.train)
        if len(keep) < len(task.train):
            dropped += len(task.train) - len(keep)
            task, train = replace(task, train=task.train.take(keep)), train.take(keep)
    keep = labelled_rows(task.validation)
    if len(keep) < len(task.validation):
        dropped += len(task.validation) - len(keep)
        task, validation = replace(task, validation=task.validation.take(keep)), validation.take(keep)
    return task, train, validation, dropped


# What is the same for every encoder


@once_per_task
def _folds(task: Task, seed: int) -> Folds | None:
    split = train_split(task)
    return make_folds(split.labels, sentence_groups(split), stratify=task.kind == "classification", seed=seed)


@once_per_task
def _clusters(task: Task) -> np.ndarray:
    return sentence_groups(task.validation)


@once_per_task
def _tfidf(task: Task) -> tuple[list[Any], list[Any]]:
    return controls.tfidf(train_split(task), task.validation)


@once_per_task
def _text_controls(task: Task, seed: int) -> dict[str, Any]:
    """Predictions from the texts alone, by the same estimators: {"bow": …, "length": …}."""
    train, validation, folds = train_split(task), task.validation, _folds(task, seed)
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
    fit, form = (classify, classifier_features) if task.kind == "classification" else (regress, pair_features)
    features = [form(side) for side in sides]
    return fit(features[0], train_split(task).labels, features[1], task.validation.labels, _folds(task, seed))


@dataclass(frozen=True)
class BowHalf:
    """A bag-of-words probe fitted on one half of train, as the other half (``rows``) and validation see it."""

    rows: np.ndarray
    folds: Folds | None
    odds: tuple[np.ndarray, np.ndarray]
    alone: Classified


@once_per_task
def _bow_half(task: Task, seed: int) -> BowHalf | None:
    train = train_split(task)
    y, y_held_out, groups = train.labels, task.validation.labels, sentence_groups(train)
    halves = make_folds(y, groups, stratify=True, seed=seed, n_folds=2)
    if halves is None:
        return None
    fitted, rows = halves[0]
    if set(y[rows]) != set(y[fitted]):
        return None
    x, x_held_out = (controls.sparse_pair_features(sides) for sides in _tfidf(task))
    inner = make_folds(y[fitted], groups[fitted], stratify=True, seed=seed)
    bow = classify(x[fitted], y[fitted], x_held_out, y_held_out, inner)
    odds = information.log_odds(bow, x[rows]), information.log_odds(bow, x_held_out)
    folds = make_folds(y[rows], groups[rows], stratify=True, seed=seed)
    alone = information.given_bow(odds, None, y[rows], None, y_held_out, folds)
    return BowHalf(rows, folds, odds, alone)


@once_per_task
def _control_labels(task: Task, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return controls.control_labels(train_split(task), task.validation, seed)


# The probes


def _classification(
    task: Task, train: PairVectors, validation: PairVectors, seed: int, size: dict[str, Any]
) -> tuple[Records, Records]:
    y, y_held_out, clusters = train_split(task).labels, task.validation.labels, _clusters(task)
    x, x_held_out = classifier_features(train), classifier_features(validation)
    probe = classify(x, y, x_held_out, y_held_out, _folds(task, seed))
    named: dict[str | None, Classified] = {None: probe, **_text_controls(task, seed)}
    named["bow_projection"] = _projection_control(task, seed, validation.d)
    rows = list(classification_rows("semantic", named, y, y_held_out, clusters, **size))
    rows += _selectivity(task, x, x_held_out, probe, clusters, seed, size)
    rows += _beyond_words(task, x, x_held_out, clusters, seed, size)
    rows += _code(task, x, probe, seed, size | {"n": len(y)})
    return rows, _examples("semantic", task, probe.predictions, probe.log_loss)


def _selectivity(
    task: Task,
    x: np.ndarray,
    x_held_out: np.ndarray,
    probe: Classified,
    clusters: np.ndarray,
    seed: int,
    size: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Yield the accuracy on the control task, by a probe with the same C, and by how much the real one exceeds it."""
    y, y_held_out = _control_labels(task, seed)
    if len(np.unique(y)) < 2:
        yield missing_row(
            "semantic_selectivity",
            f"{len(x):,} train rows, all of one class of the control task; at least 2 are needed",
            **size,
        )
        return
    model = classifier(x).set_params(fit__C=probe.model.named_steps["fit"].C).fit(x, y)
    control = predict(model, x_held_out, y_held_out)
    uncertainty = mean_interval(control.right, control.accuracy, clusters)
    yield (
        result_row("semantic_accuracy", control.accuracy, control="control_task", note=control.note, **size)
        | uncertainty
    )
    gain = probe.accuracy - control.accuracy
    yield result_row("semantic_selectivity", gain, **size) | mean_interval(probe.right - control.right, gain, clusters)


def _beyond_words(
    task: Task, x: np.ndarray, x_held_out: np.ndarray, clusters: np.ndarray, seed: int, size: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield I(Y; Z | BoW): how many bits the vectors add to what the bag of words says."""
    half = _bow_half(task, seed)
    if half is None:
        yield missing_row(
            "semantic_conditional_bits",
            f"{len(train_split(task)):,} train rows; two halves that hold the same labels are needed",
            **size,
        )
        return
    y, y_held_out = train_split(task).labels[half.rows], task.validation.labels
    joint = information.given_bow(half.odds, x[half.rows], y, x_held_out, y_held_out, half.folds)
    gain = half.alone.log_loss - joint.log_loss
    row = result_row("semantic_conditional_bits", gain.mean(), note=joint.note, **size)
    yield row | mean_interval(gain, gain.mean(), clusters)


def _code(task: Task, x: np.ndarray, probe: Classified, seed: int, size: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the online code length per label, and the uniform code's length as a multiple of it."""
    y = train_split(task).labels
    clusters = sentence_groups(train_split(task))
    bits = information.code_lengths(x, y, probe.model.named_steps["fit"].C, seed)
    mean = float(bits.mean())
    shorter = float(np.log2(len(np.unique(y)))) / mean
    yield result_row("semantic_code_length", mean, **size) | mean_interval(bits, mean, clusters)
    yield result_row("semantic_compression", shorter, **size) | mean_interval(-shorter * bits / mean, shorter, clusters)


def _regression(
    task: Task, train: PairVectors, validation: PairVectors, seed: int, size: dict[str, Any]
) -> tuple[Records, Records]:
    y, y_held_out = train_split(task).labels, task.validation.labels
    probe = regress(pair_features(train), y, pair_features(validation), y_held_out, _folds(task, seed))
    named: dict[str | None, Regressed] = {None: probe, **_text_controls(task, seed)}
    named["bow_projection"] = _projection_control(task, seed, validation.d)
    rows = correlation_rows(("sts_probe_spearman", "sts_probe_pearson"), named, _clusters(task), **size)
    return list(rows), _examples("semantic", task, probe.predictions)


def _similarity(task: Task, validation: PairVectors, size: dict[str, Any]) -> tuple[Records, Records]:
    """Rows that need no fit: how the cosine of a pair goes with its score, and with its common words.

    Pairs with classes count where one class means "the same" and the other not.
    """
    split = task.validation
    binary = task.positive_label is not None and len(task.label_names) == 2
    if split.second is None or not (task.kind == "regression" or binary):
        return [], []
    gold = split.labels.astype(np.float64) if task.kind == "regression" else (split.labels == task.positive_label) * 1.0
    clusters = _clusters(task)
    measured: dict[str | None, np.ndarray] = {None: cosines(validation)}
    if task.train is not None:
        u, v = _tfidf(task)[1]
        measured["bow"] = np.asarray(u.multiply(v).sum(axis=1)).ravel()  # TF-IDF rows have unit norm
    overlap = word_overlap(split)
    rows: Records = []
    if task.kind == "regression":
        named: dict[str | None, Regressed] = {c: Regressed(gold, cosine) for c, cosine in measured.items()}
        named["word_overlap"] = Regressed(gold, overlap)
        rows += correlation_rows(("sts_cosine_spearman", "sts_cosine_pearson"), named, clusters, **size)
    for control, cosine in measured.items():
        for metric, a, given in (
            ("partial_spearman_gold", gold, overlap),
            ("partial_spearman_overlap", overlap, gold),
        ):
            row = result_row(metric, partial_spearman(cosine, a, given), control=control, **size)
            if row["status"] == "ok":
                row |= jackknife_interval(on_rows(partial_spearman, cosine, a, given), len(gold), clusters)
            rows.append(row)
    return rows, _examples("cosine", task, measured[None])


def _examples(
    probe: str, task: Task, predictions: np.ndarray, log_loss: np.ndarray | None = None
) -> list[dict[str, Any]]:
    split = task.validation
    return example_rows(probe, split.row_ids, _clusters(task), split.labels, predictions, log_loss)
