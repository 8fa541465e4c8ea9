"""Tasks by name: the GLUE five, the controlled suite, and a user's own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geomprobe.common import UsageError, unknown_name
from geomprobe.common.plugins import Extensible, Owner, guarded
from geomprobe.tasks import controlled
from geomprobe.tasks.base import GeometryRows, Split, Task
from geomprobe.tasks.files import is_file_task as _means_a_file
from geomprobe.tasks.files import load_file
from geomprobe.tasks.files.layout import writable
from geomprobe.tasks.glue import GLUE, load_glue

__all__ = ["GeometryRows", "Split", "Task", "load_file"]
Load = Callable[[str | Path | None], Task]


def _accepted(name: str, found: Any, owner: Owner) -> Load:
    def wrong(task: Any, data_dir: str | Path | None) -> str:
        right = isinstance(task, Task) and task.name == name
        return "" if right else f"{getattr(task, 'name', type(task).__name__)!r}, not a Task called {name!r}"

    return guarded(found, f"task {name!r} of {owner}", wrong)


def _load_controlled(name: str, data_dir: str | Path | None) -> Task:
    return controlled.load(name)


_BUILT_IN: dict[str, Load] = {name: partial(load_glue, name) for name in GLUE}
_BUILT_IN |= {name: partial(_load_controlled, name) for name in controlled.TASK_NAMES}
TASKS = Extensible("task", _BUILT_IN, _accepted)
"""Name -> function of the folder of --data (None without one) that reads the task."""


def is_file_task(name: str) -> bool:
    """Whether a name means a file, a folder or a hub data set; a name of TASKS never does.

    Raises
    ------
    UsageError
        A task of another package and a path have this name.
    """
    if name.partition(":")[0] not in TASKS:
        return _means_a_file(name)
    if name not in TASKS.built_in and Path(name).exists():
        what = f"{name!r} is a path here and the name of a task of {TASKS.owner(name)}."
        raise UsageError(what, f"For the path: --task ./{name}; for the task: rename the path or work elsewhere.")
    return False


def check_name(name: str) -> None:
    """Raise UsageError where a name means neither a task of TASKS nor a file; nothing is read."""
    stem, colon, size = name.partition(":")
    if is_file_task(name):
        return
    sized = stem in controlled.TASK_NAMES
    TASKS.choose(name if colon and not sized else stem)
    if colon and size not in controlled.SIZES:
        raise unknown_name(f"size of {stem}", size, list(controlled.SIZES))


def unique_names(tasks: Mapping[str, Task], taken: Sequence[str] = ()) -> dict[str, Task]:
    """Tasks by path, each with a name of its own.

    Tasks of the same name get the names of their folders before it, and a task whose name is taken by a built-in one
    gets "own-" before it.

    Raises
    ------
    UsageError
        Two paths lead to the same file.
    """
    places = {path: Path(path).resolve() for path in tasks}
    if twice := [path for path in tasks if list(places.values()).count(places[path]) > 1]:
        raise UsageError(f"A task is given twice: {' and '.join(twice[:2])} are the same file.")
    named: dict[str, Task] = {}
    for path, task in tasks.items():
        name = f"own-{task.name}" if task.name in taken else task.name
        alike = [places[p].parent.parts for p, other in tasks.items() if other.name == task.name and p != path]
        folders = places[path].parent.parts
        depths = range(1, len(folders))
        depth = next((k for k in depths if all(other[-k:] != folders[-k:] for other in alike)), len(folders))
        label = writable("-".join([*folders[-depth:], task.name])) if alike else name
        named[path] = replace(task, name=label)
    if len({task.name for task in named.values()}) < len(named):
        raise UsageError("Two tasks would have the same name.", "Rename one of the files.")
    return named


def choices(task: Task) -> list[str]:
    """What a key of something that is kept holds of the fields outside a task's fingerprint.

    Empty where its name and its labels say them, as of a built-in task and of a file without a positive class or score.
    """
    shapes = {**GLUE, **controlled.SHAPES, controlled.CROSSED: controlled.CROSSED_SHAPE}
    known = shapes.get(task.name)
    labels = np.concatenate([split.labels for split in (task.train, task.validation) if split is not None])
    scores = labels.dtype.kind == "f"
    classes = len(known.label_names) if known else 0 if scores else int(labels.max(initial=-1)) + 1
    positive = (known.positive_label, known.positive_score) if known else (None, None)
    usual = ("regression" if scores else "classification", "spearman" if scores else "accuracy", classes, *positive)
    own = (task.kind, task.score, len(task.label_names), task.positive_label, task.positive_score)
    return [] if own == usual else [repr(own)]


def load_task(name: str, *, data_dir: str | Path | None = None, **columns: Any) -> Task:
    """A task by name.

    Parameters
    ----------
    name : str
        One of `TASKS`, or a user's own file, folder or hub data set (see `load_file`). A controlled task may name
        its size, as in ``controlled:large``.
    data_dir : path, optional
        Folder with ``glue/<task>/<split>.parquet``. Default: the hub's ``nyu-mll/glue``. Only the GLUE tasks need it.
    **columns
        For a file: the options of `load_file`, such as ``text`` and ``label``.

    Raises
    ------
    UsageError
        Unknown name.
    InputError
        Data missing, damaged or out of reach.
    """
    if is_file_task(name):
        return load_file(name, **columns)
    if any(value for value in columns.values()):
        raise UsageError(f"The task {name!r} is built in and has its own columns.", "Names of columns are for files.")
    check_name(name)
    stem, colon, size = name.partition(":")
    return controlled.load(stem, size=size) if colon else TASKS[stem](data_dir)
