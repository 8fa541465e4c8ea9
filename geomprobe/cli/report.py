"""`geomprobe report`: make the report of a results folder again, without a model."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli.errors import FAILED_CELLS
from geomprobe.cli.options import Format, Json
from geomprobe.cli.output import Output
from geomprobe.cli.values import PATH


def report(
    results_dir: Annotated[Path, typer.Argument(**PATH, help="Results folder of analyze, compare or audit.")],
    html: Annotated[bool, typer.Option("--html", help="Write report.html. [default: both formats]")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write report.pdf.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the report.")] = False,
    as_json: Json = False,
    form: Format = "text",
) -> None:
    """Write the report of a results folder again.

    Writes report.html, report.pdf and report.json from the folder alone. Exits with 4 if the results hold failed cells.
    """
    from geomprobe.common import hold_folder, read_json
    from geomprobe.reports import write_report
    from geomprobe.results import read_results

    output = Output.of(as_json, False, form)
    wanted = [name for name, asked in (("report.html", html), ("report.pdf", pdf)) if asked or not (html or pdf)]
    with hold_folder(results_dir) if results_dir.is_dir() else nullcontext():
        paths = write_report(results_dir, *(results_dir / name for name in [*wanted, "report.json"]))
    document = {path.suffix[1:]: str(path) for path in paths}
    files = {kind: path for kind, path in document.items() if f"report.{kind}" in wanted}
    record = "audit.json" if (results_dir / "audit.json").is_file() else "run.json"
    if record == "run.json":
        output.summary(document, read_results(results_dir).summary(), files, list)
    else:
        output.result(document, "\n".join(files.values()))
    if open_it:
        typer.launch(str(paths[0].resolve()))
    if failed := read_json(results_dir / record).get("failed_cells"):
        output.warning(f"{failed} cell{'s' * (failed > 1)} failed; the report names them")
        raise typer.Exit(FAILED_CELLS)


def write_reports(output: Output, folder: Path) -> dict[str, str]:
    """Write report.html, report.pdf and report.json into a folder of results; return where the two pages lie."""
    from geomprobe.reports import write_report

    output.note("writing the report")
    html, pdf, _ = write_report(folder, *(folder / f"report.{kind}" for kind in ("html", "pdf", "json")))
    return {"html": str(html), "pdf": str(pdf)}
