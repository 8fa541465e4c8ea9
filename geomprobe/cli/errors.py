"""How an exception becomes a few lines and an exit code.

0 ok, 1 internal error, 2 usage, 3 input not found or unreadable, 4 finished with failed cells, 130 interrupted,
143 terminated. `geomprobe gate` alone has 5 failed and 6 cannot tell.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from geomprobe.cli import process
from geomprobe.cli.output import begin_document, end_document
from geomprobe.cli.process import INTERRUPTED, TERMINATED, settle
from geomprobe.common import GeomprobeError, Terminated, shortened

FAILED_CELLS = 4
GATE_FAILED = 5
GATE_CANNOT_TELL = 6


def explain(error: BaseException) -> tuple[int, str, str | None]:
    """Exit code, message and hint of an exception."""
    if isinstance(error, KeyboardInterrupt):
        code, said = (TERMINATED, "Terminated.") if isinstance(error, Terminated) else (INTERRUPTED, "Interrupted.")
        return code, str(error) or said, "Repeat the command to continue; finished work is kept."
    if isinstance(error, GeomprobeError):
        return error.exit_code, error.message, error.hint
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return 1, f"The disk is full{where}.", "Free some space and repeat the command; finished work is kept."
    denied = isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError)
    if isinstance(error, OSError) and (denied or error.filename):  # no folder can be made there, say
        return 3, f"{error.filename or 'A file'}: {error.strerror}.", "Choose another file or folder."
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        what = f"The name {error.object[:200]!r} is not UTF-8, and a library needs that."
        return 3, what, "Rename the file or folder, or choose another."
    if isinstance(error, MemoryError):
        return 1, "Out of memory.", "Lower --limit, or analyse fewer models at a time."
    return 1, f"Internal error: {type(error).__name__}: {error}", "Set GEOMPROBE_DEBUG=1 and repeat it to see where."


def guard(command: Callable[..., Any], group: str = "") -> Callable[..., Any]:
    """Wrap a command so that no exception leaves it as a traceback (unless GEOMPROBE_DEBUG=1).

    Under --json its document is printed at its end, with the exit code and what went wrong.
    """
    name = f"{group} {command.__name__}".strip()

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        as_json = kwargs.get("as_json", False)
        begin_document()
        try:
            prepared = process.prepared  # not where a test or a program calls a command
            try:
                if prepared:
                    process.raise_on_signals()
                command(*args, **kwargs)
            finally:
                if prepared:  # here, so that a signal that comes meanwhile is still explained below
                    process.leave_on_signals()
        except typer.Exit as end:
            if as_json:
                end_document(name, end.exit_code)
            raise
        except (typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            settle()
            code, message, hint = explain(error)
            if code == 1 and os.environ.get("GEOMPROBE_DEBUG") == "1":
                raise
            message = shortened(message)
            print(f"error: {message}" if code not in (INTERRUPTED, TERMINATED) else message, file=sys.stderr)
            if hint:
                print(f"  {shortened(hint)}", file=sys.stderr)
            if as_json:
                end_document(name, code, (message, hint))
            raise typer.Exit(code) from None
        if as_json:
            end_document(name, 0)

    return guarded
