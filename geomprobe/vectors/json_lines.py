"""JSON lines: a list a line, or an object a line with one list in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, UsageError, brief
from geomprobe.common.files import unique_names
from geomprobe.common.formats import open_text
from geomprobe.vectors.columns import LISTS, NUMBERS, Column, choose, left_out
from geomprobe.vectors.lists import is_typed_number, is_whole_list, looks_like_list, parse_list, shown, vectors_of
from geomprobe.vectors.source import Reading, VectorFile, spooled

OTHER = {dict: "an object", list: "a list of other things than numbers", type(None): "null", bool: "true or false"}
"""Names of values that hold no numbers."""


def read_json_lines(path: Path, reading: Reading) -> VectorFile:
    """Vectors of a file with a JSON list, or an object with one list of numbers, in each line.

    Raises
    ------
    InputError
        A line that is no JSON or has no such list, lists of unequal length, objects with numbers but no list.
    """
    found = next(_objects(path), None)
    if found is None:
        raise InputError(f"{path} is empty.", "It needs at least two vectors.")
    first = found[1]
    if isinstance(first, list):
        if reading.columns is not None:
            raise UsageError(f"--columns is not for {path}: its lines are lists without names.", "Leave it out.")
        matrix = spooled(vectors_of(_cells(path, None)), path)
        whole = (f"{path} holds whole numbers alone: token ids? They were read as vectors",)
        return VectorFile(path, "JSON lines", matrix, warnings=whole if _all_whole(path, None) else ())
    if not isinstance(first, dict):
        raise InputError(
            f"{path}: line {found[0]} holds neither a list nor an object.",
            'A line is [0.1, 0.2] or {"embedding": [0.1, 0.2]}.',
        )
    columns = [_column(name, value) for name, value in first.items()]
    for j, column in enumerate(columns):
        if column.kind == "whole list" and not _all_whole(path, column.name):
            columns[j] = replace(column, kind="list")
    if not any(column.kind in LISTS for column in columns):
        held = ", ".join(f"{brief(column.name, 40)} ({column.what})" for column in columns[:8]) or "nothing"
        numbers = sum(column.kind in NUMBERS for column in columns) > 1
        raise InputError(
            f"{path} has no list of numbers in line {found[0]}; it has {held}.",
            f"Numbers one by one: pandas.read_json('{path.name}', lines=True).to_parquet('vectors.parquet')"
            if numbers
            else 'Write each vector as a line: {"embedding": [0.1, 0.2]}.',
        )
    j = choose(columns, True, reading.columns, path)[0]
    matrix = spooled(vectors_of(_cells(path, columns[j].name)), path)
    return VectorFile(path, "JSON lines", matrix, (columns[j].name,), left_out(columns, [j]))


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    with open_text(path) as text:
        for line, content in enumerate(text, 1):
            if content.strip():
                try:
                    yield line, json.loads(content, object_pairs_hook=unique_names)
                except (ValueError, RecursionError) as error:
                    with suppress(ValueError):  # as numpy prints it, without commas
                        yield line, parse_list(content).tolist()
                        continue
                    raise InputError(
                        f"{path}, line {line} cannot be read as JSON: {str(error)[:200]}.",
                        f"One document for all? np.save('vectors.npy', np.array(json.load(open('{path.name}'))))"
                        if isinstance(error, json.JSONDecodeError) and line == 1
                        else "Repair or drop the line; the last one may be cut off.",
                    ) from None


def _all_whole(path: Path, name: str | None) -> bool:
    """Whether all lists, of a field or as lines, hold whole numbers alone; a vector may, such as [1, 0, 0]."""
    values = (found.get(name) if isinstance(found, dict) and name is not None else found for _, found in _objects(path))
    return all(
        is_whole_list(value) if isinstance(value, str) else all(isinstance(item, int) for item in value)
        for value in values
        if isinstance(value, str | list)
    )


def _column(name: str, value: Any) -> Column:
    if isinstance(value, list) and value and all(is_typed_number(item) for item in value):
        whole = all(isinstance(item, int) for item in value)
        return Column(
            name, "whole list" if whole else "list", "lists of whole numbers" if whole else "lists of numbers"
        )
    if isinstance(value, str) and looks_like_list(value):
        return Column(name, "whole list" if is_whole_list(value) else "list", "lists written as text")
    if is_typed_number(value):
        return Column(name, "whole" if isinstance(value, int) else "fractions", "numbers")
    return Column(name, "other", "text" if isinstance(value, str) else OTHER.get(type(value), type(value).__name__))


def _cells(path: Path, name: str | None) -> Iterator[tuple[str, Any]]:
    """Yield where each line's list stands, and the list: the line itself, or its field."""
    for row, (line, found) in enumerate(_objects(path)):
        where = f"{path}: row {row}, counted from 0 (line {line})"
        if name is None:
            yield where, found
        elif isinstance(found, dict) and name in found:
            yield f"{where}, field {brief(name)!r}", found[name]
        else:
            hint = "Repair or drop the line."
            raise InputError(f"{where} has no field {brief(name)!r}: {shown(json.dumps(found))}.", hint)
