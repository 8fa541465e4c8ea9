"""Lexical probes: which words a sentence holds, how often and how many, read linearly from its vector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import geomprobe.probes.controls as controls
from geomprobe.probes.estimators import Classified, Folds, discriminate, make_folds, regress, spearman
from geomprobe.probes.records import (
    PairVectors,
    example_rows,
    missing_row,
    once_per_task,
    result_row,
    stack,
    train_split,
    unique_sentences,
    without_train,
)
from geomprobe.probes.scores import classification_rows, on_rows
from geomprobe.probes.semantic import pair_features
from geomprobe.probes.uncertainty import jackknife_interval, mean_interval
from geomprobe.tasks.base import Task, sentence_groups
from geomprobe.tasks.words import word_overlap, words

MAX_SENTENCES = 10_000
CONTENT_WORDS = 100
COUNTED_WORDS = 300
MIN_ROWS = 5
MAX_SHARE = 0.02


@dataclass(frozen=True)
class Labelled:
    """A classification target over sentences: the rows that have one in each split, and their classes."""

    train_rows: np.ndarray
    train: np.ndarray
    held_out_rows: np.ndarray
    held_out: np.ndarray
    n_classes: int
    folds: Folds | None

    @property
    def enough(self) -> bool:
        return len(np.unique(self.train)) >= 2 and len(self.held_out) >= 2


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
    counts: tuple[np.ndarray, np.ndarray]
    lengths: tuple[np.ndarray, np.ndarray]
    length_features: tuple[np.ndarray, np.ndarray]
    folds: Folds | None
    clusters: np.ndarray
    held_out_ids: tuple[str, ...]


def mid_frequency_words(sentences: list[list[str]], k: int = CONTENT_WORDS) -> list[str]:
    """K most frequent words among those in at least 5 and at most 2 % of the sentences, ties by alphabet."""
    frequency = Counter(word for sentence in sentences for word in set(sentence))
    high = max(MAX_SHARE * len(sentences), MIN_ROWS)
    kept = [word for word, count in frequency.items() if MIN_ROWS <= count <= high]
    return sorted(kept, key=lambda word: (-frequency[word], word))[:k]


def only_word(sentences: list[list[str]], vocabulary: list[str]) -> np.ndarray:
    """Index of the one vocabulary word in each sentence, -1 where it holds none or several."""
    index = {word: i for i, word in enumerate(vocabulary)}
    held = [{index[word] for word in sentence if word in index} for sentence in sentences]
    return np.array([next(iter(h)) if len(h) == 1 else -1 for h in held], np.int64)


def top_word(sentences: list[list[str]], vocabulary: list[str]) -> np.ndarray:
    """For each sentence the index of its most frequent word (the first on ties), -1 where it is not listed."""
    index = {word: i for i, word in enumerate(vocabulary)}
    tops = [Counter(sentence).most_common(1)[0][0] if sentence else "" for sentence in sentences]
    return np.array([index.get(top, -1) for top in tops], np.int64)


def top_words(sentences: list[list[str]], k: int = CONTENT_WORDS) -> list[str]:
    """K words that are most often a sentence's most frequent word, each in at least 5 sentences."""
    tops = Counter(Counter(sentence).most_common(1)[0][0] for sentence in sentences if sentence)
    return [word for word, count in sorted(tops.items(), key=lambda item: (-item[1], item[0]))[:k] if count >= MIN_ROWS]


def word_counts(sentences: list[list[str]], vocabulary: list[str]) -> np.ndarray:
    """How often each vocabulary word occurs in each sentence, float64 (n_sentences, n_words)."""
    index = {word: i for i, word in enumerate(vocabulary)}
    counts = np.zeros((len(sentences), len(vocabulary)))
    for i, sentence in enumerate(sentences):
        for word in sentence:
            if word in index:
                counts[i, index[word]] += 1
    return counts


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
    frequent = sorted((w for w in frequency if frequency[w] >= MIN_ROWS), key=lambda w: (-frequency[w], w))
    counted = frequent[:COUNTED_WORDS]
    lengths = tuple(np.log1p([len(sentence) for sentence in side]) for side in (train, held_out))
    characters = tuple(np.array([len(text) for text in side], float) for side in (train_texts, held_out_texts))
    return Targets(
        train_index,
        held_out_index,
        labelled(only_word, mid_frequency_words(train)),
        labelled(top_word, top_words(train)),
        (word_counts(train, counted), word_counts(held_out, counted)),
        (lengths[0], lengths[1]),
        tuple(np.column_stack([np.expm1(n), c]) for n, c in zip(lengths, characters, strict=True)),  # type: ignore[arg-type]
        make_folds(np.zeros(len(train)), None, stratify=False, seed=seed),
        sentence_groups(task.validation)[held_out_index % len(task.validation)],
        tuple(ids[i % len(ids)] + ("#2" if i >= len(ids) else "") for i in held_out_index),
    )


