"""`geomprobe demo`: offline, end to end, with nothing but the installed packages."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from geomprobe.cli import compare, pretrain
from geomprobe.cli.options import GridOptions, Json, Seed
from geomprobe.cli.output import Output
from geomprobe.cli.process import PROGRAM
from geomprobe.cli.progress import duration
from geomprobe.cli.values import PATH
from geomprobe.common import GeomprobeError, UsageError, read_json, run_command

OBJECTIVES = ("mlm", "hybrid")
PRESET = "demo"
SETTINGS = {"budget": "300-steps", "limit_tokens": "300000", "log_every": "5"}
"""Half of the preset's steps, on a corpus that is ready in seconds; the log is what the progress is read from."""
USUAL = {"preparing a corpus": 14, "training": 64, "measuring": 52}
"""The steps, and the seconds each takes on two idle cores of an AMD EPYC."""


def demo(
    out: Annotated[Path, typer.Option(**PATH, help="Folder for checkpoints, results and report.")] = Path("runs/demo"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train two tiny encoders, compare them with each other and with encoders that learned nothing; offline.

    Trains an MLM and a hybrid encoder on the docstrings of the installed packages, compares them on the controlled task
    with each other, with the same architecture at random initialisation and with a bag of words, and writes the report
    in HTML and PDF. Finished work is kept: repeat an interrupted command to continue it.
    """
    from geomprobe.results import check_folder

    output, folders = Output(as_json), [out / objective for objective in OBJECTIVES]
    for folder in (out, out / "report"):
        check_folder(folder)
    waiting = [folder for folder in folders if not _finished(folder, seed)]
    for folder in folders:
        if folder not in waiting:
            output.note(f"{folder} is finished and is reused")
    steps = Steps(output, USUAL if waiting else USUAL | {"preparing a corpus": 0, "training": 0})
    with steps.next("from the docstrings of the installed packages"):
        if waiting:
            pretrain.prepare_corpus(output, PRESET, SETTINGS)
    with steps.next(f"{' and '.join(OBJECTIVES)} side by side"):
        if waiting:
            train(output, waiting, seed)
        for folder in folders:  # on stderr: stdout is for the comparison
            output.note(pretrain.summary(folder, read_json(folder / "run.json")["final"]))
    options = GridOptions(
        pool=["mean", "max"], task=["controlled"], baseline=["random-init", "bow"], out=out / "report", seed=seed
    )
    try:
        with steps.next("both, their architecture at random initialisation, and a bag of words; then the report"):
            compare.compare_models(output, [str(folder) for folder in folders], {}, options)
    finally:
        steps.say_times()


class Steps:
    """Says which step of the demo begins and how long is left, and at the end how long each took.

    `usual` names the steps, with the seconds that each takes on an idle machine.
    """

    def __init__(self, output: Output, usual: Mapping[str, float]):
        self.output, self.usual = output, usual
        self.took: dict[str, float] = {}

    @contextmanager
    def next(self, what: str) -> Iterator[None]:
        """Say what begins, and take its time."""
        number, name = len(self.took), list(self.usual)[len(self.took)]
        before = sum(self.usual[step] for step in self.took)
        slower = max(1.0, sum(self.took.values()) / before) if before else 1.0
        left = duration(slower * (sum(self.usual.values()) - before))
        self.output.note(f"step {number + 1} of {len(self.usual)}: {name} {what}; about {left} to the end")
        begun = time.monotonic()
        try:
            yield
        finally:
            self.took[name] = time.monotonic() - begun

    def say_times(self) -> None:
        """Say how long each step took."""
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.took.items())
        self.output.note(f"took {duration(sum(self.took.values()))}: {parts}")


def train(output: Output, folders: Sequence[Path], seed: int) -> None:
    """Train an encoder in each folder, named by its objective; all at the same time, in a process each.

    Such small products leave most of a second core idle: on one core each, two trainings together are faster than one
    after the other on both.
    """
    from loky import cpu_count

    threads = max(cpu_count() // len(folders), 1)
    running: set[subprocess.Popen[str]] = set()

    def train_one(folder: Path) -> None:
        command = [*PROGRAM, "pretrain", "--preset", PRESET, "--objective", folder.name, "--seed", str(seed)]
        command += ["--out", str(folder), "--resume", *(f"--set={key}={value}" for key, value in SETTINGS.items())]
        code, said = run_command(command, threads, running)
        if code:
            raise GeomprobeError(f"training {folder.name}: {said}", "Repeat the command to go on.")

    with output.progress(f"training {' and '.join(f.name for f in folders)}") as bar, ThreadPoolExecutor() as pool:
        left = {pool.submit(train_one, folder) for folder in folders}
        try:
            while left:
                done, left = wait(left, timeout=0.5, return_when=FIRST_EXCEPTION)
                for each in done:
                    each.result()  # raises what it raised
                reached = [at for at in map(_reached, folders) if at]
                if len(reached) == len(folders):
                    bar(*min(reached))
        except BaseException:
            for process in list(running):
                process.terminate()  # a training saves its state first
            raise


def _reached(folder: Path) -> tuple[int, int] | None:
    """Last step in the log of a training, and its last step of all; None before the first line."""
    with suppress(OSError, ValueError, LookupError, TypeError):  # an earlier process may have left anything
        line = json.loads((folder / "metrics.jsonl").read_bytes().splitlines()[-1])
        return int(line["step"]), int(line["steps"])
    return None


def _finished(folder: Path, seed: int) -> bool:
    """Whether a checkpoint was trained to its end; raises UsageError where that was with another seed."""
    if not (folder / "run.json").is_file():
        return False
    run = read_json(folder / "run.json")
    if run.get("seed") != seed:
        raise UsageError(f"{folder} was trained with seed {run.get('seed')}.", "Choose another folder with --out.")
    return bool(run.get("finished"))
