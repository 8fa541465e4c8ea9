"""Lexical probes: which words a sentence holds, how often and how many, read linearly from its vector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

import geomprobe.probes.controls as controls
from geomprobe.probes.closed_form import Folds, r2
from geomprobe.probes.estimators import discriminate, make_folds, regress, spearman
from geomprobe.probes.records import (
    PairVectors,
    example_rows,
    missing_row,
    once_per_task,
    stack,
    train_split,
    unique_sentences,
    without_train,
)
from geomprobe.probes.scores import classification_rows, mean_row, scores_of, statistic_row
from geomprobe.probes.semantic import pair_features
from geomprobe.tasks.base import Task, sentence_groups
from geomprobe.tasks.words import word_overlap, words

MAX_SENTENCES = 10_000
CONTENT_WORDS = 100
COUNTED_WORDS = 300
MIN_ROWS = 5
MAX_SHARE = 0.02

T = TypeVar("T")
Sides = tuple[np.ndarray, np.ndarray]  # of the train split, and held out


@dataclass(frozen=True)
class Labelled:
    """A classification target over sentences: the rows that have one in each split, and their classes."""

    train_rows: np.ndarray
    train: np.ndarray
    held_out_rows: np.ndarray
    held_out: np.ndarray
    n_classes: int
    folds: Folds | None


@dataclass(frozen=True)
class Targets:
    """What lexical probes predict, from a task's own texts; the same for every encoder, layer and pooling.

    ``train_index`` and ``held_out_index`` select the unique sentences from the stack [first; second] of a split;
    ``clusters`` numbers the held-out ones such that those of one pair, or chain of pairs, have the same number;
    ``held_out_ids`` are the ids of the rows they come from, "…#2" for a second sentence.
    """

    train_index: np.ndarray
    held_out_index: np.ndarray
    word_content: Labelled
    top_word: Labelled
    counts: Sides
    lengths: Sides
    length_features: Sides
    folds: Folds | None
    clusters: np.ndarray
    held_out_ids: tuple[str, ...]

    def fitted_on(self, train_rows: np.ndarray, seed: int) -> Targets:
        """The same targets, with these of the train sentences alone to fit on; bool (n_train_sentences,)."""
        at = np.cumsum(train_rows) - 1

        def some(labelled: Labelled) -> Labelled:
            kept = train_rows[labelled.train_rows]
            rows, classes = at[labelled.train_rows[kept]], labelled.train[kept]
            return replace(
                labelled, train_rows=rows, train=classes, folds=make_folds(classes, None, stratify=True, seed=seed)
            )

        def both(sides: Sides) -> Sides:
            return sides[0][train_rows], sides[1]

        return replace(
            self,
            train_index=self.train_index[train_rows],
            word_content=some(self.word_content),
            top_word=some(self.top_word),
            counts=both(self.counts),
            lengths=both(self.lengths),
            length_features=both(self.length_features),
            folds=make_folds(np.zeros(int(train_rows.sum())), None, stratify=False, seed=seed),
        )


def top(items: Iterable[T]) -> T | None:
    """Most frequent item, the first on ties; None where there is none."""
    counts = Counter(items)
    return counts.most_common(1)[0][0] if counts else None


def most_frequent(counts: Counter[str], k: int, most: float = np.inf) -> list[str]:
    """The k words of the highest counts among those of 5 to `most`, ties by alphabet."""
    kept = [word for word, count in counts.items() if MIN_ROWS <= count <= most]
    return sorted(kept, key=lambda word: (-counts[word], word))[:k]


def only_word(sentences: list[list[str]], vocabulary: list[str]) -> np.ndarray:
    """Index of the one vocabulary word in each sentence, -1 where it holds none or several."""
    index = {word: i for i, word in enumerate(vocabulary)}
    held = [{index[word] for word in sentence if word in index} for sentence in sentences]
    return np.array([next(iter(h)) if len(h) == 1 else -1 for h in held], np.int64)


def top_word(sentences: list[list[str]], vocabulary: list[str]) -> np.ndarray:
    """For each sentence the index of its most frequent word (the first on ties), -1 where it is not listed."""
    index: dict[str | None, int] = {word: i for i, word in enumerate(vocabulary)}
    return np.array([index.get(top(sentence), -1) for sentence in sentences], np.int64)


def word_counts(sentences: list[list[str]], vocabulary: list[str]) -> np.ndarray:
    """How often each vocabulary word occurs in each sentence, float64 (n_sentences, n_words)."""
    counts = [Counter(sentence) for sentence in sentences]
    table = [[count.get(word, 0) for word in vocabulary] for count in counts]
    return np.array(table, np.float64).reshape(len(sentences), len(vocabulary))


@once_per_task
def targets(task: Task, seed: int) -> Targets:
    """Lexical targets of a task; words are chosen on its train sentences."""
    train_texts, train_index = unique_sentences(train_split(task))
    held_out_texts, held_out_index = unique_sentences(task.validation)
    ids = task.validation.row_ids
    if len(train_texts) > MAX_SENTENCES:
        keep = np.sort(np.random.default_rng(seed).permutation(len(train_texts))[:MAX_SENTENCES])
        train_texts, train_index = [train_texts[i] for i in keep], train_index[keep]
    train = [words(text) for text in train_texts]
    held_out = [words(text) for text in held_out_texts]

    def labelled(assign: Any, vocabulary: list[str]) -> Labelled:
        a, b = assign(train, vocabulary), assign(held_out, vocabulary)
        common = np.bincount(a[a >= 0], minlength=len(vocabulary)) >= MIN_ROWS
        a, b = (np.where((side >= 0) & common[side], side, -1) if len(vocabulary) else side for side in (a, b))
        rows, held_out_rows = np.flatnonzero(a >= 0), np.flatnonzero(b >= 0)
        folds = make_folds(a[rows], None, stratify=True, seed=seed)
        return Labelled(rows, a[rows], held_out_rows, b[held_out_rows], int(common.sum()), folds)

    frequency = Counter(word for sentence in train for word in set(sentence))
    mid_frequency = most_frequent(frequency, CONTENT_WORDS, max(MAX_SHARE * len(train), MIN_ROWS))
    tops = Counter(word for sentence in train if (word := top(sentence)) is not None)
    counted = most_frequent(frequency, COUNTED_WORDS)
    lengths, length_features = [], []
    for texts, sentences in ((train_texts, train), (held_out_texts, held_out)):
        lengths.append(np.log1p([len(sentence) for sentence in sentences]))
        length_features.append(np.column_stack([np.expm1(lengths[-1]), [float(len(text)) for text in texts]]))
    return Targets(
        train_index,
        held_out_index,
        labelled(only_word, mid_frequency),
        labelled(top_word, most_frequent(tops, CONTENT_WORDS)),
        (word_counts(train, counted), word_counts(held_out, counted)),
        (lengths[0], lengths[1]),
        (length_features[0], length_features[1]),
        make_folds(np.zeros(len(train)), None, stratify=False, seed=seed),
        sentence_groups(task.validation)[held_out_index % len(task.validation)],
        tuple(ids[i % len(ids)] + ("#2" if i >= len(ids) else "") for i in held_out_index),
    )


@once_per_task
def _control_rows(task: Task, seed: int, d: int) -> list[dict[str, Any]]:
    """Rows of the two controls that are vectors themselves: a random projection of the bag of words, and length."""
    target = targets(task, seed)
    train, held_out = (stack(side) for side in controls.projection(task, seed, d))
    projected = train[target.train_index], held_out[target.held_out_index]
    rows = [
        *lexical_rows(target, projected, "bow_projection", seed, d),
        *lexical_rows(target, target.length_features, "length", seed, d),
    ]
    itself = ("lexical_length_spearman", "length")
    # where nothing could be fitted, the row of the probe says so
    return [row for row in rows if row["control"] is not None and (row["metric"], row["control"]) != itself]


def lexical_rows(target: Targets, vectors: Sides, control: str | None, seed: int, d: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of all lexical probes on the vectors of the train and held-out sentences."""
    train, held_out = vectors
    size: dict[str, Any] = {"d": d, "seed": seed}
    there = f"{len(train):,} train and {len(held_out):,} held-out sentences"
    yield from _word_rows("lexical_word_content", target, target.word_content, vectors, control, size)
    yield from _word_rows("lexical_top_word", target, target.top_word, vectors, control, size)
    for metric, (y, y_held_out), row_of in (
        ("lexical_bow_r2", target.counts, _r2_row),
        ("lexical_length_spearman", target.lengths, _spearman_row),
    ):
        size["n"] = len(y_held_out)
        if min(len(train), len(held_out)) < 2:
            yield missing_row(metric, f"{there}; at least 2 of each are needed", **size)
        elif y.size == 0 or np.ptp(y_held_out) == 0:
            yield missing_row(metric, "the words or lengths of these sentences do not vary", "not applicable", **size)
        else:
            predictions = regress(train, y, held_out, target.folds)
            yield row_of(metric, y_held_out, predictions, target.clusters, control=control, **size)


