"""A task: texts or pairs with labels or scores, split into train and validation, each row with an id."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from geomprobe.common import hash_bytes
from geomprobe.vectors.groups import connected


@dataclass(frozen=True)
class Split:
    """Rows of one split.

    Attributes
    ----------
    name : str
        "train", "validation" or "test".
    first : tuple of str, length n_rows
        The sentence, or the first sentence of each pair.
    second : tuple of str, length n_rows, or None
        The second sentence of each pair; None for single sentences.
    labels : ndarray of shape (n_rows,)
        int64 class indices (negative: no label), or float64 scores.
    row_ids : tuple of str, length n_rows
        Unique and stable, such as "validation/17".
    groups : int64 ndarray of shape (n_rows,) or None
        Rows with the same number share a source that their texts do not show (joined pairs); None: the texts show it.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> texts = ("good", "bad", "fine")
    >>> split = gp.Split("validation", texts, None, np.array([1, 0, 1]), ("v/0", "v/1", "v/2"))
    >>> len(split)
    3
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...] | None
    labels: np.ndarray
    row_ids: tuple[str, ...]
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        labels, where = self.labels, f"the split {self.name!r}"
        if not isinstance(labels, np.ndarray) or labels.dtype not in (np.int64, np.float64) or labels.ndim != 1:
            raise ValueError(f"{where}: labels are a numpy array of one dimension, int64 classes or float64 scores")
        for name in ("second", "labels", "row_ids", "groups"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.first):
                raise ValueError(f"{where}: {len(self.first)} first texts, but {len(column)} {name}")
        if len(set(self.row_ids)) < len(self.row_ids):
            repeated = next(row_id for row_id, count in Counter(self.row_ids).items() if count > 1)
            raise ValueError(f"{where}: row_ids repeat, such as {repeated!r}")

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: np.ndarray) -> Split:
        """Split that holds the given rows, in the given order."""
        pick = [int(r) for r in rows]
        return Split(
            self.name,
            tuple(self.first[r] for r in pick),
            None if self.second is None else tuple(self.second[r] for r in pick),
            self.labels[pick],
            tuple(self.row_ids[r] for r in pick),
            None if self.groups is None else self.groups[pick],
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ids, texts, labels and groups."""
        groups = () if self.groups is None else ("|", self.groups.tobytes())
        parts = (*self.row_ids, "|", *self.first, "|", *(self.second or ()), "|", self.labels.tobytes(), *groups)
        return hash_bytes(*parts)


@dataclass(frozen=True)
class GeometryRows:
    """The rows on which geometry is measured: the unique sentences of a split.

    Attributes
    ----------
    texts : tuple of str, length n
        Unique sentences in order of first appearance, each encoded on its own.
    row_ids : tuple of str, length n
        The id of the row where the sentence first appears ("…#2" for a pair's second sentence).
    labels : ndarray of shape (n,) or None
        Class of the sentence; None for pair tasks and scores.
    clusters : int64 ndarray of shape (n,)
        Sentences that share a source pair or premise have the same number (connected components).
    positives : int64 ndarray of shape (m, 2)
        Pairs of rows declared to mean the same (paraphrases, STS >= 4, entailment); m = 0 where there are none.
    """

    texts: tuple[str, ...]
    row_ids: tuple[str, ...]
    labels: np.ndarray | None
    clusters: np.ndarray
    positives: np.ndarray

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ids and texts: two models are compared only where it is the same."""
        return hash_bytes(*self.row_ids, "|", *self.texts)


@dataclass(frozen=True)
class Task:
    """A labelled set of sentences or sentence pairs.

    Attributes
    ----------
    name : str
    kind : {"classification", "regression"}
    train, validation : Split
        Probes are fitted on train and scored on validation; train is None where a task only has rows to look at.
    label_names : tuple of str
        Names of the classes; empty for scores.
    score : {"accuracy", "spearman"}
        The score by which a probe of this task is judged.
    positive_label : int or None
        The class whose pairs mean the same (MRPC 1, MNLI 0).
    positive_score : float or None
        Pairs with at least this score mean the same (STS-B 4.0).
    source : str
        Where the rows come from, as printed in the report.
    notes : tuple of str
        What was decided or left out when the rows were read.
    revision : str or None
        Commit of a data set on the hub.
    unsplit : str
        How many rows there are, and how many are needed for a train split, where they are too few for one.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> split = gp.Split("validation", ("good", "bad"), None, np.array([1, 0]), ("v/0", "v/1"))
    >>> task = gp.Task("mood", "classification", None, split, ("negative", "positive"), "accuracy")
    >>> task.geometry_rows.texts
    ('good', 'bad')
    """

    name: str
    kind: Literal["classification", "regression"]
    train: Split | None
    validation: Split
    label_names: tuple[str, ...]
    score: Literal["accuracy", "spearman"]
    positive_label: int | None = None
    positive_score: float | None = None
    source: str = ""
    notes: tuple[str, ...] = field(default=())
    revision: str | None = None
    unsplit: str = ""

    def __post_init__(self) -> None:
        for split in (self.train, self.validation):
            if split is None or not self.label_names or not len(split):
                continue
            if split.labels.dtype != np.int64 or split.labels.max() >= len(self.label_names):
                what = f"the task {self.name!r}, split {split.name!r}: a label is {split.labels.max()}"
                raise ValueError(
                    f"{what}; with {len(self.label_names)} label_names labels are 0 to {len(self.label_names) - 1}"
                )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all splits."""
        return hash_bytes(self.name, self.train.fingerprint if self.train else "", self.validation.fingerprint)

    @cached_property
    def geometry_rows(self) -> GeometryRows:
        """The unique sentences of the validation split (see `GeometryRows`)."""
        return _geometry_rows(self)


def sentence_groups(split: Split) -> np.ndarray:
    """A number per row, equal for rows that share a sentence, directly or through other rows."""
    if split.groups is not None:
        return split.groups
    index: dict[str, int] = {}
    first = np.array([index.setdefault(text, len(index)) for text in split.first], np.int64)
    if split.second is None:
        return first
    second = np.array([index.setdefault(text, len(index)) for text in split.second], np.int64)
    return connected(np.column_stack((first, second)), len(index))[1][first].astype(np.int64)


def _geometry_rows(task: Task) -> GeometryRows:
    """Unique sentences of a task's validation split with labels, clusters and positive pairs."""
    split = task.validation
    ids: dict[str, str] = {}
    for a, b, row_id in zip(split.first, split.second or split.first, split.row_ids, strict=True):
        ids.setdefault(a, row_id)
        ids.setdefault(b, f"{row_id}#2")
    index, n = {text: i for i, text in enumerate(ids)}, len(ids)
    first = np.array([index[text] for text in split.first], np.int64)
    second = np.array([index[text] for text in split.second or split.first], np.int64)

    clusters = np.empty(n, np.int64)
    clusters[first] = clusters[second] = sentence_groups(split)

    labels = None
    positives = np.empty((0, 2), np.int64)
    if split.second is None:
        if task.kind == "classification":
            labels = np.empty(n, np.int64)
            labels[first[::-1]] = split.labels[::-1]
    else:
        keep = np.zeros(len(split), bool)
        if task.positive_label is not None:
            keep |= split.labels == task.positive_label
        if task.positive_score is not None:
            keep |= split.labels >= task.positive_score
        pairs = np.stack([first[keep], second[keep]], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        positives = np.unique(np.sort(pairs, axis=1), axis=0)
    return GeometryRows(tuple(ids), tuple(ids.values()), labels, clusters, positives)


SEPARATOR = " [SEP] "
"""Between the texts of a pair that is read as one text."""


def joined_pairs(task: Task) -> Task:
    """Task with every pair as one text, "a [SEP] b"; a task without pairs is unchanged.

    Pairs that share a sentence stay in one group.
    """

    def join(split: Any) -> Any:
        if split is None or split.second is None:
            return split
        texts = tuple(SEPARATOR.join(pair) for pair in zip(split.first, split.second, strict=True))
        return replace(split, first=texts, second=None, groups=sentence_groups(split))

    return replace(task, train=join(task.train), validation=join(task.validation))
