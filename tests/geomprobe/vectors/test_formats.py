"""Arrays, tables and binary files of vectors: read as meant, or refused with the way to convert."""

import gzip
import os
import pickle
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch
from safetensors.numpy import save_file

from geomprobe.common import InputError, UsageError
from geomprobe.vectors import ReadOptions, VectorSource, open_vectors, read_files


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


def read(path, **options):
    return read_files([path], ReadOptions(**options))[0]


def refused(path, *words, error=InputError, **options):
    with pytest.raises(error) as caught:
        open_vectors([path], **options)
    said = f"{caught.value.message} {caught.value.hint}"
    for word in (str(path), *words):
        assert word in said, said
    assert len(said) < 900


def save(path, array, **options):
    with open(path, "wb") as file:
        np.save(file, array, **options)
    return path


# ---- arrays ----------------------------------------------------------------------------------------------------------


def test_arrays_that_are_no_vectors(tmp_path, x):
    path = tmp_path / "a.npy"
    refused(save(path, x[0]), "shape (5,)")
    refused(save(path, np.zeros((4, 3, 2))), "shape (4, 3, 2)", "x.mean(axis=1)")
    refused(save(path, np.zeros((0, 5))), "no vectors")
    refused(save(path, x * 1j), "complex")
    refused(save(path, x > 0), "bool")
    refused(save(path, x.astype(str)), "text")
    refused(save(path, np.zeros(4, [("id", int), ("v", float, 3)])), "fields id, v")
    refused(save(path, np.array([[1], [None]], object), allow_pickle=True), "pickled", "np.stack")
    refused(save(path, np.zeros((3, 2), "V1")), "float8")
    refused(save(path, x), "--columns", error=UsageError, columns="e*")
    path.write_bytes(save(path, x).read_bytes()[:-8])
    refused(path, "cut off")
    save(path, x)
    with open(path, "ab") as file:
        np.save(file, x)
    refused(path, "more than one array", "byte 928")


@pytest.mark.parametrize("kind", ["V2", "<V2", "|V2"])
def test_bfloat16_arrays(tmp_path, x, kind):
    """ml_dtypes writes bfloat16 as words of two bytes without a type."""
    words = torch.from_numpy(x).bfloat16()
    found = read(save(tmp_path / "a.npy", words.view(torch.int16).numpy().view(kind)))
    assert "bfloat16" in found.notes[0]
    assert torch.equal(found.matrix[0:40], words)
    assert VectorSource(found.matrix).eps == torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_bytes_are_numbers_and_may_be_packed_bits(tmp_path, x, kind):
    """The way to unpack that the warning gives is the right one."""
    bits = np.random.default_rng(0).integers(0, 2, (40, 64)).astype(np.uint8)
    packed = np.packbits(bits, axis=1)  # as sentence-transformers writes ubinary, and less 128 binary
    packed = (packed.astype(np.int16) - 128).astype(np.int8) if kind == np.int8 else packed
    found = read(save(tmp_path / "a.npy", packed))
    assert found.matrix.shape == (40, 8)
    assert "quantised" in found.warnings[0]
    command = found.as_json()["warnings"][0].partition("first: ")[2]
    np.testing.assert_array_equal(eval(command, {"np": np, "x": packed}), bits)
    assert not read(save(tmp_path / "b.npy", x)).warnings


def test_an_array_with_ids_in_it_is_warned_of(tmp_path, x):
    for ids in (np.arange(40), np.random.default_rng(1).permutation(1000)[:40]):
        for part in ((ids, x), (x, ids)):
            assert "an id?" in read(save(tmp_path / "a.npy", np.column_stack(part))).warnings[0]
    assert not read(save(tmp_path / "b.npy", np.column_stack([np.zeros(40), x]))).warnings


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_archives(tmp_path, x, writer):
    path = tmp_path / "a.npz"
    writer(path, x)
    np.testing.assert_array_equal(open_vectors([path]), x)
    writer(path, emb=np.asfortranarray(x), labels=np.arange(40))
    found = read(path)
    np.testing.assert_array_equal(found.matrix, x)
    assert found.columns == ("emb",)
    assert found.left_out == (("labels", "int64 (40,)"),)
    writer(path, a=x, b=2 * x)
    refused(path, "2 matrices: a, b", "--tensor")
    np.testing.assert_array_equal(open_vectors([path], tensor="b"), 2 * x)
    refused(path, "no array 'c'", tensor="c")
    writer(path, a=x[0])
    refused(path, "not a matrix", "(5,)")
    writer(path, a=np.array([None, {}], object))
    refused(path, "pickled")
    other = {"names": np.array(["a", None] * 20, object), "mask": x > 0, "none": x[:0], "words": x.astype(str)}
    writer(path, emb=x, **other)
    for options in ({}, {"tensor": "emb"}):
        np.testing.assert_array_equal(open_vectors([path], **options), x)
    assert [name for name, _ in read(path).left_out] == ["names", "mask", "none", "words"]
    refused(path, "pickled", tensor="names")
    refused(path, "bool", tensor="mask")
    refused(path, "no array 'mmm", tensor="m" * 5000)
    writer(path, **{f"{'k' * 200}{i}": x for i in range(50)})
    refused(path, "50 matrices")
    scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(x))
    refused(path, "sparse", "toarray")


