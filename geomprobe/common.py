"""What the three packages share once: errors, atomic writes, hashing. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class GeomprobeError(Exception):
    """An error that a user can act on; the command line prints it without a traceback.

    Parameters
    ----------
    message : str
        What went wrong and why, in one or two sentences.
    hint : str, optional
        What to do next, preferably a command.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GeomprobeError):
    """The request itself cannot be carried out: an unknown name, options that contradict each other."""

    exit_code = 2


class InputError(GeomprobeError):
    """An input is missing, unreadable, damaged or empty."""

    exit_code = 3


def unknown_name(kind: str, name: str, known: list[str]) -> UsageError:
    """Return the error for a name that is not in a list, with the nearest known names."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return UsageError(f"Unknown {kind} {name!r}.{guess}", f"Known: {', '.join(sorted(known))}")


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (file or folder) that replaces it only if the block ends well.

    A file replaces a file in one rename. A folder replaces a folder by two renames: the old one is moved aside
    first and removed last, so at every moment one whole version lies on the disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    temporary = holder / path.name
    try:
        yield temporary
        if temporary.is_file():
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
        if temporary.is_dir() and path.is_dir():
            os.rename(path, holder / "replaced")
        os.replace(temporary, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


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


def read_json(path: str | os.PathLike) -> Any:
    """Read JSON from ``path``; raises InputError where it is missing or damaged."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None


def hash_bytes(*parts: bytes | str) -> str:
    """Return the SHA-256 (hex) of the parts, each preceded by its length so that no two lists of parts collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def hash_file(path: str | os.PathLike) -> str:
    """Return the SHA-256 (hex) of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def torchrun_place() -> tuple[int, int]:
    """Return the rank of this process and how many there are, as torchrun says in the environment; (0, 1) without it.

    Raises
    ------
    UsageError
        WORLD_SIZE is set, as batch systems do too, and what torchrun sets beside it is missing or makes no sense.
    """
    world = os.environ.get("WORLD_SIZE") or "1"
    if world == "1":
        return 0, 1
    given = {name: os.environ.get(name, "") for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")}
    rank = given["RANK"]
    if not all(given.values()) or not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        said = ", ".join(f"{name} is {value or 'not set'}" for name, value in given.items())
        raise UsageError(
            f"WORLD_SIZE is {world}, but {said}.",
            "Start several processes by torchrun, or unset WORLD_SIZE to be alone.",
        )
    return int(rank), int(world)


def cache_dir() -> Path:
    """Return the folder for caches: GEOMPROBE_CACHE, else XDG_CACHE_HOME/geomprobe, else ~/.cache/geomprobe."""
    if chosen := os.environ.get("GEOMPROBE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geomprobe"
