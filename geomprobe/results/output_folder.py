"""Folders that results may be written into: new ones, and those that hold results already."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, UsageError, check_output_folder, read_json
from geomprobe.common.atomic import final_path
from geomprobe.results.schema import TABLES

WRITTEN = (
    *(f"{name}.parquet" for name in TABLES), "run.json", "results.csv", "definitions.json", "training",
    "report.html", "report.pdf", "report.json", "audit.json", "claims.md",
    "gate.json", "gate.md", "gate.xml",
)  # fmt: skip
FOLDERS = ("training", "cells")
MODEL_FILES = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "modules.json",
    "adapter_config.json", "tokenizer.json",
)  # fmt: skip


def check_folder(folder: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()) -> None:
    """Raise UsageError where results must not or cannot be written into a folder; leave no trace.

    A folder is refused that is an input, holds a model, or holds files of other origin that results would replace.
    Other files in it are no hindrance; they stay.
    """
    check_output_folder(folder, inputs)
    check_content(Path(folder))


def check_content(folder: Path) -> None:
    """Raise UsageError where a folder holds a model, or files of other origin that results would replace."""
    if model := next((name for name in MODEL_FILES if (folder / name).exists()), None):
        raise UsageError(f"{folder} holds a model ({model}); results are not mixed with it.", HINT)
    for name in WRITTEN:
        final_path(folder / name)  # raises for a link to a file of another kind
    taken = [name for name in WRITTEN if os.path.lexists(folder / name)]
    if taken and not _holds_results(folder):
        raise UsageError(f"{folder} holds files of other origin that would be replaced: {', '.join(taken)}.", HINT)
    for name in (*WRITTEN, "cells"):
        path, wanted = folder / name, name in FOLDERS
        if path.exists() and path.is_dir() != wanted:
            raise UsageError(
                f"{path} is {'no folder' if wanted else 'a folder'}: results cannot be written there.", HINT
            )


HINT = "Choose another folder with --out."


def folder_and_name(text: str | os.PathLike) -> tuple[Path, str]:
    """Results folder and name of a model in it, empty without one, from ``FOLDER`` or ``FOLDER#NAME``."""
    whole = os.path.expanduser(text)
    marks = [] if os.path.exists(whole) else [at for at, letter in enumerate(whole) if letter == "#"]
    at = next((at for at in marks if os.path.isdir(whole[:at])), len(whole))
    return Path(whole[:at]), whole[at + 1 :]


def means_results(text: str | os.PathLike) -> bool:
    """Whether a text means results, finished or not, as `folder_and_name` reads it; a folder with a model does not."""
    folder, _ = folder_and_name(text)
    return folder.is_dir() and not any((folder / name).exists() for name in MODEL_FILES) and _holds_results(folder)


def _holds_results(folder: Path) -> bool:
    """Whether a folder was written by an analysis, perhaps one that was interrupted."""
    if any("schema_version" in _content(folder / name) for name in ("run.json", "audit.json")):
        return True
    if any((folder / "cells").glob("*/*.parquet")):
        return True
    import pyarrow.parquet as pq

    try:
        return {"model", "task", "metric", "value"} <= set(pq.read_schema(folder / "results.parquet").names)
    except (OSError, ValueError):
        return False


def _content(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def models_of(folder: Path) -> list[str]:
    """Names of the models that a folder holds results of, as far as they can be read."""
    entries = _content(folder / "run.json").get("models")
    named = [entry.get("name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [name for name in named if isinstance(name, str)]
