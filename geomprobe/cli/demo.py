"""`geomprobe demo`: offline, end to end, with nothing but the installed packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli import compare, pretrain
from geomprobe.cli.options import GridOptions, Json, Seed
from geomprobe.cli.output import Output
from geomprobe.cli.values import PATH
from geomprobe.common import UsageError, read_json


def demo(
    out: Annotated[Path, typer.Option(**PATH, help="Folder for checkpoints, results and report.")] = Path("runs/demo"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train two tiny encoders, compare them, write a report; offline.

    Trains a hybrid and an MLM encoder on the docstrings of the installed packages, compares them on the controlled task
    and writes the report in HTML and PDF.
    """
    from geomprobe.results import check_folder

    output = Output(as_json)
    for folder in (out, out / "report"):
        check_folder(folder)
    for objective in ("mlm", "hybrid"):
        folder = out / objective
        if _finished(folder, seed):
            output.note(f"{folder} is finished and is reused")
            continue
        output.note(f"training {objective}")
        settings = {"objective": objective, "corpus": "docstrings", "out": str(folder), "seed": seed}
        # its summary goes to stderr: stdout is for the comparison
        output.note(pretrain.summary(*pretrain.train_encoder(Output(), "demo", settings, resume=folder.exists())))
    options = GridOptions(pool=["mean", "max"], task=["controlled"], out=out / "report", seed=seed)
    compare.compare_models(output, [str(out / "mlm"), str(out / "hybrid")], {}, options)


def _finished(folder: Path, seed: int) -> bool:
    """Whether a checkpoint was trained to its end; raises UsageError where that was with another seed."""
    if not (folder / "run.json").is_file():
        return False
    run = read_json(folder / "run.json")
    if run.get("seed") != seed:
        raise UsageError(f"{folder} was trained with seed {run.get('seed')}.", "Choose another folder with --out.")
    return bool(run.get("finished"))
