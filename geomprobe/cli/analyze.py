"""`geomprobe analyze`: measure encoders on tasks and write a results folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from geomprobe.cli.errors import FAILED_CELLS
from geomprobe.cli.forecast import say_forecast
from geomprobe.cli.options import Format, Full, GridOptions, Json, Models, expanded
from geomprobe.cli.output import Output
from geomprobe.cli.values import refuse_repeats
from geomprobe.common import hold_folder, torchrun_place

if TYPE_CHECKING:
    from geomprobe.results import Results
    from geomprobe.results.record import Margin
    from geomprobe.tasks.base import Task


@expanded()
def analyze(
    models: Models, options: GridOptions, as_json: Json = False, full: Full = False, form: Format = "text"
) -> None:
    """Measure encoders on tasks and write a results folder.

    It holds geometry and probes of every model, task, layer and pooling. Finished cells are kept: repeat an interrupted
    command to continue it.
    """
    output = Output.of(as_json, full, form)
    refuse_repeats(models)
    with run_grid(output, models, options) as (results, folder):
        finish(output, results, folder)


@contextmanager
def run_grid(
    output: Output,
    models: Sequence[str],
    options: GridOptions,
    *,
    similarity: bool = False,
    complete: Callable[[Results], Any] | None = None,
    cells: Path | None = None,
    asked: Sequence[str] = (),
    margins: Mapping[str, Margin] | None = None,
    maps: bool = True,
) -> Iterator[tuple[Results, Path]]:
    """Run the grid that the options describe; yield results and folder, which is locked during the block.

    `asked` is what else a default folder is named by; the rest is as `analysis.analyze` takes it, hence the number.
    """
    from geomprobe.analysis.analyze import analyze as run
    from geomprobe.distributed import join

    if options.dry_run:
        rehearse(output, models, options, asked, similarity=similarity, cells=cells)
        raise typer.Exit
    folder, tasks = options.folder_and_tasks("analyze", models, *asked)
    with hold_folder(folder) if torchrun_place()[0] == 0 else nullcontext():
        with join() as processes, output.progress("measuring", quiet=not processes.first) as progress:
            if processes.first:
                say_tasks(output, tasks)
            results = run(
                models,
                tasks,
                options.poolings,
                options.layers,
                prompt=options.prompt,
                query_prompt=options.prompt_query,
                baselines=options.baselines,
                protocol=options.choices,
                data_dir=options.data,
                limit=options.limit,
                long=options.long,
                device=options.device,
                out=folder,
                cells=cells,
                seed=options.seed,
                similarity=similarity,
                texts=options.texts,
                refits=options.refits,
                probes=options.probes,
                jobs=options.jobs,
                precisions=options.precisions,
                dims=options.dims,
                margins=margins,
                maps=maps,
                complete=complete,
                processes=processes,
                progress=progress,
            )
        if not processes.first:
            # the first rank has all results, and reports; all end as it does
            raise typer.Exit(FAILED_CELLS if results.run["failed_cells"] else 0)
        say_models(output, results)
        yield results, folder


def rehearse(
    output: Output,
    models: Sequence[str],
    options: GridOptions,
    asked: Sequence[str],
    *,
    similarity: bool,
    cells: Path | None,
) -> None:
    """Print what `run_grid` would do."""
    from geomprobe.analysis.forecast import forecast
    from geomprobe.common.hub import rehearsing

    with rehearsing() as rehearsal:
        folder, tasks = options.folder_and_tasks("analyze", models, *asked)
        say_tasks(output, tasks)
        found = forecast(options.request(models, tasks), rehearsal, cells or folder / "cells", similarity=similarity)
    say_forecast(output, found, folder)


def say_models(output: Output, results: Results) -> None:
    """Print which models were measured, and their notes."""
    for entry in results.run["models"]:
        if entry.get("of"):
            continue
        output.note(f"model {entry['name']}: {entry['source']} ({entry['kind']}, {entry['device']}, {entry['dtype']})")
        for note in entry["notes"]:
            output.note(f"  {note}")
        if stored := [each["variant"] for each in results.run["models"] if each.get("of") == entry["name"]]:
            output.note(f"  its vectors also as: {', '.join(stored)}")
    output.also_measured(results.run.get("plugins", ()))
    frame = results.results
    narrow = frame[(frame["metric"] == "embedding") & (frame["status"] == "not applicable")]
    for row in narrow.drop_duplicates(["model", "layer", "note"]).itertuples():
        output.warning(f"{row.model}, layer {row.layer}: {row.note}")
    for entry in results.run["poolings"]:
        if entry["name"] == "model":
            output.note(f"pooling model: {entry['note']}")
    for entry in results.run["tasks"]:
        cut = {name: count for name, count in entry["truncated"].items() if count}
        if cut:
            output.warning(f"{entry['name']}: texts cut to the model's length: {cut}")
        if divided := {name: count for name, count in entry.get("chunked", {}).items() if count}:
            output.note(f"{entry['name']}: texts longer than the model, read in windows: {divided}")


def say_tasks(output: Output, tasks: Sequence[str | Task]) -> None:
    """Print, for each of the user's tasks, the columns taken and what was decided or left out."""
    for task in tasks:
        if not isinstance(task, str):
            taken, *notes = task.notes
            output.note(f"task {task.name} ({task.source}): {taken}")
            if notes:
                output.note(f"  {'; '.join(notes)}")


