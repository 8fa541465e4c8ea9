"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and no bars.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]
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
Tasks = Annotated[
    list[str] | None, typer.Option("--task", help="sst2, mrpc, mnli, cola, stsb, controlled. [default: all GLUE tasks]")
]
Layers = Annotated[list[str] | None, typer.Option("--layer", help="last, all, or numbers from 0. [default: last]")]
Limit = Annotated[int | None, typer.Option(help="Most rows of each split, for a quick look.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write. [default: runs/analyze/NAME]")]
