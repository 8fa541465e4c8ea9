"""What an analysis would do: rows, tokens, downloads, cells, time and memory, before anything of it is done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from geomprobe.analysis import own_pooling, variants
from geomprobe.analysis.cells import count_finished
from geomprobe.analysis.embed import in_roles
from geomprobe.analysis.plan import Request, configured, prepared, texts_of
from geomprobe.analysis.similarities import ROWS
from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import machine_bytes
from geomprobe.common.hub import NotDownloaded, Rehearsal
from geomprobe.common.memory import process_bytes
from geomprobe.embedding.embed import by_prompt
from geomprobe.embedding.layers import Cell, has_cell, own_pooler, resolve_layers
from geomprobe.embedding.pooling import TRAINABLE, passes
from geomprobe.embedding.tokens import BATCH_TOKENS, OTHER_BATCH_TOKENS, batches, tokenize
from geomprobe.embedding.trained_pooling import why_untrainable
from geomprobe.encoders import Encoder
from geomprobe.encoders.opening import find_device
from geomprobe.encoders.outline import Outline, layer_speed, outline, product_speed
from geomprobe.encoders.prompts import with_prompts
from geomprobe.tasks import load_task
from geomprobe.tasks.base import Task

REFERENCE = 88e9
"""FLOP/s of products on the processor that `measuring` and `comparing` were fitted on: a core of an AMD EPYC."""
START, REPORT = 6.0, 10.0
"""Seconds there until the models are loaded, and of a report."""
REPORT_BYTES = 300_000_000
"""Memory of the libraries that write a report."""
REFIT, REFIT_START = 0.5, 0.1
"""Time of a refit as a share of all that probes of a cell take, and the seconds that it takes on few rows."""
SHARE_OF_PROBES = {"all": 1.0, "fast": 0.4, "none": 0.0}
"""Time of each choice of probes as a share of that of all."""
FITTED_ROWS = 1500
"""Rows on which a pooling is trained in a second, by one seed."""


@dataclass(frozen=True)
class Planned:
    """A model or a baseline of the grid.

    Attributes
    ----------
    outline : Outline
        Of a table of words that of its model, whose width it has.
    layers : list of int
    copies : int
        How often a cell is measured: once for its full vectors and once for each variant.
    baseline : str
        Which of the baselines it is, if any.
    """

    outline: Outline
    layers: list[int]
    copies: int = 1
    baseline: str = ""

    @property
    def words(self) -> bool:
        """Whether it is a table of words, which costs no forward pass."""
        return self.baseline not in ("", "random-init")

    @property
    def encoder(self) -> Encoder:
        """The encoder, without weights."""
        return self.outline.encoder

    def cells(self, poolings: Sequence[str]) -> list[Cell]:
        """Layers and poolings that are measured."""
        pairs = product(self.layers, poolings)
        return [pair for pair in pairs if self.words or has_cell(self.encoder, *pair)]

    def width(self, cell: Cell) -> int:
        """Width of the vectors of a cell."""
        if cell[1] == "model" and not self.words:
            return own_pooler(self.encoder).width(self.outline.widths[-1])
        return self.outline.widths[-1 if self.words else cell[0]]


def forecast(asked: Request, rehearsal: Rehearsal, cells: Path, *, similarity: bool) -> dict[str, Any]:
    """What an analysis would do, ready for JSON. Nothing is measured or written, and no weights are read.

    Parameters
    ----------
    asked : Request
        With the models as folders or hub ids.
    rehearsal : Rehearsal
        Of the block of `hub.rehearsing` in which this is called.
    cells : Path
        Folder of finished cells.
    similarity : bool
        Whether it would say how alike the models are, and write a report: of a comparison.

    Raises
    ------
    UsageError, InputError
        As `plan.make_plan`, as far as tasks, configs and tokenizers show it.
    """
    read = [task if isinstance(task, Task) else read_task(task, asked) for task in asked.tasks]
    tasks = texts_of(prepared([task for task in read if isinstance(task, Task)], asked), asked)
    planned, poolings = planned_models(asked, tasks)
    own = [each for each in planned if not each.baseline]
    device = find_device(asked.device)
    encoded = [encoding(each, tasks, poolings, device) for each in planned]
    places = {
        (texts.task.fingerprint, *cell, asked.protocol.name, asked.seed)
        for each, texts in product(planned, tasks)
        for cell in each.cells(poolings)
    }
    scale = REFERENCE / product_speed()
    seconds = {
        "start": scale * START,
        "forward passes": sum(each.seconds for each in encoded),
        "training of poolings": sum(training(*each, poolings, asked) for each in product(planned, tasks)),
        "measuring": scale * sum(measuring(*each, poolings, asked) for each in product(planned, tasks)),
        "similarity": scale * comparing(own, tasks, poolings, asked) if similarity else 0.0,
        "report": scale * REPORT if similarity else 0.0,
    }
    counted = [
        {"name": t.task.name, "source": t.task.source, "rows": len(t.task.validation), "texts": len(t.texts)}
        | {"train_rows": 0 if t.task.train is None else len(t.task.train)}
        for t in tasks
    ]
    return {
        "models": [model_entry(each, of) for each, of in zip(planned, encoded, strict=True)],
        "tasks": counted + [{"name": name, "rows": None} for name in read if isinstance(name, str)],
        "poolings": poolings,
        "cells": len(tasks) * sum(each.copies * len(each.cells(poolings)) for each in planned),
        "finished_cells_at_most": count_finished(cells, places, sum(each.copies for each in planned)),
        "downloads": rehearsal.downloads,
        "device": str(device),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "memory_bytes": memory(planned, tasks, poolings, device) + REPORT_BYTES * similarity,
        "machine_bytes": machine_bytes(),
    }


def read_task(name: str, asked: Request) -> Task | str:
    """Task of a name; the name where the task would have to be downloaded."""
    try:
        return load_task(name, data_dir=asked.data_dir)
    except NotDownloaded:
        return name


def planned_models(asked: Request, tasks: Sequence[TaskTexts]) -> tuple[list[Planned], list[str]]:
    """Models and their baselines, and the poolings: the choices of `plan.make_plan`, and its refusals."""
    outlines = [outline(str(source)) for source in asked.models]
    encoders = with_prompts([each.encoder for each in outlines], asked.prompt, asked.query_prompt)
    poolings, _ = own_pooling.choose_poolings(encoders, asked.poolings, asked.layers, asked.protocol)
    given = [texts.task for texts in tasks]
    own_pooling.check_prompts(given, asked.protocol, poolings, asked.prompt, asked.query_prompt)
    own = []
    for encoder, each in zip(encoders, outlines, strict=True):
        at = replace(each, encoder=configured(encoder, asked.protocol, asked.long))
        own.append(Planned(at, resolve_layers(encoder, asked.layers), 1 + len(asked.variants)))
    dims = [variant.dim for variant in asked.variants if variant.dim is not None]
    variants.check_widths(dims, {each.encoder.name: widest(each, poolings) for each in own})
    shared: dict[tuple, Planned] = {}  # encoders of one architecture or width share their baselines
    for name, model in product(asked.baselines, own):
        found = replace(model, copies=1, baseline=name)
        like: tuple = (model.encoder.source if name == "static" else model.encoder.dim,)
        if not found.words:
            like = (model.encoder.parameters, *model.outline.widths)
        shared.setdefault((name, *like), replace(found, layers=[0]) if found.words else found)
    return [*own, *shared.values()], poolings


def widest(planned: Planned, poolings: Sequence[str]) -> int:
    """Largest width of a model's vectors."""
    return max(planned.width(cell) for cell in planned.cells(poolings))


