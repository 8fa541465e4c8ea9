"""What a choice of a protocol takes: one of some values, or a whole number. The metadata of its field says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from geomprobe.common import UsageError

Reader = Callable[[str, str], Any]
"""Value of a choice (its name) from a word."""
LARGEST = 2**31 - 1
_READ = "read"


def one_of(*values: Any) -> dict[str, Reader]:
    """Metadata of a field that takes one of some values, each written as `word_of` writes it."""
    known = {word_of(value): value for value in values}

    def read(choice: str, word: str) -> Any:
        if word not in known:
            raise UsageError(f"{choice}={word[:80]} is not known.", f"Known: {', '.join(known)}")
        return known[word]

    return {_READ: read}


def whole_number(least: int, most: int = LARGEST, *, or_all: bool = False) -> dict[str, Reader]:
    """Metadata of a field that takes a whole number and, if asked, "all", which is None."""

    def read(choice: str, word: str) -> int | None:
        if or_all and word == "all":
            return None
        if not (word.isdecimal() and len(word) <= 20 and least <= int(word) <= most):
            also = " or all" if or_all else ""
            raise UsageError(f"{choice} takes a whole number from {least} to {most:,}{also}, not {word[:80]!r}.")
        return int(word)

    return {_READ: read}


def choices_of(made: type[Any]) -> dict[str, Reader]:
    """The choices of a dataclass: its fields that a word can set, by name."""
    return {field.name: field.metadata[_READ] for field in fields(made) if _READ in field.metadata}


def word_of(value: Any) -> str:
    """The word for the value of a choice, as `--set` takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "all" if value is None else str(value)
