"""`geomprobe card`: measured numbers on the model card of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli.errors import FAILED_CELLS
from geomprobe.cli.options import Json
from geomprobe.cli.output import Output
from geomprobe.cli.values import PATH, TEXT
from geomprobe.common import InputError
from geomprobe.common.text import counted


def card(
    results_dir: Annotated[Path, typer.Argument(**PATH, help="Results folder of analyze or compare.")],
    model: Annotated[
        str | None,
        typer.Option(**TEXT, help="Whose numbers. [default: the model with the folder's weights, else the only one]"),
    ] = None,
    push_to_folder: Annotated[
        Path | None,
        typer.Option(**PATH, help="Checkpoint folder whose README.md gets the section and the metadata."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write measured numbers on a model card.

    A section says what was measured, on which rows, and the values with their intervals; the same numbers go into the
    metadata that the Hugging Face hub reads (model-index, and .eval_results for scores of tasks on the hub). Other text
    of the card stays; a second push replaces the first. Without --push-to-folder the section is printed.
    """
    from geomprobe.common import hold_folder
    from geomprobe.integrations import cards
    from geomprobe.results import read_results

    output = Output(as_json)
    results = read_results(results_dir)
    warning = ""
    if push_to_folder is None:
        of = cards.Measured.of(results, cards.only_model(results, model))
        output.result({"model": of.name, "section": cards.section(of)}, cards.section(of).rstrip())
    else:
        if not push_to_folder.is_dir():
            raise InputError(f"{push_to_folder} is not a folder.", "Give the folder of the checkpoint.")
        name, warning = cards.model_of(results, push_to_folder, model)
        of = cards.Measured.of(results, name)
        with hold_folder(push_to_folder):
            files = [str(path) for path in cards.push_to_folder(of, push_to_folder)]
        n = len(cards.eval_results(of))
        said = f"{counted(n, 'number')} of {of.name} on {counted(len(of.facts.tasks), 'task')}, {of.pooling} pooling"
        output.result({"model": of.name, "numbers": n, "files": files}, "\n".join([*files, said]))
    if warning:
        output.warning(warning)
    if failed := results.run.get("failed_cells"):
        output.warning(f"{counted(failed, 'cell')} failed; geomprobe report {results_dir} names them")
        raise typer.Exit(FAILED_CELLS)
