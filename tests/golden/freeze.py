"""What is frozen of a case: tables and documents as text, numbers apart from sentences.

A number is written by `repr`, which gives the same float64 back. Sentences (notes, methods of intervals, findings) will
be rewritten on purpose; in a table of numbers a sentence is a mark (#1, #2, … by first occurrence), and the file of
sentences says what the marks stand for.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PROSE = ("note", "ci_method", "label")
LONG = {
    "curves": ("x", "y"),
    "examples": ("label", "prediction", "log_loss"),
    "influences": ("contributions",),
    "maps": ("pca_x", "pca_y", "tsne_x", "tsne_y", "group"),
    "neighbours": ("cosine",),
    "neighbour_overlap": ("overlap",),
    "moved_pairs": ("cosine_a", "cosine_b", "share_a", "share_b"),
    "texts": ("length",),
}
"""Tables with many rows a key, or long lists: frozen as sums and a digest of all."""
LONG_KEYS = {
    "curves": ["model", "task", "layer", "pooling", "view", "curve"],
    "examples": ["model", "task", "layer", "pooling", "probe"],
    "influences": ["model", "task", "layer", "pooling", "view", "metric", "definition"],
    "maps": ["model", "task", "layer", "pooling"],
    "neighbours": ["model", "task", "layer", "pooling"],
    "neighbour_overlap": ["a", "b", "task", "pooling", "layer_a", "layer_b"],
    "moved_pairs": ["a", "b", "task", "pooling", "layer_a", "layer_b"],
    "texts": ["task"],
}
HERE = ("created", "versions", "hardware", "command", "wall_seconds", "geomprobe_version", "files")
"""Keys of documents that say when, where and how something was run."""
PLACES = ("provenance", "downloads", "glossary")
"""Sections of a report that hold the same, or what definitions.json holds."""


CELL = re.compile(r"\.(cells|data|alt|series)\b")


@dataclass
class Frozen:
    """Text of the numbers by file name, and lines of sentences."""

    numbers: dict[str, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Freeze a table: its columns in order, its rows in order, each number exactly."""
        found: dict[str, list[str]] = {}
        for column in frame.columns:
            cells = [text_of(value) for value in frame[column]]
            found[column] = self._marked(f"{name}.{column}", cells) if column in PROSE else cells
        fixed = {column: cells[0] for column, cells in found.items() if len(cells) > 1 and len(set(cells)) == 1}
        varying = [column for column in found if column not in fixed]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["columns", *found])
        writer.writerows(["every row", column, cell] for column, cell in fixed.items())
        writer.writerow(varying)
        writer.writerows(zip(*(found[column] for column in varying), strict=True))
        self.numbers[f"{name}.csv"] = out.getvalue()

    def _marked(self, where: str, cells: list[str]) -> list[str]:
        marks: dict[str, str] = {}
        for cell in cells:
            if cell and cell not in marks:
                marks[cell] = f"#{len(marks) + 1}"
                self.sentences.append(f"{where} {marks[cell]}: {cell}")
        return [marks.get(cell, "") for cell in cells]

    def long_table(self, name: str, frame: pd.DataFrame) -> None:
        """Freeze a table of many points as a row a key: how many, their sums, and a digest of every bit."""
        keys, rows = LONG_KEYS[name], []
        for key, part in frame.groupby(keys, sort=False, dropna=False):
            row: dict[str, Any] = dict(zip(keys, key, strict=True))
            digest = hashlib.sha256()
            for column in part.columns:
                if column in keys:
                    continue
                if column in LONG[name] and not (name == "curves" and column == "label"):
                    numbers = np.concatenate([np.atleast_1d(np.asarray(v, np.float64)) for v in filled(part[column])])
                    row |= {"points": len(numbers), f"sum_{column}": math.fsum(numbers[np.isfinite(numbers)])}
                    row[f"squares_{column}"] = math.fsum((numbers[np.isfinite(numbers)] ** 2).tolist())
                    digest.update(numbers.tobytes())
                else:
                    digest.update("\n".join(map(text_of, part[column])).encode())
                    if column == "extra":
                        row[column] = part[column].iloc[0]
            rows.append(row | {"digest": digest.hexdigest()[:12]})
        self.table(name, pd.DataFrame(rows))
        self.numbers[f"{name}.csv"] = f"{','.join(frame.columns)}\n{self.numbers[f'{name}.csv']}"

    def document(self, name: str, document: Any) -> None:
        """Freeze a document of JSON: a line a number, name or list of numbers; its sentences apart."""
        lines = []
        for path, value in leaves(document):
            if isinstance(value, str) and (" " in value.strip() or not value.isascii()):
                self.sentences.append(f"{name} {path}: {value}")
            else:
                lines.append(f"{path}: {json.dumps(value)}\n")
        self.numbers[f"{name}.txt"] = "".join(lines)

    def report(self, document: Any) -> None:
        """Freeze report.json: all numbers, and the sentences outside tables and figures."""
        lines = []
        for path, value in leaves(document):
            if isinstance(value, str):
                if " " in value.strip() and not CELL.search(path):
                    self.sentences.append(f"report {path}: {value}")
            elif not isinstance(value, bool) and value != []:
                lines.append(f"{path}: {json.dumps(value)}\n")
        self.numbers["report.txt"] = "".join(lines)

    def files(self) -> dict[str, str]:
        """Return the text of each file: numbers in one folder, sentences in one file."""
        found = {f"numbers/{name}": text for name, text in self.numbers.items()}
        return found | {"sentences.txt": "".join(f"{' '.join(line.split())}\n" for line in self.sentences)}


