"""JSON lines: a list a line, or an object a line with one list in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from geomprobe.common import InputError
from geomprobe.vectors.columns import Column, choose, left_out
from geomprobe.vectors.dialect import open_text
from geomprobe.vectors.lists import looks_like_list, parse_list, shown
from geomprobe.vectors.source import Reading, VectorFile, spooled

ROWS = 1024


def read_json_lines(path: Path, reading: Reading) -> VectorFile:
    """Return the vectors of a file with a JSON list, or an object with one list of numbers, in each line.

    Raises
    ------
    InputError
        A line that is no JSON or has no such list, lists of unequal length, objects with numbers but no list.
    """
    _, first = next(_objects(path), (0, None))
    if first is None:
        raise InputError(f"{path} is empty.", "It needs at least two vectors.")
    if isinstance(first, list):
        return VectorFile(path, "JSON lines", spooled(_vectors(path, None), path))
    if not isinstance(first, dict):
        raise InputError(
            f"{path}: line 1 holds neither a list nor an object.",
            'A line is [0.1, 0.2] or {{"embedding": [0.1, 0.2]}}.',
        )
    columns = [_column(str(name), value) for name, value in first.items()]
    lists = any(column.kind in ("list", "whole list") for column in columns)
    if not lists:
        raise InputError(
            f"{path} has no list of numbers in line 1; it has {', '.join(list(first)[:8])}.",
            f"Numbers one by one: pandas.read_json('{path.name}', lines=True).to_parquet('vectors.parquet')",
        )
    j = choose(columns, True, reading.columns, path)[0]
    matrix = spooled(_vectors(path, columns[j].name), path)
    return VectorFile(path, "JSON lines", matrix, (columns[j].name,), left_out(columns, [j]))


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    with open_text(path) as text:
        for line, content in enumerate(text, 1):
            if content.strip():
                try:
                    yield line, json.loads(content)
                except (json.JSONDecodeError, RecursionError) as error:
                    with suppress(ValueError):  # as numpy prints it, without commas
                        yield line, parse_list(content).tolist()
                        continue
                    raise InputError(
                        f"{path}, line {line} is no JSON: {error}.",
                        f"One document for all? np.save('vectors.npy', np.array(json.load(open('{path.name}'))))",
                    ) from None


def _column(name: str, value: Any) -> Column:
    if isinstance(value, list) and value and all(_is_number(item) for item in value):
        whole = all(isinstance(item, int) for item in value)
        return Column(
            name, "whole list" if whole else "list", "lists of whole numbers" if whole else "lists of numbers"
        )
    if isinstance(value, str) and looks_like_list(value):
        return Column(name, "list", "lists written as text")
    if _is_number(value):
        return Column(name, "whole" if isinstance(value, int) else "fractions", "numbers")
    return Column(name, "other", "text" if isinstance(value, str) else type(value).__name__)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _vectors(path: Path, name: str | None) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    d = 0
    for row, (line, found) in enumerate(_objects(path)):
        where = f"{path}: row {row}, counted from 0 (line {line})" + (f", field {name!r}" if name else "")
        value = found.get(name) if isinstance(found, dict) and name else found
        if isinstance(value, str):
            try:
                value = parse_list(value).tolist()
            except ValueError as reason:
                raise InputError(f"{where}: {reason}.", "Repair or drop the line.") from None
        if not isinstance(value, list) or not value or not all(_is_number(item) for item in value):
            raise InputError(
                f"{where} holds no list of numbers: {shown(json.dumps(value))}.", "Repair or drop the line."
            )
        vector = np.array(value, np.float64)
        d = d or len(vector)
        if len(vector) != d:
            raise InputError(
                f"{where} has {len(vector)} numbers, the first {d}: lists differ in length.", "Drop the line."
            )
        if not np.isfinite(vector).all():
            raise InputError(f"{where} holds NaN or infinity.", "Drop the line.")
        batch.append(vector)
        if len(batch) == ROWS:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
