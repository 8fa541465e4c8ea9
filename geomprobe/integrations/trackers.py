"""The log of `geomprobe pretrain` in TensorBoard, W&B, trackio and MLflow, each by its own library."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from geomprobe.common import UsageError, first_line, read_json, refusing, unknown_name, write_json

NAMES = ("tensorboard", "wandb", "trackio", "mlflow")
"""Trackers, and the packages that they need."""
PROJECT = "geomprobe"
RUNS = "trackers.json"
"""File of a run's folder with its name in each tracker, by which a resumed run goes on."""


class Tracker(NamedTuple):
    """A started run of a tracker."""

    log: Callable[[dict[str, float], int], Any]
    close: Callable[[bool], Any]
    """Told whether the training failed."""


def _tensorboard(folder: Path, run: str, resumed: bool, config: Mapping[str, Any], step: int) -> tuple[str, Tracker]:
    from torch.utils.tensorboard import SummaryWriter

    # what an interrupted run logged past its last state is hidden
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if resumed else None)

    def log(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return run, Tracker(log, lambda failed: writer.close())


def _wandb(folder: Path, run: str, resumed: bool, config: Mapping[str, Any], step: int) -> tuple[str, Tracker]:
    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    place = folder / "trainer"  # which no upload takes along
    place.mkdir(exist_ok=True)
    started = wandb.init(project=project, name=folder.name, id=run, resume="allow", dir=place, config=dict(config))
    return run, Tracker(lambda values, step: started.log(values, step=step), lambda failed: started.finish(int(failed)))


def _trackio(folder: Path, run: str, resumed: bool, config: Mapping[str, Any], step: int) -> tuple[str, Tracker]:
    import trackio

    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    name = run if resumed else f"{folder.name}-{run}"
    trackio.init(project=project, name=name, config=dict(config), resume="allow", embed=False)
    return name, Tracker(lambda values, step: trackio.log(values, step=step), lambda failed: trackio.finish())


def _mlflow(folder: Path, run: str, resumed: bool, config: Mapping[str, Any], step: int) -> tuple[str, Tracker]:
    import mlflow

    started = mlflow.start_run(run_id=run) if resumed else mlflow.start_run(run_name=folder.name)
    if not resumed:
        mlflow.log_params(dict(config))
    log = mlflow.log_metrics
    close = mlflow.end_run
    return started.info.run_id, Tracker(log, lambda failed: close("FAILED" if failed else "FINISHED"))


START = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio, "mlflow": _mlflow}


def check_trackers(names: Sequence[str]) -> None:
    """Raise UsageError for a tracker that is unknown or not installed."""
    for name in names:
        if name not in NAMES:
            raise unknown_name("tracker", name, list(NAMES))
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # a folder of this name, as W&B makes one, is no package
            raise UsageError(
                f"--report-to {name} needs the package {name}, which is not installed.", f"pip install {name}"
            )


class Trackers:
    """Hands the records of a training to trackers (see `geomprobe.pretrain.loop.train`, at `progress`).

    Parameters
    ----------
    names : sequence of str
        Of `NAMES`; none is allowed.
    folder : Path
        Of the run.
    config : mapping
        The run's settings, shown with it.
    resume : bool
        Whether the run goes on where it was logged before.
    warn : callable
        Told in a sentence when a tracker has failed and is left out from then on.
    """

    def __init__(
        self, names: Sequence[str], folder: Path, config: Mapping[str, Any], resume: bool, warn: Callable[[str], None]
    ):
        check_trackers(names)
        self.names = tuple(dict.fromkeys(names))
        self.folder, self.config, self.resume, self.warn = folder, config, resume, warn
        self.started: dict[str, Tracker] | None = None

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        for name in list(self.started or {}):
            self._call(name, lambda tracker: tracker.close(kind is not None))

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Log a line of `metrics.jsonl`; the first record of the training itself starts the trackers."""
        if self.started is None and self.names and str(record.get("stage", "")).startswith("training"):
            self.started = self._start(int(record["done"]))
        if "step" in record:
            values = {key: value for key, value in record.items() if key != "step" and value is not None}
            for name in list(self.started or {}):
                self._call(name, lambda tracker: tracker.log(values, record["step"]))

    def _start(self, step: int) -> dict[str, Tracker]:
        """Start each tracker, before the first step; their runs are noted in the folder."""
        found = read_json(self.folder / RUNS) if self.resume and (self.folder / RUNS).is_file() else {}
        known = found if isinstance(found, dict) else {}
        runs, started = {}, {}
        for name in self.names:
            hint = "See to it, then go on with --resume; or leave --report-to out."
            with refusing(f"{name} could not start", hint), _stdout_to_stderr():
                run = known.get(name) or uuid4().hex[:8]
                runs[name], started[name] = START[name](self.folder, run, name in known, self.config, step)
        write_json(self.folder / RUNS, known | runs)
        return started

    def _call(self, name: str, what: Callable[[Tracker], Any]) -> None:
        assert self.started is not None
        try:
            with _stdout_to_stderr():
                what(self.started[name])
        except Exception as error:  # a tracker that is gone costs no training
            del self.started[name]
            self.warn(f"{name} failed, and is left out from now on: {first_line(error)}.")


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What a library prints is no result of the command."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
