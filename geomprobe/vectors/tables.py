"""Parquet, Arrow and Feather: columns of numbers, one column of lists, or one column of lists written as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geomprobe.common import InputError, brief
from geomprobe.common.formats import BATCH_ROWS, Batches, open_arrow
from geomprobe.vectors.columns import LISTS, Column, choose, left_out
from geomprobe.vectors.indices import without_indices
from geomprobe.vectors.lists import is_whole_list, looks_like_list, ragged, vectors_of
from geomprobe.vectors.vector_file import ReadOptions, VectorFile, row_place, spooled


def read_table(path: Path, reading: ReadOptions) -> VectorFile:
    """Vectors of a Parquet or Arrow file (IPC, Feather 2), or of the stream that a `datasets` folder holds."""
    with open_arrow(path) as (kind, schema, batches):
        columns = _columns(schema, batches)
        taken = choose(columns, True, reading.columns)
        names = [columns[j].name for j in taken]
        lists = columns[taken[0]].kind in LISTS
        if lists and _is_text(schema.field(names[0]).type):
            cells = (cell.as_py() or "" for batch in batches(names) for cell in batch.column(names[0]))
            vectors = vectors_of((row_place(row, names[0]), cell) for row, cell in enumerate(cells))
        else:
            vectors = _converted(batches(names), names, _list_vectors if lists else _number_vectors)
        matrix = spooled(vectors)
    if reading.columns is None and not lists:
        matrix, columns, taken = without_indices(matrix, columns, taken, True)
    return VectorFile(path, kind, matrix, tuple(columns[j].name for j in taken), left_out(columns, taken))


def _columns(schema: Any, batches: Batches) -> list[Column]:
    """Columns of a schema; a column of text is one of lists where its first filled cell looks like one."""
    import pyarrow.types as types

    def of(field: Any) -> Column:
        kind = getattr(field.type, "storage_type", field.type)
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            inner = kind.value_type
            if _is_real(inner) or types.is_int8(inner) or types.is_uint8(inner):
                return Column(field.name, "list", "lists of numbers")
            if types.is_integer(inner):
                return Column(field.name, "whole list", "lists of whole numbers")
            return Column(field.name, "other", f"lists of {brief(str(inner), 60)}")
        if _is_real(kind):
            return Column(field.name, "fractions", "numbers")
        if types.is_integer(kind):
            return Column(field.name, "whole", "whole numbers")
        if types.is_null(kind):
            return Column(field.name, "empty", "empty")
        if _is_text(kind):
            return Column(field.name, "text", "text")
        binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
        what = "bytes without a declared type" if binary else str(kind)[:60]
        return Column(field.name, "other", "categories" if types.is_dictionary(kind) else what)

    columns = [of(field) for field in schema]
    text = [c.name for c in columns if c.kind == "text"]
    if text and (batch := next((found for found in batches(text) if len(found)), None)):
        for j, column in enumerate(columns):
            if column.kind == "text" and schema.names.count(column.name) == 1:
                cell = next((cell for cell in batch.column(column.name).to_pylist() if cell), "")
                if is_whole_list(cell) and _all_whole(batches([column.name])):
                    columns[j] = Column(column.name, "whole list", "lists of whole numbers, written as text")
                elif looks_like_list(cell):
                    columns[j] = Column(column.name, "list", "lists written as text")
    return columns


def _all_whole(batches: Iterator[Any]) -> bool:
    return all(is_whole_list(cell) for batch in batches for cell in batch.column(0).to_pylist() if cell)


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_real(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_floating(kind) or types.is_decimal(kind)


def _converted(batches: Iterator[Any], names: list[str], convert: Callable[..., np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the vectors of batches, checked: no empty cell, one length, all finite."""
    done, d = 0, 0
    for batch in batches:
        for start in range(0, len(batch), BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            for name in names:
                if part.column(name).null_count:
                    row = done + int(np.argmin(part.column(name).is_valid().to_numpy(zero_copy_only=False)))
                    raise InputError(f"{row_place(row, name)}: an empty cell.", "Fill or drop those rows.")
            vectors = convert(part, names, done)
            d = d or vectors.shape[1]
            if vectors.shape[1] != d:
                raise ragged(row_place(done, names[0]), vectors.shape[1], d)
            if not np.isfinite(vectors).all():
                row, column = np.argwhere(~np.isfinite(vectors))[0]
                name = names[column] if len(names) == d else names[0]
                raise InputError(f"{row_place(done + row, name)} holds NaN or infinity.", "Fill or drop those rows.")
            done += len(vectors)
            yield vectors


def _number_vectors(batch: Any, names: Sequence[str], done: int) -> np.ndarray:
    """Columns of numbers as a matrix: float32 where all are at most that, else float64."""
    return np.column_stack([_floats(batch.column(name)) for name in names])


def _list_vectors(batch: Any, names: Sequence[str], done: int) -> np.ndarray:
    """A column of lists as a matrix: float32 where its numbers are at most that, else float64."""
    column = batch.column(names[0])
    column = getattr(column, "storage", column)  # of an extension type, such as a tensor of fixed shape
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if bad := np.flatnonzero((lengths != lengths[0]) | (lengths == 0)).tolist():
        raise ragged(row_place(done + bad[0], names[0]), lengths[bad[0]], lengths[0])
    flat = column.flatten()
    if flat.null_count:
        row = int(np.argmin(flat.is_valid().to_numpy(zero_copy_only=False))) // int(lengths[0])
        raise InputError(f"{row_place(done + row, names[0])}: a list with an empty cell.", "Drop the row.")
    return _floats(flat).reshape(len(column), -1)


def _floats(numbers: Any) -> np.ndarray:
    """An Arrow array of numbers as float32 where they are at most that, else as float64."""
    import pyarrow as pa

    numbers = numbers.cast(pa.float64()) if pa.types.is_decimal(numbers.type) else numbers
    narrow = pa.types.is_floating(numbers.type) and numbers.type.bit_width <= 32
    return numbers.to_numpy(zero_copy_only=False).astype(np.float32 if narrow else np.float64, copy=False)
