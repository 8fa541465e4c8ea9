"""`geomprobe compare`: analyse two encoders on the same rows, take differences, write the report."""

from __future__ import annotations

from typing import Annotated

import typer

from geomprobe.cli.analyze import finish, run_grid
from geomprobe.cli.options import DataDir, Device, Json, Layers, Limit, Out, Pools, Seed, Tasks
from geomprobe.cli.output import Output


def compare(
    model_a: Annotated[str, typer.Argument(help="Folder or hub id; differences are B minus A.")],
    model_b: Annotated[str, typer.Argument(help="Folder or hub id.")],
    pool: Pools = None,
    task: Tasks = None,
    layer: Layers = None,
    data: DataDir = None,
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Compare two encoders and write a report.

    Both are measured on the same rows; the results folder, the differences (B minus A) and a report in HTML and PDF
    are written.
    """
    from geomprobe.cli.siblings import sibling
    from geomprobe.compare import add_comparisons
    from geomprobe.results import write_results

    write_report = sibling("reports").write_report
    output = Output(as_json)
    results, folder = run_grid(output, [model_a, model_b], pool, task, layer, data, limit, device, seed, out)
    write_results(folder, add_comparisons(results, *(entry["name"] for entry in results.run["models"])))
    output.note("writing the report")
    html, pdf = folder / "report.html", folder / "report.pdf"
    write_report(folder, html, pdf, folder / "report.json")
    finish(output, results, folder, html=str(html), pdf=str(pdf))
