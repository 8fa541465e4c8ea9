"""JSON and text on disk, written whole or not at all; the cache folder."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from geomprobe.common.atomic import atomic_path
from geomprobe.common.errors import InputError, UsageError, first_line


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` to ``path`` atomically as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` to ``path`` atomically as indented JSON; NaN and infinity are refused, for JSON has neither."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # a lone surrogate has no UTF-8; the backslash form is JSON's own escape for it
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def read_text(path: str | os.PathLike, encoding: str = "utf-8") -> str:
    """Read a text file; raises InputError where it is a pipe, a socket or a device, which may never end."""
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):  # a folder has an error of its own
        raise InputError(f"{path} is not a regular file.", "Write its content to a file first.")
    return path.read_text(encoding=encoding)


def read_json(path: str | os.PathLike, *, finite: bool = False) -> Any:
    """Read JSON from ``path``; raises InputError where it is missing, damaged or, if ``finite``, holds NaN or infinity.

    ``1e999`` is read as infinity, which no JSON that we write can hold.
    """
    path, number = Path(path), finite_number if finite else float
    try:
        return json.loads(read_text(path), parse_float=number, parse_constant=number)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, a number too long
        raise InputError(f"{path} cannot be read as JSON: {json_fault(error)}") from None


def read_toml(path: str | os.PathLike, hint: str) -> dict[str, Any]:
    """Read TOML from ``path``; raises InputError with the hint where it cannot be read or is not TOML."""
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", hint) from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise InputError(f"{path} is not TOML: {first_line(error)}.", hint) from None


def json_fault(error: Exception) -> str:
    """What the json module found wrong, in words for a user; its own where these are."""
    if isinstance(error, RecursionError):
        return "lists or objects nested too deep"
    # Python's limit on the digits of whole numbers, whose message speaks to programmers
    return "a whole number of over 4,300 digits" if "set_int_max_str_digits" in str(error) else str(error)


def finite_number(text: str) -> float:
    """Number of a JSON text; raises ValueError for NaN and infinity."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON object whose names differ (an ``object_pairs_hook``); raises ValueError where one occurs twice."""
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:100]!r} occurs twice in one record")
    return record


LONGEST_LINE = 1 << 27


def bounded_lines(handle: IO[str], path: str | os.PathLike) -> Iterator[str]:
    """Yield the lines of a text file; raises InputError for one that is too long for memory.

    A few megabytes of a packed file can unpack to a line of a hundred gigabytes.
    """
    for number, line in enumerate(iter(lambda: handle.readline(LONGEST_LINE), ""), start=1):
        if len(line) == LONGEST_LINE:
            raise InputError(f"{path}, line {number}, is longer than {LONGEST_LINE:,} characters.")
        yield line


def cache_dir() -> Path:
    """Folder for caches: GEOMPROBE_CACHE, else XDG_CACHE_HOME/geomprobe, else ~/.cache/geomprobe."""
    chosen = os.environ.get("GEOMPROBE_CACHE")
    found = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geomprobe")
    try:
        str(found).encode("utf-8")
    except UnicodeEncodeError:
        what = f"The name of the cache folder, {str(found)!r}, is not UTF-8, and libraries need that."
        raise UsageError(what, "Set GEOMPROBE_CACHE to another folder.") from None
    return found
