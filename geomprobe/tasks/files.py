"""A user's own rows as a task: parquet, csv, tsv or jsonl; sentences or pairs; classes, scores or no labels."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from geomprobe.common import InputError, UsageError
from geomprobe.tasks.base import Split, Task

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
TEXT_NAMES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("text1", "text2"), ("sentence",), ("text",))
LABEL_NAMES = ("label", "labels", "score")
ID_NAMES = ("id", "idx", "row_id")
VALIDATION_NAMES = ("validation", "valid", "val", "dev", "test")
VALIDATION_SHARE = 0.25
MIN_TO_SPLIT = 40  # rows below which a single file is not split: every row is then looked at, and no probe is fitted
MAX_CLASSES = 200


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold what; None means by name (see `load_file`)."""

    text: tuple[str, ...] = ()
    label: str | None = None
    row_id: str | None = None
    split: str | None = None


def is_file_task(name: str) -> bool:
    """Tell whether a task's name means a file or folder and not a built-in task."""
    return Path(name).suffix.lower() in SUFFIXES or "/" in name or "\\" in name


def load_file(
    path: str | Path,
    *,
    text: Sequence[str] = (),
    label: str | None = None,
    row_id: str | None = None,
    split: str | None = None,
    kind: Literal["auto", "classification", "regression"] = "auto",
    positive: str | float | None = None,
) -> Task:
    """Return a user's file as a task.

    Parameters
    ----------
    path : path
        A .parquet, .csv, .tsv or .jsonl file (UTF-8), or a folder with ``train`` and ``validation`` files.
    text : sequence of one or two column names
        The sentence, or the two sentences of a pair. Default: sentence1 and sentence2, premise and hypothesis, text1
        and text2, sentence, or text, whichever is there.
    label : str, optional
        Column of classes or scores. Default: label, labels or score; without one the task has texts only.
    row_id : str, optional
        Column of unique row ids. Default: id, idx or row_id where it is unique, else the row number.
    split : str, optional
        Column that says "train" or "validation" (valid, val, dev, test). Default: split, where there is one.
    kind : {"auto", "classification", "regression"}
        "auto" reads numbers with a fraction as scores and all else as classes.
    positive : str or float, optional
        For pairs: the class whose pairs mean the same, or the score from which on they do. Without it alignment does
        not apply.

    Returns
    -------
    Task
        Rows without text or label are left out, which its notes count. A single file without a split column is split
        by a hash of its texts, so that pairs that share a sentence's text stay on one side; with fewer than 40 rows
        all of them are validation rows.

    Raises
    ------
    InputError
        File missing, unreadable or empty; columns missing or of the wrong type; ids that repeat; nothing left.
    UsageError
        Options that contradict each other.
    """
    path = Path(path)
    frames = _read(path)
    columns = _columns(next(iter(frames.values())), path, Columns(tuple(text), label, row_id, split))
    notes: list[str] = []
    parts = {name: _rows(frame, columns, f"{path}", notes, name) for name, frame in frames.items()}
    if columns.split is not None and set(parts) == {""}:
        parts = _by_column(parts[""], columns.split, path)
    labels = pd.concat([part["label"] for part in parts.values()])
    decided = _decide_kind(labels, kind, path)
    names = _class_names(labels, path) if decided == "classification" else ()
    if set(parts) == {""}:
        parts = _by_hash(parts[""], notes)
    splits = {name: _split(name, part, decided, names) for name, part in parts.items()}
    positive_label, positive_score = _positive(positive, decided, names, pairs=len(columns.text) == 2)
    if columns.label is None:
        notes.append("no labels: probes of a label do not apply")
    elif decided == "classification" and len(names) == 1:
        notes.append(f"one class only ({names[0]}): probes of the label do not apply")
    return Task(
        path.stem,
        decided,
        splits.get("train"),
        splits["validation"],
        names,
        "accuracy" if decided == "classification" else "spearman",
        positive_label,
        positive_score,
        path.name,
        tuple(notes),
    )


