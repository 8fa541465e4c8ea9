"""Files elsewhere: vectors and corpora behind a URL, copied once and again only where they changed."""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.cli.main import app
from geomprobe.common import cache_dir, remote
from geomprobe.pretrain.corpus import build_corpus
from geomprobe.vectors import open_vectors

fsspec = pytest.importorskip("fsspec")
ROWS = np.random.default_rng(0).normal(size=(60, 5))


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder in fsspec's memory, and an empty cache."""
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    place = f"memory://{uuid.uuid4().hex}"
    yield place
    fsspec.filesystem("memory").store.clear()


def put(url, data):
    with fsspec.open(url, "wb") as file:
        file.write(data)


def parquet(rows, tmp_path):
    path = tmp_path / "part.parquet"
    pd.DataFrame(rows, columns=[f"e{i}" for i in range(5)]).to_parquet(path)
    return path.read_bytes()


def test_vectors_behind_a_url_are_those_of_the_file(bucket, tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    put(f"{bucket}/x.npy", (tmp_path / "x.npy").read_bytes())
    done = [
        CliRunner().invoke(app, ["measure", name, "--metric", "effective_rank", "--json"])
        for name in (f"{bucket}/x.npy", str(tmp_path / "x.npy"))
    ]
    assert [each.exit_code for each in done] == [0, 0]
    assert json.loads(done[0].stdout)["results"] == json.loads(done[1].stdout)["results"]


def test_a_data_set_in_parts_is_one_matrix(bucket, tmp_path):
    for i in range(3):
        put(f"{bucket}/set/year={2020 + i}/part-0.parquet", parquet(ROWS[20 * i : 20 * i + 20], tmp_path))
    put(f"{bucket}/set/_SUCCESS", b"")
    put(f"{bucket}/set/video.mp4", b"x")
    put(f"{bucket}/set/year=2020/.part-0.parquet.crc", b"x")
    matrix = open_vectors([f"{bucket}/set"])
    assert matrix.shape == (60, 5)
    assert np.array_equal(matrix[0:60], ROWS)
    local = remote.fetch(f"{bucket}/set", [".parquet"])
    assert np.array_equal(open_vectors([local])[0:60], ROWS)  # a folder here, too
    assert sorted(path.name for path in local.rglob("*") if path.is_file()) == ["part-0.parquet"] * 3


def test_a_copy_is_kept_until_the_file_changes(bucket, tmp_path, monkeypatch):
    for text in (b"1,2\n3,4\n", b"1,2\n3,5\n5,6\n"):
        put(f"{bucket}/x.csv", text)
        first = remote.fetch(f"{bucket}/x.csv", [".parquet"])
        assert first.read_bytes() == text
        with monkeypatch.context() as patched:
            patched.setattr("fsspec.implementations.memory.MemoryFileSystem.get_file", None)
            assert remote.fetch(f"{bucket}/x.csv", [".parquet"]) == first
    listed = CliRunner().invoke(app, ["cache", "ls", "--json"])
    assert [entry["kind"] for entry in json.loads(listed.stdout)["results"]] == ["remote", "remote"]


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("memory://nothing/here.npy", 3, "does not exist"),
        ("nosuch://x/y.npy", 3, "cannot be read"),
        ("s3://user:secret@bucket/y.npy", 3, ""),
        ("memory://", 3, ""),
        ("://x", 3, "is not a file"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(bucket, name, code, said):
    done = CliRunner().invoke(app, ["measure", name])
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_what_is_on_this_machine_is_read_where_it_is(bucket, tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    assert np.array_equal(open_vectors([f"file://{tmp_path}/x.npy"])[0:60], ROWS)
    with pytest.raises(gp.InputError, match="is a folder"):
        open_vectors([f"file://{tmp_path}"])
    assert not (cache_dir() / "remote").exists()


def test_what_has_no_room_is_refused_before_it_is_copied(bucket, monkeypatch):
    put(f"{bucket}/x.csv", b"1,2\n3,4\n")
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda path: SimpleNamespace(free=7))
    with pytest.raises(gp.InputError, match="has room for"):
        open_vectors([f"{bucket}/x.csv"])
    assert not (cache_dir() / "remote").exists()


def test_a_name_that_leads_out_of_the_folder_is_refused(bucket, monkeypatch):
    put(f"{bucket}/set/a.parquet", b"x")
    monkeypatch.setattr(
        "fsspec.implementations.memory.MemoryFileSystem.find", lambda self, path, **_: [f"{path}/../../a.parquet"]
    )
    with pytest.raises(gp.InputError, match="cannot be one"):
        remote.fetch(f"{bucket}/set", [".parquet"])


def test_a_corpus_behind_a_url(bucket, tmp_path):
    """Its name is the URL, and its content is that of the same file here."""
    text = "".join(json.dumps({"text": f"the cat {i} sees the dog {i % 7}. " * 3}) + "\n" for i in range(300)).encode()
    put(f"{bucket}/corpus/part.jsonl", text)
    (tmp_path / "part.jsonl").write_bytes(text)
    made = build_corpus(f"{bucket}/corpus", "train:80", cache=tmp_path / "a")
    here = build_corpus(str(tmp_path / "part.jsonl"), "train:80", cache=tmp_path / "b")
    assert made.info["source"] == f"{bucket}/corpus"
    assert made.info["fingerprint"] == here.info["fingerprint"]
    assert build_corpus(f"{bucket}/corpus", "train:80", cache=tmp_path / "a").path == made.path
    assert cache_dir().joinpath("remote").is_dir()
