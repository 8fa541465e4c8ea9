"""Errors that a user can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_WORD = 300
LONGEST_TEXT = 3000


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
    """The request cannot be carried out: an unknown name, options that contradict each other."""

    exit_code = 2


class InputError(GeomprobeError):
    """An input is missing, unreadable, damaged or empty.

    Examples
    --------
    >>> import geomprobe as gp
    >>> error = gp.InputError("plurals.tsv does not exist.", "Download it.")
    >>> error.exit_code
    3
    """

    exit_code = 3


@contextmanager
def refusing(what: str, hint: str) -> Iterator[None]:
    """Turn whatever a library raises inside the block into an InputError: what failed, the error's kind and text."""
    try:
        yield
    except GeomprobeError:
        raise
    except Exception as error:
        raise InputError(f"{what}: {type(error).__name__}: {first_line(error)}", hint) from None


def unknown_name(kind: str, name: str, known: list[str]) -> UsageError:
    """Error for a name that is not in a list, with the nearest known names."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    shown = name if len(name) <= 80 else f"{name[:80]}…"
    return UsageError(f"Unknown {kind} {shown!r}.{guess}", f"Known: {', '.join(sorted(known))}")


def shortened(text: str) -> str:
    """A message without the middle of overlong words, such as a model's name of 5,000 characters."""

    def cut(text: str, most: int) -> str:
        return text if len(text) <= most else f"{text[: most - 60]}… ({len(text):,} characters) …{text[-20:]}"

    return cut(re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: cut(word[0], LONGEST_WORD), text), LONGEST_TEXT)


class Terminated(KeyboardInterrupt):
    """SIGTERM: work is saved and cleaned up as after Ctrl-C; the exit code is 143."""


def first_line(error: BaseException) -> str:
    """First line of an error's text, its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