def text_of(value: Any) -> str:
    """Return a cell as text, floats exactly; nothing for what is missing."""
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, float | np.floating):
        return repr(float(value))
    text = str(value)
    return text[:8] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def filled(column: pd.Series) -> list[Any]:
    return [math.nan if value is None or value is pd.NA else value for value in column]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of every leaf of a document; a list of numbers is one leaf."""
    if isinstance(value, dict) and is_row(value):
        yield path, [cell["sort"] if isinstance(cell["sort"], int | float) else None for cell in value["cells"]]
        yield from leaves([cell["text"] for cell in value["cells"]], f"{path}.cells")
    elif isinstance(value, dict):
        for key, part in value.items():
            if key not in HERE:
                yield from leaves(part, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        if all(part is None or isinstance(part, int | float) for part in value):
            yield path, value
            return
        for i, part in enumerate(value):
            named = part.get("id") if isinstance(part, dict) else None
            if named not in PLACES:
                yield from leaves(part, f"{path}[{named or i}]")
    elif value not in ("", None):
        yield path, text_of(value) if isinstance(value, str) else value


def is_row(value: dict[str, Any]) -> bool:
    """Tell whether a part of report.json is a row of a table: cells with a text and what they are sorted by."""
    cells = value.get("cells")
    return isinstance(cells, list) and all(isinstance(cell, dict) and "sort" in cell for cell in cells)


def read_folder(folder: Path, *, report: bool = False, definitions: bool = False) -> Frozen:
    """Freeze a results folder, or the folder of an audit with results folders inside."""
    frozen = Frozen()
    for path in sorted(folder.rglob("*.parquet")):
        *inside, _ = path.relative_to(folder).parts
        if "cells" in inside:
            continue
        frame = pd.read_parquet(path)
        if path.stem not in LONG:
            frozen.table("-".join([*inside, path.stem]), frame)
        elif len(frame) and not inside:
            frozen.long_table(path.stem, frame)
    for name in ["run", "audit", *["definitions"] * definitions]:
        if (folder / f"{name}.json").is_file():
            frozen.document(name, read_json(folder / f"{name}.json"))
    if report:
        frozen.report(read_json(folder / "report.json"))
    return frozen


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
