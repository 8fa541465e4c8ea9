"""Vector files: every format gives the same rows, shards join, and what cannot be read says why."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from geomprobe.common import InputError, UsageError
from geomprobe.vectors import VectorSource, gram, open_vectors
from geomprobe.vectors.moments import Moments


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)


def write(folder, x, kind):
    path = folder / f"vectors.{kind.split()[0]}"
    frame = pd.DataFrame(x, columns=[f"e{i}" for i in range(x.shape[1])])
    if kind == "npy":
        np.save(path, x)
    elif kind == "safetensors":
        save_file({"x": torch.from_numpy(x), "bias": torch.zeros(3)}, path)
    elif kind == "safetensors bfloat16":
        save_file({"x": torch.from_numpy(x).bfloat16()}, path)
    elif kind == "parquet":
        frame.assign(text="a").to_parquet(path, row_group_size=64)
    elif kind == "parquet lists":
        pd.DataFrame({"embedding": list(x), "id": range(len(x))}).to_parquet(path, row_group_size=64)
    elif kind == "csv":
        frame.assign(text="a").to_csv(path, index=False)
    elif kind == "csv without header":
        frame.to_csv(path, index=False, header=False)
    return path


KINDS = ["npy", "safetensors", "safetensors bfloat16", "parquet", "parquet lists", "csv", "csv without header"]


@pytest.mark.parametrize("kind", KINDS)
def test_formats_give_the_rows(tmp_path, x, kind):
    rows = VectorSource(open_vectors([write(tmp_path, x, kind)]))
    expected = torch.from_numpy(x).bfloat16().float().numpy() if "bfloat16" in kind else x
    assert (rows.n, rows.d) == (500, 6)
    np.testing.assert_allclose(rows.block(0, 500).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(rows.take(np.array([499, 3, 3])).numpy(), expected[[499, 3, 3]], rtol=1e-6)
    assert rows.eps == {"b": torch.finfo(torch.bfloat16).eps}.get(kind[12:13], rows.eps)


@pytest.mark.parametrize("kind", ["npy", "safetensors bfloat16"])
def test_shards_are_one_matrix(tmp_path, x, kind):
    paths = []
    for i, part in enumerate(np.split(x, [100, 101, 350])):
        (tmp_path / str(i)).mkdir()
        paths.append(write(tmp_path / str(i), part, kind))
    rows, whole = VectorSource(open_vectors(paths)), VectorSource(open_vectors([write(tmp_path, x, kind)]))
    assert (rows.n, rows.d) == (500, 6)
    assert torch.equal(rows.block(90, 360), whole.block(90, 360))
    pick = np.array([499, 0, 100, 100, 99, 349])
    assert torch.equal(rows.take(pick), whole.take(pick))
    np.testing.assert_allclose(Moments().update(rows).scatter, Moments().update(x).scatter, rtol=0.01, atol=1)


def test_what_cannot_be_read_says_why(tmp_path, x):
    def refused(message, *paths, error=InputError, **options):
        with pytest.raises(error, match=message) as caught:
            open_vectors(list(paths), **options)
        assert caught.value.hint or "differ in length" in message

    refused("not a file", tmp_path / "missing.npy")
    refused("--columns is not for", write(tmp_path, x, "npy"), error=UsageError, columns="e*")
    np.save(tmp_path / "flat.npy", x[0])
    refused("shape", tmp_path / "flat.npy")
    save_file({"a": torch.ones(3, 2), "b": torch.ones(3, 2)}, tmp_path / "two.safetensors")
    refused("2 matrices", tmp_path / "two.safetensors")
    refused("no array", tmp_path / "two.safetensors", tensor="c")
    assert open_vectors([tmp_path / "two.safetensors"], tensor="b").shape == (3, 2)
    np.save(tmp_path / "narrow.npy", x[:, :3])
    np.save(tmp_path / "wide.npy", x)
    refused("3 columns", tmp_path / "wide.npy", tmp_path / "narrow.npy")
    pd.DataFrame({"id": [1, 2], "e0": [0.5, 1.5]}).to_csv(tmp_path / "ids.csv", index=False)
    refused("which columns", tmp_path / "ids.csv")
    assert open_vectors([tmp_path / "ids.csv"], columns="e*").shape == (2, 1)
    refused("no column", tmp_path / "ids.csv", columns="f*")
    pd.DataFrame({"t": ["a"]}).to_parquet(tmp_path / "words.parquet")
    refused("no column of numbers", tmp_path / "words.parquet")
    pd.DataFrame({"e0": [0.5, None], "e1": [0.5, 1.5]}).to_parquet(tmp_path / "holes.parquet")
    refused("row 1, .*'e0': an empty cell", tmp_path / "holes.parquet")


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet", "csv"])
def test_damaged_and_empty_files(tmp_path, x, kind):
    path = write(tmp_path, x, kind)
    path.write_bytes(path.read_bytes()[:40] if kind != "csv" else b"")
    with pytest.raises(InputError):
        open_vectors([path])
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        open_vectors([pickled])


def test_lists_that_differ_in_length(tmp_path):
    pd.DataFrame({"e": [[1.0, 2.0], [1.0]]}).to_parquet(tmp_path / "ragged.parquet")
    with pytest.raises(InputError, match="differ in length"):
        open_vectors([tmp_path / "ragged.parquet"])


def test_progress_counts_rows(x):
    seen = []
    Moments().update(VectorSource(x, lambda done, total: seen.append((done, total))))
    assert seen[-1] == (500, 500)


def test_a_mapped_file_is_not_kept_in_memory(tmp_path):
    """A file of 200 MB, in a process that needs far less."""
    out = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float16, (800_000, 128))
    out[::1000] = 1
    out.flush()
    program = """
import re, sys
import numpy as np
from geomprobe.vectors import VectorSource, gram, open_vectors
def mapped():
    return int(re.search(r"RssFile:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
rows = VectorSource(open_vectors([sys.argv[1]]))
before = mapped()
total = sum(float(block.sum()) for _, block in rows.blocks())
taken = float(rows.take(np.arange(0, rows.n, 1000)).sum())
print(total, taken, mapped() - before)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a.npy"], capture_output=True, text=True)
    total, taken, grown = map(float, done.stdout.split())
    assert (total, taken) == (800 * 128, 800 * 128)
    assert grown < 50


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("d", [1, 5, 64, 300])
def test_gram_is_the_product_whatever_the_number_of_threads(threads, d):
    before, x = torch.get_num_threads(), torch.randn(500, d, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(threads)
    try:
        found = gram(x)
    finally:
        torch.set_num_threads(before)
    assert found.dtype == torch.float64
    assert torch.equal(found, found.T)
    assert found.numpy() == pytest.approx((x.double().T @ x.double()).numpy(), abs=1e-3)
