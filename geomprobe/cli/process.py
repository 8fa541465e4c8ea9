"""The process around a command: signals, streams and warnings, set before anything heavy is imported."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from geomprobe.common import Terminated

INTERRUPTED, TERMINATED = 130, 143
PROGRAM = (sys.executable, "-c", "from geomprobe.__main__ import main; main()")
"""Words that start `geomprobe` in a process of its own."""
AGAIN_SECONDS = 5.0
"""An interrupt that a library swallowed is raised again after so long."""

prepared = False


def prepare() -> None:
    """Set signals, streams and warnings; called once, before the commands are imported."""
    global prepared
    prepared = True
    _open_streams()
    warnings.showwarning = _show_warning
    leave_on_signals()
    # registered first, so called last: the results are out, and Python is about to put its own defaults back
    atexit.register(_handle, signal.SIG_IGN)


def leave_on_signals() -> None:
    """End the process at once on SIGINT and SIGTERM: before a command starts and after it ended."""
    settle()
    _handle(_leave)


def raise_on_signals() -> None:
    """Raise KeyboardInterrupt or Terminated on SIGINT and SIGTERM, again and again until `settle` is called."""
    _handle(_raise)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _raise_again)


def settle() -> None:
    """Stop raising: the interrupt was understood."""
    if hasattr(signal, "SIGALRM"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs ignore them
            signal.signal(number, handler)


_asked: list[type[KeyboardInterrupt]] = []
_process = os.getpid()


def _raise(number: int, frame: FrameType | None) -> None:
    """Raise the signal's exception, and raise it again if a library swallows it (as C++ callbacks do)."""
    if os.getpid() != _process:  # a worker forked from here simply ends
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _asked.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
    if hasattr(signal, "SIGALRM"):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
    raise _asked[-1]


def _raise_again(number: int, frame: FrameType | None) -> None:
    if _asked:
        raise _asked[-1]


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave while the commands are still being imported: there is nothing to clean up."""
    code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
    os.write(2, b"Terminated.\n" if number == signal.SIGTERM else b"Interrupted.\n")
    os._exit(code)


def _open_streams() -> None:
    """Give closed streams a place to write to, and escape characters that a stream cannot encode."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed by the caller; the number would be taken by the next file opened
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (as Python's own)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    """Print a library's warning in one line, without the place in its code."""
    text = " ".join(str(message).split())
    print(f"warning: {text[:300]}", file=sys.stderr, flush=True)