class Encoded(NamedTuple):
    """What a model's forward passes take: tokens, texts that are cut, seconds."""

    tokens: int = 0
    cut: int = 0
    seconds: float = 0.0


def encoding(planned: Planned, tasks: Sequence[TaskTexts], poolings: Sequence[str], device: torch.device) -> Encoded:
    """What a model's forward passes over all texts take, in batches as they would be."""
    if planned.words or not tasks:
        return Encoded()
    began = time.perf_counter()
    budget = BATCH_TOKENS.get(device.type, OTHER_BATCH_TOKENS)
    tokens, cut, flops = 0, 0, 0.0
    for texts, together in product(tasks, passes(poolings)):
        for role, _, some in in_roles(planned.encoder, texts):
            for encoder, _ in by_prompt(role, together):
                rows = tokenize(encoder, some, divide=True)
                lengths = (
                    np.full(len(rows.ids), encoder.unmasked_length or 0) if encoder.unmasked_length else rows.lengths
                )
                padded = [np.full(len(group), lengths[group].max()) for group in batches(lengths, budget)]
                flops += float(planned.outline.flops(np.concatenate(padded)).sum())
                tokens += int(rows.lengths.sum())
                cut += int(rows.cut.sum())
    return Encoded(tokens, cut, time.perf_counter() - began + flops / layer_speed(device, planned.encoder.dim))


