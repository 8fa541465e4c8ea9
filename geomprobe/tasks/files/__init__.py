"""A user's own rows as a task: files, folders and hub data sets of sentences or pairs, with or without labels.

Read in three steps: `layout` finds the files of each split and `tables` reads them; `columns` and `labels` check the
cells, once for all formats; `load_file` makes the task.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from geomprobe.common import InputError, UsageError, listed, unknown_name
from geomprobe.tasks.base import Split, Task
from geomprobe.tasks.files.columns import LABEL_NAMES, Columns, FileRows, choose_columns, read_rows
from geomprobe.tasks.files.content import format_of
from geomprobe.tasks.files.labels import MARKS, MISSING, Labels, read_labels
from geomprobe.tasks.files.layout import Sources, open_sources, roles_of
from geomprobe.tasks.files.tables import NUMBER

__all__ = ["is_file_task", "load_file"]

VALIDATION_SHARE = 0.25
MIN_TO_SPLIT = 40  # rows below which a single file is not split: every row is then looked at, and no probe is fitted
NO_TEXT = {*MISSING, "NA"} - set(MARKS)
"""What writers put where there is no text; kept, for it may be one, and counted in a note."""
KINDS = ("auto", "classification", "regression")


def is_file_task(name: str) -> bool:
    """Whether a task's name means a file, a folder or a data set of the hub, and not a built-in task."""
    return format_of(name) is not None or "/" in name or "\\" in name or Path(name).exists()


def load_file(
    path: str | Path,
    *,
    text: Sequence[str] = (),
    label: str | None = None,
    row_id: str | None = None,
    split: str | None = None,
    split_column: str | None = None,
    kind: Literal["auto", "classification", "regression"] = "auto",
    positive: str | float | None = None,
    quotes: bool | None = None,
) -> Task:
    """A user's file as a task. Its parameters are the options of the command line for files, hence their number.

    Parameters
    ----------
    path : path or str
        A file: .parquet, .arrow, .feather, .csv, .tsv, .jsonl, .json (a list of records, or columns) or .txt (a text a
        line), also compressed (.gz, .bz2, .xz, .zst). A folder with a file or a folder for each split, as on the hub,
        or as `datasets` saves it. Or a data set on the hub: ``owner/name``, ``owner/name/folder``, ``@revision``; an
        existing path wins. Text is UTF-8, or what its byte-order mark says.
    text : sequence of one or two column names
        The sentence, or the two sentences of a pair. Default: sentence1 and sentence2, premise and hypothesis, text1
        and text2, sentence, or text, whichever is there.
    label : str, optional
        Column of classes or scores. Default: label, labels, gold_label or score; without one the task has texts only.
    row_id : str, optional
        Column of unique row ids. Default: id, idx or row_id where it is unique, else the row number.
    split : str, optional
        Name of the split that is scored. Default: validation, valid, val, dev, eval, evaluation, test or testing, the
        first that is there. "train" takes the training rows alone and splits them as a single file.
    split_column : str, optional
        Column of the rows' splits in a single file. Default: split, where there is one.
    kind : {"auto", "classification", "regression"}
        "auto" reads numbers with a fraction as scores and all else as classes.
    positive : str or float, optional
        For pairs: the class whose pairs mean the same, or the score from which on they do. Without it alignment does
        not apply.
    quotes : bool, optional
        Whether double quotes enclose the cells of a CSV or TSV file. Default: both readings are tried; where both fit
        and differ the file is refused.

    Returns
    -------
    Task
        Its first note says which columns were taken, the others what was decided, and how many rows were left out for
        lack of a text or a label. A single file without a split column is split by a hash of its texts, so that pairs
        that share a sentence's text stay on one side; with fewer than 40 rows all of them are validation rows.

    Raises
    ------
    InputError
        File missing, unreadable or empty; lines that do not fit the header; columns missing or of the wrong type; ids
        that repeat; labels that can be read in two ways; nothing left.
    UsageError
        Options that contradict each other.
    """
    if kind not in KINDS:
        raise unknown_name("kind", kind, list(KINDS))
    sources = open_sources(path, split, quotes)
    columns = choose_columns(next(iter(sources.tables.values())), Columns(tuple(text), label, row_id, split_column))
    notes = list(sources.notes)
    _check_label_everywhere(sources, columns)
    parts = {name: read_rows(table, columns) for name, table in sources.tables.items()}
    if set(parts) == {""}:
        if columns.split is not None:
            parts = _by_column(parts[""], columns.split, split, sources.source, notes)
        elif split is not None and Path(path).is_file():
            raise InputError(f"{path} has no splits, so none is called {split!r}.", "Leave --split out.")
    labels = read_labels(parts, columns.label, kind)
    notes += labels.notes
    parts = {name: _whole(name, part, labels, columns, sources.source, notes) for name, part in parts.items()}
    unsplit = ""
    if set(parts) == {""}:
        parts = _by_hash(parts[""], notes)
        if "train" not in parts and (n := len(parts["validation"].first)) < MIN_TO_SPLIT:
            unsplit = f"{n} row{'' if n == 1 else 's'}; at least {MIN_TO_SPLIT} are needed for a train split"
    dtype = np.int64 if labels.kind == "classification" else np.float64
    splits = {name: part.split(name, dtype) for name, part in parts.items()}
    positive_label, positive_score = _positive(positive, labels, pairs=len(columns.text) == 2)
    if columns.label is None:
        notes.append(f"no labels (no column {listed(LABEL_NAMES)}): probes of a label do not apply")
    elif labels.kind == "classification" and len(labels.names) == 1:
        notes.append(f"one class only ({labels.names[0]}): probes of the label do not apply")
    return Task(
        sources.name,
        labels.kind,
        splits.get("train"),
        splits["validation"],
        labels.names,
        "accuracy" if labels.kind == "classification" else "spearman",
        positive_label,
        positive_score,
        sources.source,
        (_summary(columns, labels, splits), *notes),
        sources.revision,
        unsplit,
    )


