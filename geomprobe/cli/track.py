"""`geomprobe track`: follow one or more trainings over their saved checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from geomprobe.cli.analyze import finish, say_tasks
from geomprobe.cli.options import Format, Full, GridOptions, Json, expanded
from geomprobe.cli.output import Output
from geomprobe.cli.report import write_reports
from geomprobe.cli.values import TEXT, filled, parse_groups
from geomprobe.common import UsageError, hold_folder

if TYPE_CHECKING:
    from geomprobe.encoders.checkpoints import TrainingSeries
    from geomprobe.results import Results

MEASURED = (
    "pool", "prompt", "prompt_query", "untrained", "task", "text", "label", "row_id", "split", "quotes", "kind",
    "positive", "layer", "long", "data", "limit", "device", "seed", "out",
)  # fmt: skip


@expanded(*MEASURED)
def track(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN_OR_REPO...",
            help="Folders with checkpoint-N, hub ids with --revisions, or two and more models of one training.",
            parser=filled,
        ),
    ] = None,
    revisions: Annotated[
        str | None, typer.Option("--revisions", **TEXT, help="Branches and tags of the hub ids, such as 'step*'.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", **TEXT, help="NAME=RUN,RUN,…: seeds of one recipe, shown with their mean; repeatable."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            **TEXT,
            help="What makes a checkpoint the best: 'max METRIC' or 'min METRIC [VIEW]'. The earliest that cannot be "
            "told apart from it is kept. [default: the headline score of each task]",
        ),
    ] = None,
    *,
    options: GridOptions,
    as_json: Json = False,
    full: Full = False,
    form: Format = "text",
) -> None:
    """Follow trainings over their checkpoints, and say which checkpoint to keep.

    Every checkpoint is measured on the same rows, one at a time. Writes a results folder with the numbers along the
    steps and their paired changes, and a report. Repeat an interrupted command to continue it.
    """
    from geomprobe.analysis.definitions import records
    from geomprobe.analysis.track import found_series, measure_series
    from geomprobe.comparison.series import KeepRule

    output = Output.of(as_json, full, form)
    sources, groups = runs or [], parse_groups(group or [])
    if not sources and not groups:
        raise UsageError("Nothing to follow was given.", "geomprobe track RUN, or --group NAME=RUN,RUN,RUN")
    rule = KeepRule.parsed(keep, records()) if keep is not None else KeepRule()
    every = [*sources, *(source for members in groups.values() for source in members)]
    asked = [repr((len(sources), [(name, len(members)) for name, members in groups.items()], revisions, keep))]
    folder, tasks = options.folder_and_tasks("track", every, *asked)
    found, bands = found_series(sources, revisions, groups)
    say_series(output, found)
    say_tasks(output, tasks)
    how: dict[str, Any] = {"prompt": options.prompt, "query_prompt": options.prompt_query, "protocol": options.choices}
    how |= {"data_dir": options.data, "limit": options.limit, "device": options.device, "seed": options.seed}
    how["long"] = options.long
    with hold_folder(folder):
        with output.progress("measuring") as progress:
            results = measure_series(
                found, bands, tasks, rule, options.poolings, options.layers, folder, progress=progress, **how
            )
        say_checkpoints(output, results)
        finish(output, results, folder, **write_reports(output, folder))


def say_series(output: Output, found: list[TrainingSeries]) -> None:
    """Print the checkpoints of each training, how their steps were told, and what was left out."""
    from geomprobe.common.text import count, listed

    for each in found:
        steps = listed([count(one.step) for one in each.checkpoints], most=12)
        output.note(f"{each.name}: {len(each.checkpoints)} checkpoints by the {each.unit} in their names: {steps}")
        for note in each.notes:
            output.note(f"  {note}")


def say_checkpoints(output: Output, results: Results) -> None:
    """Print what the checkpoints are, and what there is to know of them, once for all."""
    entries = results.run["models"]
    output.note(f"{len(entries)} checkpoints measured ({entries[0]['kind']}, {entries[0]['device']})")
    for note in dict.fromkeys(note for entry in entries for note in entry["notes"]):
        output.note(f"  {note}")
    output.also_measured(results.run.get("plugins", ()))
    for entry in results.run["tasks"]:
        if cut := max(entry["truncated"].values(), default=0):
            output.warning(f"{entry['name']}: up to {cut:,} texts were cut to the model's length")
        if divided := max(entry.get("chunked", {}).values(), default=0):
            output.note(f"{entry['name']}: up to {divided:,} texts longer than the model, read in windows")
