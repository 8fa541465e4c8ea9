"""How far a long piece of work is, and how long it will take: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

FIRST, MOST = 10.0, 60.0
"""Seconds from the beginning of a stage to its first line, and at most from one line to the next."""

Show = Callable[[str, float | None, str], None]
"""Takes the stage, the share that is done (None where that is not known), and how far it is in words."""


class Progress:
    """Takes ``progress(done, total)`` while a stage lasts, and ``progress(done, total, stage)`` where others follow.

    The first call of a stage says where it begins, which need not be 0. The time left follows from the later half of
    the stage's time so far: parts that were found finished, or a slow start, then soon count no more. A stage whose
    count goes back begins another pass.
    """

    def __init__(self, stage: str, show: Show):
        self.show, self.stage, self.done, self.turn = show, stage, 0, 1
        self.marks: list[tuple[float, int]] = []
        show(stage, None, "")

    def __call__(self, done: int, total: int, stage: str = "") -> None:
        """Say that `done` of `total` are done; 0 is a total that is not known."""
        if stage and stage != self.stage:
            self.stage, self.turn, self.marks = stage, 1, []
        elif done < self.done:
            self.turn, self.marks = self.turn + 1, []
        self.done = done
        words = [f"pass {self.turn}"] if self.turn > 1 else []
        if total:
            words.append(f"{100 * done // total} %")
        elif done:
            words.append(f"{done:,} so far")
        left = self._seconds(total - done)
        if left is not None:
            words.append(f"{duration(left)} left")
        self.show(self.stage, done / total if total else None, ", ".join(words))

    def _seconds(self, more: int) -> float | None:
        """Time that so many more will take, None where none are left or no speed is known."""
        now, marks = time.monotonic(), self.marks
        if not marks or now - marks[-1][0] >= (now - marks[0][0]) / 50:
            marks.append((now, self.done))
        half = (marks[0][0] + now) / 2
        when, was = [mark for mark in marks if mark[0] <= half][-1]
        return more * (now - when) / (self.done - was) if more > 0 and self.done > was else None


@contextmanager
def lines(stage: str) -> Iterator[Progress]:
    """Yield a progress that prints each stage as it begins, and how far it is after 10 s and at growing intervals."""
    announced, last, wait = "", 0.0, FIRST

    def show(stage: str, share: float | None, words: str) -> None:
        nonlocal announced, last, wait
        now = time.monotonic()
        if stage != announced:
            announced, last, wait = stage, now, FIRST
            print(f"{stage} …", file=sys.stderr, flush=True)
        elif now - last >= wait and words:
            last, wait = now, min(MOST, 1.5 * wait)
            print(f"{stage}: {words}", file=sys.stderr, flush=True)

    yield Progress(stage, show)


@contextmanager
def bar(stage: str) -> Iterator[Progress]:
    """Yield a progress that is shown as a bar with the same words."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Bars(*columns, console=console(stderr=True), transient=True) as bars:
        task = bars.add_task(stage, total=None, words="")

        def show(stage: str, share: float | None, words: str) -> None:
            bars.update(task, description=stage, completed=share or 0, total=None if share is None else 1, words=words)

        yield Progress(stage, show)


def console(**how: Any) -> Console:
    """A console of rich; without colours and without bold where NO_COLOR is set."""
    from rich.console import Console

    return Console(color_system=None if os.environ.get("NO_COLOR") else "auto", **how)


def duration(seconds: float) -> str:
    """A span of time, roughly.

    Examples
    --------
    >>> duration(42.3), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
