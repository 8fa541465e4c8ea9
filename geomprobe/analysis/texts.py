"""The texts of a task, each once, and where each row of the task finds its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geomprobe.analysis.failures import Sides
from geomprobe.tasks.base import Split, Task


@dataclass(frozen=True)
class TaskTexts:
    """Every text of a task once, and where each row of the task finds its text.

    Attributes
    ----------
    texts : list of str, length n
    geometry : ndarray of shape (n_geometry,)
        Row numbers in `texts` of the geometry rows.
    train, validation : tuple (first, second) of ndarray or None
        Row numbers of the sentences of each split.
    matched : int or None
        Rows of the smallest task, at which ranks are measured, too; None where all tasks have as many.
    queries : bool ndarray of shape (n,) or None
        Which texts are queries: the first sentences of pairs. A sentence that is first and second is there twice. None
        where all texts are treated alike.
    """

    task: Task
    texts: list[str]
    geometry: np.ndarray
    train: Sides | None
    validation: Sides
    matched: int | None = None
    queries: np.ndarray | None = None

    @property
    def calibration(self) -> np.ndarray:
        """Row numbers of the texts that int8 ranges are taken from: those of train, all where there is no train."""
        sides = [side for side in self.train or () if side is not None]
        return np.unique(np.concatenate(sides)) if sides else np.arange(len(self.texts))

    @property
    def calibrated_on(self) -> str:
        """The rows that int8 ranges are taken from, in words."""
        return f"{len(self.calibration):,} {'measured' if self.train is None else 'train'} texts"

    @classmethod
    def of(cls, task: Task, matched: int | None = None, *, asymmetric: bool = False) -> TaskTexts:
        index: dict[tuple[str, bool], int] = {}
        asymmetric = asymmetric and task.validation.second is not None

        def rows(texts: Sequence[str], query: bool | Sequence[bool] = False) -> np.ndarray:
            roles = [query] * len(texts) if isinstance(query, bool) else query
            keys = zip(texts, roles, strict=True)
            return np.array([index.setdefault(key, len(index)) for key in keys], np.int64)

        def sides(split: Split) -> Sides:
            return rows(split.first, asymmetric), None if split.second is None else rows(split.second)

        # the role in which a sentence comes first, as geometry's rows are taken
        role: dict[str, bool] = {}
        for first, second in zip(task.validation.first, task.validation.second or (), strict=False):
            role.setdefault(first, asymmetric)
            role.setdefault(second, False)
        geometry = rows(task.geometry_rows.texts, [role.get(text, False) for text in task.geometry_rows.texts])
        validation = sides(task.validation)
        train = None if task.train is None else sides(task.train)
        queries = np.array([query for _, query in index]) if asymmetric else None
        return cls(task, [text for text, _ in index], geometry, train, validation, matched, queries)

    @property
    def notes(self) -> list[str]:
        """What a reader of the results has to know of the roles of the texts."""
        if self.queries is None:
            return []
        split = self.task.validation
        both = len(set(split.first) & set(split.second or ()))
        note = "the first text of each pair is the query"
        if both:
            note += f"; {both} sentences are both: geometry takes each in the role in which it comes first"
        return [note]

    @property
    def scored(self) -> list[tuple[Split, Sides]]:
        """The split that geometry and probes are measured on, with its sentences' places."""
        return [(self.task.validation, self.validation)]

    @property
    def fitted(self) -> list[tuple[Split, Sides]]:
        """The split that probes are fitted on, with its sentences' places, where there is one."""
        return [] if self.task.train is None or self.train is None else [(self.task.train, self.train)]
