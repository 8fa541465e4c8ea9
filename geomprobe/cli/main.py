"""The composition root: the one place that joins pretrain, geomprobe and reports, each inside its command."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import geomprobe
from geomprobe.cli import (
    analyze,
    audit,
    cache,
    card,
    compare,
    corpus,
    demo,
    doctor,
    gate,
    ls,
    measure,
    plan,
    pretrain,
    replicate,
    report,
    track,
)
from geomprobe.cli.errors import guard
from geomprobe.cli.output import end_document
from geomprobe.cli.settings import COMMANDS, Configured
from geomprobe.common import shortened


class Commands(TyperGroup):
    """The group of all commands. Usage errors shorten words of thousands of characters, and obey --json."""

    words: Sequence[str] = ()

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        self.words = list(args)
        with self._explained():
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: Any) -> Any:
        with self._explained():
            return super().invoke(ctx)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(message := getattr(error, "message", None), str):
                error.message = shortened(message)  # type: ignore[attr-defined]
                if "--json" in self.words and hasattr(error, "format_message"):
                    end_document(self._named(), error.exit_code, (error.format_message(), None))  # type: ignore[attr-defined]
            raise

    def _named(self) -> str:
        """Name of the command that the words ask for; empty where they name none."""
        found: Any = self
        names = list(itertools.takewhile(lambda word: not word.startswith("-"), self.words))
        for number, name in enumerate(names):
            if (found := getattr(found, "commands", {}).get(name)) is None:
                return " ".join(names[:number])
        return " ".join(names)


app = typer.Typer(
    name="geomprobe",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"geomprobe {geomprobe.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Measure and compare the representation geometry of text encoders.

    Results go to stdout, progress to stderr. Exit codes: 0 ok, 1 internal error, 2 usage, 3 input not found or
    unreadable, 4 finished with failed cells, 130 interrupted, 143 terminated; of gate alone: 5 failed, 6 cannot tell.

    Options of analyze, compare and gate may stand in geomprobe.toml, or in [tool.geomprobe] of pyproject.toml.
    """


for command in (
    demo.demo,
    pretrain.pretrain,
    analyze.analyze,
    compare.compare,
    gate.gate,
    track.track,
    audit.audit,
    measure.measure,
    plan.plan,
    replicate.replicate,
    report.report,
    card.card,
    ls.ls,
    doctor.doctor,
):
    app.command(command.__name__, cls=Configured if command.__name__ in COMMANDS else None)(guard(command))
app.add_typer(corpus.app, name="corpus")
app.add_typer(cache.app, name="cache")
