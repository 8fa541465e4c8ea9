"""Geometry of a model while it is trained: measured on fixed texts, logged, checked for collapse, reported at the end.

The modules of the trainers say when; this one knows no trainer.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from geomprobe.common import InputError, UsageError, check_output_folder, first_line, unknown_name, write_text
from geomprobe.common.training_log import TrainingLog
from geomprobe.embedding.embed import embed_grid
from geomprobe.embedding.layers import has_cell, resolve_layers
from geomprobe.embedding.pooling import POOLINGS
from geomprobe.encoders import Encoder
from geomprobe.encoders.opening import follow_model
from geomprobe.inference import measure
from geomprobe.integrations.collapse import COLLAPSE, KEY, Collapse
from geomprobe.integrations.trajectory import CENTRED, Trajectory
from geomprobe.metrics.registry import REGISTRY
from geomprobe.tasks import controlled

METRICS = ("effective_rank", "mean_cosine", "uniformity", "uniformity_centred", "uniformity_jensen")
"""What is measured unless told otherwise."""
LOG, REPORT = "geometry.jsonl", "geometry.md"
logger = logging.getLogger("geomprobe")


class NotFinite(InputError):
    """The model gives vectors that hold NaN or infinity."""


@dataclass(eq=False)
class GeometryMonitor:
    """Measures a model on the same texts again and again while it is trained.

    Attributes
    ----------
    texts : sequence of str, or the name of a task of the controlled suite
        At least two different ones; repeated ones count once. A name stands for the task's validation sentences.
    tokenizer : optional
        Of the model; not needed where the trainer or the model has it.
    every : int, optional
        Steps between two measurements, to which each evaluation adds one. Default: as often as `max_share` allows.
    layers : sequence of int
        0 (embedding output) to n_layers; -1 is the last.
    poolings : sequence of str, optional
        Default: the model's own (`model`) where it declares more than the mean, else `mean`.
    metrics : sequence of str
        Names of `geomprobe ls metrics`, in the raw view; with the ending `_centred` in the centred one.
    max_share : float
        Share of the time since the start that measurements may take. `every`, the first and the last one override it.
    on_collapse : {"warn", "stop"}
    out : path, optional
        Folder of `geometry.jsonl` and `geometry.md`. Default: the trainer's output folder.

    Raises
    ------
    UsageError
        For texts, names or numbers that cannot be used.
    """

    texts: Sequence[str] | str
    tokenizer: Any = None
    every: int | None = None
    layers: Sequence[int] = (-1,)
    poolings: Sequence[str] | None = None
    metrics: Sequence[str] = METRICS
    max_share: float = 0.02
    on_collapse: str = "warn"
    out: str | Path | None = None

    def __post_init__(self) -> None:
        given = self.texts if isinstance(self.texts, str) else list(self.texts)
        self.texts = fixed_texts(given)
        self.repeated = 0 if isinstance(given, str) else len(given) - len(self.texts)
        self.cut = 0
        if self.on_collapse not in ("warn", "stop"):
            raise unknown_name("on_collapse", str(self.on_collapse), ["warn", "stop"])
        if self.every is not None and (type(self.every) is not int or self.every < 1):
            raise UsageError(f"every is a whole number of steps of at least 1, not {self.every!r}.")
        if not 0 < self.max_share <= 1:
            raise UsageError(f"max_share is a share of the time above 0 and at most 1, not {self.max_share!r}.")
        for name in ("layers", "poolings", "metrics"):
            if isinstance(getattr(self, name), str):
                raise UsageError(f"{name} is one string; give a list.")
        self.metrics = tuple(dict.fromkeys([*self.metrics, *COLLAPSE]))
        for metric in self.metrics:
            check_metric(metric)
        for pooling in self.poolings or ():
            POOLINGS.choose(pooling)
        if not self.layers or (self.poolings is not None and not self.poolings):
            raise UsageError("There is no layer or no pooling to measure.", "Leave layers and poolings out.")
        self.collapse = Collapse()
        self.stop = False
        self.alarms: list[str] = []
        self._followed: tuple[Any, Encoder] | None = None

    def begin(self, folder: str | Path, step: int) -> None:
        """Start the clock and the log of a training after some steps; before the first one an earlier log is replaced.

        Raises
        ------
        UsageError
            The folder cannot be written to.
        """
        self.folder = Path(self.out or folder)
        check_output_folder(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = TrainingLog(self.folder / LOG, step)
        self.lines = self.log.kept
        self.collapse = Collapse(self.lines)
        self.ends: dict[int, np.ndarray] = {}  # vectors of the first cell at the first and the latest step
        self.start, self.stop, self.alarms, self.measurements = step, False, [], 0
        self.failing = ""  # why the latest measurement failed
        self.spent = self.latest_cost = 0.0
        self.begun = time.perf_counter()

    def measured(self, step: int) -> bool:
        """Whether the geometry at a step is in the log."""
        return bool(self.lines) and self.lines[-1]["step"] == step

    @property
    def latest(self) -> dict[str, float]:
        """Values by key of the latest measurement; where it failed NaN, by which no checkpoint is the best."""
        keys = dict.fromkeys(key for line in self.lines for key in line if key.startswith(KEY))
        return {key: self.lines[-1].get(key, np.nan) for key in keys}

    def due(self, step: int, *, evaluating: bool = False) -> bool:
        """Whether to measure at a step that is neither the first nor the last."""
        if self.measured(step):
            return False
        if self.every is not None:
            return evaluating or step % self.every == 0
        return self.spent + self.latest_cost <= self.max_share * self.elapsed

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.begun

    def observe(self, model: nn.Module, step: int, epoch: float | None = None, tokenizer: Any = None) -> dict[str, Any]:
        """Measure, log and check a model at a step; keys and values of its geometry.

        Where a later measurement fails, training goes on: a warning says why, and the result is empty.

        Raises
        ------
        GeomprobeError
            The measurement before the first step fails: nothing of the training is lost yet.
        """
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # what training has queued is no cost of the measurement
        begun = time.perf_counter()
        try:
            values, intervals, vectors = self.geometry(model, tokenizer)
            self.failing = ""
        except Exception as error:
            if step == self.start:
                raise
            before, self.failing = self.failing, first_line(error)
            if self.failing != before:
                self._warn(f"step {step}: the geometry could not be measured: {self.failing}.")
            self.stop = self.stop or (self.on_collapse == "stop" and isinstance(error, NotFinite))
            values, intervals, vectors = {}, {}, None
        self.latest_cost = time.perf_counter() - begun
        self.spent += self.latest_cost
        self.measurements += 1
        if vectors is not None:
            first = next(iter(self.ends.items()), (step, vectors))
            self.ends = dict([first, (step, vectors)])
        line = {"step": step, "epoch": epoch, "seconds": round(self.latest_cost, 4), **values, "intervals": intervals}
        self.lines.append(line)
        try:
            self.log.write(line)
        except OSError as error:
            self._warn(f"step {step}: {self.folder / LOG} could not be written: {first_line(error)}.")
        for text in self.collapse.signs(values) if vectors is not None else ():
            self._warn(f"step {step}: collapse: {text}.")
            self.stop = self.on_collapse == "stop"
        return values

    def finish(self) -> str:
        """Write the report, and return it in a few lines."""
        notes = [f"Repeated texts that are left out: {self.repeated:,}."] if self.repeated else []
        notes += [f"Texts that are cut to the model's length: {self.cut:,}."] if self.cut else []
        n, costs = len(self.texts), (self.spent, self.elapsed)
        found = Trajectory(self.lines, self.ends, self.metrics, n, notes, self.alarms, *costs)
        try:
            write_text(self.folder / REPORT, found.page())
        except OSError as error:  # the model is still to be saved
            self._warn(f"{self.folder / REPORT} could not be written: {first_line(error)}.")
        return "\n".join([*found.lines(), f"{self.folder / LOG}, {self.folder / REPORT}"])

    def geometry(
        self, model: nn.Module, tokenizer: Any = None
    ) -> tuple[dict[str, float], dict[str, list[float]], np.ndarray]:
        """Values by key, their 95 % intervals, and the vectors of the first layer and pooling.

        The model's modes and all random states are left as they were.
        """
        with unchanged_random_state():
            encoder = self._follow(bare(model), tokenizer if self.tokenizer is None else self.tokenizer)
            default = "model" if encoder.declares_more and not encoder.refusal else "mean"
            poolings = list(self.poolings or [default])
            cells = [
                (layer, name)
                for layer in resolve_layers(encoder, self.layers)
                for name in poolings
                if has_cell(encoder, layer, name)
            ]
            grid = embed_grid(encoder, self.texts, poolings, self.layers)
            vectors, self.cut = grid.vectors, grid.n_truncated
            values: dict[str, float] = {}
            intervals: dict[str, list[float]] = {}
            for cell in cells:
                if not np.isfinite(vectors[cell]).all():
                    raise NotFinite(f"layer {cell[0]}, pooling {cell[1]}: the vectors hold NaN or infinity")
                start = KEY if cell == cells[0] else f"{KEY}layer{cell[0]}-{cell[1]}/"
                for name, value, low, high in metric_values(vectors[cell], self.metrics):
                    values[start + name] = value
                    if np.isfinite([low, high]).all():
                        intervals[start + name] = [low, high]
        return values, intervals, vectors[cells[0]]

    def _follow(self, model: nn.Module, tokenizer: Any) -> Encoder:
        """Encoder around the model, which is examined once."""
        if self._followed is None or self._followed[0] is not model:
            refuse_sharded(model)
            origin = getattr(model, "name_or_path", "")
            if tokenizer is None and not hasattr(model, "tokenizer") and not (origin and Path(origin).is_dir()):
                hint = "GeometryCallback(texts, tokenizer=tokenizer), or Trainer(…, processing_class=tokenizer)"
                raise UsageError("The geometry of texts needs the model's tokenizer, which was not given.", hint)
            inner = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor
            self._followed = (model, follow_model(model, inner if callable(inner) else tokenizer))
        return self._followed[1]

    def _warn(self, text: str) -> None:
        self.alarms.append(text)
        logger.warning("geomprobe: %s", text)


def fixed_texts(texts: Sequence[str] | str) -> list[str]:
    """The different texts to measure; a name stands for a task of the controlled suite."""
    if isinstance(texts, str):
        if texts not in controlled.TASK_NAMES:
            hint = f"Give a list of texts, or one of {', '.join(controlled.TASK_NAMES)}."
            raise UsageError(f"texts is one string, {texts[:80]!r}, and no task of the controlled suite.", hint)
        return list(controlled.load(texts).geometry_rows.texts)
    if wrong := [type(text).__name__ for text in texts if not isinstance(text, str)]:
        raise UsageError(f"texts are strings, not {wrong[0]}.", "Leave out or fill empty cells.")
    if len(found := list(dict.fromkeys(texts))) < 2:
        raise UsageError(f"Geometry needs at least two different texts, not {len(found)}.", "A few hundred are good.")
    return found


def check_metric(name: str) -> None:
    """Raise UsageError for a metric that texts alone do not have, or not in the view that its name says."""
    metric, view = REGISTRY.choose(name.removesuffix(CENTRED)), "centred" if name.endswith(CENTRED) else "raw"
    if metric.needs not in ("moments", "rows"):
        raise UsageError(f"The metric {metric.name} needs {metric.needs}, which the texts of a training do not have.")
    if view not in metric.views:
        raise UsageError(f"The metric {metric.name} is not measured in the {view} view.")


def metric_values(vectors: np.ndarray, metrics: Sequence[str]) -> Iterator[tuple[str, float, float, float]]:
    """Yield name, value and 95 % interval of each metric that has a value; NaN where it has no interval."""
    names = list(dict.fromkeys(metric.removesuffix(CENTRED) for metric in metrics))
    frame, _ = measure(vectors, metrics=names, views=["raw", "centred"])
    finite = (frame["status"] == "ok") & np.isfinite(frame["value"].astype("float64"))
    numbers = frame.loc[finite, ["metric", "view", "value", "ci_low", "ci_high"]]
    numbers = numbers.drop_duplicates(["metric", "view"]).set_index(["metric", "view"]).astype("float64")
    found = dict(zip(numbers.index, numbers.to_numpy().tolist(), strict=True))
    for metric in metrics:
        key = metric.removesuffix(CENTRED), "centred" if metric.endswith(CENTRED) else "raw"
        if key in found:
            value, low, high = found[key]
            yield metric, value, low, high


def bare(model: nn.Module) -> nn.Module:
    """Model inside what compiles it or shares it between devices."""
    shared = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(model, shared) or hasattr(model, "_orig_mod"):
        model = model.module if isinstance(model, shared) else model._orig_mod  # type: ignore[assignment]
    return model


def refuse_sharded(model: nn.Module) -> None:
    """Raise UsageError where no process has all weights, as under FSDP and ZeRO-3."""
    parts = [*model.parameters(), *model.modules()]
    if any(hasattr(part, "ds_id") or type(part).__name__ in ("DTensor", "FullyShardedDataParallel") for part in parts):
        raise UsageError(
            "The model's weights are shared out over processes (FSDP, ZeRO-3); one process measures whole models.",
            "Measure its checkpoints: geomprobe analyze CHECKPOINT.",
        )


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Restore the random states of Python, numpy and torch, on all devices, after the block."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)
