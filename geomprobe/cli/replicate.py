"""`geomprobe replicate`: train every arm of a recipe with every seed, then compare the arms."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from geomprobe.cli.errors import FAILED_CELLS
from geomprobe.cli.options import LARGEST_SEED, DataDir, GridOptions, Json
from geomprobe.cli.output import Output
from geomprobe.cli.values import PATH, TEXT
from geomprobe.common import GeomprobeError, InputError, UsageError, check_output_folder, read_json, write_text

DRIVER = "from geomprobe.__main__ import main; main()"


@dataclass(frozen=True)
class Recipe:
    """What a recipe file says.

    Attributes
    ----------
    seeds : list of int
    settings : dict
        Settings of `geomprobe pretrain` that all arms share.
    arms : dict of str to dict
        What each arm sets beyond these. ``match_arm = NAME`` trains as long as that arm's run of the same seed;
        ``jepa_weight_of = NAME`` takes λ from where that run ended. Such an arm stands after the one it names.
    comparisons : dict of str to dict
        ``groups`` (two arms) and, where wanted, ``task`` and ``pool`` of `geomprobe compare`.
    audits : dict of str to dict
        ``groups`` and, where wanted, ``task`` of `geomprobe audit`: the first arm stands for the published MLM encoder.
    """

    seeds: list[int]
    settings: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    comparisons: dict[str, dict[str, Any]]
    audits: dict[str, dict[str, Any]]


def replicate(
    recipe: Annotated[Path, typer.Argument(**PATH, help="Recipe in TOML (docs/how-to/replicate.md).")],
    out: Annotated[Path, typer.Option(**PATH, help="Folder for checkpoints and comparisons.")] = Path(
        "runs/replication"
    ),
    corpus: Annotated[str | None, typer.Option(**TEXT, help="Replace the recipe's corpus.")] = None,
    tokenizer: Annotated[str | None, typer.Option(**TEXT, help="Replace the recipe's tokenizer.")] = None,
    data: DataDir = None,
    jobs: Annotated[int, typer.Option(help="Trainings that run at the same time and share the cores.", min=1)] = 1,
    as_json: Json = False,
) -> None:
    """Train all arms of a recipe with all seeds, and compare them.

    Finished trainings and cells are kept: repeat an interrupted command to continue it.
    """
    output = Output(as_json)
    plan = read_recipe(recipe)
    settings = plan.settings | {k: v for k, v in (("corpus", corpus), ("tokenizer", tokenizer)) if v}
    check_plan(recipe, plan, settings, out)
    train_arms(output, plan, settings, out, jobs)
    training = training_records(plan, out)
    write_text(out / "training.csv", training_table(training))
    folders, failed = [], False
    parts = Output(as_json, results=False)
    for name, comparison in (plan.comparisons | plan.audits).items():
        output.note(f"comparing {name}")
        failed |= run_comparison(parts, comparison, name in plan.audits, plan.seeds, out, out / name, data)
        folders.append(str(out / name))
    summary = write_summary(plan, training, out)
    document = {
        "runs": str(out),
        "summary": str(summary),
        "training": str(out / "training.csv"),
        "comparisons": folders,
    }
    output.result(document, "\n".join([str(summary), str(out / "training.csv"), *folders]))
    if failed:
        raise typer.Exit(FAILED_CELLS)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    InputError
        The file cannot be read, is not TOML, does not say what a recipe must say, or says something unknown.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "docs/how-to/replicate.md shows a recipe."
        raise InputError(f"{path} cannot be read: {error.strerror}.", hint) from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise InputError(f"{path} is not TOML: {str(error)[:200]}") from None
    unknown = set(document) - {"seeds", "settings", "arms", "compare", "audit"}
    if unknown:
        raise InputError(
            f"{path}: unknown {', '.join(sorted(unknown))}.", "Known: seeds, settings, arms, compare, audit"
        )
    seeds, arms = document.get("seeds", [0, 1, 2]), document.get("arms", {})
    if not (
        isinstance(seeds, list) and seeds and all(type(seed) is int and 0 <= seed <= LARGEST_SEED for seed in seeds)
    ):
        raise InputError(f"{path}: seeds must be a list of whole numbers from 0 to {LARGEST_SEED}.")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"{path}: a seed is given twice.", "Each seed is a training of its own.")
    for name in ("settings", "arms", "compare", "audit"):
        if not isinstance(document.get(name, {}), dict):
            raise InputError(f"{path}: {name} must be a table.", f"[{name}]")
    if not arms or not all(isinstance(arm, dict) for arm in arms.values()):
        raise InputError(f"{path}: no arms.", 'For example [arms.mlm] with objective = "mlm"')
    for where, table in (
        ("settings", document.get("settings", {})),
        *((f"arm {name}", arm) for name, arm in arms.items()),
    ):
        if wrong := sorted({"seed", "out"} & set(table)):
            raise InputError(
                f"{path}: {where} sets {wrong[0]}, which replicate sets for each training.", "seeds = [0, 1, 2]"
            )
    known: list[str] = []
    for name in (*arms, *document.get("compare", {}), *document.get("audit", {})):
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise InputError(f"{path}: {name!r} must be a folder name of letters, digits, '_', '.' and '-'.")
    for name, arm in arms.items():
        for other in needs(arm):
            if other not in known:
                raise InputError(f"{path}: arm {name} names {other}, which must come before it.")
        known.append(name)
    taken = [*known, "training.csv", "training.svg", "summary.md", "cells"]
    for kind, takes in (("compare", ("groups", "task", "pool")), ("audit", ("groups", "task"))):
        for name, comparison in document.get(kind, {}).items():
            groups = comparison.get("groups") if isinstance(comparison, dict) else None
            two = isinstance(groups, list) and len(groups) == 2 and all(group in known for group in groups)
            two = two and len(set(groups or ())) == 2
            if not two or set(comparison) - set(takes):
                raise InputError(f"{path}: {kind}.{name} takes {', '.join(takes)}; groups must be two arms.")
            for key in ("task", "pool"):
                words = comparison.get(key, [])
                if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
                    raise InputError(f"{path}: {kind}.{name}: {key} must be a list of names.")
            if name in taken:
                raise InputError(f"{path}: {name} names two things in the same folder.")
            taken.append(name)
    settings, comparisons, audits = (document.get(key, {}) for key in ("settings", "compare", "audit"))
    return Recipe(list(seeds), settings, arms, comparisons, audits)


def check_plan(path: Path, plan: Recipe, settings: dict[str, Any], out: Path) -> None:
    """Refuse before training what would be refused afterwards.

    Raises
    ------
    InputError
        An arm or a comparison of the recipe says something that `pretrain`, `compare` or `audit` does not take.
    UsageError
        The folder must not or cannot be written into.
    """
    from geomprobe.analysis.grid import check_request
    from geomprobe.results import check_folder

    check_output_folder(out, [path])
    try:
        check_settings(plan, settings)
    except UsageError as error:
        raise InputError(f"{path}: {error.message}", error.hint) from None
    for name, comparison in (plan.comparisons | plan.audits).items():
        options = GridOptions(pool=comparison.get("pool"), task=comparison.get("task"))
        try:
            check_request(options.task_names, options.poolings)
        except UsageError as error:
            raise InputError(f"{path}: {name}: {error.message}", error.hint) from None
        check_folder(out / name)


def needs(arm: dict[str, Any]) -> list[str]:
    """Return the arms that an arm depends on (for the same seed)."""
    return [arm[key] for key in ("match_arm", "jepa_weight_of") if key in arm]


def run_folder(out: Path, arm: str, seed: int) -> Path:
    """Return the checkpoint folder of a training."""
    return out / arm / f"seed-{seed}"


def train_arms(output: Output, plan: Recipe, settings: dict[str, Any], out: Path, jobs: int) -> None:
    """Train what is not finished, ``jobs`` at a time, each in its own process; raises if one fails."""
    trainings = [(arm, seed) for seed in plan.seeds for arm in plan.arms]
    waiting = [each for each in trainings if not is_finished(run_folder(out, *each))]
    if len(waiting) < len(trainings):
        output.note(f"{len(trainings) - len(waiting)} of {len(trainings)} trainings are finished")
    threads = max((os.cpu_count() or 1) // jobs, 1)
    begun, done, lock = time.monotonic(), 0, threading.Lock()
    stop = threading.Event()
    running: set[subprocess.Popen[str]] = set()
    futures: dict[tuple[str, int], Future[None]] = {}

    def train_one(arm: str, seed: int) -> None:
        nonlocal done
        for other in needs(plan.arms[arm]):
            if (other, seed) in futures:
                futures[other, seed].result()
        if stop.is_set():
            return
        command = training_command(plan.arms[arm], settings, out, arm, seed)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        running.add(process)
        try:
            said = process.communicate()[1].strip().splitlines()
        finally:
            running.discard(process)
        if process.returncode:
            stop.set()
            raise GeomprobeError(f"{arm}, seed {seed}: {' '.join(said[-2:])[:500]}", "Repeat the command to continue.")
        with lock:
            done += 1
            left = (time.monotonic() - begun) / done * (len(waiting) - done)
            output.note(f"trained {arm}, seed {seed}: {done} of {len(waiting)}, about {left / 60:.0f} min left")

    # prepared once, and not by several processes at the same time
    if waiting:
        prepare_corpus(output, settings)
    with ThreadPoolExecutor(jobs) as pool:
        # in the order of the recipe: what an arm needs was handed out before it, so waiting for it cannot lock up
        for each in waiting:
            futures[each] = pool.submit(train_one, *each)
        try:
            for future in futures.values():
                future.result()
        except BaseException:
            stop.set()
            for process in list(running):
                process.terminate()  # a training saves its state first
            raise


def check_settings(plan: Recipe, settings: dict[str, Any]) -> None:
    """Raise UsageError where an arm has settings that `geomprobe pretrain` refuses, before anything is trained."""
    from geomprobe.pretrain.budget import check_budget
    from geomprobe.pretrain.config import load_config

    objectives: dict[str, str] = {}
    for name, arm in plan.arms.items():
        flags = pretrain_settings(settings | arm)
        try:
            config = load_config(preset_of(settings | arm), flags | {"seed": max(plan.seeds)})
            check_budget(config)
            objectives[name] = config.objective
            if (other := arm.get("jepa_weight_of")) and objectives[other] != "hybrid":
                raise UsageError(f"{other} is not a hybrid arm, so it has no λ.", "jepa_weight_of = a hybrid arm")
        except UsageError as error:
            raise UsageError(f"arm {name}: {error.message}", error.hint) from None


def pretrain_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that `geomprobe pretrain` knows, without the preset."""
    return {k: v for k, v in settings.items() if k not in ("match_arm", "jepa_weight_of", "preset")}


