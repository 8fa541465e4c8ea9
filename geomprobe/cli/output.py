"""The one sink of the command line: results to stdout, everything else to stderr, as text or as one JSON document."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geomprobe import __version__
from geomprobe.cli.progress import Progress, bar, console, lines
from geomprobe.common import UsageError, shortened, unknown_name

if TYPE_CHECKING:
    from geomprobe.results.summary.model import Summary

FORMATS = ("text", "md")
_held: dict[str, Any] = {}
"""What the command that runs gave under --json; it is printed when the command ends, with how it ended."""


def split_list(values: Sequence[str] | None) -> list[str]:
    """Items of a repeatable option; `--pool mean --pool max` and `--pool mean,max` are the same."""
    return [item.strip() for value in values or () for item in value.split(",") if item.strip()]


def begin_document() -> None:
    """Forget what an earlier command of this process gave."""
    _held.clear()


def end_document(command: str, exit_code: int, error: tuple[str, str | None] | None = None) -> None:
    """Print the one JSON document of a command under --json: the envelope, and next to it what the command gave.

    Nothing is printed where there is neither a result nor an error: by a process that leaves both to the first of its
    job. `error` is a message and a hint.
    """
    if _held or (error and (os.environ.get("RANK") or "0") == "0"):
        said = None if error is None else {"message": error[0], "hint": error[1]}
        ended = {"command": command, "geomprobe_version": __version__, "exit_code": exit_code, "error": said}
        print(_json(ended | _held))
    _held.clear()


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
    def of(cls, as_json: bool, full: bool, form: str, forms: Sequence[str] = FORMATS) -> Output:
        """The output that the options --json, --full and --format ask for.

        Raises
        ------
        UsageError
            There is no such format, or two ways to print are asked for.
        """
        if form not in forms:
            raise unknown_name("format", form, list(forms))
        if as_json + full + (form != "text") > 1:
            named = f"--json, --full and --format {form}" if full else f"--json and --format {form}"
            raise UsageError(f"{named} each print something else.", "Give one of them.")
        return cls(as_json, full=full, markdown=form == "md")

    def result(self, document: Any, text: str = "", rows: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Print the command's result: ``rows`` as an aligned table and ``text``.

        Under --json it is ``document`` that is printed, once the command ends (see `end_document`); a list is its
        ``results``.
        """
        if not self.results:
            return
        if self.as_json:
            _json(document)  # raises here, in the command, for what is no JSON
            _held.update(document if isinstance(document, Mapping) else {"results": document})
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
    def progress(self, stage: str, quiet: bool = False) -> Iterator[Progress]:
        """Yield a progress of work that begins with this stage: a bar on a terminal, else a line now and then."""
        if self.as_json or quiet:
            yield Progress(stage, lambda stage, share, words: None)
            return
        with bar(stage) if sys.stderr.isatty() else lines(stage) as progress:
            yield progress


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
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
    console(width=None if sys.stdout.isatty() else 160).print(grid)


def _styled(line: str) -> str:
    """A line of a summary in the terminal's own bold where it is a heading; plain with NO_COLOR."""
    heading = line.endswith(":") and not line.startswith(" ") and not os.environ.get("NO_COLOR")
    return f"\x1b[1m{line}\x1b[0m" if heading else line


def _json(document: Any) -> str:
    """Return JSON that standard output can carry: escaped where its encoding is not UTF-8."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(document, indent=2, ensure_ascii=not unicode, allow_nan=False, default=str)