def _check_label_everywhere(sources: Sources, columns: Columns) -> None:
    """Refuse a scored split without the labels of the training split, such as the test file of a competition."""
    scored = sources.tables.get("validation")
    if "train" in sources.tables and scored is not None and columns.label not in (None, *scored.names):
        what = f"{scored.where} has no column {columns.label!r}, which the training split has."
        raise InputError(what, "--split train takes the training rows alone and splits them.")


def _summary(columns: Columns, labels: Labels, splits: Mapping[str, Split]) -> str:
    """A summary of the columns taken and their roles."""
    said = "text " + " and ".join(map(repr, columns.text))
    if columns.label is not None:
        classes = f", {len(labels.names)} classes: {listed(labels.names, 8)}" if labels.names else ""
        said += f"; label {columns.label!r} ({labels.kind}{classes})"
    said += "; ids by row number" if columns.row_id is None else f"; id {columns.row_id!r}"
    return f"{said}; {sum(map(len, splits.values()))} rows"


# ---- rows and splits -------------------------------------------------------------------------------------------------


def _whole(name: str, part: FileRows, labels: Labels, columns: Columns, where: str, notes: list[str]) -> FileRows:
    """Rows that have text and label, with the values of their labels; notes count the others."""
    values = labels.values[name]
    texts = part.have_text
    whole = [i for i, text in enumerate(texts) if text and values[i] is not None]
    prefix = f"{name}: " if name else ""
    reasons = [f"{count} labelled {cell}" for cell, count in labels.missing.get(name, Counter()).most_common(4) if cell]
    if left_out := len(texts) - len(whole):
        reasons += [f"{texts.count(False)} without text"] if False in texts and reasons else []
        detail = f" ({', '.join(reasons)})" if reasons else ""
        notes.append(f"{prefix}{left_out} rows without text or label left out{detail}")
    if not whole:
        split = {"train": " of the training split", "validation": " of the scored split"}.get(name, "")
        named = listed([*columns.text, *filter(None, [columns.label])])
        what = f"{where}: no row{split} has both text and label ({named}){': ' * bool(reasons)}{', '.join(reasons)}."
        raise InputError(what, "Choose other columns (--text, --label) or another split (--split).")
    kept = replace(part, cells=values).take(whole)
    held = [text for text in (*kept.first, *kept.second) if text is not None]
    if all(NUMBER.fullmatch(text or "") for text in kept.first):
        notes.append(f"{prefix}every text is a number")
    if empty := sum(not text.strip() for text in held):
        notes.append(f"{prefix}{empty} empty texts kept")
    if no_text := [text for text in held if text in NO_TEXT]:
        notes.append(f"{prefix}{len(no_text)} texts that may mean 'no text' kept: {listed(sorted({*no_text}))}")
    return kept


def _by_column(rows: FileRows, column: str, asked: str | None, where: str, notes: list[str]) -> dict[str, FileRows]:
    """Split by a column of names; rows of other splits are left out, which a note counts."""
    names = [name.lower() for name in rows.splits]
    there = list(dict.fromkeys(names))
    taken = roles_of(there, asked, f"{where}, column {column!r},")
    if not taken:
        what = f"{where}: column {column!r} names no validation rows; it holds {listed(there, 6)}."
        raise InputError(what, "Say which is scored: --split NAME; or rename the column if it names no splits.")
    parts = {role: [i for i, each in enumerate(names) if each == name] for role, name in taken.items()}
    counts = [f"{len(part)} rows {taken[role]!r}" for role, part in parts.items()]
    notes.append(f"split by column {column!r}: {', '.join(counts)}")
    if others := len(names) - sum(map(len, parts.values())):
        notes.append(f"{others} rows of other splits not used")
    return {role: rows.take(part) for role, part in parts.items()}


def _by_hash(rows: FileRows, notes: list[str]) -> dict[str, FileRows]:
    """Split a single file by a hash of the first text, so that repeats stay together; a small one not at all."""
    sides: dict[str, list[int]] = {"train": [], "validation": []}
    for i, text in enumerate(rows.first):
        held_out = hashlib.sha256(str(text).encode()).digest()[0] / 256 < VALIDATION_SHARE
        sides["validation" if held_out else "train"].append(i)
    if len(rows.first) < MIN_TO_SPLIT or min(map(len, sides.values())) < 2:
        notes.append(f"{len(rows.first)} rows: not split, so no probe is fitted")
        return {"validation": rows}
    counts = f"{len(sides['train'])} train, {len(sides['validation'])} validation rows"
    notes.append(f"split by a hash of the text: {counts}")
    return {name: rows.take(side) for name, side in sides.items()}


def _positive(positive: str | float | None, labels: Labels, *, pairs: bool) -> tuple[int | None, float | None]:
    """Class or the score that marks pairs that mean the same."""
    if positive is None:
        return None, None
    if not pairs:
        raise UsageError("--positive is for pairs; this task has single texts.")
    if labels.kind == "classification":
        if str(positive) not in labels.names:
            raise UsageError(f"--positive {positive} is not a class of this task.", f"Classes: {listed(labels.names)}")
        return labels.names.index(str(positive)), None
    try:
        return None, float(positive)
    except ValueError:
        raise UsageError(f"--positive {positive} is not a score.") from None