def preset_of(settings: dict[str, Any]) -> str:
    """Return the preset that settings name."""
    return str(settings.get("preset", "small"))


def prepare_corpus(output: Output, settings: dict[str, Any]) -> None:
    """Build the corpus that all trainings read."""
    from geomprobe.pretrain.config import load_config
    from geomprobe.pretrain.corpus import build_corpus

    config = load_config(preset_of(settings), pretrain_settings(settings))
    with output.progress("preparing the corpus") as bar:
        build_corpus(
            config.corpus,
            config.tokenizer,
            documents=config.documents,
            text=config.text,
            limit_tokens=config.limit_tokens,
            progress=lambda stage, done, total: bar(done, total),
            tell=output.note,
        )


def training_command(arm: dict[str, Any], settings: dict[str, Any], out: Path, name: str, seed: int) -> list[str]:
    """Return the command line of a training; it resumes if a state is saved."""
    chosen = pretrain_settings(settings | arm)
    if "match_arm" in arm:
        chosen["match"] = str(run_folder(out, arm["match_arm"], seed))
    if "jepa_weight_of" in arm:
        chosen["jepa_weight"] = final_lambda(run_folder(out, arm["jepa_weight_of"], seed))
    folder = run_folder(out, name, seed)
    command = [sys.executable, "-c", DRIVER, "pretrain", "--preset", preset_of(settings | arm)]
    command += ["--seed", str(seed), "--out", str(folder)]
    for key, value in chosen.items():
        command += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return [*command, "--resume"] if (folder / "run.json").is_file() else command


