"""What an analysis was asked for, and the plan made of it: opened encoders, prepared tasks, layers, poolings."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from geomprobe.analysis import own_pooling, variants
from geomprobe.analysis.failures import CELL_ERRORS
from geomprobe.analysis.protocols import STRICT, Protocol
from geomprobe.analysis.texts import TaskTexts
from geomprobe.analysis.variants import FULL, Variant
from geomprobe.common import UsageError, model_name, unknown_name
from geomprobe.distributed import ALONE, Processes
from geomprobe.embedding.embed import embed_grid
from geomprobe.embedding.layers import check_layers, resolve_layers
from geomprobe.embedding.pooling import POOLINGS, passes
from geomprobe.embedding.tokens import limited
from geomprobe.embedding.windows import LONG
from geomprobe.encoders import Encoder, load_encoder
from geomprobe.encoders.baselines import BASELINES, WordTable, make_baseline
from geomprobe.encoders.opening import find_device
from geomprobe.encoders.prompts import with_prompts
from geomprobe.probes import PROBES, cap_train
from geomprobe.results.provenance import TrainingRun, training_run
from geomprobe.tasks import check_name, load_task
from geomprobe.tasks.base import Split, Task, joined_pairs

MIN_REFITS, MAX_REFITS = 4, 1000
"""Two divisions: fewer say nothing of how far they vary."""
GLUE = ("sst2", "mrpc", "mnli", "cola", "stsb")


@dataclass(frozen=True)
class Request:
    """What an analysis was asked for, as `geomprobe.analyze` takes it."""

    models: Sequence[Any]
    tasks: Sequence[str | Task] = GLUE
    poolings: Sequence[str] | None = None
    layers: Sequence[int] | str = (-1,)
    prompt: str | None = None
    query_prompt: str | None = None
    baselines: Sequence[str] = ()
    data_dir: str | Path | None = None
    limit: int | None = None
    device: str = "auto"
    protocol: Protocol = STRICT
    seed: int = 0
    variants: Sequence[Variant] = ()
    maps: bool = True
    texts: bool = True
    long: str = "cut"
    refits: int = 0
    probes: str = "all"


@dataclass(frozen=True)
class Model:
    """An encoder under its name in the results.

    Attributes
    ----------
    name : str
    encoder : Encoder
    layers : list of int
        Those that are measured.
    baseline : str
        Which of the baselines it is, if any.
    variant : Variant
        How its vectors are stored.
    of : str
        Of a variant the name of the model with the full vectors.
    serves : tuple of str
        Of a baseline the names of the models that it was made for.
    training : TrainingRun or None
        What its folder says of its training, read before anything is measured: the folder may change meanwhile.
    """

    name: str
    encoder: Encoder
    layers: list[int]
    baseline: str = ""
    variant: Variant = FULL
    of: str = ""
    serves: tuple[str, ...] = ()
    training: TrainingRun | None = None


@dataclass(frozen=True)
class RunPlan:
    """All that is measured, and where.

    Attributes
    ----------
    asked : Request
    models : list of Model
        The models asked for, their baselines, the variants: these come last and find the full vectors in the store.
    tasks : list of TaskTexts
    poolings : list of str
    why : str
        Why these poolings, where none was asked for.
    kept : Path or None
        Folder of finished cells.
    processes : Processes
        Processes that share the work.
    """

    asked: Request
    models: list[Model]
    tasks: list[TaskTexts]
    poolings: list[str]
    why: str = ""
    kept: Path | None = None
    processes: Processes = ALONE

    @property
    def encoders(self) -> list[Model]:
        """The models and baselines with their full vectors."""
        return [model for model in self.models if not model.of]

    @property
    def own(self) -> list[Model]:
        """The models asked for, with their full vectors."""
        return [model for model in self.encoders if not model.baseline]

    @property
    def stored(self) -> list[Model]:
        """The variants."""
        return [model for model in self.models if model.of]


def check_request(
    tasks: Sequence[str | Task],
    poolings: Sequence[str] | None = None,
    baselines: Sequence[str] = (),
    limit: int | None = None,
    device: str = "auto",
    long: str = "cut",
    protocol: Protocol = STRICT,
    layers: Sequence[int] | str = "all",
    refits: int = 0,
    probes: str = "all",
    jobs: int = 1,
) -> None:
    """Raise UsageError for names and numbers that no analysis can be made of; nothing is read or computed."""
    check_layers(layers)
    for name in poolings or ():
        POOLINGS.choose(name)
    for name in baselines:
        if name not in BASELINES:
            raise unknown_name("baseline", name, list(BASELINES))
    names = [task for task in tasks if isinstance(task, str)]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"A task is given twice: {repeated}.")
    for name in names:
        check_name(name)
    if limit is not None and limit < 2:
        raise UsageError("--limit must be at least 2.", "Geometry needs two rows.")
    if long not in LONG:
        raise unknown_name("way with long texts", long, list(LONG))
    if long == "chunk" and protocol.published:
        raise UsageError("The published analysis cuts long texts.", "Leave --long chunk out, or --protocol paper.")
    if refits and (not MIN_REFITS <= refits <= MAX_REFITS or refits % 2):
        raise UsageError(
            f"--refits must be an even number from {MIN_REFITS} to {MAX_REFITS:,}, not {refits}.",
            "Two refits are the two halves of the training rows. --refits 20 is a good choice.",
        )
    if refits and protocol.published:
        raise UsageError("The published analysis has probes of its own, without refits.", "Leave --refits out.")
    if probes not in PROBES:
        raise unknown_name("choice of probes", probes, list(PROBES))
    if probes != "all" and protocol.published:
        raise UsageError("The published analysis has probes of its own.", f"Leave --probes {probes} out.")
    if probes == "none" and refits:
        raise UsageError("--refits fits probes again, and --probes none fits none.", "Leave one of them out.")
    if jobs < 1:
        raise UsageError(f"--jobs must be at least 1, not {jobs}.", "--jobs 2 starts one more process.")
    find_device(device)


def make_plan(asked: Request, kept: Path | None = None, processes: Processes = ALONE) -> RunPlan:
    """Plan of what was asked for: models opened, tasks read, every choice made.

    Raises
    ------
    UsageError
        A task is given twice, or choices do not fit each other or the models.
    InputError
        A model or a task cannot be read.
    """
    tasks = prepared([t if isinstance(t, Task) else load_task(t, data_dir=asked.data_dir) for t in asked.tasks], asked)
    encoders = [m if isinstance(m, Encoder) else load_encoder(m, device=asked.device) for m in asked.models]
    encoders = with_prompts(encoders, asked.prompt, asked.query_prompt)
    poolings, why = own_pooling.choose_poolings(encoders, asked.poolings, asked.layers, asked.protocol)
    own_pooling.check_prompts(tasks, asked.protocol, poolings, asked.prompt, asked.query_prompt)
    models = named_models(asked, encoders, tasks)
    models += variant_models(models, asked.variants, poolings)
    return RunPlan(asked, models, texts_of(tasks, asked), poolings, why, kept, processes)


def prepared(read: Sequence[Task], asked: Request) -> list[Task]:
    """Tasks as they are analysed; raises UsageError where two have the same name."""
    tasks = [prepare(task, asked.protocol, asked.limit, asked.seed) for task in read]
    given = [task.name for task in tasks]
    if repeated := next((name for name in given if given.count(name) > 1), None):
        raise UsageError(f"A task is given twice: two are called {repeated!r}.", "Give each task a name of its own.")
    return tasks


def texts_of(tasks: Sequence[Task], asked: Request) -> list[TaskTexts]:
    """Texts of each task, with the rows of the smallest where they differ in size."""
    sizes = {len(task.geometry_rows.texts) for task in tasks}
    matched = min(sizes) if len(sizes) > 1 else None
    return [TaskTexts.of(task, matched, asymmetric=asked.query_prompt is not None) for task in tasks]


def prepare(task: Task, protocol: Protocol, limit: int | None, seed: int) -> Task:
    """Task as it is analysed: at most `limit` rows a split, at most `max_train_rows` to fit probes on."""
    if protocol.published:
        task = protocol.published.prepare(task, protocol.train_poolings)
    if limit is not None:
        train = task.train and first_rows(task.train, limit)
        task = replace(task, train=train, validation=first_rows(task.validation, limit))
    if protocol.rows is not None:
        task = replace(task, validation=first_rows(task.validation, protocol.rows))
    if protocol.pairs == "joined":
        task = joined_pairs(task)
    if task.train is not None:
        task = replace(task, train=cap_train(task.train, max_rows=protocol.max_train_rows, seed=seed))
    return task


def first_rows(split: Split, n: int) -> Split:
    """Split's first n rows, or all where it has fewer."""
    return split.take(np.arange(min(n, len(split))))


