"""How an exception becomes a few lines and an exit code.

0 ok, 1 internal error, 2 usage, 3 input not found or unreadable, 4 finished with failed cells, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys

from geomprobe.common import GeomprobeError

FAILED_CELLS = 4
INTERRUPTED = 130


def _lines(error: BaseException) -> tuple[int, str, str | None]:
    """Return exit code, message and hint of an exception."""
    if isinstance(error, GeomprobeError):
        return error.exit_code, error.message, error.hint
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            1,
            f"The disk is full ({error.filename or 'while writing'}).",
            ("Free some space and repeat the command; what was finished before is kept and reused."),
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return 3, f"No permission: {error.filename or error}.", "Choose another folder with --out."
    if isinstance(error, MemoryError):
        return 1, "Out of memory.", "Lower --limit, or analyse fewer models at a time."
    return (
        1,
        f"Internal error: {type(error).__name__}: {error}",
        ("Set GEOMPROBE_DEBUG=1 and repeat the command to see where; please report it with that output."),
    )


def report(error: BaseException) -> int:
    """Print an exception to stderr without a traceback and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        message = str(error) or "Interrupted. Repeat the command to continue."
        print(message, file=sys.stderr)
        return INTERRUPTED
    if os.environ.get("GEOMPROBE_DEBUG") == "1":
        raise error
    code, message, hint = _lines(error)
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
    return code