def final_lambda(folder: Path) -> float:
    """Return the λ that a training ended with."""
    run = read_json(folder / "run.json")
    final = run.get("final") if isinstance(run, dict) else None
    weight = final.get("lambda") if isinstance(final, dict) else None
    if not isinstance(weight, int | float):
        raise InputError(f"{folder / 'run.json'} does not record the final λ of the training.", "Train this arm again.")
    return float(weight)


def is_finished(folder: Path) -> bool:
    """Return whether a training came to its end."""
    run = read_json(folder / "run.json") if (folder / "run.json").is_file() else None
    return isinstance(run, dict) and bool(run.get("finished"))


STEPS = ("step", "tokens", "flops")
LOGGED = (
    "held_out_mlm", "unigram_entropy", "held_out_jepa", "skill_mean", "skill_context", "lambda", "gradient_mlm",
    "gradient_jepa", "uniformity_raw", "uniformity_centred", "mean_cosine_raw", "effective_rank_centred",
)  # fmt: skip


def training_records(plan: Recipe, out: Path) -> list[dict[str, Any]]:
    """Return one record per monitored step: the settings of the training and the geometry."""
    from geomprobe.results import read_log

    found = []
    for arm in plan.arms:
        for seed in plan.seeds:
            log = run_folder(out, arm, seed) / "metrics.jsonl"
            for number, record in enumerate(read_log(log), 1):
                logged = [value for key, value in record.items() if key in (*STEPS, *LOGGED)]
                if not set(STEPS) <= set(record) or not all(type(value) in (int, float) for value in logged):
                    raise InputError(f"{log}, line {number}, is not a training record.", "Train this arm again.")
                if "uniformity_raw" in record or "held_out_mlm" in record or "held_out_jepa" in record:
                    found.append({"arm": arm, "seed": seed} | record)
    return found