def configured(encoder: Encoder, protocol: Protocol, long: str) -> Encoder:
    """Encoder with the length and the padding of a protocol, no longer than it takes; and the way with long texts."""
    encoder = replace(encoder, long=long)
    if protocol.max_length is not None:
        encoder = limited(encoder, min(protocol.max_length, encoder.max_length))
    if protocol.padding == "visible" and not isinstance(encoder.model, WordTable):  # which sees no neighbours
        encoder = replace(encoder, unmasked_length=encoder.max_length)
    return encoder


def named_models(asked: Request, encoders: Sequence[Encoder], tasks: Sequence[Task]) -> list[Model]:
    """Encoders and their baselines, each with a name and its layers."""
    own = [configured(encoder, asked.protocol, asked.long) for encoder in encoders]
    every: list[tuple[str, Encoder, list[int]]] = [("", encoder, []) for encoder in own]
    for baseline, encoder, served in baseline_encoders(own, asked.baselines, tasks, asked.seed):
        every.append((baseline, configured(encoder, asked.protocol, asked.long), served))
    names = unique_names([encoder for _, encoder, _ in every])
    models = []
    for (baseline, encoder, served), name in zip(every, names, strict=True):
        layers = asked.layers if baseline in ("", "random-init") else [-1]  # the others have one layer
        training = training_run(None if baseline else encoder.source)
        serves = tuple(names[i] for i in served)
        models.append(Model(name, encoder, resolve_layers(encoder, layers), baseline, serves=serves, training=training))
    return models


