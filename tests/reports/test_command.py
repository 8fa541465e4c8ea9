"""The command that makes a report again from a results folder."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from geomprobe.cli.errors import guard
from geomprobe.cli.report import report
from geomprobe.results import write_results


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(guard(report))
    return app


def test_writes_what_is_asked_for(make_results, tmp_path, app):
    folder = write_results(tmp_path / "results", make_results(tasks=("sst2",), poolings=("mean",)))
    done = CliRunner().invoke(app, [str(folder), "--html", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["html"].endswith("report.html")
    assert (folder / "report.json").is_file()
    assert not (folder / "report.pdf").exists()


def test_a_folder_without_results_is_an_input_error(tmp_path, app):
    done = CliRunner().invoke(app, [str(tmp_path)])
    assert done.exit_code == 3
    assert "no finished results" in done.output
    assert list(tmp_path.iterdir()) == []