def test_tensors(tmp_path, x):
    path = tmp_path / "a.safetensors"
    save_file({"x": x, "ids": np.arange(40)}, path)
    assert read(path).left_out == (("ids", "I64 (40,)"),)
    refused(path, "not a matrix of vectors", tensor="ids")
    save_file({"x": x, "mask": x > 0}, path)
    assert read(path).left_out == (("mask", "BOOL (40, 5)"),)
    refused(path, "is BOOL", tensor="mask")
    save_file({"a": x, "b": 2 * x}, path)
    refused(path, "2 matrices", "--tensor")
    save_file({"a": np.zeros((2, 3, 4), np.float32)}, path)
    refused(path, "not a matrix", "(2, 3, 4)")
    save_file({"a": (20 * x).astype(np.int8)}, path)
    assert "packed bits" in read(path).warnings[0].lower()


# ---- tables ----------------------------------------------------------------------------------------------------------


def tables(folder, table):
    """The same table as Parquet, as an Arrow file (Feather) and as an Arrow stream."""
    pq.write_table(table, folder / "a.parquet", row_group_size=16)
    pyarrow.feather.write_feather(table, folder / "a.feather")
    with pa.ipc.new_stream(folder / "a.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=16)
    return [folder / name for name in ("a.parquet", "a.feather", "a.arrow")]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float16(), 5), pa.list_(pa.int8())]
)
def test_columns_of_lists(tmp_path, x, kind):
    x = np.rint(20 * x) if pa.types.is_int8(kind.value_type) else x.astype(kind.value_type.to_pandas_dtype())
    lists = pa.array(list(x.astype(kind.value_type.to_pandas_dtype())), kind)
    table = pa.table({"id": range(40), "text": ["a"] * 40, "tokens": [[1, 2]] * 40, "embedding": lists})
    for path in tables(tmp_path, table):
        found = read(path)
        np.testing.assert_array_equal(found.matrix, x)
        assert found.columns == ("embedding",)
        assert [name for name, _ in found.left_out] == ["id", "text", "tokens"]


def test_lists_that_hold_no_vectors(tmp_path, x):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"ids": ["[101, 7]"] * 40}), path)
    refused(path, "token ids", "--columns 'ids'")
    assert open_vectors([path], columns="ids").shape == (40, 2)
    pq.write_table(pa.table({"e": ["[1, 0]"] + ["[0.5, 0]"] * 39}), path)
    assert open_vectors([path]).shape == (40, 2)
    lists = pa.array([[], *x.tolist()])
    pq.write_table(pa.table({"e": lists}), path)
    refused(path, "row 0", "an empty list")
    pq.write_table(pa.Table.from_arrays([lists, lists], ["e", "e"]), path)
    refused(path, "two columns are called 'e'")
    pq.write_table(pa.table({}), path)
    refused(path, "no columns")
    pq.write_table(pa.table({f"{'n' * 3000}{i}z": [0.5, i] for i in range(100)} | {"t": ["a", "b"]}), path)
    refused(path, "and 93 more")
    refused(path, "no column 'q", columns="q" * 5000)
    pq.write_table(pa.table({"position": np.arange(40.0), "score": x[:, 0]}), path)
    refused(path, "'score' is the only column", "position (counts the rows)")


def test_columns_of_numbers(tmp_path, x):
    frame = pd.DataFrame(x).add_prefix("e").assign(text="a", label=1, score=0.5)
    for path in tables(tmp_path, pa.table(frame)):
        found = read(path)
        np.testing.assert_array_equal(found.matrix, x)
        assert found.matrix.dtype == np.float32
        assert dict(found.left_out) == {"text": "text", "label": "whole numbers", "score": "numbers"}
        np.testing.assert_array_equal(open_vectors([path], columns="e0,e3"), x[:, [0, 3]])
    numbered = pd.DataFrame(np.column_stack([np.arange(40), x]), columns=[str(i) for i in range(6)])
    found = read(tables(tmp_path, pa.table(numbered))[0])
    np.testing.assert_array_equal(found.matrix, x)
    assert found.left_out == (("0", "counts the rows"),)


