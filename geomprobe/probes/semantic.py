"""Semantic probes: is the task's label or score linearly readable from the vectors, and more so than from controls?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import geomprobe.probes.controls as controls
import geomprobe.probes.information as information
from geomprobe.probes.estimators import WIDE, Classified, Folds, classifier, classify, make_folds, predict, regress
from geomprobe.probes.records import (
    PairVectors,
    example_rows,
    missing_row,
    once_per_task,
    train_split,
    without_train,
)
from geomprobe.probes.scores import classification_rows, correlation_rows, mean_row, partial_spearman, statistic_row
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


def features_of(task: Task, vectors: PairVectors) -> np.ndarray:
    """Pair features as the probe of a task takes them: a classifier float32 where they are wide, (n, d) or (n, 4d).

    Log losses agree with those in float64 to 1e-5 bits, in half of the time.
    """
    x = pair_features(vectors)
    return x.astype(np.float32) if task.kind == "classification" and x.shape[1] > WIDE else x


def cosines(vectors: PairVectors) -> np.ndarray:
    """Cos(u, v) of each pair, float64 (n,); 0 where a vector is zero."""
    assert vectors.second is not None
    u, v = vectors.first.astype(np.float64), vectors.second.astype(np.float64)
    norms = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    return np.einsum("ij,ij->i", u, v) / np.where(norms == 0, 1.0, norms)


def labelled_rows(split: Split) -> np.ndarray:
    """Positions of rows that have a label: a finite score, or a class that is not negative."""
    scores = np.issubdtype(split.labels.dtype, np.floating)
    return np.flatnonzero(np.isfinite(split.labels) if scores else split.labels >= 0)


def semantic_probe(
    task: Task, train: PairVectors | None, validation: PairVectors, seed: int, chosen: str = "all"
) -> tuple[Records, list[dict[str, Any]]]:
    """Result rows (probe and controls) and per-example rows of a task's label or score.

    Fitted on ``task.train``, scored on ``task.validation``; rows without a label are left out of both. See
    `geomprobe.probes.RECORDS` for the metrics.
    """
    main = "semantic_accuracy" if task.kind == "classification" else "sts_probe_spearman"
    task, train, validation, dropped = with_labels(task, train, validation)
    note = f"{dropped} rows without a label left out" if dropped else ""
    size: dict[str, Any] = {"n": len(task.validation), "d": validation.d, "seed": seed}
    if not len(task.validation):
        if chosen == "none":
            return [], []
        return [missing_row(main, "no validation row has a label", **size, status="not applicable")], []
    rows, examples = _similarity(task, validation, size)
    if chosen == "none":
        pass
    elif train is None or task.train is None:
        rows.append(missing_row(main, *without_train(task), **size))
    elif len(np.unique(task.train.labels)) < 2:
        few = task.kind == "regression" or len(task.label_names) > 1 or len(task.train) < 2
        status = "too few rows" if few else "not applicable"  # more rows would hold that one class, too
        rows.append(missing_row(main, _labels_note(task.train), status, **size))
    else:
        found = _fitted(task, train, validation, seed, size, chosen == "fast")
        rows, examples = rows + found[0], examples + found[1]
    for row in rows:
        row["note"] = "; ".join(part for part in (row["note"], note) if part)
    return rows, examples


def _labels_note(train: Split) -> str:
    n, labels = len(train), len(np.unique(train.labels))
    kinds = f"{labels} different label{'' if labels == 1 else 's'}"
    return f"{n:,} labelled train row{'' if n == 1 else 's'} with {kinds}; at least 2 labels are needed"


def with_labels(
    task: Task, train: PairVectors | None, validation: PairVectors
) -> tuple[Task, PairVectors | None, PairVectors, int]:
    """Task and its vectors without unlabelled rows, and how many these were."""
    dropped = 0
    if train is not None and task.train is not None:
        keep = labelled_rows(task.train)
        if left_out := len(task.train) - len(keep):
            dropped += left_out
            task, train = replace(task, train=task.train.take(keep)), train.take(keep)
    keep = labelled_rows(task.validation)
    if left_out := len(task.validation) - len(keep):
        dropped += left_out
        task, validation = replace(task, validation=task.validation.take(keep)), validation.take(keep)
    return task, train, validation, dropped


# What is the same for every encoder


@once_per_task
def _folds(task: Task, seed: int) -> Folds | None:
    split = train_split(task)
    return make_folds(split.labels, sentence_groups(split), stratify=task.kind == "classification", seed=seed)


@once_per_task
def scored_clusters(task: Task) -> np.ndarray:
    return sentence_groups(task.validation)


def _predictions(task: Task, seed: int, train: Any, held_out: Any) -> Any:
    """What a probe of these features, fitted on train, says of the validation rows: `Classified`, or scores (n,)."""
    y, folds = train_split(task).labels, _folds(task, seed)
    if task.kind == "regression":
        return regress(train, y, held_out, folds)
    return classify(train, y, held_out, task.validation.labels, folds)


@once_per_task
def _text_controls(task: Task, seed: int) -> dict[str, Any]:
    """Predictions from the texts alone, by the same estimators: {"bow": …, "length": …}."""
    bow, held_out = (controls.sparse_pair_features(sides) for sides in controls.tfidf(task))
    lengths = (controls.length_features(split) for split in (train_split(task), task.validation))
    return {"bow": _predictions(task, seed, bow, held_out), "length": _predictions(task, seed, *lengths)}


@once_per_task
def _projection_control(task: Task, seed: int, d: int) -> Any:
    """Predictions from a random projection of the bag of words to the dimension of the vectors."""
    return _predictions(task, seed, *(features_of(task, side) for side in controls.projection(task, seed, d)))


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
    x, x_held_out = (controls.sparse_pair_features(sides) for sides in controls.tfidf(task))
    inner = make_folds(y[fitted], groups[fitted], stratify=True, seed=seed)
    bow = classify(x[fitted], y[fitted], x_held_out, y_held_out, inner)
    odds = information.log_odds(bow, x[rows]), information.log_odds(bow, x_held_out)
    folds = make_folds(y[rows], groups[rows], stratify=True, seed=seed)
    alone = information.given_bow(odds, None, y[rows], y_held_out, folds)
    return BowHalf(rows, folds, odds, alone)


# The probes


def _fitted(
    task: Task, train: PairVectors, validation: PairVectors, seed: int, size: dict[str, Any], once: bool
) -> tuple[Records, Records]:
    """Rows and examples of the probe that is fitted on train; ``once``: without what fits a classifier again."""
    clusters, x, x_held_out = scored_clusters(task), features_of(task, train), features_of(task, validation)
    probe = _predictions(task, seed, x, x_held_out)
    predictions = {
        None: probe,
        **_text_controls(task, seed),
        "bow_projection": _projection_control(task, seed, size["d"]),
    }
    y, y_held_out = train_split(task).labels, task.validation.labels
    if task.kind == "regression":
        correlations = correlation_rows("semantic", y_held_out, predictions, clusters, **size)
        return list(correlations), _examples("semantic", task, probe)
    rows = [*classification_rows("semantic", predictions, y, y_held_out, clusters, **size)]
    if not once:
        rows += selectivity(task, x, x_held_out, probe, seed, size)
        rows += _beyond_words(task, x, x_held_out, seed, size)
        rows += _code(task, x, probe, seed, size | {"n": len(y)})
    return rows, _examples("semantic", task, probe.predictions, probe.log_loss)


def selectivity(
    task: Task,
    x: np.ndarray,
    x_held_out: np.ndarray,
    probe: Classified,
    seed: int,
    size: dict[str, Any],
    rows: np.ndarray | slice = slice(None),
) -> Records:
    """The accuracy on the control task, by a probe with the same C, and by how much the real one exceeds it.

    ``x`` holds the features of these ``rows`` of the train split.
    """
    y, y_held_out = controls.control_labels(task, seed)
    y = y[rows]
    if len(np.unique(y)) < 2:
        one = f"{len(x):,} train rows, all of one class of the control task; at least 2 are needed"
        return [missing_row("semantic_selectivity", one, **size)]
    model = classifier(x).set_params(fit__C=probe.model.named_steps["fit"].C).fit(x, y)
    found, clusters = predict(model, x_held_out, y_held_out), scored_clusters(task)
    control = size | {"control": "control_task", "note": found.note}
    gain = probe.accuracy - found.accuracy
    return [
        mean_row("semantic_accuracy", found.accuracy, found.right, clusters, **control),
        mean_row("semantic_selectivity", gain, probe.right - found.right, clusters, **size),
    ]


def _beyond_words(task: Task, x: np.ndarray, x_held_out: np.ndarray, seed: int, size: dict[str, Any]) -> Records:
    """The row of I(Y; Z | BoW): how many bits the vectors add to what the bag of words says."""
    half = _bow_half(task, seed)
    if half is None:
        few = f"{len(x):,} train rows; two halves that hold the same labels are needed"
        return [missing_row("semantic_conditional_bits", few, **size)]
    y, y_held_out = train_split(task).labels[half.rows], task.validation.labels
    joint = information.given_bow(half.odds, (x[half.rows], x_held_out), y, y_held_out, half.folds)
    gain = half.alone.log_loss - joint.log_loss
    return [mean_row("semantic_conditional_bits", gain.mean(), gain, scored_clusters(task), note=joint.note, **size)]


def _code(task: Task, x: np.ndarray, probe: Classified, seed: int, size: dict[str, Any]) -> Records:
    """The online code length per label, and the uniform code's length as a multiple of it."""
    train = train_split(task)
    clusters = sentence_groups(train)
    bits = information.code_lengths(x, train.labels, probe.model.named_steps["fit"].C, seed)
    mean = float(bits.mean())
    shorter = float(np.log2(len(np.unique(train.labels)))) / mean
    return [
        mean_row("semantic_code_length", mean, bits, clusters, **size),
        mean_row("semantic_compression", shorter, -shorter * bits / mean, clusters, **size),
    ]


