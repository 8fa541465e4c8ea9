"""The one sink of the command line: results to stdout, everything else to stderr, as text or as one JSON document."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geomprobe.common import UsageError, shortened, unknown_name

if TYPE_CHECKING:
    from geomprobe.results.summary.model import Summary

Progress = Callable[[int, int], None]
FORMATS = ("text", "md")


def split_list(values: Sequence[str] | None) -> list[str]:
    """Items of a repeatable option; `--pool mean --pool max` and `--pool mean,max` are the same."""
    return [item.strip() for value in values or () for item in value.split(",") if item.strip()]


@dataclass(frozen=True)
class Output:
    """Where a command writes. With ``as_json`` stdout carries exactly one JSON document and there are no bars.

    Without ``results`` nothing goes to stdout: for the parts of a command that prints a result of its own. With
    ``full`` every number is printed, with ``markdown`` the summary as Markdown.
    """

    as_json: bool = False
    results: bool = True
    full: bool = False
    markdown: bool = False

    @classmethod
    def of(cls, as_json: bool, full: bool, form: str) -> Output:
        """The output that the options --json, --full and --format ask for.

        Raises
        ------
        UsageError
            There is no such format, or two ways to print are asked for.
        """
        if form not in FORMATS:
            raise unknown_name("format", form, list(FORMATS))
        if as_json + full + (form == "md") > 1:
            raise UsageError("--json, --full and --format md each print something else.", "Give one of them.")
        return cls(as_json, full=full, markdown=form == "md")

    def result(self, document: Any, text: str = "", rows: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Print the command's result: ``document`` under --json, else ``rows`` as an aligned table and ``text``."""
        if not self.results:
            return
        if self.as_json:
            print(_json(document))
            return
        if rows is not None:
            _print_table(rows)
        if text:
            print(text)

    def summary(
        self,
        document: Mapping[str, Any],
        found: Summary,
        files: Mapping[str, str],
        rows: Callable[[], list[dict[str, str]]],
    ) -> None:
        """Print a summary, and the files where the rest is; under --full `rows` first, each as a line of a table."""
        from geomprobe.results.summary.printed import WIDTH, as_markdown, terminal

        width = min(shutil.get_terminal_size().columns, WIDTH) if sys.stdout.isatty() else WIDTH
        lines = terminal(found, [f"{name}: {path}" for name, path in files.items()], width)
        if sys.stdout.isatty() and not self.as_json and not self.markdown:
            lines = [_styled(line) for line in lines]
        text = as_markdown(found) if self.markdown else "\n".join(lines)
        self.result({**document, "summary": found.as_dict()}, text, rows() if self.full else None)

    def note(self, text: str) -> None:
        """Print a line about what is being done (stderr)."""
        print(shortened(text), file=sys.stderr, flush=True)

    def also_measured(self, added: Iterable[Mapping[str, str]]) -> None:
        """Print which metrics of other packages were measured (stderr); `added` is what `Extensible.added` gives."""
        found = [f"{each['name']} ({each['package']} {each['version']})" for each in added if each["kind"] == "metric"]
        if found:
            self.note(f"also measured: {', '.join(found)}")

    def warning(self, text: str) -> None:
        """Print a warning (stderr)."""
        print(f"warning: {shortened(text)}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, description: str, quiet: bool = False) -> Iterator[Progress]:
        """Yield ``progress(done, total)``: a bar with the time left on a terminal, else a line per tenth."""
        if self.as_json or quiet:
            yield lambda done, total: None
            return
        if not sys.stderr.isatty():
            yield _plain_progress(description)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task(description, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total or None)


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = list(rows[0]) if rows else []
    for column in columns:
        grid.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        values = (row.get(column) for column in columns)
        grid.add_row(*(Text("" if value is None else str(value)) for value in values))
    # a pipe has no width: leave room for whole lines rather than fold at 80
    Console(width=None if sys.stdout.isatty() else 160).print(grid)


def _styled(line: str) -> str:
    """A line of a summary in the terminal's own bold where it is a heading; plain with NO_COLOR."""
    heading = line.endswith(":") and not line.startswith(" ") and not os.environ.get("NO_COLOR")
    return f"\x1b[1m{line}\x1b[0m" if heading else line


def _json(document: Any) -> str:
    """Return JSON that standard output can carry: escaped where its encoding is not UTF-8."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(document, indent=2, ensure_ascii=not unicode, allow_nan=False, default=str)


def _plain_progress(description: str) -> Progress:
    last, before, of, began = -1, 0, 0, time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last, before, of, began
        now = time.monotonic()
        if total != of or done < before:  # another stage, or another pass
            last, of, began = -1, total, now if done < before else began
        before = done
        tenth = 10 * done // total if total else 0
        if tenth > last:
            last = tenth
            left = f", {duration((now - began) * (total - done) / done)} left" if now - began >= 10 and done else ""
            print(f"{description}: {done}/{total or '?'}{left if done < total else ''}", file=sys.stderr, flush=True)

    return report


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
