"""The probes fitted again on halves of the train split: what each number owes to its training rows.

`geomprobe.inference.refits` says what is made of the differences between halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import geomprobe.probes.controls as controls
import geomprobe.probes.lexical as lexical
import geomprobe.probes.semantic as semantic
from geomprobe.inference import probe_tests
from geomprobe.inference.estimate import Estimate, by_count
from geomprobe.inference.jackknife import shards
from geomprobe.inference.refits import with_refits
from geomprobe.probes.definitions import RECORDS
from geomprobe.probes.estimators import Folds, classify, make_folds, regress
from geomprobe.probes.records import PairVectors, once_per_task, stack, train_split
from geomprobe.probes.scores import mean_row, scores_of
from geomprobe.tasks.base import Split, Task, sentence_groups

FITTED = ("semantic", "lexical_word_content", "lexical_top_word")
REFITTED = frozenset(
    [record.name for record in RECORDS.values() if record.probe in FITTED and (record.mean or record.statistic)]
    + [record.name for record in RECORDS.values() if record.probe == "semantic" and record.correlation]
    + ["semantic_selectivity", "lexical_bow_r2", "lexical_length_spearman", "lexical_overlap_spearman"]
)
"""Numbers whose probe is refitted. Code lengths are of the training rows themselves; conditional bits divide the train
split in halves already."""
WITHOUT = "no valid interval: a half of the training rows gives no probe"

MOVES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "macro_f1": probe_tests.macro_f1_influence,
    "mcc": probe_tests.mcc_influence,
    **probe_tests.CORRELATIONS,
}
"""Score -> influence of each row, from labels and predictions."""
Key = tuple[str, str]
Numbers = dict[Key, np.ndarray]
"""(metric, definition) -> the number by cluster of scored rows: what sums to it, float64 (g,)."""


@dataclass(frozen=True)
class Half:
    """A half of a split's rows, and folds of it."""

    rows: np.ndarray
    folds: Folds | None


