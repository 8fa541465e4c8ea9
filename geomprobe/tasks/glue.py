"""Five GLUE tasks (Wang et al. 2018) from a folder of parquet files or from the hub's nyu-mll/glue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from geomprobe.common import InputError, first_line, hub
from geomprobe.tasks.base import Split, Task

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
            raise InputError(
                f"{folder} does not exist.",
                "--data takes a folder that holds glue/<task>/<split>.parquet; without it the tasks come from the hub.",
            )
        files = {split: [folder / f"{split}.parquet"] for split in ("train", kind.validation)}
    else:
        root, commit = hub.snapshot(
            REPOSITORY,
            kind="dataset",
            revision=None,
            patterns=[f"{name}/train-*.parquet", f"{name}/{kind.validation}-*.parquet"],
            hint="Give a folder with glue/<task>/<split>.parquet by --data DIR, or use --task controlled (no data).",
        )
        source = f"{REPOSITORY}@{commit[:12]} ({name})"
        files = {split: _shards(root / name, split) for split in ("train", kind.validation)}
    notes: list[str] = []
    validation = read_split(files[kind.validation], "validation", kind, notes)
    train = read_split(files["train"], "train", kind, notes) if files["train"][0].is_file() else None
    regression: Literal["classification", "regression"] = "classification" if kind.label_names else "regression"
    return Task(
        name,
        regression,
        train,
        validation,
        kind.label_names,
        "accuracy" if kind.label_names else "spearman",
        kind.positive_label,
        kind.positive_score,
        source,
        tuple(notes),
        commit,
    )


def _shards(folder: Path, split: str) -> list[Path]:
    """Parquet files of a split in the hub's layout, in order."""
    return sorted(folder.glob(f"{split}-*.parquet")) or [folder / f"{split}.parquet"]


def read_split(paths: list[Path], name: str, kind: GlueTask, notes: list[str]) -> Split:
    """One split from its files; rows without a label (-1) are left out, and a note says how many."""
    path = paths[0]
    if not path.is_file():
        raise InputError(f"{path} does not exist.", "A task needs at least its validation split.")
    columns = [column for column in (kind.first, kind.second, "label", "idx") if column]
    try:
        frame = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    except Exception as error:  # pyarrow raises many kinds; for the reader they mean one thing
        where = path if len(paths) == 1 else f"One of {path.parent}/{name}-*.parquet"
        raise InputError(f"{where} is damaged or no parquet file: {first_line(error)}") from None
    if missing := set(columns) - {"idx"} - set(frame.columns):
        raise InputError(
            f"{path} has no column {', '.join(sorted(missing))}.",
            f"Columns there: {', '.join(map(str, frame.columns))}",
        )
    labelled = frame["label"].notna()
    if kind.label_names:
        labelled &= frame["label"] >= 0
    texts = frame[kind.first].notna() & (frame[kind.second].notna() if kind.second else True)
    keep = (labelled & texts).to_numpy()
    if not keep.all():
        notes.append(f"{name}: {int((~keep).sum())} rows without text or label left out")
        frame = frame[keep]
    if frame.empty:
        raise InputError(f"{path} holds no labelled rows.")
    labels = frame["label"].to_numpy(np.int64 if kind.label_names else np.float64)
    if kind.label_names and labels.max() >= len(kind.label_names):
        raise InputError(f"{path} has label {labels.max()}, but the task has {len(kind.label_names)} classes.")
    numbers = frame["idx"] if "idx" in frame and frame["idx"].is_unique else pd.Series(np.flatnonzero(keep))
    return Split(
        name,
        tuple(map(str, frame[kind.first])),
        tuple(map(str, frame[kind.second])) if kind.second else None,
        labels,
        tuple(f"{name}/{number}" for number in numbers),
    )
