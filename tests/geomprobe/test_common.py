"""Atomic writes, hashing and errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from geomprobe.common import (
    InputError,
    atomic_path,
    hash_bytes,
    hash_file,
    read_json,
    unknown_name,
    write_json,
    write_text,
)


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.endswith(".tmp")]


def test_atomic_file_replaces_only_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert leftovers(tmp_path) == []


def test_failed_write_leaves_the_old_version_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="full"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "full")
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_atomic_folder_replaces_a_folder_whole(tmp_path):
    folder = tmp_path / "cell"
    for name in ("first", "second"):
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [p.name for p in folder.iterdir()] == ["second"]
    assert leftovers(tmp_path) == []


def test_hash_bytes_keeps_parts_apart():
    assert hash_bytes("ab", "c") != hash_bytes("a", "bc")
    assert hash_bytes("a") == hash_bytes(b"a")
    assert len(hash_bytes("lone surrogate \ud800")) == 64


def test_hash_file_is_sha256(tmp_path):
    write_text(tmp_path / "x", "abc")
    assert hash_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_refuses_nan_and_damage(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path / "y.json")
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "z.json")


def test_unknown_name_suggests_the_nearest():
    error = unknown_name("pooling", "meen", ["mean", "max"])
    assert "Did you mean 'mean'?" in error.message
    assert error.hint == "Known: max, mean"
    assert error.exit_code == 2


def test_common_imports_nothing_heavy():
    code = "import geomprobe.common, sys; print(sorted({'numpy', 'torch', 'pandas', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