def baseline_encoders(
    encoders: Sequence[Encoder], kinds: Sequence[str], tasks: Sequence[Task], seed: int
) -> list[tuple[str, Encoder, list[int]]]:
    """Kind, baseline, and the encoders that it serves: those of one architecture or width share theirs."""
    splits = [task.train or task.validation for task in tasks]
    texts = [text for split in splits for text in (*split.first, *(split.second or ()))]
    made: dict[str, tuple[str, Encoder, list[int]]] = {}
    for kind, (i, encoder) in product(dict.fromkeys(kinds), enumerate(encoders)):
        found = make_baseline(kind, encoder, texts, seed=seed)
        made.setdefault(found.hash, (kind, found, []))[2].append(i)
    for kind, encoder, served in made.values():
        if kind == "random-init" and len(served) > 1:
            encoder.name = kind  # of no single one of them
    return list(made.values())


def unique_names(encoders: Sequence[Encoder]) -> list[str]:
    """A name for each encoder.

    Folders of one name, such as those of seeds, are called by the folder above too; what still coincides is numbered.
    """
    short = [encoder.name for encoder in encoders]
    names: list[str] = []
    for encoder in encoders:
        name = encoder.name
        if short.count(name) > 1:
            name = name.replace(model_name(encoder.source), model_name(encoder.source, 2))
        names.append(variants.numbered(name, names))
    return names


def variant_models(models: Sequence[Model], stored: Sequence[Variant], poolings: Sequence[str]) -> list[Model]:
    """Each variant of each model, baselines left out."""
    own = {model.name: model for model in models if not model.baseline}
    if dims := [variant.dim for variant in stored if variant.dim is not None]:
        variants.check_widths(dims, widths(own, poolings))
    called = variants.names(stored, list(own), [model.name for model in models])
    return [replace(own[of], name=name, variant=variant, of=of) for (of, variant), name in called.items()]


def widths(models: Mapping[str, Model], poolings: Sequence[str]) -> dict[str, int]:
    """Largest width of each model's vectors over its layers and the poolings, seen by embedding a word.

    A model that cannot be embedded is left out: its cells say why.
    """
    found: dict[str, int] = {}
    for (name, model), together in product(models.items(), passes(poolings)):
        with contextlib.suppress(*CELL_ERRORS):
            grid = embed_grid(model.encoder, ["a"], together, model.layers)
            found[name] = max(found.get(name, 0), *(vectors.shape[1] for vectors in grid.vectors.values()))
    return found
