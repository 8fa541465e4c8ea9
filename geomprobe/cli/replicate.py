"""`geomprobe replicate`: train every arm of a recipe with every seed, then compare the arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from geomprobe.cli.errors import FAILED_CELLS
from geomprobe.cli.options import DataDir, GridOptions, Json
from geomprobe.cli.output import Output
from geomprobe.cli.pretrain import prepare_corpus
from geomprobe.cli.process import PROGRAM
from geomprobe.cli.values import PATH, TEXT
from geomprobe.common import InputError, UsageError, check_output_folder, write_text
from geomprobe.predict_reconstruct.replication import (
    Recipe,
    check_arms,
    is_finished,
    read_recipe,
    run_folder,
    train,
    training_records,
    training_table,
)

DEFAULT_FOLDER = Path("runs/replication")


def replicate(
    recipe: Annotated[Path, typer.Argument(**PATH, help="Recipe in TOML (docs/how-to/replicate.md).")],
    out: Annotated[Path, typer.Option(**PATH, help="Folder for checkpoints and comparisons.")] = DEFAULT_FOLDER,
    corpus: Annotated[str | None, typer.Option(**TEXT, help="Replace the recipe's corpus.")] = None,
    tokenizer: Annotated[str | None, typer.Option(**TEXT, help="Replace the recipe's tokenizer.")] = None,
    data: DataDir = None,
    jobs: Annotated[
        int,
        typer.Option(
            help="Trainings that run at the same time, and processes of the analysis; they share the cores.", min=1
        ),
    ] = 1,
    as_json: Json = False,
) -> None:
    """Train all arms of a recipe with all seeds, and compare them.

    Finished trainings and cells are kept: repeat an interrupted command to continue it.
    """
    output = Output(as_json)
    plan = read_recipe(recipe)
    given = {name: value for name, value in (("corpus", corpus), ("tokenizer", tokenizer)) if value}
    plan = replace(plan, settings=plan.settings | given)
    check_plan(recipe, plan, out)
    train_arms(output, plan, out, jobs)
    training = training_records(plan, out)
    write_text(out / "training.csv", training_table(training))
    names, failed = list(plan.comparisons | plan.audits), False
    for name in names:
        output.note(f"comparing {name}")
        failed |= run_comparison(Output(as_json, results=False), plan, name, out, data, jobs)
    write_summary(plan, training, out)
    summary, table, *folders = (str(out / name) for name in ("summary.md", "training.csv", *names))
    document = {"runs": str(out), "summary": summary, "training": table, "comparisons": folders}
    output.result(document, "\n".join([summary, table, *folders]))
    if failed:
        raise typer.Exit(FAILED_CELLS)


def check_plan(path: Path, plan: Recipe, out: Path) -> None:
    """Refuse, before anything is trained, what would be refused after it.

    Raises
    ------
    InputError
        An arm or a comparison of the recipe says something that `pretrain`, `compare` or `audit` does not take.
    UsageError
        The folder must not or cannot be written into, or a finished training in it has other settings.
    """
    from geomprobe.analysis.plan import check_request
    from geomprobe.results import check_folder

    check_output_folder(out, [path])
    with _named(path):
        check_arms(plan, objective_of)
    refuse_other_trainings(plan, out)
    for name, comparison in (plan.comparisons | plan.audits).items():
        options = GridOptions(pool=comparison.get("pool"), task=comparison.get("task"))
        with _named(f"{path}: {name}"):
            check_request(options.task_names, options.poolings)
        check_folder(out / name)


@contextmanager
def _named(place: object) -> Iterator[None]:
    """Turn a refused request into a fault of the recipe, with its place."""
    try:
        yield
    except UsageError as error:
        raise InputError(f"{place}: {error.message}", error.hint) from None


def objective_of(preset: str, settings: Mapping[str, Any]) -> str:
    """Objective that a preset and settings train; raises UsageError where `geomprobe pretrain` refuses them."""
    from geomprobe.pretrain.budget import check_budget
    from geomprobe.pretrain.config import load_config

    config = load_config(preset, dict(settings))
    check_budget(config)
    return config.objective


def refuse_other_trainings(plan: Recipe, out: Path) -> None:
    """Raise UsageError where a finished training is another one than its arm describes now."""
    from geomprobe.pretrain.config import OF_THE_MODEL, load_config
    from geomprobe.pretrain.runlog import other_settings

    for arm, seed in plan.trainings:
        if not is_finished(folder := run_folder(out, arm, seed)):
            continue
        preset, settings = plan.preset_and_settings(arm)
        config = load_config(preset, settings | {"seed": seed})
        decided = {"match", "corpus", "tokenizer", "start_from"}  # of names on the hub, the run has the commits
        decided |= {"budget"} if "match_arm" in plan.arms[arm] else set()
        decided |= {"jepa_weight"} if "jepa_weight_of" in plan.arms[arm] else set()
        decided |= {*OF_THE_MODEL} if config.start_from else set()
        other = {key: was for key, was in other_settings(folder, config).items() if getattr(config, key) != "auto"}
        if changed := [f"{key}={was}" for key, was in other.items() if key not in decided]:
            what = f"{folder} was trained with other settings: {', '.join(changed)}."
            raise UsageError(what, f"Choose another --out, or give arm {arm} these settings")


def train_arms(output: Output, plan: Recipe, out: Path, jobs: int) -> None:
    """Train what is not finished; the corpus is prepared once, and not by several trainings at the same time."""
    waiting = [each for each in plan.trainings if not is_finished(run_folder(out, *each))]
    if len(waiting) < len(plan.trainings):
        output.note(f"{len(plan.trainings) - len(waiting)} of {len(plan.trainings)} trainings are finished")
    if waiting:
        prepare_corpus(output, *plan.preset_and_settings())
    train(plan, waiting, out, program=PROGRAM, jobs=jobs, tell=output.note)


def write_summary(plan: Recipe, training: Sequence[dict[str, Any]], out: Path) -> None:
    """Write the overview, summary.md, and its picture, training.svg."""
    from geomprobe.reports.pages import replication

    write_text(out / "training.svg", replication.training_figure(training))
    comparisons, audits = ({name: out / name for name in parts} for parts in (plan.comparisons, plan.audits))
    write_text(out / "summary.md", replication.summary(training, comparisons, audits))


def run_comparison(output: Output, plan: Recipe, name: str, out: Path, data: Path | None, jobs: int) -> bool:
    """Compare or audit the seeds of two arms; return whether cells failed. All comparisons share ``out/cells``."""
    from geomprobe.cli.audit import audit_models
    from geomprobe.cli.compare import compare_models

    comparison = (plan.comparisons | plan.audits)[name]
    groups = {arm: [str(run_folder(out, arm, seed)) for seed in plan.seeds] for arm in comparison["groups"]}
    models: list[str] = []
    if len(plan.seeds) == 1:
        models, groups = [path for (path,) in groups.values()], {}
    chosen: dict[str, Any] = {key: comparison.get(key) for key in ("pool", "task", "limit")}
    options = GridOptions(**chosen, data=data, out=out / name, jobs=jobs)
    run = audit_models if name in plan.audits else compare_models
    try:
        run(output, models, groups, options, cells=out / "cells")
    except typer.Exit as end:
        if end.exit_code != FAILED_CELLS:
            raise
        return True
    return False
