"""Compare what a case froze with the goldens: bit for bit, or by columns and keys alone.

Elsewhere no tolerance serves: on clouds this small and of deficient rank, other kernels move a slope of the spectrum by
tens, and standard errors by a percent.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KEYS = (
    "model", "a", "b", "level", "task", "split", "layer", "layer_a", "layer_b", "pooling", "view", "protocol", "curve",
    "probe", "metric", "definition", "control",
)  # fmt: skip

Tree = dict[str, str]


@dataclass(frozen=True)
class Change:
    """A cell that is not what it was; `column` is empty for a row, `key` for a file as a whole."""

    file: str
    key: str
    column: str
    old: str
    new: str

    def __str__(self) -> str:
        where = " | ".join(part for part in (self.file, self.key, self.column) if part)
        return f"{where}: {self.old or '(nothing)'} -> {self.new or '(nothing)'}"


def read_tree(folder: Path) -> Tree:
    """Return the text of every file of a case by its path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def changes(old: Tree, new: Tree, *, exact: bool) -> list[Change]:
    """Return every change between two trees of a case, sentences and numbers."""
    found = [Change(file, "", "", "a file", "") for file in old.keys() - new.keys()]
    found += [Change(file, "", "", "", "a file") for file in new.keys() - old.keys()]
    for file in sorted(old.keys() & new.keys()):
        if old[file] == new[file] or not (exact or file.endswith(".csv")):
            continue
        read = {"csv": rows_of, "txt": lines_of}[file.rpartition(".")[2]]
        found += _between(file, *read(old[file]), *read(new[file]), exact=exact)
    return found


Row = dict[str, str]


def rows_of(text: str) -> tuple[list[str], dict[str, Row]]:
    """Return the first lines of a table, which name its columns, and its rows by key."""
    lines = list(csv.reader(text.splitlines()))
    start = next(i for i, line in enumerate(lines) if line[0] == "columns")
    head = [",".join(line) for line in lines[: start + 1]]
    fixed = {line[1]: line[2] for line in lines[start + 1 :] if line[:1] == ["every row"]}
    names, *cells = lines[start + 1 + len(fixed) :]
    rows: dict[str, Row] = {}
    seen: Counter[str] = Counter()
    for line in cells:
        row = fixed | dict(zip(names, line, strict=True))
        key = " ".join(f"{name}={row[name]}" for name in KEYS if row.get(name))
        seen[key] += 1
        rows[key if seen[key] == 1 else f"{key} ({seen[key]})"] = row
    return head, rows


def lines_of(text: str) -> tuple[list[str], dict[str, Row]]:
    """Return the lines "path: value" of a document, or of sentences, as rows of one column."""
    return [], {key: {"": value} for key, _, value in (line.partition(": ") for line in text.splitlines())}


def _between(
    file: str, head: list[str], rows: dict[str, Row], new_head: list[str], new_rows: dict[str, Row], *, exact: bool
) -> Iterator[Change]:
    if head != new_head:
        yield Change(file, "", "columns", " / ".join(head), " / ".join(new_head))
    for key in rows.keys() - new_rows.keys():
        yield Change(file, key, "", "a row", "")
    for key in new_rows.keys() - rows.keys():
        yield Change(file, key, "", "", "a row")
    if rows.keys() == new_rows.keys() and list(rows) != list(new_rows):
        moved = next(i for i, (a, b) in enumerate(zip(rows, new_rows, strict=True)) if a != b)
        yield Change(file, "", "order of rows", list(rows)[moved], list(new_rows)[moved])
    for key in (key for key in rows if key in new_rows):
        row, new_row = rows[key], new_rows[key]
        for column in dict.fromkeys([*row, *new_row]):
            a, b = row.get(column, ""), new_row.get(column, "")
            if a != b and exact:
                yield Change(file, key, column, a, b)


def differing(goldens: Path, fresh: Path) -> str:
    """Return what differs between the environments that two sets of goldens were made in, nothing where none does."""
    made, here = (json.loads((folder / "environment.json").read_text()) for folder in (goldens, fresh))
    return ", ".join(f"{key} {made.get(key)} -> {here.get(key)}" for key in here if made.get(key) != here[key])
