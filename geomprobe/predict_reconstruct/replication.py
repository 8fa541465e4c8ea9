"""A recipe of trainings and comparisons that replicates the published one: read, checked, trained, collected.

A training is a `geomprobe pretrain` in a process of its own; the command line says how such a process is started.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomprobe.common import GeomprobeError, InputError, UsageError, read_json, run_command
from geomprobe.common.files import read_toml
from geomprobe.common.seeds import LARGEST_SEED

STEPS = ("step", "tokens", "flops")
LOGGED = (
    "held_out_mlm", "unigram_entropy", "held_out_jepa", "skill_mean", "skill_context", "lambda", "gradient_mlm",
    "gradient_jepa", "uniformity_raw", "uniformity_centred", "mean_cosine_raw", "effective_rank_centred",
)  # fmt: skip
TABLES = ("settings", "arms", "compare", "audit")
OF_ARMS = ("match_arm", "jepa_weight_of")
"""Settings of an arm that name another arm; `pretrain` has none of them."""
Training = tuple[str, int]  # arm, seed


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
        ``groups`` (two arms) and, where wanted, ``task``, ``pool`` and ``limit`` of `geomprobe compare`.
    audits : dict of str to dict
        ``groups`` and, where wanted, ``task`` and ``limit`` of `geomprobe audit`: the first arm stands for the
        published MLM encoder.
    """

    seeds: list[int]
    settings: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    comparisons: dict[str, dict[str, Any]]
    audits: dict[str, dict[str, Any]]

    @property
    def trainings(self) -> list[Training]:
        """Every training, in an order in which what an arm needs stands before it."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]

    def preset_and_settings(self, arm: str | None = None) -> tuple[str, dict[str, Any]]:
        """Preset and settings of `geomprobe pretrain` of an arm, or those that all arms share."""
        merged = self.settings | (self.arms[arm] if arm else {})
        return str(merged.get("preset", "small")), {k: v for k, v in merged.items() if k not in ("preset", *OF_ARMS)}


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_recipe(path: Path) -> Recipe:
    """Recipe that a TOML file holds.

    Raises
    ------
    InputError
        The file cannot be read, is not TOML, lacks what a recipe needs, or holds what is not known.
    """
    document = read_toml(path, "docs/how-to/replicate.md shows a recipe.")
    try:
        return _recipe(document)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", error.hint) from None


def _recipe(document: Mapping[str, Any]) -> Recipe:
    """Recipe of a document; an InputError says what is wrong with it."""
    if unknown := set(document) - {"seeds", *TABLES}:
        raise InputError(f"unknown {', '.join(sorted(unknown))}.", f"Known: seeds, {', '.join(TABLES)}")
    settings, arms, comparisons, audits = tables = [document.get(name, {}) for name in TABLES]
    for name, table in zip(TABLES, tables, strict=True):
        if not isinstance(table, dict):
            raise InputError(f"{name} must be a table.", f"[{name}]")
    seeds = document.get("seeds", [0, 1, 2])
    _check_seeds(seeds)
    _check_settings(settings, arms)
    for name in (*arms, *comparisons, *audits):
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise InputError(f"{name!r} must be a folder name of letters, digits, '_', '.' and '-'.")
    known: list[str] = []
    for name, arm in arms.items():
        if absent := [other for other in needs(arm) if other not in known]:
            raise InputError(f"arm {name} names {absent[0]}, which must come before it.")
        known.append(name)
    folders = [*known, "training.csv", "training.svg", "summary.md", "cells"]
    common = ("groups", "task", "limit")
    for kind, takes, table in (("compare", (*common, "pool"), comparisons), ("audit", common, audits)):
        for name, comparison in table.items():
            _check_comparison(f"{kind}.{name}", comparison, takes, known)
            if name in folders:
                raise InputError(f"{name} names two things in the same folder.")
            folders.append(name)
    return Recipe(list(seeds), settings, arms, comparisons, audits)


def _check_seeds(seeds: Any) -> None:
    valid = range(LARGEST_SEED + 1)
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int and seed in valid for seed in seeds)):
        raise InputError(f"seeds is a list of whole numbers from 0 to {LARGEST_SEED}.")
    if len(set(seeds)) < len(seeds):
        raise InputError("a seed is given twice.", "Each seed is a training of its own.")


def _check_settings(settings: Mapping[str, Any], arms: Mapping[str, Any]) -> None:
    if not arms or not all(isinstance(arm, dict) for arm in arms.values()):
        raise InputError("no arms.", 'For example [arms.mlm] with objective = "mlm"')
    for where, table in (("settings", settings), *((f"arm {name}", arm) for name, arm in arms.items())):
        if wrong := sorted({"seed", "out"} & set(table)):
            raise InputError(f"{where} sets {wrong[0]}, which each training has of its own.", "seeds = [0, 1, 2]")


def _check_comparison(name: str, comparison: Any, takes: Sequence[str], arms: Sequence[str]) -> None:
    groups = comparison.get("groups") if isinstance(comparison, dict) else None
    two = isinstance(groups, list) and len(groups) == 2 and all(group in arms for group in groups)
    if not two or not groups or groups[0] == groups[1] or set(comparison) - set(takes):
        raise InputError(f"{name} takes {', '.join(takes)}; groups are two arms.")
    for key in ("task", "pool"):
        words = comparison.get(key, [])
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise InputError(f"{name}: {key} is a list of names.")
    limit = comparison.get("limit", 2)
    if type(limit) is not int or limit < 2:
        raise InputError(f"{name}: limit is a number of rows, 2 or more.")


def needs(arm: Mapping[str, Any]) -> list[str]:
    """Arms whose run of the same seed an arm takes something from."""
    return [arm[key] for key in OF_ARMS if key in arm]


def check_arms(recipe: Recipe, objective_of: Callable[[str, dict[str, Any]], str]) -> None:
    """Refuse settings that `geomprobe pretrain` refuses, before anything is trained.

    Parameters
    ----------
    objective_of : callable
        The objective that `pretrain` trains with a preset and settings; raises UsageError where it refuses them.

    Raises
    ------
    UsageError
        An arm has such settings, or takes λ from an arm that has none.
    """
    objectives: dict[str, str] = {}
    for name, arm in recipe.arms.items():
        preset, settings = recipe.preset_and_settings(name)
        try:
            objectives[name] = objective_of(preset, settings | {"seed": max(recipe.seeds)})
            if (other := arm.get("jepa_weight_of")) and objectives[other] != "hybrid":
                raise UsageError(f"{other} is no hybrid arm, so it ends with no λ.", "jepa_weight_of = a hybrid arm")
        except UsageError as error:
            raise UsageError(f"arm {name}: {error.message}", error.hint) from None


# ---- training --------------------------------------------------------------------------------------------------------


def run_folder(out: Path, arm: str, seed: int) -> Path:
    """Checkpoint folder of a training."""
    return out / arm / f"seed-{seed}"


def _run_json(folder: Path) -> dict[str, Any]:
    """What a training wrote of itself; empty where it wrote nothing yet."""
    run = read_json(folder / "run.json") if (folder / "run.json").is_file() else None
    return run if isinstance(run, dict) else {}


def is_finished(folder: Path) -> bool:
    """Whether a training came to its end."""
    return bool(_run_json(folder).get("finished"))


def train(
    recipe: Recipe,
    waiting: Sequence[Training],
    out: Path,
    *,
    program: Sequence[str],
    jobs: int = 1,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Run the trainings that wait, ``jobs`` at a time, each in a process of its own.

    Parameters
    ----------
    waiting : sequence of (arm, seed)
        In the order of `recipe.trainings`.
    program : sequence of str
        Words that start `geomprobe`.

    Raises
    ------
    GeomprobeError
        A training failed; the others are stopped, and their state is saved.
    """
    from loky import cpu_count

    threads = max(cpu_count() // jobs, 1)  # of the cores that this process may use
    begun, done, lock = time.monotonic(), 0, threading.Lock()
    stop = threading.Event()
    running: set[subprocess.Popen[str]] = set()
    futures: dict[Training, Future[None]] = {}

    def train_one(arm: str, seed: int) -> None:
        nonlocal done
        for other in needs(recipe.arms[arm]):
            if (other, seed) in futures:
                futures[other, seed].result()
        if stop.is_set():
            return
        code, said = run_command([*program, *training_arguments(recipe, out, arm, seed)], threads, running)
        if code:
            stop.set()
            raise GeomprobeError(f"{arm}, seed {seed}: {said}", "Repeat the command to go on.")
        with lock:
            done += 1
            left = (time.monotonic() - begun) / done * (len(waiting) - done)
            tell(f"trained {arm}, seed {seed}: {done} of {len(waiting)}, about {left / 60:.0f} min left")

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


def training_arguments(recipe: Recipe, out: Path, arm: str, seed: int) -> list[str]:
    """Arguments of `geomprobe` for a training; it resumes where a state was saved."""
    preset, chosen = recipe.preset_and_settings(arm)
    own, folder = recipe.arms[arm], run_folder(out, arm, seed)
    if "match_arm" in own:
        chosen["match"] = str(run_folder(out, own["match_arm"], seed))
    if "jepa_weight_of" in own:
        chosen["jepa_weight"] = final_lambda(run_folder(out, own["jepa_weight_of"], seed))
    command = ["pretrain", "--preset", preset, "--seed", str(seed), "--out", str(folder)]
    for key, value in chosen.items():
        command += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return [*command, "--resume"] if (folder / "run.json").is_file() else command


def final_lambda(folder: Path) -> float:
    """The λ that a training ended with."""
    run = read_json(folder / "run.json")
    final = run.get("final") if isinstance(run, dict) else None
    weight = final.get("lambda") if isinstance(final, dict) else None
    if not isinstance(weight, int | float):
        raise InputError(f"{folder / 'run.json'} does not say with which λ the training ended.", "Train this arm anew.")
    return float(weight)


# ---- collecting ------------------------------------------------------------------------------------------------------


def training_records(recipe: Recipe, out: Path) -> list[dict[str, Any]]:
    """What every training was given and the geometry along it: a record per monitored step."""
    from geomprobe.results import read_log

    found = []
    for arm in recipe.arms:
        for seed in recipe.seeds:
            log = run_folder(out, arm, seed) / "metrics.jsonl"
            for number, record in enumerate(read_log(log), 1):
                logged = [value for key, value in record.items() if key in (*STEPS, *LOGGED)]
                if not set(STEPS) <= set(record) or not all(type(value) in (int, float) for value in logged):
                    raise InputError(f"{log}, line {number}, is no record of a training.", "Train this arm anew.")
                if "uniformity_raw" in record or "held_out_mlm" in record or "held_out_jepa" in record:
                    found.append({"arm": arm, "seed": seed} | record)
    return found


def training_table(records: Sequence[dict[str, Any]]) -> str:
    """The records as CSV."""
    text = io.StringIO()
    table = csv.DictWriter(text, ["arm", "seed", *STEPS, *LOGGED], extrasaction="ignore")
    table.writeheader()
    table.writerows(records)
    return text.getvalue()
