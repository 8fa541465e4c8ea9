"""`geomprobe compare`: analyse two encoders or two groups of seeds on the same rows, and write the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geomprobe.cli.analyze import finish, group_sizes, run_grid
from geomprobe.cli.options import Format, Full, GridOptions, Groups, Json, Pair, expanded
from geomprobe.cli.output import Output
from geomprobe.cli.report import write_reports
from geomprobe.cli.values import TEXT, two_sides

if TYPE_CHECKING:
    from geomprobe.results import Results
    from geomprobe.results.record import Margin


@expanded()
def compare(
    models: Pair = None,
    group: Groups = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(
            **TEXT,
            help="METRIC=0.05 (own units) or METRIC=5% (of the mean of both values): a difference within this margin "
            "counts as none; repeatable.",
        ),
    ] = None,
    *,
    options: GridOptions,
    as_json: Json = False,
    full: Full = False,
    form: Format = "text",
) -> None:
    """Compare two encoders on the same rows and write a report.

    Writes a results folder with the differences (second minus first), and a report in HTML and PDF. Two checkpoints
    support a claim about these two; a claim about objectives needs groups of at least three seeds.
    """
    from geomprobe.api import every_metric
    from geomprobe.comparison.margin_overrides import parse_margins

    output = Output.of(as_json, full, form)
    groups = two_sides(models or [], group or [], "compare")
    compare_models(output, models or [], groups, options, parse_margins(margin or [], every_metric() if margin else ()))


def compare_models(
    output: Output,
    models: list[str],
    groups: dict[str, list[str]],
    options: GridOptions,
    margins: Mapping[str, Margin] | None = None,
    cells: Path | None = None,
) -> None:
    """Measure two models, or two groups, as the options say; write differences and report."""
    from geomprobe.analysis.similarities import with_groups
    from geomprobe.comparison.groups import compare_groups
    from geomprobe.comparison.table import add_comparisons, add_untrained

    def differences(results: Results) -> None:
        names = [entry["name"] for entry in results.run["models"]]
        if not groups:
            add_untrained(add_comparisons(results, names[0], names[1], margins), margins)
            return
        named = iter(names)
        members = {name: [next(named) for _ in paths] for name, paths in groups.items()}
        compare_groups(results, members, margins)
        results.similarities = with_groups(results.similarities, members)

    paths = models or [path for members in groups.values() for path in members]
    if len(models) == 2 and Path(models[0]).resolve() == Path(models[1]).resolve():
        output.note("both are the same model: a check of the method")
    asked = ["compare", *group_sizes(groups), repr(sorted((margins or {}).items()))]
    more: dict[str, Any] = {"complete": differences, "cells": cells, "asked": asked, "margins": margins}
    with run_grid(output, paths, options, similarity=True, **more) as (results, folder):
        files = write_reports(output, folder)
        finish(output, results, folder, **files)
