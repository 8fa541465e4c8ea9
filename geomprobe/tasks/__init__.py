"""Tasks by name: the GLUE five, the controlled suite, and a user's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomprobe.common import UsageError, unknown_name
from geomprobe.tasks.base import GeometryRows, Split, Task
from geomprobe.tasks.files import is_file_task, load_file
from geomprobe.tasks.glue import GLUE, load_glue

__all__ = ["GeometryRows", "Split", "Task", "load_file", "load_task", "task_names"]


def task_names() -> list[str]:
    """Return the names of the built-in tasks."""
    from geomprobe.tasks import controlled

    return [*GLUE, *controlled.TASK_NAMES]


def load_task(name: str, *, data_dir: str | Path | None = None, **columns: Any) -> Task:
    """Return a task by name.

    Parameters
    ----------
    name : str
        One of `task_names`, or the path of a user's own file or folder. A controlled task may name its size, as in
        ``controlled:large``.
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
    from geomprobe.tasks import controlled

    stem, _, size = name.partition(":")
    if stem not in task_names() and is_file_task(name):
        return load_file(name, **columns)
    if any(value for value in columns.values()):
        raise UsageError(f"The task {name!r} is built in and has its own columns.", "Names of columns are for files.")
    if name in GLUE:
        return load_glue(name, data_dir)
    if stem in controlled.TASK_NAMES:
        return controlled.load(stem, size=size or "small")
    raise unknown_name("task", name, task_names())
