"""`geomprobe compare`: analyse two encoders or two groups of seeds on the same rows, and write the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geomprobe.cli.analyze import finish, group_sizes, run_grid
from geomprobe.cli.options import GridOptions, Json, expanded
from geomprobe.cli.output import Output
from geomprobe.cli.report import write_reports
from geomprobe.cli.siblings import sibling
from geomprobe.common import UsageError

if TYPE_CHECKING:
    from geomprobe.inference.margins import Margin
    from geomprobe.results import Results


@expanded
def compare(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL_A MODEL_B", help="Folders or hub ids.")] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(help="NAME=MODEL,MODEL,… twice: compare two groups of seeds in place of two models."),
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(help="METRIC=0.05 or METRIC=5%: differences within it count as none; repeatable."),
    ] = None,
    *,
    options: GridOptions,
    as_json: Json = False,
) -> None:
    """Compare two encoders and write a report.

    Both are measured on the same rows; the results folder, the differences (second minus first) and a report in HTML
    and PDF are written. Two checkpoints support a claim about two checkpoints; a claim about objectives needs groups of
    at least three seeds.
    """
    from geomprobe.inference.margins import parse_margins

    groups = parse_groups(group or [])
    if bool(models) == bool(groups) or len(models or groups) != 2:
        raise UsageError(
            "compare takes two models, or two groups of seeds.",
            "geomprobe compare MODEL_A MODEL_B, or --group hybrid=a,b,c --group mlm=d,e,f",
        )
    compare_models(Output(as_json), models or [], groups, options, parse_margins(margin or []))


def compare_models(
    output: Output,
    models: list[str],
    groups: dict[str, list[str]],
    options: GridOptions,
    margins: Mapping[str, Margin] | None = None,
    cells: Path | None = None,
) -> None:
    """Measure two models, or two groups, as the options say; write differences and report."""
    from geomprobe.comparison import add_comparisons, compare_groups
    from geomprobe.similarities import with_groups

    sibling("reports")  # refused before anything is measured where it is shadowed

    def differences(results: Results) -> None:
        names = [entry["name"] for entry in results.run["models"]]
        if not groups:
            add_comparisons(results, names[0], names[1], margins)
            return
        named = iter(names)
        members = {name: [next(named) for _ in paths] for name, paths in groups.items()}
        compare_groups(results, members, margins)
        results.similarities = with_groups(results.similarities, members)

    paths = models or [path for members in groups.values() for path in members]
    asked = ["compare", *group_sizes(groups), repr(sorted((margins or {}).items()))]
    results, folder = run_grid(
        output, paths, options, similarity=True, complete=differences, cells=cells, asked=asked, margins=margins
    )
    files = write_reports(output, folder)
    for claim in results.run["claims"]:
        output.note(claim["sentence"])
    finish(output, results, folder, **files)


def parse_groups(texts: list[str]) -> dict[str, list[str]]:
    """Return group name -> models from ``NAME=MODEL,MODEL,…``."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        name, equals, members = text.partition("=")
        found = [member.strip() for member in members.split(",") if member.strip()]
        if not equals or not name.strip() or not found or name.strip() in groups:
            raise UsageError(f"--group {text!r} is not NAME=MODEL,MODEL,…", "For example --group hybrid=run1,run2,run3")
        groups[name.strip()] = found
    return groups
