"""Files of vectors, whole and damaged, through `geomprobe measure` and the door that it reads them by."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fuzz_contract import examples
from fuzz_damage import KINDS_OF_FILE, damaged_bytes, damaged_json, fresh_copy, read_or_refused
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from geomprobe.common import InputError
from geomprobe.vectors import VectorSource, joined, read_files
from geomprobe.vectors.vector_file import ReadOptions

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def npy(array, version=(1, 0)) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    return frame.to_parquet()


TABLE = pd.DataFrame(X, columns=[f"e{i}" for i in range(4)]).assign(word=[f"w{i}" for i in range(12)])
FILES = {
    "v.npy": npy(X),
    "v2.npy": npy(np.asfortranarray(X.astype(np.float64)), (2, 0)),
    "v.npz": npz(x=X, ids=np.arange(12)),
    "v.safetensors": save_safetensors({"x": X, "bias": X[0]}),
    "v.parquet": parquet(TABLE),
    "lists.parquet": parquet(pd.DataFrame({"id": range(12), "vector": X.tolist()})),
    "v.csv": TABLE.to_csv(index=False).encode(),
    "v.tsv": TABLE.to_csv(sep="\t").encode(),
    "v.txt": "\n".join(" ".join(map(str, row)) for row in X.tolist()).encode(),
    "w.vec": f"12 4\n{TABLE[['word', 'e0', 'e1', 'e2', 'e3']].to_csv(index=False, header=False, sep=' ')}".encode(),
    "v.jsonl": "".join(json.dumps({"id": i, "vector": row}) + "\n" for i, row in enumerate(X.tolist())).encode(),
    "v.fvecs": b"".join(np.int32(4).tobytes() + row.tobytes() for row in X),
    "v.fbin": np.array(X.shape, np.int32).tobytes() + X.tobytes(),
}
WHOLE = ("v.npy", "v2.npy", "v.npz", "v.safetensors", "v.parquet", "lists.parquet", "v.fvecs", "v.fbin")
"""Formats that say how much they hold: one of them cut short is refused."""
SHAPES = [
    (12, 4),
    (4, 12),
    (48,),
    (3, 4, 4),
    (0, 4),
    (12, 0),
    (),
    (1, 1),
    (2**40, 2**20),
    (-1, 4),
    (12.0, 4),
    (True, 4),
]
DTYPES = ["<f4", ">f4", "<f8", "<f2", "<i8", "<u1", "|b1", "<c8", "|O", "|S4", "<U2", "<M8[s]", "|V4", "f4", "", "<f99",
          [("a", "<f4")], "<f16", None]  # fmt: skip


def opened(path) -> VectorSource:
    """Open a file as `geomprobe measure` does."""
    try:
        return VectorSource(joined(read_files([path], ReadOptions())))
    except ValueError as error:
        raise InputError(str(error)) from None


def write(folder, name, content) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def cut_short(name, content) -> bool:
    """Whether a file shows that it was cut: one of rows that say only how long each is does not where a row ends."""
    whole_rows = name == "v.fvecs" and len(content) % (len(FILES[name]) // 12) == 0
    return name in WHOLE and content == FILES[name][: len(content)] != FILES[name] and not whole_rows


@examples(3)
@given(data=st.data())
def test_damaged_vectors(obeys, tmp_path, data):
    """Bytes changed in every format: measured or refused, and a file that was cut short is refused."""
    folder = fresh_copy(None, tmp_path)
    name = data.draw(st.sampled_from(sorted(FILES)))
    content = data.draw(damaged_bytes(FILES[name]))
    write(folder, name, content)
    code = obeys("measure", name, "--metric=effective_rank", folder=folder)
    if cut_short(name, content):
        assert code == 3, f"{name} of {len(content)} in place of {len(FILES[name])} bytes was read"


@examples(20)
@given(data=st.data())
@example(data=None)
def test_damaged_vectors_at_the_door(tmp_path, data):
    """As above without the metrics, which costs a twentieth."""
    if data is None:  # every kind of file under every name
        cases = [(name, content) for name in sorted(FILES) for content in KINDS_OF_FILE]
    else:
        name = data.draw(st.sampled_from(sorted(FILES)))
        content = data.draw(damaged_bytes(FILES[name]))
        if name == "v.jsonl" and data.draw(st.booleans()):
            lines = FILES[name].decode().splitlines()
            lines[3] = data.draw(damaged_json(lines[3]))
            content = "\n".join(lines).encode("utf-8", "surrogatepass")
        cases = [(name, content)]
    folder = fresh_copy(None, tmp_path)
    for name, content in cases:
        assert read_or_refused(opened, write(folder, name, content)) is None or not cut_short(name, content)


@examples(20)
@given(
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(DTYPES),
    order=st.sampled_from([True, False, None, 3]),
    more=st.sampled_from(["", "'x': 1, ", "(" * 50, "[" * 1000, "\0", "# "]),
    version=st.sampled_from([1, 2, 3, 9]),
)
def test_headers_of_npy(tmp_path, shape, dtype, order, more, version):
    """Any header of a .npy file before the same 192 bytes: what is read has the shape that the header says."""
    text = f"{{{more}'descr': {dtype!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}".encode()
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    folder = fresh_copy(None, tmp_path)
    (folder / "v.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + text + X.tobytes())
    read = read_or_refused(opened, folder / "v.npy")
    if read is not None and read.n * read.d:
        assert (read.n, read.d) == shape[:2]


@examples(20)
@given(data=st.data())
def test_header_of_safetensors(tmp_path, data):
    """Any JSON value at any place of the header of a .safetensors file."""
    content = FILES["v.safetensors"]
    size = int.from_bytes(content[:8], "little")
    header = data.draw(damaged_json(content[8 : 8 + size].decode())).encode("utf-8", "surrogatepass")
    said = data.draw(st.sampled_from([len(header), size, 0, 2**40, 2**63]))
    folder = fresh_copy(None, tmp_path)
    (folder / "v.safetensors").write_bytes(said.to_bytes(8, "little") + header + content[8 + size :])
    read_or_refused(opened, folder / "v.safetensors")


@examples(15)
@given(data=st.data())
def test_a_matrix_is_read_as_it_was_written(tmp_path, data):
    """What pandas and numpy write is the same matrix, or refused; never another one."""
    n, d = data.draw(st.integers(2, 6)), data.draw(st.integers(2, 5))
    kind = data.draw(st.sampled_from(["f4", "f8", "i4"]))
    number = st.integers(-1000, 1000) if kind == "i4" else st.floats(-1e6, 1e6, width=32 if kind == "f4" else 64)
    rows = data.draw(st.lists(st.lists(number, min_size=d, max_size=d), min_size=n, max_size=n))
    matrix = np.array(rows, dtype=kind)
    how = data.draw(st.sampled_from(["npy", "npz", "safetensors", "parquet", "csv", "tsv", "jsonl", "space"]))
    text = data.draw(st.booleans())
    frame = pd.DataFrame(matrix, columns=[f"e{i}" for i in range(d)])
    if text:
        words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
        frame["text"] = data.draw(st.lists(words, min_size=n, max_size=n))
    content = {
        "npy": lambda: npy(np.asfortranarray(matrix) if text else matrix),
        "npz": lambda: npz(x=matrix),
        "safetensors": lambda: save_safetensors({"x": np.ascontiguousarray(matrix)}),
        "parquet": lambda: parquet(frame),
        "csv": lambda: frame.to_csv(index=False).encode(),
        "tsv": lambda: frame.to_csv(index=False, sep="\t").encode(),
        "jsonl": lambda: frame.to_json(orient="records", lines=True, double_precision=15).encode(),
        "space": lambda: "\n".join(" ".join(map(repr, row)) for row in matrix.tolist()).encode(),
    }[how]()
    folder = fresh_copy(None, tmp_path)
    read = read_or_refused(opened, write(folder, f"v.{'txt' if how == 'space' else how}", content))
    if read is not None:
        np.testing.assert_allclose(read.block(0, n + 1).numpy(), matrix, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("bad", [b"\xff", b"\0"])
def test_a_zip_with_a_damaged_array(obeys, tmp_path, bad):
    """A flipped byte inside a .npz archive is found by its checksum."""
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        archive.writestr("x.npy", FILES["v.npy"])
    content = (tmp_path / "v.npz").read_bytes()
    at = content.index(X.tobytes())
    folder = fresh_copy(None, tmp_path)
    (folder / "v.npz").write_bytes(content[: at + 5] + bad + content[at + 6 :])
    assert obeys("measure", "v.npz", folder=folder) == 3