def _similarity(task: Task, validation: PairVectors, size: dict[str, Any]) -> tuple[Records, Records]:
    """Rows that need no fit: how the cosine of a pair goes with its score, and with its common words.

    Pairs with classes count where one class means "the same" and the other not.
    """
    split = task.validation
    binary = task.positive_label is not None and len(task.label_names) == 2
    if split.second is None or not (task.kind == "regression" or binary):
        return [], []
    gold = split.labels.astype(np.float64) if task.kind == "regression" else (split.labels == task.positive_label) * 1.0
    clusters = scored_clusters(task)
    similarities: dict[str | None, np.ndarray] = {None: cosines(validation)}
    if task.train is not None:
        u, v = controls.tfidf(task)[1]
        similarities["bow"] = np.asarray(u.multiply(v).sum(axis=1)).ravel()  # TF-IDF rows have unit norm
    overlap = word_overlap(split)
    rows: Records = []
    if task.kind == "regression":
        rows += correlation_rows("cosine", gold, {**similarities, "word_overlap": overlap}, clusters, **size)
    for control, cosine in similarities.items():
        here = size | {"control": control}
        gold_first, overlap_first = (cosine, gold, overlap), (cosine, overlap, gold)
        rows.append(statistic_row("partial_spearman_gold", partial_spearman, gold_first, clusters, **here))
        rows.append(statistic_row("partial_spearman_overlap", partial_spearman, overlap_first, clusters, **here))
    return rows, _examples("cosine", task, similarities[None])


def _examples(
    probe: str, task: Task, predictions: np.ndarray, log_loss: np.ndarray | None = None
) -> list[dict[str, Any]]:
    split = task.validation
    return example_rows(probe, split.row_ids, scored_clusters(task), split.labels, predictions, log_loss)
