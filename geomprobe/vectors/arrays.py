"""Arrays as numpy and safetensors write them: mapped, never read whole; several in a file are named by --tensor."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geomprobe.common import InputError, brief, first_to_last
from geomprobe.vectors.indices import SURE_ROWS, counting_columns, id_column
from geomprobe.vectors.shards import Bfloat16
from geomprobe.vectors.vector_file import ReadOptions, VectorFile

SAFETENSORS = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "BF16": np.uint16,
    "I8": np.int8,
    "U8": np.uint8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
}


def read_npy(path: Path, reading: ReadOptions) -> VectorFile:
    """Array of a .npy file, mapped."""
    with open(path, "rb") as file:
        return _checked(path, "numpy array", _mapped(file, "it"))


def read_npz(path: Path, reading: ReadOptions) -> VectorFile:
    """An array of a .npz file, copied to a temporary file without a name and mapped."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if {"format", "shape", "data"} <= set(names):
            to_dense = f"np.save('vectors.npy', scipy.sparse.load_npz('{path.name}').toarray())"
            raise InputError("a scipy sparse matrix; vectors must be dense.", f"Convert it: {to_dense}")
        shapes = {}
        for name in names:
            with archive.open(f"{name}.npy") as member:
                shape, _, dtype = _npy_header(member)
                real = dtype.kind in "fiu" or _is_bfloat16(dtype)
                shapes[name] = "" if real and len(shape) == 2 and 0 not in shape else f"{_type_name(dtype)} {shape}"
        name, out = _one_of(shapes, reading.tensor)
        with archive.open(f"{name}.npy") as member, tempfile.TemporaryFile() as file:
            shutil.copyfileobj(member, file)
            file.flush()
            file.seek(0)
            return _checked(path, "numpy archive", _mapped(file, repr(name)), (name,), out)


def read_safetensors(path: Path, reading: ReadOptions) -> VectorFile:
    """A tensor of a .safetensors file, mapped."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy"):  # checks the header
        pass
    with open(path, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        entries = json.loads(handle.read(length))
    entries.pop("__metadata__", None)
    shapes = {
        name: "" if len(e["shape"]) == 2 and e["dtype"] in SAFETENSORS else f"{e['dtype']} {tuple(e['shape'])}"
        for name, e in entries.items()
    }
    name, out = _one_of(shapes, reading.tensor)
    dtype, shape = entries[name]["dtype"], tuple(entries[name]["shape"])
    if dtype not in SAFETENSORS:
        raise InputError(f"{name!r} is {dtype}.", f"Convert it to one of {', '.join(SAFETENSORS)}.")
    if 0 in shape or len(shape) != 2:
        raise InputError(f"{name!r} has shape {shape}: it is not a matrix of vectors.", "Vectors are rows: (n, d).")
    matrix = np.memmap(path, SAFETENSORS[dtype], "r", 8 + length + entries[name]["data_offsets"][0], shape)
    return _checked(path, "safetensors", Bfloat16(matrix) if dtype == "BF16" else matrix, (name,), out)


def bytes_warning(name: object, dtype: np.dtype) -> str:
    """Warning that bytes may be packed bits, as sentence-transformers writes them."""
    signed = dtype == np.int8  # precision "binary" is packed bits less 128
    unpacked = "(x.astype(np.int16) + 128).astype(np.uint8)" if signed else "x"
    return (
        f"{name} holds {dtype}: read as quantised numbers. Packed bits (precision {'binary' if signed else 'ubinary'}) "
        f"need unpacking first: np.unpackbits({unpacked}, axis=1)"
    )


def _one_of(shapes: Mapping[str, str], tensor: str | None) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Name of the array to take and the others; `shapes` says what those are that are no matrix of numbers.

    What is wrong with the only array, or with the one that was asked for, is left to the caller, who can say more.
    """
    matrices = [name for name, wrong in shapes.items() if not wrong]
    if tensor is not None and tensor not in shapes:
        raise InputError(f"no array {brief(tensor)!r}.", f"It holds: {first_to_last(list(shapes), 'arrays')}.")
    if tensor is None and len(matrices) > 1:
        what = f"it holds {len(matrices)} matrices: {first_to_last(matrices, 'matrices')}."
        raise InputError(what, f"Say which with --tensor {brief(matrices[0])}, for one.")
    if tensor is None and not matrices and len(shapes) != 1:
        held = ", ".join(f"{brief(name, 40)} ({wrong})" for name, wrong in list(shapes.items())[:8]) or "nothing"
        raise InputError("it holds no matrix.", f"It holds: {held}. Vectors are rows: (n, d).")
    taken = tensor if tensor is not None else next(iter(matrices or shapes))
    return taken, tuple((name, wrong or "another matrix") for name, wrong in shapes.items() if name != taken)


