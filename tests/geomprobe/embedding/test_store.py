"""The store: whole or not at all, found again, listed, pruned."""

import os

import numpy as np
import pytest

from geomprobe.common import GeomprobeError
from geomprobe.embedding.store import Store


def put(store, key, rows=3):
    with store.writing(key, (rows, 4), {"model": "m"}) as array:
        array[:] = np.arange(rows * 4).reshape(rows, 4)


def test_round_trip(tmp_path):
    store = Store(tmp_path)
    key = store.key("weights", "texts")
    assert store.get(key) is None
    put(store, key)
    array, meta = store.get(key)
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.arange(12).reshape(3, 4))
    assert meta["model"] == "m"


def test_keys_do_not_collide():
    assert Store.key("ab", "c") != Store.key("a", "bc") != Store.key("abc")


def test_an_interrupted_write_leaves_nothing(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.writing("ab" * 32, (3, 4), {}):
        raise RuntimeError
    assert store.get("ab" * 32) is None
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_damage_counts_as_absent(tmp_path):
    store = Store(tmp_path)
    put(store, "ab" * 32)
    vectors = tmp_path / "ab" / ("ab" * 32) / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-8])
    assert store.get("ab" * 32) is None
    put(store, "ab" * 32)
    assert store.get("ab" * 32) is not None


def test_a_full_disk_is_an_error_with_advice(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    store = Store(tmp_path)
    with pytest.raises(GeomprobeError, match="No space left") as error:
        put(store, "ab" * 32)
    assert "prune" in error.value.hint
    assert not list(tmp_path.rglob("*.npy"))


def test_reading_clears_what_a_killed_process_left(tmp_path, monkeypatch):
    """Where all is finished nothing is written any more."""
    key = Store.key("a")
    with Store(tmp_path).writing(key, (2, 3), {}) as array:
        array[:] = 1
    left = tmp_path / key[:2] / ".geomprobe-x.tmp"
    left.mkdir()
    monkeypatch.setattr("geomprobe.common.atomic._swept", set())  # as in another process
    assert Store(tmp_path).get(key) is not None
    assert not left.exists()
