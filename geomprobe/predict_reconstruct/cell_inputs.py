"""The rows that a cell of the published analysis is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geomprobe.analysis.measure import pair_vectors
from geomprobe.analysis.texts import TaskTexts
from geomprobe.encoders import Encoder
from geomprobe.predict_reconstruct.formulas import score_classes
from geomprobe.predict_reconstruct.probes import top_tokens, top_words
from geomprobe.probes.semantic import pair_features
from geomprobe.tasks.base import sentence_groups


@dataclass(frozen=True)
class CellInputs:
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
        The same for the train split, where probes are fitted on it.
    """

    Z: np.ndarray
    classes: np.ndarray | None
    clusters: np.ndarray
    targets: np.ndarray
    X: np.ndarray
    y: np.ndarray
    y_clusters: np.ndarray
    train: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None


def published_rows(encoder: Encoder, texts: TaskTexts, vectors: np.ndarray, token_target: str | None) -> CellInputs:
    """Rows that the published formulas are computed on: all of validation, repeated ones too.

    Where the sentences of a pair are encoded apart, geometry and the token probe take the unique sentences.

    Parameters
    ----------
    vectors : float ndarray of shape (len(texts.texts), d)
    token_target : {"token", "word"} or None
        What the token probe names; None where it is not asked for.
    """
    task, (first, second) = texts.task, texts.validation
    at = first if second is None else texts.geometry
    clusters, y_clusters = published_clusters(texts)
    if token_target is None:
        targets = np.full(len(texts.texts), -1)
    elif token_target == "word":
        targets = top_words(texts.texts)
    else:
        targets = top_tokens(encoder.tokenize(texts.texts)[0], encoder.tokenizer.all_special_ids)
    train = None
    if task.train is not None and texts.train is not None:
        sides = [side for side in texts.train if side is not None]
        once = sides[0] if len(sides) == 1 else np.unique(np.concatenate(sides))
        X = pair_features(pair_vectors(vectors, texts.train))
        train = vectors[once], targets[once], X, task.train.labels
    return CellInputs(
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
    """Clusters of the rows of geometry, and of the rows of the task probe (the validation rows), int64."""
    first, second = texts.validation
    if second is None:
        clusters = sentence_groups(texts.task.validation)
        return clusters, clusters
    clusters = texts.task.geometry_rows.clusters
    home = dict(zip(texts.geometry.tolist(), clusters.tolist(), strict=True))
    return clusters, np.array([home[row] for row in first.tolist()], np.int64)
