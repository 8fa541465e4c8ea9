"""The result files of mteb: what is in them, and the scores of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from geomprobe.common import InputError, read_json
from geomprobe.common.json_types import checked
from geomprobe.common.text import counted, finite

MAIN = "main_score"
NOT_SCORES = ("model_meta.json", "*_predictions.json")
ANEW = "Let mteb write it again (a version from 1.11 on)."


class ScoreFile(TypedDict):
    """A result of a task, as mteb writes it."""

    task_name: str
    dataset_revision: str
    mteb_version: str | None
    scores: dict[str, list[dict[str, Any]]]


class ModelFile(TypedDict):
    """Whose results a folder holds."""

    name: str | None
    revision: str | None


@dataclass(frozen=True)
class Scored:
    """The scores of a model on one split of a task.

    Attributes
    ----------
    model, revision, task, task_revision, subset, split : str
    label : str
        Name of the task in results: with its subset and split where it has several.
    scores : dict of str to float or None
        None for what is not finite.
    """

    model: str
    revision: str
    task: str
    task_revision: str
    subset: str
    split: str
    label: str
    scores: dict[str, float | None]


def scored(folder: Path) -> tuple[list[Scored], list[str]]:
    """Every score of a folder, in the order of the paths, and notes."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Give the folder that mteb's ResultCache writes.")
    paths = [path for path in sorted(folder.rglob("*.json")) if not any(map(path.match, NOT_SCORES))]
    plain = [path for path in paths if "experiments" not in path.relative_to(folder).parts]
    notes = [f"{counted(n, 'file')} of experiments not read"] if (n := len(paths) - len(plain)) else []
    if not plain:
        raise InputError(f"{folder} holds no results of mteb.", "They lie in results/MODEL/REVISION/TASK.json.")
    found = []
    for path in plain:
        file: ScoreFile = checked(read_json(path), ScoreFile, str(path), ANEW)
        model, revision = _model_of(path)
        parts = [(split, entry) for split, entries in file["scores"].items() for entry in entries]
        splits = len(file["scores"])
        for i, (split, entry) in enumerate(parts):
            where = f"{path}, scores.{split}"
            checked(entry.get("hf_subset"), str, where, ANEW, "hf_subset")
            if not _is_number(entry.get(MAIN)):
                raise InputError(f"{where}: {MAIN} is missing in entry {i}, or is no number.", ANEW)
            scores = {key: finite(value) for key, value in entry.items() if _is_number(value)}
            label = task_label(file["task_name"], entry["hf_subset"], split if splits > 1 else "")
            found.append(
                Scored(
                    model, revision, file["task_name"], file["dataset_revision"], entry["hf_subset"], split, label,
                    scores,
                )
            )  # fmt: skip
    if not found:
        raise InputError(f"The results of mteb in {folder} hold no scores.", ANEW)
    keys = [(each.model, each.revision, each.label) for each in found]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"{folder} holds two results of {twice[0]} ({twice[1]}) on {twice[2]}.", "Remove one of them.")
    return found, notes


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def task_label(task: str, subset: str, split: str = "") -> str:
    """Name of a task in results."""
    return " ".join([task, *([f"({subset})"] if subset != "default" else []), *([split] if split else [])])


def _model_of(path: Path) -> tuple[str, str]:
    """Name and revision of the model of a result: of its model_meta.json, else of the folders."""
    meta, name, revision = path.parent / "model_meta.json", path.parent.parent.name.replace("__", "/"), path.parent.name
    if not meta.is_file():
        return name, revision
    file: ModelFile = checked(read_json(meta), ModelFile, str(meta), ANEW)
    return file["name"] or name, file["revision"] or revision
