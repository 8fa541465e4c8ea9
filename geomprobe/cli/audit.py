"""`geomprobe audit`: are published numbers what they are called?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli.options import Json
from geomprobe.cli.output import Output


def audit(
    published: Annotated[
        Path,
        typer.Option(
            help="JSON file of published results: an object of \"('task', 'model', 'pooling')\" or "
            '"task/model/pooling" to numbers and spectra.'
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Also write the findings to this .json file.")] = None,
    as_json: Json = False,
) -> None:
    """Audit a file of published numbers.

    Finds what can be found without a model: cells that coincide, numbers that differ though their vectors do not,
    probes below the majority class, differences within their uncertainty, ranks that cannot be compared.
    """
    from geomprobe.audit import audit_published, read_published
    from geomprobe.common import write_json

    output = Output(as_json)
    cells = read_published(published)
    findings = audit_published(cells)
    document = {"file": published.name, "cells": len(cells), "findings": [asdict(finding) for finding in findings]}
    if out:
        write_json(out, document)
    lines = [f"{len(cells)} cells, {len(findings)} findings"]
    lines += [f"\n{finding.rule}\n  {finding.found}\n  {finding.meaning}" for finding in findings]
    output.result(document, "\n".join(lines))
