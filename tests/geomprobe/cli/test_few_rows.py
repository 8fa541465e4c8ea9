"""A task file of very few rows through the command line: exit code 0, and a line that counts the numbers."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from geomprobe.cli.analyze import analyze
from geomprobe.cli.errors import guard
from geomprobe.results import read_results


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_task_file_of_few_rows(model_folder, tmp_path, monkeypatch, n):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    lines = [f"the cat {i},{'ab'[i % 2]}\n" for i in range(n)]
    (tmp_path / "few.csv").write_text("text,label\n" + "".join(lines), encoding="utf-8")
    app = typer.Typer()
    app.command()(guard(analyze))
    done = CliRunner().invoke(app, [str(model_folder("bert")), "--task", "few.csv", "--out", "r"])
    assert done.exit_code == 0, done.output
    few = read_results(tmp_path / "r").results.query("status == 'too few rows'")
    assert f"{len(few):,} numbers had too few rows, first {few['metric'].iloc[0]} on" in done.output
    assert f"{n} row{'' if n == 1 else 's'}; at least 40 are needed for a train split" in set(few["note"])