def _word_rows(
    probe: str, target: Targets, labelled: Labelled, vectors: Sides, control: str | None, size: dict[str, Any]
) -> list[dict[str, Any]]:
    """Rows of a probe that names a word of each sentence."""
    (train, held_out), rows = vectors, labelled.held_out_rows
    size = size | {"n": len(rows)}
    if len(np.unique(labelled.train)) < 2 or len(rows) < 2:
        few = f"{len(train):,} train and {len(held_out):,} held-out sentences"
        return [missing_row(scores_of(probe)[0].name, f"{few}; 2 words are needed that are frequent enough", **size)]
    found = discriminate(train[labelled.train_rows], labelled.train, held_out[rows], labelled.held_out, labelled.folds)
    clusters = target.clusters[rows]
    size["definition"] = f"{labelled.n_classes} words"
    scored = list(classification_rows(probe, {control: found}, labelled.train, labelled.held_out, clusters, **size))
    if control is None:  # so that two encoders can be compared on the few sentences that differ
        ids = [target.held_out_ids[row] for row in rows]
        scored[0]["examples"] = example_rows(probe, ids, clusters, found.labels, found.predictions)
    return scored


def _r2_row(
    metric: str, y: np.ndarray, predictions: np.ndarray, clusters: np.ndarray, **columns: Any
) -> dict[str, Any]:
    value = r2(y, predictions)
    errors, spread = ((y - predictions) ** 2).sum(axis=1), ((y - y.mean(axis=0)) ** 2).sum(axis=1)
    influence = ((1 - value) * spread - errors) / spread.mean()
    return mean_row(metric, value, influence, clusters, definition=f"{y.shape[1]} words", **columns)


