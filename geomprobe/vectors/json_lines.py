"""JSON lines: a list a line, or an object a line with one list in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, UsageError, brief
from geomprobe.common.files import json_fault, unique_names
from geomprobe.common.formats import open_text
from geomprobe.vectors.columns import LISTS, NUMBERS, Column, choose, left_out
from geomprobe.vectors.lists import is_typed_number, is_whole_list, looks_like_list, parse_list, shown, vectors_of
from geomprobe.vectors.vector_file import ReadOptions, VectorFile, row_place, spooled

OTHER = {dict: "an object", list: "a list of other things than numbers", type(None): "null", bool: "true or false"}
"""Names of values that hold no numbers."""


def read_json_lines(path: Path, reading: ReadOptions) -> VectorFile:
    """Vectors of a file with a JSON list, or an object with one list of numbers, in each line.

    Raises
    ------
    InputError
        A line that is no JSON or has no such list, lists of unequal length, objects with numbers but no list.
    """
    line, first = next(_objects(path), (0, None))
    if not line:
        raise InputError("it is empty.", "It needs at least two vectors.")
    if isinstance(first, list):
        if reading.columns is not None:
            raise UsageError(f"--columns is not for {path}: its lines are lists without names.", "Leave it out.")
        matrix = spooled(vectors_of(_cells(path, None)))
        whole = (f"{path} holds whole numbers alone: token ids? They were read as vectors",)
        return VectorFile(path, "JSON lines", matrix, warnings=whole if _all_whole(path, None) else ())
    as_line = 'Write each vector as a line: [0.1, 0.2] or {"embedding": [0.1, 0.2]}.'
    if not isinstance(first, dict):
        raise InputError(f"line {line} holds neither a list nor an object.", as_line)
    columns = [_column(name, value) for name, value in first.items()]
    for j, column in enumerate(columns):
        if column.kind == "whole list" and not _all_whole(path, column.name):
            columns[j] = replace(column, kind="list")
    if not any(column.kind in LISTS for column in columns):
        held = ", ".join(f"{brief(column.name, 40)} ({column.what})" for column in columns[:8]) or "nothing"
        numbers = sum(column.kind in NUMBERS for column in columns) > 1
        convert = f"pandas.read_json('{path.name}', lines=True).to_parquet('vectors.parquet')"
        hint = f"Numbers one by one: {convert}" if numbers else as_line
        raise InputError(f"no list of numbers in line {line}; it has {held}.", hint)
    j = choose(columns, True, reading.columns)[0]
    matrix = spooled(vectors_of(_cells(path, columns[j].name)))
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
                    hint = "Repair or drop the line; the last one may be cut off."
                    if isinstance(error, json.JSONDecodeError) and line == 1:
                        as_array = f"np.array(json.load(open('{path.name}')))"
                        hint = f"One document for all? np.save('vectors.npy', {as_array})"
                    raise InputError(f"line {line} cannot be read as JSON: {json_fault(error)[:200]}.", hint) from None


def _all_whole(path: Path, name: str | None) -> bool:
    """Whether all lists, of a field or as lines, hold whole numbers alone; a vector may, such as [1, 0, 0]."""
    values = (found.get(name) if isinstance(found, dict) and name is not None else found for _, found in _objects(path))
    return all(
        is_whole_list(value) if isinstance(value, str) else all(isinstance(item, int) for item in value)
        for value in values
        if isinstance(value, str | list)
    )


def _column(name: str, value: Any) -> Column:
    if isinstance(value, str):
        if not looks_like_list(value):
            return Column(name, "other", "text")
        return Column(name, "whole list" if is_whole_list(value) else "list", "lists written as text")
    if isinstance(value, list) and value and all(map(is_typed_number, value)):
        if all(isinstance(item, int) for item in value):
            return Column(name, "whole list", "lists of whole numbers")
        return Column(name, "list", "lists of numbers")
    if is_typed_number(value):
        return Column(name, "whole" if isinstance(value, int) else "fractions", "numbers")
    return Column(name, "other", OTHER[type(value)])


def _cells(path: Path, name: str | None) -> Iterator[tuple[str, Any]]:
    """Yield where each line's list stands, and the list: the line itself, or its field."""
    for row, (line, found) in enumerate(_objects(path)):
        if name is None:
            yield row_place(row, None, line), found
        elif isinstance(found, dict) and name in found:
            yield row_place(row, name, line), found[name]
        else:
            what = f"{row_place(row, None, line)} has no field {brief(name)!r}: {shown(json.dumps(found))}."
            raise InputError(what, "Repair or drop the line.")