# ---- reading ---------------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, pd.DataFrame]:
    """Return the frames of a path: {"": frame} for a file, {"train": …, "validation": …} for a folder."""
    if path.is_file():
        return {"": read_frame(path)}
    if not path.is_dir():
        raise InputError(
            f"{path} does not exist.", "A task is a built-in name or a .parquet, .csv, .tsv or .jsonl file."
        )
    found: dict[str, pd.DataFrame] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() in SUFFIXES:
            name = "validation" if file.stem in VALIDATION_NAMES[:-1] else file.stem
            if name in found:
                raise InputError(f"{path} holds two files for the {name} split.")
            if name in ("train", "validation"):
                found[name] = read_frame(file)
    if "validation" not in found:
        raise InputError(f"{path} has no validation file.", "Name the files train.parquet and validation.parquet.")
    return found


def read_frame(path: Path) -> pd.DataFrame:
    """Return a file's table; text files are read as UTF-8 strings, in which "NA" and "null" are words.

    Raises
    ------
    InputError
        Unknown suffix, damaged file, other encoding, no rows.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            frame = pd.read_parquet(path)
        elif suffix in (".csv", ".tsv"):
            separator = "," if suffix == ".csv" else "\t"
            frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        elif suffix in (".jsonl", ".ndjson"):
            lines = path.read_text(encoding="utf-8-sig").split("\n")
            frame = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
        else:
            raise InputError(f"{path} is none of {', '.join(SUFFIXES)}.")
    except InputError:
        raise
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8.", "Convert it: iconv -f LATIN1 -t UTF-8 FILE") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty.") from None
    except Exception as error:  # pandas and pyarrow raise many kinds; for the reader they mean one thing
        raise InputError(f"{path} cannot be read as {suffix[1:]}: {str(error).splitlines()[0][:300]}") from None
    if frame.empty:
        raise InputError(f"{path} holds no rows.")
    frame.columns = frame.columns.map(str)
    return frame.reset_index(drop=True)


def _columns(frame: pd.DataFrame, path: Path, asked: Columns) -> Columns:
    """Return the column names to use: those asked for, which must be there, else those found by name."""
    there = list(frame.columns)

    def checked(name: str) -> str:
        if name in there:
            return name
        near = difflib.get_close_matches(name, there, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{path} has no column {name!r}.{guess}", f"Columns there: {', '.join(there)}")

    text = asked.text or next((names for names in TEXT_NAMES if set(names) <= set(there)), ())
    if not text:
        raise InputError(f"{path}: which column holds the text?", f"--text COLUMN; columns there: {', '.join(there)}")
    if len(text) > 2:
        raise UsageError("A task has one text column, or two for pairs.")
    if len(set(text)) < len(text):
        raise UsageError("The two text columns of a pair are the same.")
    label = asked.label or next((name for name in LABEL_NAMES if name in there), None)
    split = asked.split or ("split" if "split" in there else None)
    found = Columns(
        tuple(map(checked, text)),
        label and checked(label),
        asked.row_id and checked(asked.row_id),
        split and checked(split),
    )
    if found.row_id is None:
        by_name = next(
            (name for name in ID_NAMES if name in there and name not in text and frame[name].is_unique), None
        )
        found = Columns(found.text, found.label, by_name, found.split)
    return found


def _rows(frame: pd.DataFrame, columns: Columns, where: str, notes: list[str], part: str) -> pd.DataFrame:
    """Return columns first, second, label, id (and split) of the rows that have text and label."""
    rows = pd.DataFrame(index=frame.index)
    for side, name in zip(("first", "second"), columns.text, strict=False):
        present = frame[name].notna()
        if bad := next((value for value in frame.loc[present, name] if not isinstance(value, str)), None):
            raise InputError(
                f"{where}: column {name!r} holds {type(bad).__name__}, not text.", "Choose another: --text"
            )
        rows[side] = frame[name]
    rows["label"] = _labels(frame[columns.label]) if columns.label else "none"
    rows["id"] = frame[columns.row_id].astype(str) if columns.row_id else frame.index.astype(str)
    if columns.row_id and not rows["id"].is_unique:
        repeated = rows.loc[rows["id"].duplicated(), "id"].iloc[0]
        raise InputError(
            f"{where}: row id {repeated!r} occurs more than once in column {columns.row_id!r}.",
            "Paired comparisons need one id a row; leave --id out to use row numbers.",
        )
    if columns.split and columns.split in frame:
        rows["split"] = frame[columns.split].astype(str)
    whole = rows.notna().all(axis=1)
    if not whole.all():
        notes.append(f"{part + ': ' if part else ''}{int((~whole).sum())} rows without text or label left out")
    if not whole.any():
        raise InputError(
            f"{where}: no row has both text and label ({', '.join(filter(None, [*columns.text, columns.label]))})."
        )
    return rows[whole]


def _labels(values: pd.Series) -> pd.Series:
    """Return labels as float64 where all are numbers, else as strings; empty strings, NaN and infinity are missing."""
    if pd.api.types.is_bool_dtype(values):
        return values.map({True: "true", False: "false"})
    if not pd.api.types.is_numeric_dtype(values):
        values = values.map(lambda value: value.strip() if isinstance(value, str) else value)
        values = values.where(values.notna() & (values != ""), None)
        numbers = pd.to_numeric(values, errors="coerce")
        if (numbers.isna() & values.notna() & ~values.astype(str).str.lower().isin({"nan", "na", "null"})).any():
            return values.map(str, na_action="ignore")
        values = numbers
    return values.astype("float64").replace([np.inf, -np.inf], np.nan)


# ---- labels and splits -----------------------------------------------------------------------------------------------


def _decide_kind(labels: pd.Series, kind: str, path: Path) -> Literal["classification", "regression"]:
    numbers = pd.api.types.is_numeric_dtype(labels)
    if kind == "regression":
        if not numbers:
            raise InputError(f"{path}: the labels are not numbers, so they are no scores.", "Leave --kind out.")
        return "regression"
    if kind == "classification":
        return "classification"
    return "regression" if numbers and bool((labels % 1 != 0).any()) else "classification"


def _class_names(labels: pd.Series, path: Path) -> tuple[str, ...]:
    names = tuple(map(_class_name, sorted(labels.unique())))
    if len(names) > MAX_CLASSES:
        raise InputError(
            f"{path}: {len(names)} different labels are too many for classes (at most {MAX_CLASSES}).",
            "Scores need --kind regression; or choose another column by --label.",
        )
    return names


def _class_name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _by_column(rows: pd.DataFrame, column: str, path: Path) -> dict[str, pd.DataFrame]:
    """Split by a column of names; rows of other splits (test, where there is a validation split) are left out."""
    named = rows["split"].str.strip().str.lower()
    held_out = next((name for name in VALIDATION_NAMES if (named == name).any()), None)
    if held_out is None:
        raise InputError(
            f"{path}: column {column!r} names no validation rows.", f"Expected one of: {', '.join(VALIDATION_NAMES)}."
        )
    parts = {"train": rows[named == "train"], "validation": rows[named == held_out]}
    return {name: part for name, part in parts.items() if len(part)}


def _by_hash(rows: pd.DataFrame, notes: list[str]) -> dict[str, pd.DataFrame]:
    """Split a single file by a hash of the first text, so that repeats stay together; a small one not at all."""
    draw = rows["first"].map(lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0] / 256)
    held_out = draw < VALIDATION_SHARE
    if len(rows) < MIN_TO_SPLIT or held_out.sum() < 2 or (~held_out).sum() < 2:
        notes.append(f"{len(rows)} rows: not split, so no probe is fitted")
        return {"validation": rows}
    notes.append(f"split by a hash of the text: {int((~held_out).sum())} train, {int(held_out.sum())} validation rows")
    return {"train": rows[~held_out], "validation": rows[held_out]}


def _split(name: str, rows: pd.DataFrame, kind: str, names: tuple[str, ...]) -> Split:
    index = {label: i for i, label in enumerate(names)}
    if kind == "classification":
        labels = np.array([index[_class_name(value)] for value in rows["label"]], np.int64)
    else:
        labels = rows["label"].to_numpy(np.float64)
    return Split(
        name,
        tuple(rows["first"]),
        tuple(rows["second"]) if "second" in rows else None,
        labels,
        tuple(f"{name}/{row}" for row in rows["id"]),
    )


def _positive(
    positive: str | float | None, kind: str, names: tuple[str, ...], *, pairs: bool
) -> tuple[int | None, float | None]:
    """Return the class or the score that marks pairs that mean the same."""
    if positive is None:
        return None, None
    if not pairs:
        raise UsageError("--positive is for pairs; this task has single texts.")
    if kind == "classification":
        if str(positive) not in names:
            raise UsageError(f"--positive {positive} is not a class of this task.", f"Classes: {', '.join(names)}")
        return names.index(str(positive)), None
    try:
        return None, float(positive)
    except ValueError:
        raise UsageError(f"--positive {positive} is not a score.") from None
