"""Names as they stand in a message: in one line, of bounded length, and of many only some with their number."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath


def brief(name: str, most: int = 100) -> str:
    """A name in one line, of at most so many characters."""
    name = " ".join(name.split())
    return name if len(name) <= most else f"{name[: most - 1]}…"


def model_name(place: str | Path, parts: int = 1) -> str:
    """Name of a model by its folder or hub id (without a revision): its last parts, one that is just "model" left out.

    Where nothing but "model" would be left, the name is empty.

    Examples
    --------
    >>> model_name("runs/x/model"), model_name("runs/x/model", 2), model_name("runs/x/final"), model_name("owner/bert")
    ('x', 'runs/x', 'x/final', 'bert')
    """
    path = os.path.expanduser(place)
    found = Path(path).resolve() if os.path.exists(path) else PurePosixPath(str(place).partition("@")[0])
    names = [part for part in found.parts if part != found.anchor]
    while names and names[-1].lower() == "model":
        names.pop()
    parts += bool(names) and names[-1] in ("ema", "checkpoint", "final")
    return "/".join(names[-parts:])


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names with commas, control characters escaped, long names cut, the later ones counted."""
    shown = [_printable(name if len(name) <= 40 else name[:39] + "…") for name in map(str, names[:most])]
    return ", ".join(shown) + (f", and {len(names) - most:,} more" if len(names) > most else "")


def first_to_last(names: Sequence[str], what: str = "columns") -> str:
    """Names with commas, the middle of a long list left out and the number of all of them said.

    Examples
    --------
    >>> first_to_last(["a", "b"])
    'a, b'
    >>> first_to_last([f"e{i}" for i in range(96)])
    'e0, e1, …, e95 (96 columns)'
    """
    names = [brief(name, 40 if len(names) > 1 else 100) for name in names]
    if len(names) <= 8:
        return ", ".join(names)
    return f"{names[0]}, {names[1]}, …, {names[-1]} ({len(names)} {what})"


def is_utf8(name: str) -> bool:
    """Whether a name of a file is UTF-8, which libraries not written in Python need."""
    return name.isascii() or not any("\ud800" <= c <= "\udfff" for c in name)


def _printable(name: str) -> str:
    """A name in which what steers a terminal, or cannot be written, stands as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