def divided(split: Split, seed: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of both halves in each of ``count`` random divisions; whole clusters go to one half."""
    groups = np.unique(sentence_groups(split), return_inverse=True)[1]
    homes = [shards(groups, int(np.random.SeedSequence([seed, k]).generate_state(1)[0]), 2) for k in range(count)]
    return [(np.flatnonzero(home == 0), np.flatnonzero(home == 1)) for home in homes]


@once_per_task
def _halves(task: Task, seed: int, count: int) -> list[tuple[Half, Half]]:
    """Halves of the train split for the probe of its label or score."""
    train, classes = train_split(task), task.kind == "classification"
    groups = sentence_groups(train)

    def half(rows: np.ndarray) -> Half:
        return Half(rows, make_folds(train.labels[rows], groups[rows], stratify=classes, seed=seed))

    return [(half(first), half(second)) for first, second in divided(train, seed, count)]


def _lexical_halves(task: Task, seed: int, count: int) -> Iterator[tuple[lexical.Targets, lexical.Targets]]:
    """Lexical targets on either half, one division at a time: they are large. A sentence is in the half of its row."""
    target, split = lexical.targets(task, seed), train_split(task)
    home = target.train_index % len(split)
    for both in divided(split, seed, count):
        first, second = (target.fitted_on(np.isin(home, rows), seed) for rows in both)
        yield first, second


@once_per_task
def _overlap_halves(task: Task, seed: int, count: int) -> list[tuple[Half, Half]]:
    """Halves of the train split for the probe of word overlap."""
    split, overlap = train_split(task), lexical.overlaps(task, seed)[0]
    groups = sentence_groups(split)

    def half(rows: np.ndarray) -> Half:
        return Half(rows, make_folds(overlap[rows], groups[rows], stratify=False, seed=seed))

    return [(half(first), half(second)) for first, second in divided(split, seed, count)]


def refitted(
    task: Task, train: PairVectors | None, validation: PairVectors, seed: int, refits: int
) -> dict[Key, np.ndarray | None]:
    """Half the difference of each number between the halves of each division, by cluster, float64 (refits / 2, g).

    None where a half gives no number.

    Parameters
    ----------
    refits : int
        Even: two to a division. The divisions are the same for every encoder, so that differences are paired.
    """
    if train is None or task.train is None:
        return {}
    count = refits // 2
    parts = [_of_labels(task, train, validation, seed, count), _of_words(task, train, validation, seed, count)]
    found: dict[Key, np.ndarray | None] = {}
    for divisions in parts:
        known = [(numbers(first), numbers(second)) for first, second in divisions]
        for key in dict.fromkeys(key for both in known for half in both for key in half):
            whole = all(key in half for both in known for half in both)
            found[key] = np.stack([(first[key] - second[key]) / 2 for first, second in known]) if whole else None
    return found


def numbers(rows: Iterable[dict[str, Any]]) -> Numbers:
    """What sums to each number of a probe, by cluster, from its rows of results."""
    return {
        (row["metric"], row["definition"]): contributions + row["value"] / len(contributions)
        for row in rows
        if row["control"] is None and row["value"] is not None
        if (contributions := row.get("contributions")) is not None
    }


Divisions = Iterator[tuple[Iterable[dict[str, Any]], Iterable[dict[str, Any]]]]


def _of_labels(task: Task, train: PairVectors, validation: PairVectors, seed: int, count: int) -> Divisions:
    """Rows of results of the probe of the label or score, fitted on either half of each division."""
    task, some, validation, _ = semantic.with_labels(task, train, validation)
    if some is None or not len(task.validation) or len(np.unique(train_split(task).labels)) < 2:
        return
    x, x_held_out = semantic.features_of(task, some), semantic.features_of(task, validation)
    for both in _halves(task, seed, count):
        first, second = (_of_half(task, x, x_held_out, half, seed) for half in both)
        yield first, second


def _of_half(task: Task, x: np.ndarray, x_held_out: np.ndarray, half: Half, seed: int) -> Iterator[dict[str, Any]]:
    clusters, y, y_held_out = semantic.scored_clusters(task), train_split(task).labels, task.validation.labels
    size: dict[str, Any] = {"n": len(y_held_out), "d": 0, "seed": seed}
    own, at = y[half.rows], x[half.rows]
    if task.kind == "regression":
        if len(np.unique(own)) > 1:
            predicted = regress(at, own, x_held_out, half.folds)
            for record in scores_of("semantic"):
                if record.correlation is not None and np.ptp(predicted) and np.ptp(y_held_out):
                    moved = MOVES[str(record.score)](y_held_out, predicted)
                    yield mean_row(record.name, record.correlation(y_held_out, predicted), moved, clusters, **size)
        return
    if len(np.unique(own)) < len(np.unique(y)):
        return
    probe = classify(at, own, x_held_out, y_held_out, half.folds)
    guess = controls.majority(own, y_held_out)
    for record in scores_of("semantic"):
        if record.mean is not None:
            yield mean_row(record.name, *record.mean(probe, guess), clusters, **size)
        elif record.statistic is not None:
            both = probe.labels, probe.predictions
            yield mean_row(record.name, record.statistic(*both), MOVES[str(record.score)](*both), clusters, **size)
    yield from semantic.selectivity(task, at, x_held_out, probe, seed, size, half.rows)


def _of_words(task: Task, train: PairVectors, validation: PairVectors, seed: int, count: int) -> Divisions:
    """Rows of results of the lexical probes, fitted on either half of each division."""
    stacked, target = stack(train), lexical.targets(task, seed)
    held_out = stack(validation)[target.held_out_index]
    pairs = train.second is not None
    features = (semantic.pair_features(train), semantic.pair_features(validation)) if pairs else None
    overlap = _overlap_halves(task, seed, count) if pairs else [None] * count

    def rows(fitted: lexical.Targets, half: Half | None) -> Iterator[dict[str, Any]]:
        yield from lexical.lexical_rows(fitted, (stacked[fitted.train_index], held_out), None, seed, validation.d)
        if features is not None and half is not None and len(half.rows) > 1:
            yield lexical.overlap_row(task, features, None, seed, validation.d, (half.rows, half.folds))

    for fitted, halves in zip(_lexical_halves(task, seed, count), overlap, strict=True):
        first, second = halves or (None, None)
        yield rows(fitted[0], first), rows(fitted[1], second)


def add_refits(rows: Iterable[dict[str, Any]], found: dict[Key, np.ndarray | None]) -> list[dict[str, Any]]:
    """Widen, in place, the intervals of refitted numbers; return rows of `results.REFIT_COLUMNS` without the cell."""
    kept = []
    for row in rows:
        contributions = row.get("contributions")
        if row["control"] is not None or contributions is None or row["metric"] not in REFITTED:
            continue
        differences = found.get((row["metric"], row["definition"]))
        if differences is None:
            row |= Estimate(row["value"], None, method=WITHOUT).to_row()
            continue
        estimate = Estimate(row["value"], contributions, rule=by_count, method=row["ci_method"])
        row |= with_refits(estimate, differences).interval().to_row()
        place = {column: row.get(column) for column in ("view", "metric", "definition")}
        flat = differences.astype(np.float32).ravel()
        kept.append(place | {"refits": 2 * len(differences), "differences": flat})
    return kept
