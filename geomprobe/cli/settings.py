"""Options from a file: geomprobe.toml, or [tool.geomprobe] of pyproject.toml, in the folder a command starts in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperOption

from geomprobe.cli.errors import guard
from geomprobe.common import GeomprobeError, UsageError, brief, unknown_name
from geomprobe.common.files import read_toml

COMMANDS = ("analyze", "compare", "gate")
"""Commands that take options from a file, each from the table of its name."""
OWN, SHARED = "geomprobe.toml", "pyproject.toml"
PAGE = "docs/how-to/set-up-the-command-line.md shows one."


class Configured(TyperCommand):
    """A command whose options may stand in a file; the command line wins, and environment variables do."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context, with the file's values as defaults; help and completion do not read it."""
        if not (extra.get("resilient_parsing") or {"-h", "--help"} & {*args}):
            found: dict[str, Any] = {}
            guard(lambda: found.update(settings(str(info_name), self.params)))()
            extra["default_map"] = found
        return super().make_context(info_name, args, parent, **extra)


def settings(command: str, parameters: Sequence[Any]) -> dict[str, Any]:
    """Values of a command's options by parameter, from the file in the current folder; says which file it was.

    Raises
    ------
    InputError
        The file cannot be read or is not TOML.
    UsageError
        A table, a key or a value is not known; the message names it, and the nearest that is.
    """
    name, document = read_settings()
    try:
        for name_of, table in document.items():
            if name_of not in COMMANDS:
                raise unknown_name("table", name_of, list(COMMANDS))
            if not isinstance(table, dict):
                raise UsageError(f"{name_of} must be a table.", f"[{name_of}]")
        chosen = document.get(command, {})
        found = dict(value_of(command, key, value, parameters) for key, value in chosen.items())
    except GeomprobeError as error:
        raise UsageError(f"{name}: {error.message}", error.hint) from None
    if found:
        print(f"options of {command} from {name}: {', '.join(chosen)}", file=sys.stderr, flush=True)
    return found


def read_settings() -> tuple[str, dict[str, Any]]:
    """The file that is taken and its tables; empty where there is none."""
    for name in (OWN, SHARED):
        if not Path(name).is_file():
            continue
        document = read_toml(name, PAGE)
        if name == OWN:
            return name, document
        tools = document.get("tool", {})
        mine = tools.get("geomprobe") if isinstance(tools, dict) else None
        if mine is not None and not isinstance(mine, dict):
            raise UsageError(f"{name}: tool.geomprobe must be a table.", PAGE)
        return f"[tool.geomprobe] of {name}", mine or {}
    return "", {}


def value_of(command: str, key: str, value: Any, parameters: Sequence[Any]) -> tuple[str, Any]:
    """Parameter that a key means and its value, as text where the command line has text."""
    options = {
        name[2:]: each
        for each in parameters
        if isinstance(each, TyperOption)
        for name in each.opts
        if name.startswith("--") and name != "--help"
    }
    if (name := key.replace("_", "-")) not in options:
        raise unknown_name(f"key of [{command}]", key, list(options))
    option = options[name]
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"[{command}] {key} must be true or false, not {brief(repr(value))}.")
        return str(option.name), value
    values = value if option.multiple and isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in values):
        what = "text, a number or a list of these" if option.multiple else "text or a number"
        raise UsageError(f"[{command}] {key} must be {what}, not {brief(repr(value))}.")
    texts = [str(each) for each in values]  # read as on the command line: a limit of 2.5 is refused there
    return str(option.name), texts if option.multiple else texts[0]