def _is_bfloat16(dtype: np.dtype) -> bool:
    """Whether a type is bfloat16 as numpy writes it: words of two bytes without a type."""
    return dtype.kind == "V" and dtype.itemsize == 2 and not dtype.names


def _type_name(dtype: np.dtype) -> str:
    if dtype.hasobject:
        return "Python objects"
    return "a structured array" if dtype.names else str(dtype)


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


NOT_REAL = {"c": "complex numbers", "U": "text", "S": "text", "M": "dates", "m": "durations", "b": "true and false"}
OTHER_SHAPES = {
    1: "One vector, or one number a text? np.stack makes rows of several vectors.",
    3: "States of tokens? Pool them first: np.save('vectors.npy', x.mean(axis=1))",
}


def _refuse_array(name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise InputError for an array that is no matrix of real numbers, with the way to make it one."""
    if dtype.hasobject:
        hint = "Where it was written: np.save('vectors.npy', np.stack(list(x)).astype('float32'))"
        raise InputError(f"{name} holds Python objects, which are pickled; nothing is unpickled here.", hint)
    if dtype.names:
        fields = first_to_last(dtype.names, "fields")
        hint = "Save the vectors alone: np.save('vectors.npy', x['FIELD'])"
        raise InputError(f"{name} is a structured array with the fields {fields}.", hint)
    if dtype.kind in NOT_REAL or (dtype.kind == "V" and not _is_bfloat16(dtype)):
        kind = NOT_REAL.get(dtype.kind, f"a type that numpy does not know ({dtype}: float8?)")
        real = "np.hstack([x.real, x.imag])" if dtype.kind == "c" else "x.astype('float32')"
        what = f"{name} holds {kind}: vectors must be real numbers, not {dtype}."
        raise InputError(what, f"Save numbers: np.save('vectors.npy', {real})")
    if len(shape) != 2:
        what = f"{name} holds an array of shape {shape}, not a matrix; vectors are rows: (n, d)."
        raise InputError(what, OTHER_SHAPES.get(len(shape), "Reshape it."))
    if 0 in shape:
        raise InputError(f"{name} has shape {shape}: it holds no vectors.", "It needs at least two vectors.")


def _mapped(file: Any, name: str) -> Any:
    """Array of an open .npy file, mapped; words of two bytes without a type are bfloat16."""
    shape, fortran, dtype = _npy_header(file)
    _refuse_array(name, shape, dtype)
    end = file.tell() + math.prod(shape) * dtype.itemsize
    if (size := file.seek(0, os.SEEK_END)) != end:
        why = "is cut off" if size < end else "holds more than one array, or was damaged"
        what = f"{name} {why}: its array of shape {shape} ends at byte {end}, the file at byte {size}."
        raise InputError(what, "Write it again; several arrays make several files.")
    file.seek(end - math.prod(shape) * dtype.itemsize)
    array = np.memmap(file, np.uint16 if dtype.kind == "V" else dtype, "r", file.tell(), shape, "F" if fortran else "C")
    return Bfloat16(array) if dtype.kind == "V" else array


def _checked(
    path: Path, kind: str, array: Any, names: tuple[str, ...] = (), out: tuple[tuple[str, str], ...] = ()
) -> VectorFile:
    """File with warnings about numbers that may not be vectors."""
    notes, warnings = [f"numbers: {str(array.dtype).removeprefix('torch.')}"], []
    if isinstance(array, Bfloat16) and kind != "safetensors":
        notes = ["numbers: words of two bytes, read as bfloat16, as ml_dtypes writes it"]
    if array.dtype in (np.int8, np.uint8):
        warnings.append(bytes_warning(names[0] if names else path, array.dtype))
    if array.dtype != torch.bfloat16:
        index = next(iter(counting_columns(array)), id_column(array)) if len(array) >= SURE_ROWS else None
        if index is not None:
            what = f"column {index} (from 0) of {path} holds a different whole number in every row"
            warnings.append(f"{what}: an id? It was read as a dimension")
    return VectorFile(path, kind, array, names, out, tuple(notes), tuple(warnings))