def training_table(records: Sequence[dict[str, Any]]) -> str:
    """Return the records as csv."""
    text = io.StringIO()
    table = csv.DictWriter(text, ["arm", "seed", *STEPS, *LOGGED], extrasaction="ignore")
    table.writeheader()
    table.writerows(records)
    return text.getvalue()


def write_summary(plan: Recipe, training: Sequence[dict[str, Any]], out: Path) -> Path:
    """Write the overview, summary.md, and its picture, training.svg."""
    from geomprobe.reports import replication

    write_text(out / "training.svg", replication.training_figure(training))
    comparisons, audits = ({name: out / name for name in parts} for parts in (plan.comparisons, plan.audits))
    write_text(out / "summary.md", replication.summary(training, comparisons, audits))
    return out / "summary.md"


def run_comparison(
    output: Output, comparison: dict[str, Any], audited: bool, seeds: Sequence[int], out: Path, folder: Path,
    data: Path | None,
) -> bool:  # fmt: skip
    """Compare or audit the seeds of two arms; return whether cells failed. All comparisons share ``out/cells``."""
    from geomprobe.cli.audit import audit_models
    from geomprobe.cli.compare import compare_models

    groups = {arm: [str(run_folder(out, arm, seed)) for seed in seeds] for arm in comparison["groups"]}
    models = [] if len(seeds) > 1 else [path for paths in groups.values() for path in paths]
    if models:
        groups = {}
    options = GridOptions(pool=comparison.get("pool"), task=comparison.get("task"), data=data, out=folder)
    run = audit_models if audited else compare_models
    try:
        run(output, models, groups, options, cells=out / "cells")
    except typer.Exit as end:
        if end.exit_code != FAILED_CELLS:
            raise
        return True
    return False