def _spearman_row(
    metric: str, y: np.ndarray, predictions: np.ndarray, clusters: np.ndarray, **columns: Any
) -> dict[str, Any]:
    return statistic_row(metric, spearman, (y, predictions), clusters, **columns)


def lexical_probe(task: Task, train: PairVectors | None, validation: PairVectors, seed: int) -> list[dict[str, Any]]:
    """Rows of all lexical probes with their controls, over the unique sentences of a task."""
    d = validation.d
    if train is None or task.train is None:
        first = scores_of("lexical_word_content")[0].name
        return [missing_row(first, *without_train(task), n=len(task.validation), d=d, seed=seed)]
    target = targets(task, seed)
    vectors = stack(train)[target.train_index], stack(validation)[target.held_out_index]
    rows = [*lexical_rows(target, vectors, None, seed, d), *_control_rows(task, seed, d)]
    if train.second is not None:
        features = pair_features(train), pair_features(validation)
        rows += [overlap_row(task, features, None, seed, d), *_overlap_controls(task, seed, d)]
    return rows


@once_per_task
def overlaps(task: Task, seed: int) -> tuple[np.ndarray, np.ndarray, Folds | None]:
    """Word overlap (Jaccard) of the pairs of each split, and folds that keep pairs with a common sentence together."""
    train = train_split(task)
    overlap = word_overlap(train)
    folds = make_folds(overlap, sentence_groups(train), stratify=False, seed=seed)
    return overlap, word_overlap(task.validation), folds


def overlap_row(
    task: Task,
    features: Sides,
    control: str | None,
    seed: int,
    d: int,
    half: tuple[np.ndarray, Folds | None] | None = None,
) -> dict[str, Any]:
    """The row of the overlap probe; of a refit on a half of the train split with its rows and folds."""
    y, y_held_out, folds = overlaps(task, seed)
    if half is not None:
        rows, folds = half
        y, features = y[rows], (features[0][rows], features[1])
    predictions, clusters = regress(features[0], y, features[1], folds), sentence_groups(task.validation)
    size: dict[str, Any] = {"n": len(y_held_out), "d": d, "seed": seed}
    return _spearman_row("lexical_overlap_spearman", y_held_out, predictions, clusters, control=control, **size)


@once_per_task
def _overlap_controls(task: Task, seed: int, d: int) -> list[dict[str, Any]]:
    """The overlap row of a random projection of the bag of words, and of lengths."""
    train, held_out = controls.projection(task, seed, d)
    projected = pair_features(train), pair_features(held_out)
    lengths = controls.length_features(train_split(task)), controls.length_features(task.validation)
    return [
        overlap_row(task, projected, "bow_projection", seed, d),
        overlap_row(task, lengths, "length", seed, d),
    ]
