"""Damage as files meet it: any JSON value at any place, bytes changed, cut or added, another kind of file in its place.

Everything is drawn from hypothesis, so that a failing example is shrunk and can be repeated.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_contract import LONGEST
from hypothesis import strategies as st

from geomprobe.common import GeomprobeError

DEEP = "[" * 100_000 + "]" * 100_000
RAW = [
    "null", "true", "false", "[]", "{}", '""', "0", "1", "-1", "2", "0.5", "-0.0", "1.5", "1e308", "1e999", "-1e999",
    "NaN", "Infinity", "7", "16", "100000", "1000000000", "9223372036854775808", "-18446744073709551616",
    "1" + "0" * 400, "1" * 5000, '"x"', '"1"', '"mean"', '"\\u0000"', '"\\ud800"', '"../../etc"', '"/etc/hostname"',
    '"-1"', '"é 猫 \\n"', '"' + "a" * 300 + '"', '"' + "a" * 20_000 + '"', "[null]", "[[]]", "[1, 2]", '["x"]',
    '{"a": 1}', '{"": null}', '[{"a": [1]}]', "[" * 500 + "]" * 500, '{"a":' * 500 + "1" + "}" * 500, DEEP,
    "[" * 100_000, "", "nonsense", "[1,", "{", '"',
]  # fmt: skip
"""Values as JSON text; the last ones are none, so the file is none either."""
KINDS_OF_FILE = [
    b"", b"\n", b"\0" * 64, b"null", b"[]", b"{}", b"0", b'""', DEEP.encode(), b"[" * 100_000, b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"), b"\x80\x04\x95\x00", b"PK\x03\x04" + b"\0" * 30, b"\x1f\x8b\x08\x00" + b"\1" * 20, b"PAR1",
    b"PAR1" + b"\0" * 8 + b"PAR1", b"%PDF-1.4", b"\x93NUMPY", bytes(range(256)), b"ARROW1\0\0", b"GGUF\3\0\0\0",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", b"\xff\xd8\xff\xe0", b"a,b\n1", b"<html>",
    gzip.compress(b"{}"),
]  # fmt: skip
MARK = "\N{REPLACEMENT CHARACTER}damage"


def _places(value: Any, at: tuple = ()) -> list[tuple]:
    """Return the path of every node of a JSON value, the whole one first."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at] + [place for key, part in inside for place in _places(part, (*at, key))]


def _at(value: Any, place: tuple) -> Any:
    for key in place:
        value = value[key]
    return value


@st.composite
def damaged_json(draw: Callable[..., Any], text: str) -> str:
    """A JSON text with one to three nodes replaced, removed, repeated, renamed or swapped with another."""
    document = json.loads(text)
    replaced = {}
    for i in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        # a place near the top as often as one far below: most nodes of a tokenizer are entries of its vocabulary
        places = _places(document)
        depth = draw(st.integers(0, max(map(len, places))))
        place = draw(st.sampled_from([p for p in places if len(p) == depth]))
        if not place:
            return draw(st.sampled_from(RAW))
        parent, key = _at(document, place[:-1]), place[-1]
        how = draw(st.sampled_from(["value", "value", "value", "remove", "repeat", "rename", "swap", "add"]))
        if how == "value":
            parent[key], replaced[f'"{MARK}{i}"'] = f"{MARK}{i}", draw(st.sampled_from(RAW))
        elif how == "remove":
            del parent[key]
        elif how == "swap":
            parent[key] = json.loads(json.dumps(_at(document, draw(st.sampled_from(places)))))
        elif isinstance(parent, list):
            parent.insert(key, parent[key])
        elif how == "rename":
            parent[draw(st.sampled_from(["", "x", "\0", key.upper(), key + " ", "a" * 1000]))] = parent.pop(key)
        else:
            # the same key a second time (which JSON allows, and readers take the last), or one that is not known
            name = key if how == "repeat" else draw(st.sampled_from(["extra", "auto_map", "quantization_config"]))
            parent[f"{MARK}{i}"] = 0
            replaced[f'"{MARK}{i}": 0'] = f"{json.dumps(name)}: {draw(st.sampled_from(RAW))}"
    text = json.dumps(document, ensure_ascii=False)
    for mark, raw in replaced.items():
        text = text.replace(mark, raw)
    return text


@st.composite
def damaged_bytes(draw: Callable[..., Any], content: bytes, head: int = 200) -> bytes:
    """Bytes with some flipped, cut off, cut out, written over or added, in the first `head` as often as further on."""
    size = len(content)
    at = draw(st.one_of(st.integers(0, min(head, max(0, size - 1))), st.integers(0, max(0, size - 1))))
    length = draw(st.sampled_from([1, 2, 4, 8, 100]))
    how = draw(st.sampled_from(["flip", "flip", "cut", "out", "over", "in", "tail", "twice", "kind"]))
    if how == "kind" or not size:
        return draw(st.sampled_from(KINDS_OF_FILE))
    if how == "flip":
        changed = bytearray(content)
        for place in {at, draw(st.integers(0, size - 1))} if draw(st.booleans()) else {at}:
            changed[place] ^= draw(st.integers(1, 255))
        return bytes(changed)
    new = draw(st.sampled_from([b"\0", b"\xff", b"\n", b'"', b"\xc3", b"9", b"[", b"}", b","])) * length
    return {
        "cut": content[:at],
        "out": content[:at] + content[at + length :],
        "over": content[:at] + new + content[at + length :],
        "in": content[:at] + new + content[at:],
        "tail": content + new,
        "twice": content + content,
    }[how]


def is_json(content: bytes) -> bool:
    """Tell whether a file is not damaged yet: one may be drawn twice."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


@st.composite
def damaged_file(draw: Callable[..., Any], content: bytes, name: str = ".json") -> bytes | None:
    """A file's content, damaged; None where there is no file."""
    if draw(st.integers(0, 19)) == 0:
        return None
    if name.endswith(".json") and is_json(content) and draw(st.integers(0, 4)):
        return draw(damaged_json(content.decode())).encode("utf-8", "surrogatepass")
    if name.endswith(".jsonl") and draw(st.integers(0, 4)):
        lines = content.decode().splitlines()
        i = draw(st.integers(0, len(lines) - 1))
        lines[i] = draw(damaged_json(lines[i]))
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    return draw(damaged_bytes(content))


def damage_one(data: st.DataObject, folder: Path, files: list[str]) -> str:
    """Damage one of a folder's files in place; return its name."""
    name = data.draw(st.sampled_from(files), label="file")
    path = folder / name
    content = data.draw(damaged_file(path.read_bytes(), name), label=name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    else:
        other = data.draw(st.sampled_from(["absent", "folder", "link to nothing", "link to itself"]), label="in place")
        if other == "folder":
            path.mkdir()
        elif other != "absent":
            os.symlink(path.name if other == "link to itself" else "nothing", path)
    return name


def fresh_copy(of: Path | None, where: Path) -> Path:
    """Return a new folder below `where`, with a copy of another one in it: one for each example."""
    folder = Path(tempfile.mkdtemp(dir=where))
    if of is not None:
        shutil.copytree(of, folder, dirs_exist_ok=True)
    return folder


def read_or_refused(read: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a door reads, None where it refuses in a few lines; any other exception is a fault."""
    try:
        return read(*args, **options)
    except GeomprobeError as refused:
        said = refused
    assert said.message.strip()
    assert len(f"{said.message}{said.hint}") < LONGEST, said.message
    return None
