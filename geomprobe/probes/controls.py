"""What a probe is compared with: guessing, length and bags of words, scored by the same estimators on the same rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.sparse import csr_array, hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from geomprobe.probes.estimators import Classified, of_true_class
from geomprobe.probes.records import PairVectors, once_per_task, train_split
from geomprobe.tasks.base import Split, Task
from geomprobe.tasks.words import words


@once_per_task
def tfidf(task: Task) -> tuple[list[csr_array], list[csr_array]]:
    """Return TF-IDF rows of each side of the train and validation rows: lists of one or two (n, vocabulary) arrays.

    The vocabulary and the weights come from the train split alone.
    """
    vectorizer = TfidfVectorizer(analyzer=words)
    train, held_out = (
        [side for side in (split.first, split.second) if side is not None]
        for split in (train_split(task), task.validation)
    )
    try:
        vectorizer.fit(text for side in train for text in side)
    except ValueError:  # no text holds a word
        vectorizer.fit(["_"])
    return [vectorizer.transform(side) for side in train], [vectorizer.transform(side) for side in held_out]


def sparse_pair_features(sides: list[csr_array]) -> csr_array:
    """Sparse counterpart of `geomprobe.probes.semantic.pair_features`."""
    if len(sides) == 1:
        return csr_array(sides[0])
    u, v = sides
    return csr_array(hstack([u, v, abs(u - v), u.multiply(v)]))


def length_features(split: Split) -> np.ndarray:
    """Number of words and characters of each row, shape (n, 2), or (n, 6) with differences for pairs."""

    def side(texts: tuple[str, ...]) -> np.ndarray:
        return np.array([[len(words(text)), len(text)] for text in texts], np.float64).reshape(len(texts), 2)

    u = side(split.first)
    if split.second is None:
        return u
    v = side(split.second)
    return np.hstack([u, v, np.abs(u - v)])


def projection(task: Task, seed: int, d: int) -> tuple[PairVectors, PairVectors]:
    """Gaussian random projections of the TF-IDF rows of both splits to ``d`` dimensions, float64.

    A lexical encoder that learned nothing. Both sides of a pair share the directions.
    """
    train, held_out = tfidf(task)
    directions = np.random.default_rng(seed).standard_normal((train[0].shape[1], d)) / np.sqrt(d)
    sides = [PairVectors(*(np.asarray(side @ directions) for side in split)) for split in (train, held_out)]
    return sides[0], sides[1]


def class_shares(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes that occur and the share of each."""
    classes, counts = np.unique(labels, return_counts=True)
    return classes, counts / counts.sum()


def majority(train: np.ndarray, held_out: np.ndarray) -> Classified:
    """Predict the most frequent train class for every row; its log loss is that of the train class shares."""
    classes, shares = class_shares(train)
    p = of_true_class(np.broadcast_to(shares, (len(held_out), len(shares))), classes, held_out, 0.0)
    log_loss = -np.log2(np.maximum(p, np.finfo(np.float64).eps))
    return Classified(held_out, np.full(len(held_out), classes[shares.argmax()]), log_loss)


def stratified_accuracy(train: np.ndarray, held_out: np.ndarray) -> float:
    """Expected accuracy of guessing by the train class shares, the sum of p_train(c) p_held_out(c)."""
    classes, shares = class_shares(train)
    return float(sum(share * np.mean(held_out == c) for c, share in zip(classes, shares, strict=True)))


@once_per_task
def control_labels(task: Task, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a control task: every word type gets a class at random, and a row that of its rarest word.

    A probe can learn this only by memorising words (Hewitt & Liang 2019, section 2). The rarest word is sought among
    those in at least two train rows, so that there is something to memorise; classes are drawn by their train shares.

    Returns
    -------
    tuple of int64 ndarray, shapes (n_train,) and (n_validation,)
    """
    train = train_split(task)
    classes, shares = class_shares(train.labels)
    held = [[set(words(text)) for text in split.first] for split in (train, task.validation)]
    frequency = Counter(word for row in held[0] for word in row)
    vocabulary = sorted(frequency.keys() | {word for row in held[1] for word in row})
    label = dict(zip(vocabulary, np.random.default_rng(seed).choice(classes, len(vocabulary), p=shares), strict=True))

    def of(row: set[str]) -> int:
        if not row:
            return int(classes[shares.argmax()])
        return int(label[min(row, key=lambda word: (frequency[word] < 2, frequency[word], word))])

    train_labels, validation_labels = (np.array([of(row) for row in rows], np.int64) for rows in held)
    return train_labels, validation_labels
