"""`geomprobe demo`: offline, end to end, with nothing but the installed packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli import compare, pretrain
from geomprobe.cli.options import Json, Seed
from geomprobe.cli.output import Output


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the two checkpoints, the results and the report.")] = Path(
        "runs/demo"
    ),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Run everything once, offline.

    Trains a hybrid and an MLM encoder on the docstrings of installed packages, compares them on the controlled task
    and writes the report in HTML and PDF.
    """
    output = Output(as_json)
    for objective in ("mlm", "hybrid"):
        if (out / objective / "config.json").is_file():
            output.note(f"{out / objective} exists and is used")
            continue
        output.note(f"training {objective}")
        pretrain.pretrain(objective=objective, preset="demo", corpus="docstrings", out=out / objective, seed=seed)
    compare.compare(
        [str(out / "mlm"), str(out / "hybrid")],
        pool=["mean,max"],
        task=["controlled"],
        out=out / "report",
        seed=seed,
        as_json=as_json,
    )
