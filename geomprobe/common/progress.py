"""The progress of the public functions: a bar where somebody watches, a callable of the caller's, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from geomprobe.common.errors import UsageError

Progress = Callable[[int, int], None]
"""Takes how much is done, and of how much."""
PATIENCE = 1.0
"""Seconds before a bar is shown: what is done by then needs none."""


@contextmanager
def shown(progress: Progress | str | None, stage: str) -> Iterator[Progress | None]:
    """Yield a progress: the given callable, none for None, and for "auto" a bar in a notebook or on a terminal.

    Raises
    ------
    UsageError
        It is something else.
    """
    if progress is None or callable(progress):
        yield progress
    elif progress != "auto":
        raise UsageError(f"progress is {progress!r}.", 'Give "auto", None, or a callable of (done, total).')
    elif not _watched():
        yield None
    else:
        from tqdm.auto import tqdm  # a widget in a notebook that has these, else text

        with tqdm(desc=stage, leave=False, delay=PATIENCE) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)  # a second pass begins at 0 again

            yield show


def _watched() -> bool:
    """Whether stderr is a terminal, or a notebook shows it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell" or sys.stderr.isatty()
