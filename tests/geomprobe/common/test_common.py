"""Atomic writes, hashing and errors."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from geomprobe import common
from geomprobe.common import (
    GeomprobeError,
    InputError,
    UsageError,
    atomic_path,
    brief,
    first_to_last,
    hash_bytes,
    hash_file,
    hold_folder,
    listed,
    read_json,
    unknown_name,
    write_json,
    write_text,
)


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.endswith(".tmp")]


def test_a_cache_whose_name_is_not_utf8_is_refused(monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", "\udcff")
    with pytest.raises(UsageError, match="is not UTF-8"):
        common.cache_dir()


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


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    target, link, dangling = tmp_path / "real" / "a.txt", tmp_path / "a.txt", tmp_path / "b.txt"
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "real" / "b.txt")
    write_text(link, "new")
    write_text(dangling, "made")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert dangling.is_symlink()
    assert (tmp_path / "real" / "b.txt").read_text() == "made"
    assert leftovers(tmp_path) == leftovers(tmp_path / "real") == []


def test_devices_and_pipes_are_refused_before_anything_is_written(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for target in (tmp_path / "pipe", tmp_path / "link", "/dev/null"):
        with pytest.raises(UsageError, match="not a regular file"):
            write_text(target, "text")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]


def test_the_longest_name_that_the_system_allows_can_be_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    write_text(path, "text")
    assert path.read_text() == "text"


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path):
    with pytest.raises(OSError, match="denied") as caught, atomic_path(tmp_path / "a.txt") as temporary:
        raise PermissionError(13, "denied", str(temporary))
    assert caught.value.filename == str(tmp_path / "a.txt")


KILLED = """
import os, signal, sys
from pathlib import Path
from geomprobe.common import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.mkdir()
    (temporary / "new").touch()
    if sys.argv[2] == "moved":  # the first of the two renames is done
        os.rename(sys.argv[1], temporary.parent.parent / "old")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("moment", "kept"), [("writing", "old"), ("moved", "new")])
def test_what_a_killed_writer_left_is_cleared_and_a_whole_version_remains(tmp_path, moment, kept):
    cell = tmp_path / "cell"
    cell.mkdir()
    (cell / "old").touch()
    subprocess.run([sys.executable, "-c", KILLED, str(cell), moment], check=False)
    assert len(leftovers(tmp_path)) == 1
    write_text(tmp_path / "other.txt", "text")
    assert leftovers(tmp_path) == []
    assert [p.name for p in cell.iterdir()] == [kept]


def test_an_interrupt_between_the_renames_keeps_the_old_folder(tmp_path, monkeypatch):
    def make(text):
        with atomic_path(tmp_path / "cell") as temporary:
            temporary.mkdir()
            (temporary / "a").write_text(text)

    make("old")
    real, calls = os.rename, []

    def rename(a, b):
        calls.append(a)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(a, b)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        make("new")
    assert (tmp_path / "cell" / "a").read_text() == "old"
    assert leftovers(tmp_path) == []


WRITER = """
import sys
from pathlib import Path
from geomprobe.common import atomic_path
from geomprobe.common.atomic import sweep
for number in range(60):
    sweep(Path(sys.argv[1]).parent)
    with atomic_path(sys.argv[1]) as temporary:
        temporary.mkdir()
        for name in "ab":
            (temporary / name).write_text(sys.argv[2])
"""


def test_several_processes_may_write_one_folder_and_each_version_is_whole(tmp_path):
    cell = tmp_path / "cell"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(cell), str(i)]) for i in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len({(cell / name).read_text() for name in "ab"}) == 1
    assert leftovers(tmp_path) == []


def test_the_temporary_folder_of_a_living_writer_is_left_alone(tmp_path):
    other = "import sys; from geomprobe.common import write_text; write_text(sys.argv[1], 'text')"
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        subprocess.run([sys.executable, "-c", other, str(tmp_path / "b.txt")], check=True)
        assert temporary.read_text() == "half"
    assert (tmp_path / "a.txt").read_text() == "half"
    assert (tmp_path / "b.txt").read_text() == "text"


def test_what_died_before_its_lock_is_cleared_at_once(tmp_path):
    (tmp_path / ".geomprobe-x.tmp" / "new").mkdir(parents=True)
    write_text(tmp_path / "a.txt", "text")
    assert leftovers(tmp_path) == []


HOLDER = """
import sys
from geomprobe.common import hold_folder
with hold_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_held_by_one_process(tmp_path):
    folder = tmp_path / "a" / "b"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(GeomprobeError, match="in use"), hold_folder(folder):
        pass
    other.kill()
    other.wait()
    with hold_folder(folder), hold_folder(folder):
        (folder / "kept").touch()
    assert (folder / "kept").exists()
    with hold_folder(tmp_path / "c" / "d"):
        assert (tmp_path / "c" / "d").is_dir()
    assert not (tmp_path / "c").exists()  # nothing was written


def test_hash_bytes_keeps_parts_apart():
    assert hash_bytes("ab", "c") != hash_bytes("a", "bc")
    assert hash_bytes("a") == hash_bytes(b"a")
    assert len(hash_bytes("lone surrogate \ud800")) == 64


def test_hash_file_is_sha256(tmp_path):
    write_text(tmp_path / "x", "abc")
    assert hash_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(InputError, match=r"run\.json is not a regular file"):
        read_json(tmp_path / "run.json")


def test_json_refuses_nan_and_damage(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()
    for number in ("NaN", "-Infinity", "1e999"):
        (tmp_path / "y.json").write_text(f'{{"a": [1.5, {number}]}}')
        with pytest.raises(InputError, match="not a finite number"):
            read_json(tmp_path / "y.json", finite=True)
        assert read_json(tmp_path / "y.json")["a"][0] == 1.5
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


def test_names_in_messages_are_bounded_and_counted():
    assert listed(["a", "b"]) == "a, b"
    assert listed([f"c{i}" for i in range(2000)], 2) == "c0, c1, and 1,998 more"
    assert listed(["x" * 50, "\x1b[31m"]) == "x" * 39 + "…, \\x1b[31m"
    assert first_to_last([f"e{i}" for i in range(96)]) == "e0, e1, …, e95 (96 columns)"
    assert brief("a\n b") == "a b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1" + "0" * 4300 + "]", "a whole number of over 4,300 digits"),
        ("[" * 10**5, "lists or objects nested too deep"),
    ],
)
def test_what_json_cannot_be_is_said_without_words_for_programmers(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"a\.json cannot be read as JSON: {said}$"):
        read_json(path)
