"""`geomprobe compare`: two encoders or two groups of seeds, measured on the same rows or taken from results folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geomprobe.cli.analyze import finish, group_sizes, run_grid
from geomprobe.cli.options import (
    Format,
    Full,
    GridOptions,
    Groups,
    Json,
    Pair,
    expanded,
    folder_name,
    refuse_given,
)
from geomprobe.cli.output import Output
from geomprobe.cli.report import write_reports
from geomprobe.cli.values import TEXT, parse_groups, two_sides
from geomprobe.common import UsageError, hold_folder, read_json

if TYPE_CHECKING:
    from geomprobe.results import Results
    from geomprobe.results.record import Margin


@expanded()
def compare(
    context: typer.Context,
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

    In place of models it takes finished results folders of analyze or compare, and FOLDER#NAME for one of several
    models in a folder. Then nothing is measured, and the models are not needed.
    """
    from geomprobe.api import every_metric
    from geomprobe.comparison.margin_overrides import parse_margins

    output = Output.of(as_json, full, form)
    models = models or []
    finished = are_finished(models, group or [])
    groups = two_sides(models, group or [], "compare")
    margins = parse_margins(margin or [], every_metric() if margin else ())
    if not finished:
        return compare_models(output, models, groups, options, margins)
    refuse_given(
        context, "describes a measurement; finished results folders are compared as they were measured.", {"out"}
    )
    return compare_folders(output, models, groups, options.out, margins)


def are_finished(models: Sequence[str], groups: Sequence[str]) -> bool:
    """Whether the sides are results folders and not models.

    Raises
    ------
    UsageError
        There are both, or a single folder.
    InputError
        One of them is neither.
    """
    from geomprobe.encoders.opening import check_source
    from geomprobe.results import folder_and_name, means_results, models_of

    sides = [*models, *(each for members in parse_groups(groups).values() for each in members)]
    finished = [each for each in sides if means_results(each)]
    if not finished:
        return False
    folder = folder_and_name(finished[0])[0]
    if unmeasured := next((each for each in sides if each not in finished), None):
        check_source(unmeasured)
        command = read_json(folder / "run.json").get("command") if (folder / "run.json").is_file() else None
        as_it_was = f"as {finished[0]} was ({command})" if command else f"as {finished[0]} was"
        raise UsageError(
            f"{finished[0]} is a results folder and {unmeasured} is a model: compare takes two models, which it "
            "measures, or two results folders, which it compares as they are.",
            f"Measure the model {as_it_was}, with geomprobe analyze; then compare the two folders.",
        )
    if len(sides) == 1 and not groups:
        a, b = ([f"'{folder}#{name}'" for name in models_of(folder)] + ["RESULTS_B"])[:2]
        raise UsageError(f"{sides[0]} is one results folder, and compare takes two.", f"geomprobe compare {a} {b}")
    return True


def compare_folders(
    output: Output,
    folders: list[str],
    groups: dict[str, list[str]],
    out: Path | None,
    margins: Mapping[str, Margin],
) -> None:
    """Compare finished results folders, or two groups of them; write differences and report."""
    from geomprobe.comparison.folders import compare_results
    from geomprobe.results import check_folder, folder_and_name, write_results

    sides = folders or [each for members in groups.values() for each in members]
    places = [folder_and_name(each) for each in sides]
    asked = [repr([(str(folder.resolve()), name) for folder, name in places]), *group_sizes(groups)]
    folder = out or Path("runs", "analyze") / folder_name(sides, "compare", *asked, repr(sorted(margins.items())))
    check_folder(folder, [place for place, _ in places])
    with hold_folder(folder):
        results = compare_results(groups or folders, margins)
        for entry in results.run["models"][: len(sides)]:
            output.note(f"model {entry['name']}: {entry.get('source')}")
        for note in results.run["notes"]:
            output.warning(note)
        output.note("how alike the models are (CKA) needs vectors: geomprobe compare MODEL_A MODEL_B measures it")
        write_results(folder, results)
        say_comparison(output, results, folder)


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
        say_comparison(output, results, folder)


def say_comparison(output: Output, results: Results, folder: Path) -> None:
    """Write the report of a comparison, and print what it found."""
    files = write_reports(output, folder)
    finish(output, results, folder, **files)
