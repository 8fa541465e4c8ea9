"""The text of options and arguments: how it is read, and what is refused first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from geomprobe.common import UsageError


def filled(text: str) -> str:
    """Text of an option that must not be empty."""
    if not text.strip(" ,\t\n"):
        raise typer.BadParameter("the text is empty; give a value, or leave the option out.")
    return text


def filled_items(text: str) -> str:
    """Text of a list with commas, none of whose items is empty."""
    if not all(item.strip() for item in text.split(",")):
        raise typer.BadParameter(f"an item of {text[:80]!r} is empty; give names with commas, or leave the option out.")
    return text


def place(text: str | Path) -> Path:
    """Path that an option names; typer hands over the default, a path, too."""
    return Path(filled(str(text)))


# How typer reads an option: TEXT must not be empty, LIST has commas, PATH is a path.
TEXT: dict[str, Any] = {"metavar": "TEXT", "parser": filled}
LIST: dict[str, Any] = {"metavar": "TEXT", "parser": filled_items}
PATH: dict[str, Any] = {"metavar": "PATH", "parser": place}


def split_paths(text: str, option: str) -> list[str]:
    """Items of a list with commas; a comma inside the path of something that exists separates nothing.

    Raises
    ------
    UsageError
        An item is empty, or the text can be read in two ways: several paths exist, and also one with the commas.
    """
    parts = text.split(",")
    found: list[str] = []
    while parts:
        ends = [end for end in range(1, len(parts) + 1) if _exists(",".join(parts[:end]).strip())]
        end = max(ends, default=1)
        if end > 1 and all(_exists(part.strip()) for part in parts[:end]):
            raise UsageError(
                f"{option}: {','.join(parts[:end])!r} exists, and so do {' and '.join(map(repr, parts[:end]))}.",
                "Rename the one with commas.",
            )
        found.append(",".join(parts[:end]).strip())
        parts = parts[end:]
    if not all(found):
        raise UsageError(f"{option}: an item of {text[:80]!r} is empty.", "Give names with commas between them.")
    return found


def _exists(path: str) -> bool:
    try:
        return bool(path.strip()) and Path(path).exists()
    except OSError:  # no path, such as one that is too long
        return False


def parse_groups(texts: Sequence[str]) -> dict[str, list[str]]:
    """Group name -> models from ``NAME=MODEL,MODEL,…``; raises UsageError for other texts and repeats."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        name, equals, members = (part.strip() for part in text.partition("="))
        if not equals or not name or not members:
            raise UsageError(f"--group {text[:80]!r} is not NAME=MODEL,MODEL,…", "For example --group hybrid=run1,run2")
        if name in groups:
            raise UsageError(f"--group {name!r} is given twice.", "Give each group a name of its own.")
        groups[name] = split_paths(members, "--group")
    return groups


def two_sides(models: Sequence[str], texts: Sequence[str], command: str) -> dict[str, list[str]]:
    """Two groups, empty where there are two models.

    Raises
    ------
    UsageError
        There are other than two models or two groups, or a model is named twice in groups.
    """
    groups = parse_groups(texts)
    if bool(models) == bool(groups) or len(models or groups) != 2:
        raise UsageError(
            f"{command} takes two models, or two groups of seeds.",
            f"geomprobe {command} MODEL_A MODEL_B, or --group hybrid=a,b,c --group mlm=d,e,f",
        )
    refuse_repeats([m for members in groups.values() for m in members])
    return groups


def refuse_repeats(models: Sequence[str]) -> None:
    """Raise UsageError if two names lead to the same model: no seed may count twice."""
    real = [str(Path(m).resolve()) if _exists(m) else m for m in models]
    if twice := [model for model, where in zip(models, real, strict=True) if real.count(where) > 1]:
        raise UsageError(f"A model is given twice: {twice[0]}.", "Name each model, or each seed, once.")
