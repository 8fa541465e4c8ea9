"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and no bars.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="GEOMPROBE_DATA",
        help="Folder of glue/<task>/<split>.parquet; without it tasks come from the Hugging Face hub.",
    ),
]
Pools = Annotated[
    list[str] | None, typer.Option("--pool", help="mean, max, weighted, attention, cls, last or all. [default: mean]")
]
Untrained = Annotated[
    bool, typer.Option("--untrained", help="Leave weighted and attention pooling at initialisation, do not train them.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task", help="sst2, mrpc, mnli, cola, stsb, controlled, or a file of your own. [default: all GLUE tasks]"
    ),
]
Baselines = Annotated[
    list[str] | None,
    typer.Option("--baseline", help="Measure beside the models: random-init, static, bow, tfidf."),
]
Text = Annotated[
    list[str] | None, typer.Option("--text", help="Column of a file task: the sentence; twice for the two of a pair.")
]
Label = Annotated[str | None, typer.Option("--label", help="Column of a file task: the class or the score.")]
RowId = Annotated[str | None, typer.Option("--id", help="Column of a file task: unique row ids.")]
Kind = Annotated[str, typer.Option("--kind", help="Labels of a file task: auto, classification or regression.")]
Positive = Annotated[
    str | None,
    typer.Option("--positive", help="Class, or least score, of a file task's pairs that mean the same."),
]
Layers = Annotated[list[str] | None, typer.Option("--layer", help="last, all, or numbers from 0. [default: last]")]
Limit = Annotated[int | None, typer.Option(help="Most rows of each split, for a quick look.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write. [default: runs/analyze/NAME]")]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="strict, or paper: the published analysis, choice by choice (docs/audit.md).")
]
Choices = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace one choice of the protocol, such as protocol.pairs=separate; repeatable."),
]
