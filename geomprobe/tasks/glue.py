"""Five GLUE tasks (Wang et al. 2018) from a folder of parquet files or from the hub's nyu-mll/glue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geomprobe.common import InputError, hub
from geomprobe.tasks.base import Split, Task
from geomprobe.tasks.files.columns import Columns, choose_columns, read_rows
from geomprobe.tasks.files.tables import joined, read_table

REPOSITORY = "nyu-mll/glue"


@dataclass(frozen=True)
class GlueTask:
    """Columns and labels of one task, as in nyu-mll/glue."""

    first: str
    second: str | None
    label_names: tuple[str, ...]
    positive_label: int | None = None
    positive_score: float | None = None
    validation: str = "validation"


GLUE = {
    "sst2": GlueTask("sentence", None, ("negative", "positive")),
    "mrpc": GlueTask("sentence1", "sentence2", ("not_equivalent", "equivalent"), positive_label=1),
    "mnli": GlueTask(
        "premise", "hypothesis", ("entailment", "neutral", "contradiction"), 0, validation="validation_matched"
    ),
    "cola": GlueTask("sentence", None, ("unacceptable", "acceptable")),
    "stsb": GlueTask("sentence1", "sentence2", (), positive_score=4.0),
}


def load_glue(name: str, data_dir: str | Path | None = None) -> Task:
    """One of the five tasks.

    Parameters
    ----------
    name : {"sst2", "mrpc", "mnli", "cola", "stsb"}
    data_dir : path, optional
        Folder with ``glue/<name>/train.parquet`` and ``validation.parquet`` (MNLI: ``validation_matched.parquet``).
        Without it the hub is asked.

    Raises
    ------
    InputError
        Files missing or damaged, columns missing, hub out of reach.
    """
    kind, commit = GLUE[name], None
    if data_dir is not None:
        folder, source = Path(data_dir) / "glue" / name, f"glue/{name}"
        if not folder.is_dir():
            hint = "--data takes a folder with glue/<task>/<split>.parquet; without it the tasks come from the hub."
            raise InputError(f"{folder} does not exist.", hint)
    else:
        root, commit = hub.snapshot(
            REPOSITORY,
            kind="dataset",
            revision=None,
            patterns=[f"{name}/train-*.parquet", f"{name}/{kind.validation}-*.parquet"],
            hint="Give a folder with glue/<task>/<split>.parquet by --data DIR, or use --task controlled (no data).",
        )
        folder, source = root / name, f"{REPOSITORY}@{commit[:12]} ({name})"
    notes: list[str] = []
    validation = read_split(_files(folder, kind.validation, commit), "validation", kind, notes)
    train = _files(folder, "train", commit)
    return Task(
        name,
        "classification" if kind.label_names else "regression",
        read_split(train, "train", kind, notes) if train[0].is_file() else None,
        validation,
        kind.label_names,
        "accuracy" if kind.label_names else "spearman",
        kind.positive_label,
        kind.positive_score,
        source,
        tuple(notes),
        commit,
    )


def _files(folder: Path, split: str, commit: str | None) -> list[Path]:
    """Parquet files of a split: the shards of the hub's layout, in order; one file in a local folder."""
    shards = sorted(folder.glob(f"{split}-*.parquet")) if commit else []
    return shards or [folder / f"{split}.parquet"]


def read_split(paths: list[Path], name: str, kind: GlueTask, notes: list[str]) -> Split:
    """One split from its files; rows without a label (-1) are left out, and a note says how many."""
    path = paths[0]
    if not path.is_file():
        raise InputError(f"{path} does not exist.", "A task needs at least its validation split.")
    table = joined([read_table(path) for path in paths], str(path))
    text = (kind.first,) if kind.second is None else (kind.first, kind.second)
    rows = read_rows(table, choose_columns(table, Columns(text, "label", "idx" if "idx" in table.names else None)))
    least = 0 if kind.label_names else -math.inf
    for i, label in enumerate(rows.cells):
        if label is not None and (not isinstance(label, int | float) or math.isinf(label)):
            raise InputError(f"{rows.place(i)}: the label {str(label)[:40]!r} is no finite number.")
    labelled = [label is not None and label >= least for label in rows.cells]  # false for NaN, too
    whole = [i for i, both in enumerate(zip(rows.have_text, labelled, strict=True)) if all(both)]
    if len(whole) < table.rows:
        notes.append(f"{name}: {table.rows - len(whole)} rows without text or label left out")
    if not whole:
        raise InputError(f"{path} holds no labelled rows.")
    split = rows.take(whole).split(name, np.int64 if kind.label_names else np.float64)
    if kind.label_names and split.labels.max() >= len(kind.label_names):
        raise InputError(f"{path} has label {split.labels.max()}, but the task has {len(kind.label_names)} classes.")
    return split
