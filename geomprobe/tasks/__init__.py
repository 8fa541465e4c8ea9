"""Tasks by name: the GLUE five, the controlled suite, and a user's own files."""

from __future__ import annotations

from pathlib import Path

from geomprobe.common import unknown_name
from geomprobe.tasks.base import GeometryRows, Split, Task
from geomprobe.tasks.glue import GLUE, load_glue

__all__ = ["GeometryRows", "Split", "Task", "load_task", "task_names"]


def task_names() -> list[str]:
    """Return the names of the built-in tasks."""
    return [*GLUE, "controlled"]


def load_task(name: str, *, data_dir: str | Path | None = None) -> Task:
    """Return a task by name.

    Parameters
    ----------
    name : str
        One of `task_names`.
    data_dir : path, optional
        Folder with ``glue/<task>/<split>.parquet``. Default: the hub's ``nyu-mll/glue``. The controlled task needs no
        data.

    Raises
    ------
    UsageError
        Unknown name.
    InputError
        Data missing, damaged or out of reach.
    """
    if name in GLUE:
        return load_glue(name, data_dir)
    if name == "controlled":
        from geomprobe.tasks import controlled

        return controlled.load()
    raise unknown_name("task", name, task_names())
