"""Tasks of mteb as ours."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np

from geomprobe.common import InputError, UsageError, listed, refusing
from geomprobe.integrations.mteb.score_files import Scored, task_label
from geomprobe.tasks.base import Split, Task


def as_task(task: Any, *, subset: str = "default", split: str | None = None) -> Task:
    """A task of mteb as one of ours, for `gp.analyze`: its texts, its labels and its evaluated split.

    Parameters
    ----------
    task : str or mteb task
        Classification, STS or pair classification of texts. A name needs mteb. Data are loaded where they are not.
    subset, split : str
        Default: the subset "default", the first evaluated split.

    Raises
    ------
    UsageError
        Another kind of task; no such subset or split.
    InputError
        The data cannot be loaded; mteb is not installed.
    """
    task = loaded(task)
    kind = task.metadata.type
    if kind not in ("Classification", "STS", "PairClassification"):
        what = f"{task.metadata.name} is a task of kind {kind}."
        raise UsageError(what, "Classification, STS and PairClassification tasks can be analysed.")
    splits = task.dataset
    if subset != "default" or subset in splits:
        if subset not in splits:
            raise UsageError(f"{task.metadata.name} has no subset {subset!r}.", f"It has {listed(list(splits))}.")
        splits = splits[subset]
    split = split or task.metadata.eval_splits[0]
    if split not in splits:
        raise UsageError(f"{task.metadata.name} ({subset}) has no split {split!r}.", f"It has {listed(list(splits))}.")
    name, place = task_label(task.metadata.name, subset), task.metadata.dataset
    source = f"{place['path']}@{place['revision']}" + (f" ({subset})" if subset != "default" else "")
    train = getattr(task, "train_split", "train") if kind == "Classification" else "train"
    with refusing(f"{name} of mteb cannot be read as a task", "Are its columns those of its kind?"):
        tables = {"validation": _columns(task, splits[split], kind)}
        if train in splits and train != split:
            tables["train"] = _columns(task, splits[train], kind)
        labels = [label for *_, column in tables.values() for label in column]
        if kind == "STS":
            values: dict[Any, float] = {label: float(label) for label in labels}
            names: tuple[str, ...] = ()
        else:
            order = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
            values, names = {label: i for i, label in enumerate(order)}, tuple(map(str, order))
        dtype = np.float64 if kind == "STS" else np.int64
        made = {
            side: Split(
                side, first, second, np.array([values[label] for label in column], dtype),
                tuple(f"{split if side == 'validation' else train}/{i}" for i in range(len(first))),
            )
            for side, (first, second, column) in tables.items()
        }  # fmt: skip
        return Task(
            name,
            "regression" if kind == "STS" else "classification",
            made.get("train"),
            made["validation"],
            names,
            "spearman" if kind == "STS" else "accuracy",
            positive_label=names.index("1") if kind == "PairClassification" and "1" in names else None,
            source=source,
            notes=(f"mteb, {kind}, split {split}",),
            revision=place["revision"],
        )


def _columns(task: Any, rows: Any, kind: str) -> tuple[tuple[str, ...], tuple[str, ...] | None, list[Any]]:
    """First texts, second texts and labels of a split."""
    first: Any
    second: Any
    if kind == "Classification":
        first, second, label = task.input_column_name, None, task.label_column_name
    elif kind == "STS":
        (first, second), label = task.column_names, "score"
    else:
        first, second, label = task.input1_column_name, task.input2_column_name, task.label_column_name
        if len(rows) == 1 and isinstance(rows[0][first], list):  # the form of older data sets
            rows = rows[0]
    texts = tuple(map(_text, rows[first]))
    return texts, None if second is None else tuple(map(_text, rows[second])), list(rows[label])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is of type {type(value).__name__}")
    return value


def loaded(task: Any) -> Any:
    """A task of mteb with its data."""
    if isinstance(task, str):
        try:
            mteb = importlib.import_module("mteb")
        except ImportError:
            raise InputError("mteb is not installed.", "pip install mteb") from None
        with refusing(f"mteb has no task {task!r}", "mteb.get_tasks() lists its tasks."):
            task = mteb.get_task(task)
    with refusing(f"The data of {task.metadata.name} cannot be loaded", "Download them first, or go online."):
        if not task.data_loaded:
            task.load_data()
    return task


def converted(source: Any, each: Scored) -> Task | None:
    """The task of a score as ours, None where it cannot be one or was not given."""
    if source is None:
        return None
    try:
        return replace(as_task(source, subset=each.subset, split=each.split), name=each.label)
    except UsageError:
        return None