def test_tables_that_cannot_be_read(tmp_path, x):
    def cases():
        lists = list(x)
        yield {"id": range(40), "n_tokens": [3] * 40, "text": ["a"] * 40}, "which columns"
        yield {"id": range(40), "text": ["a"] * 40}, "only column of numbers"
        yield {"score": x[:, 0], "text": ["a"] * 40}, "only column of numbers"
        yield {"id": range(40), "v": [row.tobytes() for row in x]}, "bytes"
        yield {"input_ids": [[1, 2]] * 40}, "token ids"
        yield {"a": lists, "b": lists}, "--columns 'a'"
        yield {"v": [[0.5, 1.0]] * 30 + [[0.5]] * 10}, "row 30"
        yield {"v": [[0.5, 1.0]] * 30 + [None] * 10}, "row 30"
        yield {"v": [[0.5, 1.0]] * 30 + [[0.5, None]] * 10}, "row 30"
        yield {"v": [[[0.5, 1.0]]] * 40}, "lists of list"
        yield {"e0": x[:, 0], "e1": [None] * 20 + [0.5] * 20}, "row 0"
        yield {"e0": x[:, 0], "e1": [0.5] * 20 + [float("nan")] * 20}, "row 20"
        yield {"e0": x[:, 0], "e1": ["0.5"] * 40}, "'e1' holds text"
        yield {"v": ["[0.5, 1]"] * 30 + ["[0.5"] * 10}, "row 30"
        yield {"v": [{"values": [0.5]}] * 40}, "struct"

    for columns, word in cases():
        for path in tables(tmp_path, pa.table(columns)):
            refused(path, word)
    pq.write_table(
        pa.table({"e0": pa.array([], pa.float32()), "e1": pa.array([], pa.float32())}), tmp_path / "a.parquet"
    )
    refused(tmp_path / "a.parquet", "no rows")


# ---- binary files ----------------------------------------------------------------------------------------------------


def test_files_of_search_libraries(tmp_path, x):
    def vecs(name, array):
        rows = b"".join(struct.pack("<i", array.shape[1]) + row.tobytes() for row in array)
        (tmp_path / name).write_bytes(rows)
        return tmp_path / name

    def bins(name, array):
        (tmp_path / name).write_bytes(struct.pack("<ii", *array.shape) + array.tobytes())
        return tmp_path / name

    whole = np.rint(20 * x)
    for path, expected in (
        (vecs("a.fvecs", x), x),
        (vecs("a.bvecs", whole.astype(np.uint8)), whole.astype(np.uint8)),
        (vecs("a.ivecs", whole.astype(np.int32)), whole),
        (bins("a.fbin", x), x),
        (bins("a.u8bin", whole.astype(np.uint8)), whole.astype(np.uint8)),
        (bins("a.i8bin", whole.astype(np.int8)), whole),
    ):
        np.testing.assert_array_equal(open_vectors([path]), expected)
        rows = VectorSource(open_vectors([path]))
        np.testing.assert_array_equal(rows.take(np.array([39, 0])).numpy(), expected[[39, 0]])
        path.write_bytes(path.read_bytes()[:-3])
        refused(path, "cut off")
    mixed = vecs("b.fvecs", x).read_bytes() + vecs("c.fvecs", x[:, :4]).read_bytes() * 6
    (tmp_path / "b.fvecs").write_bytes(mixed)
    refused(tmp_path / "b.fvecs", "d = 5")
    assert "neighbours" in read(vecs("a.ivecs", whole.astype(np.int32))).warnings[0]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_word2vec_binary(tmp_path, x, end):
    path = tmp_path / "a.bin"
    data = b"40 5\n" + b"".join(f"w{i}é ".encode() + row.tobytes() + end for i, row in enumerate(x))
    path.write_bytes(data)
    np.testing.assert_array_equal(open_vectors([path]), x)
    path.write_bytes(data[:-10])
    refused(path, "says 40 vectors and holds 39")
    path.write_bytes(data.replace(b"40 5", b"39 5"))
    refused(path, "holds more")


def test_formats_that_are_not_read(tmp_path, x):
    def wrote(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    refused(wrote("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5", "h5py")
    refused(wrote("a.pkl", pickle.dumps(x)), "pickle")
    torch.save(torch.from_numpy(x), tmp_path / "a.bin")
    refused(tmp_path / "a.bin", "torch.save", "safetensors")
    refused(wrote("a.mat", b"MATLAB 5.0 MAT-file" + bytes(100)), "loadmat")
    refused(wrote("a.xyz", bytes(100)), "has no known format")
    refused(wrote("a.csv", b"\x28\xb5\x2f\xfd" + bytes(100)), "zstd")
    refused(wrote("a.mtx", b"%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n4\n"), "mmread")
    refused(tmp_path, "folder")
    refused(wrote("a.npy.gz", gzip.compress(save(tmp_path / "a.npy", x).read_bytes())), "gunzip")


def test_first_bytes_beat_the_name(tmp_path, x):
    frame = pd.DataFrame(x).add_prefix("e")
    frame.to_parquet(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv").format == "Parquet"
    np.testing.assert_array_equal(open_vectors([tmp_path / "a.csv"]), x)
    save(tmp_path / "b.parquet", x)
    np.testing.assert_array_equal(open_vectors([tmp_path / "b.parquet"]), x)
    frame.to_csv(tmp_path / "c.parquet", index=False)
    refused(tmp_path / "c.parquet", "not a .parquet file")


def test_a_table_whose_name_is_not_utf_8_is_read(tmp_path, x):
    pd.DataFrame(x).rename(columns=lambda j: f"e{j}").to_parquet(tmp_path / "a.parquet")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.parquet")
    os.rename(tmp_path / "a.parquet", odd)
    assert np.array_equal(np.asarray(open_vectors([odd])), x)