def _projected_counts(task: Task, seed: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Random projection of the TF-IDF rows of the unique sentences: a lexical encoder that learned nothing."""
    target = targets(task, seed)
    sides = controls.tfidf(train_split(task), task.validation)
    projected = [np.concatenate([controls.project(side, d, seed) for side in split]) for split in sides]
    return projected[0][target.train_index], projected[1][target.held_out_index]


@once_per_task
def _control_rows(task: Task, seed: int, d: int) -> list[dict[str, Any]]:
    """Rows of the two controls that are vectors themselves: a random projection of the bag of words, and length."""
    target = targets(task, seed)
    rows = list(_rows(target, _projected_counts(task, seed, d), "bow_projection", seed, d))
    rows += _rows(target, target.length_features, "length", seed, d, skip=("lexical_length_spearman",))
    return rows


def _rows(
    target: Targets,
    vectors: tuple[np.ndarray, np.ndarray],
    control: str | None,
    seed: int,
    d: int,
    skip: tuple[str, ...] = (),
) -> Iterator[dict[str, Any]]:
    """Yield the rows of all lexical probes on the vectors of the train and held-out sentences."""
    train, held_out = vectors
    for metric, labelled in (
        ("lexical_word_content", target.word_content),
        ("lexical_top_word", target.top_word),
    ):
        size: dict[str, Any] = {"n": len(labelled.held_out), "d": d, "seed": seed}
        if not labelled.enough:
            if control is None:
                few = f"{len(train):,} train and {len(held_out):,} held-out sentences"
                few += "; 2 words are needed that are frequent enough"
                yield missing_row(f"{metric}_accuracy", few, **size)
            continue
        rows, held_out_rows = labelled.train_rows, labelled.held_out_rows
        classified = discriminate(
            train[rows], labelled.train, held_out[held_out_rows], labelled.held_out, labelled.folds
        )
        for row in classification_rows(
            metric,
            {control: classified},
            labelled.train,
            labelled.held_out,
            target.clusters[held_out_rows],
            scores=("accuracy", "skill"),
            definition=f"{labelled.n_classes} words",
            **size,
        ):
            if row["control"] is None and row["metric"] == f"{metric}_accuracy":
                row["examples"] = _examples(metric, target, held_out_rows, classified)
            yield row
    for metric, (y, y_held_out) in (("lexical_bow_r2", target.counts), ("lexical_length_spearman", target.lengths)):
        size = {"n": len(y_held_out), "d": d, "seed": seed}
        if metric in skip:
            continue
        if y.size == 0 or len(y) < 2 or len(y_held_out) < 2 or np.ptp(y_held_out) == 0:
            if control is None:
                short = min(len(y), len(y_held_out)) < 2
                there = f"{len(y):,} train and {len(y_held_out):,} held-out sentences; at least 2 of each are needed"
                reason = there if short else "the words or lengths of these sentences do not vary"
                yield missing_row(metric, reason, "too few rows" if short else "not applicable", **size)
            continue
        scored = regress(train, y, held_out, y_held_out, target.folds)
        y, p, clusters = scored.labels, scored.predictions, target.clusters
        if metric == "lexical_bow_r2":
            row = result_row(metric, scored.r2, control=control, definition=f"{y.shape[1]} words", **size)
            errors, spread = ((y - p) ** 2).sum(axis=1), ((y - y.mean(axis=0)) ** 2).sum(axis=1)
            row |= mean_interval(((1 - scored.r2) * spread - errors) / spread.mean(), scored.r2, clusters)
        else:
            row = result_row(metric, scored.spearman, control=control, **size)
            row |= jackknife_interval(on_rows(spearman, y, p), len(y), clusters)
        yield row


def _examples(probe: str, target: Targets, rows: np.ndarray, classified: Classified) -> list[dict[str, Any]]:
    """Prediction of each held-out sentence, so that two encoders can be compared on few that differ."""
    ids = [target.held_out_ids[row] for row in rows]
    return example_rows(probe, ids, target.clusters[rows], classified.labels, classified.predictions)


def lexical_probe(task: Task, train: PairVectors | None, validation: PairVectors, seed: int) -> list[dict[str, Any]]:
    """Rows of all lexical probes with their controls, over the unique sentences of a task."""
    if train is None or task.train is None:
        size: dict[str, Any] = {"n": len(task.validation), "d": validation.d, "seed": seed}
        return [missing_row("lexical_word_content_accuracy", *without_train(task), **size)]
    target = targets(task, seed)
    vectors = stack(train)[target.train_index], stack(validation)[target.held_out_index]
    rows = [*_rows(target, vectors, None, seed, validation.d), *_control_rows(task, seed, validation.d)]
    if train.second is not None:
        features = pair_features(train), pair_features(validation)
        rows += [_overlap_row(task, features, None, seed, validation.d), *_overlap_controls(task, seed, validation.d)]
    return rows


@once_per_task
def _overlaps(task: Task, seed: int) -> tuple[np.ndarray, np.ndarray, Folds | None]:
    """Word overlap (Jaccard) of the pairs of each split, and folds that keep pairs with a common sentence together."""
    train = train_split(task)
    overlap = word_overlap(train)
    folds = make_folds(overlap, sentence_groups(train), stratify=False, seed=seed)
    return overlap, word_overlap(task.validation), folds


def _overlap_row(
    task: Task, features: tuple[np.ndarray, np.ndarray], control: str | None, seed: int, d: int
) -> dict[str, Any]:
    y, y_held_out, folds = _overlaps(task, seed)
    scored = regress(features[0], y, features[1], y_held_out, folds)
    row = result_row("lexical_overlap_spearman", scored.spearman, control=control, n=len(y_held_out), d=d, seed=seed)
    if row["status"] == "ok":
        clusters = sentence_groups(task.validation)
        row |= jackknife_interval(on_rows(spearman, y_held_out, scored.predictions), len(y_held_out), clusters)
    return row


@once_per_task
def _overlap_controls(task: Task, seed: int, d: int) -> list[dict[str, Any]]:
    """The overlap row of a random projection of the bag of words, and of lengths."""
    sides = controls.tfidf(train_split(task), task.validation)
    projected = [pair_features(PairVectors(*(controls.project(side, d, seed) for side in split))) for split in sides]
    lengths = [controls.length_features(split) for split in (train_split(task), task.validation)]
    return [
        _overlap_row(task, (projected[0], projected[1]), "bow_projection", seed, d),
        _overlap_row(task, (lengths[0], lengths[1]), "length", seed, d),
    ]
