"""`geomprobe ls`: every list that it names can be had, and holds the names that commands take."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from geomprobe.cli.ls import KINDS, _rows
from geomprobe.cli.main import app
from geomprobe.cli.options import GridOptions
from geomprobe.metrics import check_names


def ls(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["ls", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_without_an_argument_it_names_the_lists():
    shown = ls()
    assert all(kind in shown for kind in KINDS)
    assert len(shown.splitlines()) <= 20


@pytest.mark.parametrize("kind", KINDS)
def test_every_list(kind):
    shown = ls(kind)
    assert all(row[kind.removesuffix("s")] in shown for row in _rows(kind))


def test_names_are_taken_where_the_lists_say():
    check_names((), [row["view"] for row in _rows("views")])
    for row in _rows("protocols"):
        chosen = [f"protocol.{choice}" for choice in row["choices"].split(", ")]
        options = GridOptions(protocol=row["protocol"], set_=chosen)  # a choice as it is changes nothing
        assert options.choices.rows == GridOptions(protocol=row["protocol"]).choices.rows
    from geomprobe.analysis.plan import check_request

    check_request(["controlled"], ["mean"], [row["baseline"] for row in _rows("baselines")])
