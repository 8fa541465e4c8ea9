"""`geomprobe audit`: check published numbers, and the paper's claims on checkpoints."""

from __future__ import annotations

import os
import textwrap
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli.analyze import group_sizes, say_tasks
from geomprobe.cli.errors import FAILED_CELLS
from geomprobe.cli.options import Format, Full, GridOptions, Groups, Json, Pair, expanded
from geomprobe.cli.output import Output
from geomprobe.cli.report import write_reports
from geomprobe.cli.values import PATH, two_sides
from geomprobe.common import UsageError, check_output_file, hold_folder, listed, write_text


@expanded("task", "data", "limit", "device", "jobs", "seed")
def audit(
    models: Pair = None,
    group: Groups = None,
    published: Annotated[
        Path | None,
        typer.Option(
            **PATH, help="JSON file of published results to audit, instead of models (docs/reference/audit.md)."
        ),
    ] = None,
    *,
    options: GridOptions,
    out: Annotated[
        Path | None,
        typer.Option(**PATH, help="Folder to write [default: runs/audit/NAME]; with --published a .json file."),
    ] = None,
    as_json: Json = False,
    full: Full = False,
    form: Format = "text",
) -> None:
    """Audit the claims of Predict and Reconstruct.

    MODEL_A stands for the published MLM encoder, MODEL_B for the hybrid one. Both are measured by the published
    analysis, by the default protocol, and by the published analysis with one choice replaced at a time. Each claim gets
    the published value, the value by the same analysis, the corrected value with interval and verdict, and the choice
    that moves it most. Finished cells are kept: repeat an interrupted command to continue it.

    --published FILE measures no model: it finds what published numbers show about themselves.
    """
    output = Output.of(as_json, full, form)
    if (os.environ.get("WORLD_SIZE") or "1") != "1":
        raise UsageError("audit runs in one process.", "Start it without torchrun.")
    if published is not None:
        if models or group or options.task or options.limit:
            raise UsageError(
                "--published takes no models, --task or --limit: no model is measured.",
                "Give either a file or two models.",
            )
        audit_file(output, published, out)
        return
    groups = two_sides(models or [], group or [], "audit")
    audit_models(output, models or [], groups, replace(options, out=out))


SHOWN = 5
"""Findings of an audit of published numbers that are printed without --full."""


def audit_models(
    output: Output,
    models: list[str],
    groups: dict[str, list[str]],
    options: GridOptions,
    cells: Path | None = None,
) -> None:
    """Audit two models or two groups, write the report, print the claims."""
    from geomprobe.predict_reconstruct.checkpoints import audit_checkpoints
    from geomprobe.reports.pages import claims
    from geomprobe.results.summary.printed import WIDTH

    sides = groups or {"A": models[:1], "B": models[1:]}
    paths = [path for members in sides.values() for path in members]
    folder, tasks = options.folder_and_tasks("audit", paths, *group_sizes(groups))
    say_tasks(output, tasks)
    with hold_folder(folder):
        document = audit_checkpoints(
            sides,
            tasks,
            grouped=bool(groups),
            data_dir=options.data,
            limit=options.limit,
            device=options.device,
            seed=options.seed,
            jobs=options.jobs,
            out=folder,
            cells=cells,
            bars=output.progress,
        )
        write_text(folder / "claims.md", claims.claims_page(document))
        files = {"results": str(folder), "audit": str(folder / "audit.json"), **write_reports(output, folder)}
    rows = [row for claim in document["claims"] for row in claims.claim_rows(claim)]
    # of the two levels the later one is about the objectives, and the one to quote
    sentences = [list(claim["verdicts"].values())[-1]["sentence"] for claim in document["claims"]]
    lines = [line for text in sentences for line in textwrap.wrap(text, WIDTH, max_lines=2, placeholder=" …")]
    text = "\n".join([*lines, *(f"{key}: {value}" for key, value in files.items())])
    page = claims.claims_page(document) if output.markdown else text
    output.result(document | {"files": files}, page, rows if output.full else None)
    if document["failed_cells"]:
        output.warning(f"{document['failed_cells']} cells failed; the results folders say which")
        raise typer.Exit(FAILED_CELLS)


def audit_file(output: Output, published: Path, out: Path | None) -> None:
    """Audit a file of published numbers."""
    from geomprobe.common import write_json
    from geomprobe.predict_reconstruct.published import audit_published, read_published

    if out:
        check_output_file(out, [".json"], [published])
    cells = read_published(published)
    if absent := [name for cell in cells.values() for name in cell.absent]:
        output.note(f"{len(absent)} values are null or NaN and count as absent: {listed(sorted(set(absent)))}")
    findings = audit_published(cells)
    document = {"file": published.name, "cells": len(cells), "findings": [asdict(finding) for finding in findings]}
    if out:
        write_json(out, document)
    lines = [f"{len(cells)} cells, {len(findings)} findings"]
    shown = findings if output.full else findings[:SHOWN]
    lines += [f"{finding.rule}\n  {finding.found}\n  {finding.meaning}" for finding in shown]
    lines += [f"and {hidden} more: --full prints them"] if (hidden := len(findings) - len(shown)) else []
    output.result(document, "\n".join(lines))
