"""`geomprobe analyze`: measure encoders on tasks and write a results folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geomprobe.cli.errors import FAILED_CELLS
from geomprobe.cli.options import (
    Baselines,
    Choices,
    DataDir,
    Device,
    Json,
    Kind,
    Label,
    Layers,
    Limit,
    Out,
    Pools,
    Positive,
    ProtocolName,
    RowId,
    Seed,
    Tasks,
    Text,
    Untrained,
)
from geomprobe.cli.output import Output, split_list
from geomprobe.common import UsageError, hash_bytes

if TYPE_CHECKING:
    from geomprobe.protocols import Protocol
    from geomprobe.results import Results
    from geomprobe.tasks.base import Task


def analyze(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Folders or hub ids (name@revision pins).")],
    pool: Pools = None,
    untrained: Untrained = False,
    task: Tasks = None,
    text: Text = None,
    label: Label = None,
    row_id: RowId = None,
    kind: Kind = "auto",
    positive: Positive = None,
    layer: Layers = None,
    baseline: Baselines = None,
    data: DataDir = None,
    limit: Limit = None,
    protocol: ProtocolName = "strict",
    set_: Choices = None,
    device: Device = "auto",
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure encoders on tasks.

    Writes a results folder: geometry and probes of every model, task, layer and pooling.

    Finished cells are kept in the folder; the same command continues an interrupted run.
    """
    output = Output(as_json)
    columns = {"text": split_list(text), "label": label, "row_id": row_id, "kind": kind, "positive": positive}
    results, folder = run_grid(
        output,
        models,
        pool,
        task,
        columns,
        layer,
        baseline,
        data,
        limit,
        device,
        seed,
        out,
        chosen_protocol(protocol, set_, untrained),
    )
    finish(output, results, folder)


def run_grid(
    output: Output,
    models: Sequence[str],
    pool: Sequence[str] | None,
    task: Sequence[str] | None,
    columns: Mapping[str, Any],
    layer: Sequence[str] | None,
    baseline: Sequence[str] | None,
    data: Path | None,
    limit: int | None,
    device: str,
    seed: int,
    out: Path | None,
    protocol: Protocol,
    similarity: bool = False,
    complete: Callable[[Results], Any] | None = None,
    cells: Path | None = None,
) -> tuple[Results, Path]:
    """Run the grid that the options of `analyze` and `compare` describe; return results and folder."""
    from geomprobe.grid import GLUE
    from geomprobe.grid import analyze as run
    from geomprobe.pooling import POOLINGS
    from geomprobe.ranks import join

    poolings, tasks, baselines = split_list(pool) or ["mean"], split_list(task) or list(GLUE), split_list(baseline)
    folder = out or Path("runs/analyze") / folder_name(models, *tasks, str(limit), str(seed), *protocol_words(protocol))
    with join() as ranks, output.progress("measuring", quiet=not ranks.first) as progress:
        results = run(
            models,
            file_tasks(tasks, columns),
            list(POOLINGS) if "all" in poolings else poolings,
            parse_layers(split_list(layer) or ["last"]),
            baselines=baselines,
            protocol=protocol,
            data_dir=data,
            limit=limit,
            device=device,
            out=folder,
            cells=cells,
            seed=seed,
            similarity=similarity,
            complete=complete,
            ranks=ranks,
            progress=progress,
        )
    if not ranks.first:
        raise typer.Exit  # the first rank has all results, and reports
    for entry in results.run["models"]:
        output.note(f"model {entry['name']}: {entry['source']} ({entry['kind']}, {entry['device']}, {entry['dtype']})")
    for entry in results.run["tasks"]:
        cut = {name: count for name, count in entry["truncated"].items() if count}
        if cut:
            output.warning(f"{entry['name']}: texts cut to the model's length: {cut}")
    return results, folder


def chosen_protocol(name: str, settings: Sequence[str] | None, untrained: bool) -> Protocol:
    """Return the protocol that the options describe."""
    from geomprobe.protocols import choose

    protocol = choose(name, settings or ())
    return replace(protocol, train_poolings=False) if untrained else protocol


def protocol_words(protocol: Protocol) -> list[str]:
    """Return what a folder's name is made of besides: nothing for the default protocol."""
    return [] if protocol.name == "strict" else [protocol.name]


def file_tasks(names: Sequence[str], columns: Mapping[str, Any]) -> list[str | Task]:
    """Return the tasks with those that are files read by the named columns; all others stay names."""
    from geomprobe.tasks import load_file, task_names
    from geomprobe.tasks.files import is_file_task

    given = {key: value for key, value in columns.items() if value and value != "auto"}
    files = [name for name in names if name not in task_names() and is_file_task(name)]
    if given and not files:
        raise UsageError("--text, --label, --id, --kind and --positive describe files.", "Add --task FILE.")
    return [load_file(name, **given) if name in files else name for name in names]


def finish(output: Output, results: Results, folder: Path, **more: str) -> None:
    """Print where the results lie and a short table of them; exit 4 where cells failed."""
    frame = results.results
    shown = frame[(frame["status"] == "ok") & frame["control"].isna() & frame["metric"].isin(HEADLINE)]
    document = {"results": str(folder), **more, "rows": len(frame), "failed_cells": results.run["failed_cells"]}
    if output.as_json:
        output.result(document)
    else:
        output.table(headline_rows(shown))
        output.result(document, "\n".join(f"{key}: {document[key]}" for key in ("results", *more)))
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        for row in failed.head(5).itertuples():
            output.warning(f"{row.model}, {row.task}, {row.pooling}: {row.metric} failed: {row.note}")
        raise typer.Exit(FAILED_CELLS)


HEADLINE = ("effective_rank", "uniformity", "mean_cosine", "semantic_accuracy", "sts_probe_spearman", "meaning_share")


def headline_rows(frame) -> list[dict[str, str]]:
    """Return one line a cell with the headline metrics of the raw view, for the terminal."""
    raw = frame[frame["view"].fillna("raw") == "raw"]
    keys = ["model", "task", "layer", "pooling"]
    wide = raw.drop_duplicates([*keys, "metric"]).pivot(index=keys, columns="metric", values="value").reset_index()
    metrics = [m for m in HEADLINE if m in wide]
    return [
        {key: str(row[key]) for key in keys}
        | {m: "" if row[m] is None or row[m] != row[m] else f"{row[m]:.4g}" for m in metrics}
        for row in wide.astype(object).where(wide.notna(), None).to_dict("records")
    ]


def parse_layers(words: Sequence[str]) -> Sequence[int] | str:
    """Return layer numbers, or "all"."""
    if "all" in words:
        return "all"
    try:
        return [-1 if word == "last" else int(word) for word in words]
    except ValueError:
        raise UsageError(f"--layer takes last, all or numbers, not {','.join(words)!r}.") from None


def folder_name(models: Sequence[str], *more: str) -> str:
    """Return a folder name made of the models' names and a short hash of where they lie and what was asked of them."""
    names = [re.sub(r"[^A-Za-z0-9._-]+", "-", Path(m.rstrip("/")).name).strip("-.") or "model" for m in models]
    asked = hash_bytes(*(str(Path(m).resolve()) if Path(m).exists() else m for m in models), "|", *more)
    return f"{'-vs-'.join(names)[:100]}-{asked[:6]}"