def training(planned: Planned, texts: TaskTexts, poolings: Sequence[str], asked: Request) -> float:
    """Seconds in which the poolings that have parameters are trained on a task."""
    layers = {layer for layer, pooling in planned.cells(poolings) if pooling in TRAINABLE}
    if not asked.protocol.train_poolings or texts.task.train is None or why_untrainable(texts.task):
        return 0.0
    return len(layers) * asked.protocol.pooling_seeds * len(texts.task.train) / FITTED_ROWS


def measuring(planned: Planned, texts: TaskTexts, poolings: Sequence[str], asked: Request) -> float:
    """Seconds in which a model's vectors of a task are measured on the processor of `REFERENCE`.

    Fitted to sets of 300 to 10,000 rows in 64 to 768 dimensions, of which it gives 0.7 to 1.2 of the time. A refit is
    on half of the training rows, and has no controls.
    """
    n, rows, widest_probe = len(texts.geometry), texts_read(texts), probe_width(texts, widest(planned, poolings))
    share = SHARE_OF_PROBES[asked.probes]
    seconds = 0.4 + share * (3e-4 * rows + 4e-10 * widest_probe**3)  # the controls, once
    for cell in planned.cells(poolings):
        d = planned.width(cell)
        features = probe_width(texts, d)
        of_probes = share * (1.9e-7 * rows * features + 3.3e-10 * rows * features**2 + 4.5e-10 * features**3)
        of_refits = asked.refits * (REFIT * of_probes + REFIT_START) if texts.task.train is not None else 0.0
        seconds += planned.copies * (0.8 + of_probes + of_refits + 5.1e-10 * n**2 * d + 7.6e-9 * d**3)
    return seconds


def comparing(own: Sequence[Planned], tasks: Sequence[TaskTexts], poolings: Sequence[str], asked: Request) -> float:
    """Seconds in which the similarities of each two models are found on the processor of `REFERENCE`."""
    layers = 1 if isinstance(asked.layers, str) else len(asked.layers)
    pairs = layers * len(poolings) * (len(own) * (len(own) - 1) / 2 + len(own) * len(asked.variants))
    width = max((each.encoder.dim for each in own), default=0)
    return sum(pairs * (0.2 + 8e-6 * min(len(texts.geometry), ROWS) * width) for texts in tasks)


def texts_read(texts: TaskTexts) -> int:
    """Rows that probes are fitted and scored on."""
    return len(texts.task.validation) + (0 if texts.task.train is None else len(texts.task.train))


def probe_width(texts: TaskTexts, d: int) -> int:
    """Features of a probe: of a pair both vectors, their difference and their product."""
    return d if texts.task.validation.second is None else 4 * d


def memory(
    planned: Sequence[Planned], tasks: Sequence[TaskTexts], poolings: Sequence[str], device: torch.device
) -> int:
    """Bytes that the process holds at most: what this one holds, weights, a batch, and the largest cell."""
    weights = sum(8 * each.encoder.parameters for each in planned if not each.words)  # the file, and as float32
    batch = BATCH_TOKENS.get(device.type, OTHER_BATCH_TOKENS)
    states = max(4 * batch * (sum(each.outline.widths) + 16 * each.encoder.dim) for each in planned)
    cells = [0]
    for each, texts in product(planned, tasks):
        at = each.cells(poolings)
        d = widest(each, poolings)
        vectors = sum(4 * len(texts.texts) * each.width(cell) for cell in at)
        features = probe_width(texts, d)
        cells.append(vectors + 32 * texts_read(texts) * features + 32 * len(texts.geometry) * d + 48 * features**2)
    return process_bytes() + weights + states + max(cells)


def model_entry(planned: Planned, encoded: Encoded) -> dict[str, Any]:
    """What a model or a baseline is, and what its forward passes take."""
    encoder = planned.encoder
    return {
        "name": f"{planned.baseline} of {encoder.name}" if planned.baseline else encoder.name,
        "source": encoder.source,
        "layers": encoder.n_layers,
        "dim": encoder.dim,
        "parameters": encoder.parameters,
        "tokens": encoded.tokens,
        "cut": encoded.cut,
    }
