"""Compare what a case froze with the goldens: bit for bit, or within a tolerance where the last bits may differ."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KEYS = (
    "model", "a", "b", "level", "task", "split", "layer", "layer_a", "layer_b", "pooling", "view", "protocol", "curve",
    "probe", "metric", "definition", "control",
)  # fmt: skip
UNIT = ("value", "se", "ci_low", "ci_high", "diff", "value_a", "value_b", "mdd", "null_mean", "null_sd")
"""Columns of a row with one unit: a difference is small beside the largest of them, not beside itself."""
WHOLE = ("n", "d", "seed", "layer", "layer_a", "layer_b", "points")
NUMBER = re.compile(r"-?(\d+(\.\d+)?([eE][-+]?\d+)?|inf|nan)")
DIGITS = re.compile(r"[-+−]?\d+([.,]\d+)*([eE][-+]?\d+)?")

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
        if old[file] == new[file]:
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
    fixed = {line[1]: line[2] for line in lines[start + 1 :] if line[0] == "every row"}
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
            if a != b and (exact or not _close(file, column, row, a, b)):
                yield Change(file, key, column, a, b)


def differing(goldens: Path, fresh: Path) -> str:
    """Return what differs between the environments that two sets of goldens were made in, nothing where none does."""
    made, here = (json.loads((folder / "environment.json").read_text()) for folder in (goldens, fresh))
    return ", ".join(f"{key} {made.get(key)} -> {here.get(key)}" for key in here if made.get(key) != here[key])


# ---- another machine or other versions -------------------------------------------------------------------------------

# Measured by running every case with other kernels (AVX-512, and SSE alone), which add up in another order.
SMOOTH = 1e-4
"""Relative: functions of float32 vectors, and fits that converge, differ by 1e-6 to 3e-5."""
RANKED = 2e-2
"""Neighbours and ranks jump where two distances or scores are equal but for rounding, and resampling sums up the jumps."""
JUMPS = ("hubness", "spearman", "knn", "cknna", "null_")
NOISE = ("alpha_req",)
"""A LayerNorm leaves one direction without variance; the slope of the log spectrum reads that eigenvalue, which is rounding."""
P_VALUE = 1e-2
"""Absolute; and a p-value within it of 0.05 (KNIFE) may change a verdict."""
KNIFE = 0.05


def _close(file: str, column: str, row: Row, a: str, b: str) -> bool:
    """Tell whether two cells are the same but for the last bits of the sums behind them."""
    if file == "sentences.txt":
        return DIGITS.sub("0", a) == DIGITS.sub("0", b)
    if column == "digest" or any(row.get("metric", "").startswith(name) for name in NOISE):
        return True  # the digest is of every bit
    if column == "verdict":
        near = (abs(float(row[p]) - KNIFE) < P_VALUE for p in ("p_holm", "p_tost") if row.get(p))
        return any(near)
    if a.startswith("#") and b.startswith("#"):  # marks of sentences, which may hold rounded numbers
        return True
    if column in WHOLE or column == "sum_contributions":  # the latter is zero but for rounding
        return column == "sum_contributions"
    rank = any(word in f"{row.get('metric', '')} {column} {file}" for word in JUMPS)
    allowed = RANKED if rank or file.endswith(".txt") else SMOOTH
    scale = max((abs(float(row[unit])) for unit in UNIT if _number(row.get(unit))), default=0.0)
    if column.startswith("p") and column in ("p", "p_holm", "p_tost"):
        scale, allowed = 1.0, P_VALUE
    return _near(_numbers(a), _numbers(b), allowed, scale if column in row and row else 0.0)


def _number(cell: str | None) -> bool:
    return bool(cell and NUMBER.fullmatch(cell))


def _numbers(cell: str) -> list[float | None | str]:
    """Return the numbers of a cell; text that is none, as it is."""
    if _number(cell):
        return [float(cell)]
    if cell.startswith("[") and cell.endswith("]"):
        return [part if part is None or isinstance(part, str) else float(part) for part in _flat(json.loads(cell))]
    return [cell]


def _flat(value: list) -> Iterator:
    for part in value:
        if isinstance(part, list):
            yield from _flat(part)
        else:
            yield part


def _near(a: Sequence[float | None | str], b: Sequence[float | None | str], allowed: float, scale: float) -> bool:
    """Tell whether two lists have equal texts and gaps, and numbers within `allowed` of the larger of size and scale."""
    if len(a) != len(b):
        return False
    known = [abs(x) for x in a if isinstance(x, float) and math.isfinite(x)]
    scale = max(scale, *known, 0.0) if known else scale
    for x, y in zip(a, b, strict=True):
        if isinstance(x, float) and isinstance(y, float) and math.isfinite(x) and math.isfinite(y):
            if abs(x - y) > allowed * scale:
                return False
        elif x != y and not (x != x and y != y):
            return False
    return True