def finish(output: Output, results: Results, folder: Path, **more: str) -> None:
    """Print the summary and where the rest is; exit with 4 if cells failed."""
    from geomprobe.results.summary.words import about_probe_intervals

    frame, files = results.results, {"results": str(folder), **more}
    document = {**files, "rows": len(frame), "failed_cells": results.run["failed_cells"]}
    output.summary(document, results.summary(), files, lambda: every_row(results))
    if said := about_probe_intervals(results.facts()):
        output.note(said)
    few = [part[part["status"] == "too few rows"] for part in (frame, results.similarities)]
    if n := sum(map(len, few)):
        first = next(row for part in few for row in part.itertuples())
        had = "number had" if n == 1 else "numbers had"
        output.note(f"{n:,} {had} too few rows, first {first.metric} on {first.task}: {first.note}")
    failed = frame[frame["status"] == "failed"]
    for row in failed.head(SHOWN).itertuples():
        output.warning(f"{row.model}, {row.task}, layer {row.layer}, {row.pooling}: {row.metric} failed: {row.note}")
    if len(failed) > SHOWN:
        output.warning(f"{len(failed) - SHOWN} more failed; results.csv names them (status: failed)")
    alike = results.similarities
    broken = alike[(alike["status"] == "failed") & (len(failed) == 0)]  # else it follows from the cells
    for row in broken.head(SHOWN).itertuples():
        output.warning(f"{row.a} and {row.b}, {row.task}, {row.pooling}: similarity failed: {row.note}")
    if results.run["failed_cells"]:
        raise typer.Exit(FAILED_CELLS)


SHOWN = 5
"""Most failures that the terminal names."""


PLACE = ("model", "task", "layer", "pooling", "metric", "view", "control")


def every_row(results: Results) -> list[dict[str, str]]:
    """Every difference as a line, where models were compared; else every number."""
    from geomprobe.common.text import decimals, interval, number

    compared = results.comparisons
    frame = compared if len(compared) else results.results[results.results["status"] == "ok"]
    frame = frame.astype(object).where(frame.notna(), None)
    shown: list[dict[str, str]] = []
    for row in frame.to_dict("records"):
        value = row.get("diff", row.get("value"))
        low, high = row["ci_low"], row["ci_high"]
        places = decimals([value], None if low is None or high is None else (high - low) / 2)
        sides = {"A": row["value_a"], "B": row["value_b"]} if len(compared) else {}
        numbers = {**sides, "B − A" if sides else "value": value}
        line = {"of": f"{row['b']} − {row['a']}"} if sides else {}
        line |= {key: row[key] for key in PLACE if key in row}
        line |= {name: number(each, places) for name, each in numbers.items()}
        alone = "95 %, unadjusted" if sides else "95 %"  # verdicts are adjusted
        shown.append(line | {alone: interval(low, high, places)} | {k: row[k] for k in ("verdict",) if k in row})
    return shown


def group_sizes(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Sizes of the groups, for a folder's name; the models are in the same order."""
    return [f"{name}: {len(members)}" for name, members in groups.items()]
