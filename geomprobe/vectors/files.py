"""Open files of vectors: the first bytes decide the format, not the name; others are refused with a reason."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geomprobe.common import GeomprobeError, InputError, UsageError, first_line
from geomprobe.common.formats import encoding_of, errors_of, format_of_bytes
from geomprobe.common.remote import fetch, is_remote
from geomprobe.vectors.arrays import read_npy, read_npz, read_safetensors
from geomprobe.vectors.binary import BINS, COUNT_LINE, VECS, read_bin, read_vecs, read_word2vec
from geomprobe.vectors.delimited import read_delimited
from geomprobe.vectors.json_lines import read_json_lines
from geomprobe.vectors.shards import Shards
from geomprobe.vectors.tables import read_table
from geomprobe.vectors.vector_file import ReadOptions, VectorFile

READ = (
    ".npy, .npz, .safetensors, .parquet, .arrow, .feather, .csv, .tsv, .txt, .vec, .jsonl, .fvecs, .fbin, "
    ".bin (word2vec) and their kin; see docs/reference/vectors.md"
)

CONVERT = {
    "HDF5": "pip install h5py, then: np.save('vectors.npy', h5py.File('{name}')['DATASET'][:])",
    "pickle": "A pickle can run code. If you trust it: np.save('x.npy', np.stack(pickle.load(open('{name}', 'rb'))))",
    "a file of torch.save": (
        "It is pickled. safetensors.torch.save_file({{'x': torch.load('{name}', weights_only=True)}}, 'x.safetensors')"
    ),
    "Excel": "Save the sheet as CSV.",
    "Feather 1": "pandas.read_feather('{name}').to_parquet('vectors.parquet')",
    "bzip2": "bunzip2 -k {name}",
    "xz": "xz -dk {name}",
    "zstandard": "zstd -d {name}",
    "MATLAB": "np.save('vectors.npy', scipy.io.loadmat('{name}')['VARIABLE'])",
    "SQLite": "pandas.read_sql('select …', sqlite3.connect('{name}')).to_parquet('vectors.parquet')",
    "ORC": "pandas.read_orc('{name}').to_parquet('vectors.parquet')",
    "Avro": "Convert it to Parquet.",
    "PDF": "Write its numbers as CSV.",
    "fastText model": "Use the text file next to it (.vec).",
    "Git LFS pointer": "git lfs pull",
    "Matrix Market": "np.save('vectors.npy', scipy.io.mmread('{name}').toarray())",
    "JSON": "Write one list, or one object with a list, a line (.jsonl). A list of lists: "
    "np.save('vectors.npy', np.array(json.load(open('{name}'))))",
    "HTML or XML": "Is it the page of an error? Download the file again.",
    "a zip archive": "Unpack it: unzip {name}",
}
"""Formats that are not read, and what makes a file that is."""

READERS: dict[str, Callable[[Path, ReadOptions], VectorFile]] = {
    "npy": read_npy,
    "npz": read_npz,
    "safetensors": read_safetensors,
    "parquet": read_table,
    "arrow": read_table,
    "word2vec": read_word2vec,
    "vecs": read_vecs,
    "bin": read_bin,
    "json lines": read_json_lines,
    "text": read_delimited,
}
OPTIONS = {
    "columns": ("parquet", "arrow", "text", "json lines"),
    "header": ("text",),
    "tensor": ("npz", "safetensors"),
}
"""The formats that each option is for."""
TYPED_NAMES = {".npy": "npy", ".npz": "npz", ".safetensors": "safetensors", ".parquet": "parquet"}


def open_vectors(
    paths: Sequence[str | os.PathLike],
    *,
    tensor: str | None = None,
    columns: str | None = None,
    header: bool | None = None,
) -> Any:
    """Open files of vectors as one matrix, without reading them into memory.

    Parameters
    ----------
    paths : sequence of path
        Files of any format that docs/reference/vectors.md lists; several are shards of one matrix, in the order given.
        Also URLs that fsspec opens (s3://, gs://, hf://), and folders of Parquet files, in the order of their names.
    tensor : str, optional
        Which array of a file that holds several matrices (.npz, .safetensors).
    columns : str, optional
        Name or pattern (such as "e*") of the columns of a table that make the vectors, several with commas; in a file
        without names, numbers and ranges from 1 ("2-").
    header : bool, optional
        Whether the first line of a text file holds names. Default: by the whole file, refused where it may be either.

    Returns
    -------
    array-like of shape (n, d)
        For `geomprobe.measure`, `VectorSource` or `Moments.update`. Tables and text are copied, batch by batch, to a
        temporary file that is mapped into memory and has no name any more.

    Raises
    ------
    InputError
        For files that are missing, damaged, empty, of a format that is not read, that can be read in two ways, or
        whose shards do not fit each other.
    UsageError
        For an option that a file's format does not have.
    """
    return joined(read_files(paths, ReadOptions(columns, header, tensor)))


def read_files(paths: Sequence[str | os.PathLike], reading: ReadOptions) -> list[VectorFile]:
    """Files opened, each with what was read of it (errors: `open_vectors`)."""
    return [file for path in paths for file in _read_all(path, reading)]


def _read_all(path: str | os.PathLike, reading: ReadOptions) -> list[VectorFile]:
    """The files that a path means: a URL's copy; of a data set in parts (a folder of Parquet files) all, by name."""
    local = fetch(str(path), [".parquet"]) if (remote := is_remote(path)) else Path(path)
    parts = [part for part in sorted(local.rglob("*.parquet")) if part.is_file()] if local.is_dir() else []
    read = [_read(part, reading) for part in parts or [local]]
    if not remote:
        return read
    shown = [f"{str(path).rstrip('/')}/{part.relative_to(local).as_posix()}" for part in parts] or [str(path)]
    return [replace(file, path=name) for file, name in zip(read, shown, strict=True)]


def joined(files: Sequence[VectorFile]) -> Any:
    """Matrix of files that are shards of one.

    Raises
    ------
    InputError
        Their columns or types differ.
    """
    first = files[0]
    for file in files[1:]:
        a, b = file.matrix, first.matrix
        if a.shape[1] != b.shape[1] or a.dtype != b.dtype:
            what = f"{file.path} has {a.shape[1]} columns of {a.dtype}, {first.path} {b.shape[1]} of {b.dtype}."
            raise InputError(what, "Shards of one matrix have the same columns and type.")
        alike = file.format == first.format and file.format not in ("safetensors", "numpy archive")
        if alike and file.columns != first.columns:
            name, other = next((x, y) for x, y in zip(file.columns, first.columns, strict=False) if x != y)
            what = f"{file.path} has column {name!r} where {first.path} has {other!r}."
            raise InputError(what, "Shards have the same columns in the same order.")
    return first.matrix if len(files) == 1 else Shards([file.matrix for file in files])


def _read(path: Path, reading: ReadOptions) -> VectorFile:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a file"
        raise InputError(f"{path} {what}.", f"Give files of vectors: {READ}.")
    try:
        with errors_of(path):  # what is raised about a file in reading it need not name it
            kind = _kind(path)
            if kind not in READERS:
                by = "" if kind in ("pickle", "JSON") else " by its first bytes"
                raise InputError(f"{path} is {kind}{by}, which is not read.", CONVERT[kind].format(name=path.name))
            for option, kinds in OPTIONS.items():
                if getattr(reading, option) is not None and kind not in kinds:
                    hint = f"It is for {', '.join(kinds)}."
                    raise UsageError(f"--{option} is not for {path}, which is {kind}.", hint)
            return READERS[kind](path, reading)
    except GeomprobeError:
        raise
    except Exception as error:  # numpy, pyarrow and safetensors raise many kinds; for the reader they mean one thing
        raise InputError(
            f"{path} is damaged or cannot be read: {first_line(error)}", "Copy, download or write it again."
        ) from None


def _kind(path: Path) -> str:
    """Format of a file: a name of READERS or of CONVERT."""
    suffix = path.suffix.lower()
    with open(path, "rb") as file:
        head = file.read(4096)
    if not head:
        raise InputError(f"{path} is empty.", "It needs at least two vectors.")
    if suffix in VECS or suffix in BINS:
        return "vecs" if suffix in VECS else "bin"
    kind = format_of_bytes(head)
    if kind == "zip":
        return _zip_kind(path)
    if kind == "gzip":
        inner = zlib.decompressobj(wbits=31).decompress(head, 4096)
        if (kind := format_of_bytes(inner)) == "HTML or XML":
            return kind
        if kind or _is_binary(inner):
            raise InputError("gzipped, and no text; only text is read gzipped.", f"gunzip -k {path.name}")
        head = inner
    elif kind:
        return kind
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "safetensors"
    elif COUNT_LINE.match(head) and (suffix == ".bin" or _is_binary(head)):
        return "word2vec"
    elif _is_binary(head):
        wide = "Text in UTF-16 needs a byte-order mark, or iconv -f UTF-16LE -t UTF-8. " if _is_wide(head) else ""
        raise InputError(f"{path} has no known format, by its first bytes.", f"{wide}Formats: {READ}.")
    if suffix in TYPED_NAMES:
        raise InputError(f"{path} is not a {suffix} file: it begins with text.", "Name it .csv, or write it again.")
    return _text_kind(head, suffix)


def _text_kind(head: bytes, suffix: str) -> str:
    start = head.lstrip(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        return "HTML or XML"
    if suffix in (".jsonl", ".ndjson"):
        return "json lines"
    first = start.split(b"\n")[0].strip()
    if first in (b"{", b"[") or start.startswith((b"[[", b"[{")):
        return "JSON"
    if start.startswith(b"{") or re.match(rb"\[[-+\d.eE,\s]+(\]|$)", start):
        return "json lines"
    return "JSON" if suffix == ".json" else "text"


def _zip_kind(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return "a file of torch.save"
    if any(name.startswith("xl/") for name in names):
        return "Excel"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "a zip archive"


def _is_wide(head: bytes) -> bool:
    return not any(head[1:64:2]) or not any(head[:64:2])


def _is_binary(head: bytes) -> bool:
    """Whether bytes are no text: a zero byte, without a byte-order mark that explains it."""
    return b"\0" in head and encoding_of(head) == "utf-8"
