"""`geomprobe compare`: analyse two encoders or two groups of seeds on the same rows, and write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geomprobe.cli.analyze import chosen_protocol, finish, run_grid
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
from geomprobe.common import UsageError

if TYPE_CHECKING:
    from geomprobe.inference.margins import Margin
    from geomprobe.protocols import Protocol
    from geomprobe.results import Results


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
    columns = {"text": split_list(text), "label": label, "row_id": row_id, "kind": kind, "positive": positive}
    compare_models(
        Output(as_json), models or [], groups, parse_margins(margin or []), pool, task, columns, layer, baseline, data,
        limit, device, seed, out, chosen_protocol(protocol, set_, untrained),
    )  # fmt: skip


def compare_models(
    output: Output,
    models: list[str],
    groups: dict[str, list[str]],
    margins: Mapping[str, Margin],
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
    cells: Path | None = None,
) -> None:
    """Measure two models, or two groups, as the options of `compare` say; write differences and report."""
    from geomprobe.cli.siblings import sibling
    from geomprobe.comparison import add_comparisons, compare_groups
    from geomprobe.similarities import with_groups

    write_report = sibling("reports").write_report

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
    results, folder = run_grid(
        output, paths, pool, task, columns, layer, baseline, data, limit, device, seed, out, protocol,
        similarity=True, complete=differences, cells=cells,
    )  # fmt: skip
    output.note("writing the report")
    html, pdf = folder / "report.html", folder / "report.pdf"
    write_report(folder, html, pdf, folder / "report.json")
    for claim in results.run["claims"]:
        output.note(claim["sentence"])
    finish(output, results, folder, html=str(html), pdf=str(pdf))


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
