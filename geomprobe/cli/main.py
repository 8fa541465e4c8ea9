"""The composition root: the one place that joins pretrain, geomprobe and reports, each inside its command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

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
    pretrain,
    replicate,
    report,
    track,
)
from geomprobe.cli.errors import guard
from geomprobe.cli.settings import COMMANDS, Configured
from geomprobe.common import shortened


@contextlib.contextmanager
def _shortened_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str):
            error.message = shortened(message)  # type: ignore[attr-defined]
        raise


class ShortMessages(TyperGroup):
    """A group of commands whose usage errors shorten words of thousands of characters."""

    make_context = _shortened_errors()(TyperGroup.make_context)
    invoke = _shortened_errors()(TyperGroup.invoke)


app = typer.Typer(
    name="geomprobe",
    cls=ShortMessages,
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
    replicate.replicate,
    report.report,
    card.card,
    ls.ls,
    doctor.doctor,
):
    app.command(command.__name__, cls=Configured if command.__name__ in COMMANDS else None)(guard(command))
app.add_typer(corpus.app, name="corpus")
app.add_typer(cache.app, name="cache")
