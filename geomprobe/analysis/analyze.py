"""The grid model × task × layer × pooling: plan, embed, measure, record. Finished cells are kept and found again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from geomprobe.analysis import variants
from geomprobe.analysis.cells import CELL_COLUMNS, CellContext, Tables, failed_cell, joined, kept_tables, write_tables
from geomprobe.analysis.embed import count_truncated, embed_cells
from geomprobe.analysis.maps import make_maps
from geomprobe.analysis.measure import learned_tables, measure_cell
from geomprobe.analysis.plan import GLUE, Model, Request, RunPlan, check_request, make_plan
from geomprobe.analysis.protocols import STRICT, Protocol
from geomprobe.analysis.record import record
from geomprobe.analysis.similarities import similarity_table
from geomprobe.analysis.texts import TaskTexts
from geomprobe.analysis.variants import FULL
from geomprobe.common import UsageError, hold_folder, listed
from geomprobe.common.progress import Progress, shown
from geomprobe.comparison.rankings import add_rankings
from geomprobe.comparison.table import add_variants
from geomprobe.distributed import ALONE, Processes, helped
from geomprobe.embedding.layers import Cell, has_cell
from geomprobe.embedding.pooling import POOLINGS
from geomprobe.metrics import REGISTRY
from geomprobe.results import SIMILARITY_COLUMNS, Results, check_folder, table, write_results
from geomprobe.results.record import Margin
from geomprobe.tasks import TASKS
from geomprobe.tasks.base import Task


def analyze(
    models: Sequence[Any],
    tasks: Sequence[str | Task] = GLUE,
    poolings: Sequence[str] | None = None,
    layers: Sequence[int] | str = (-1,),
    *,
    prompt: str | None = None,
    query_prompt: str | None = None,
    baselines: Sequence[str] = (),
    data_dir: str | Path | None = None,
    limit: int | None = None,
    long: str = "cut",
    device: str = "auto",
    out: str | Path | None = None,
    cells: str | Path | None = None,
    protocol: Protocol = STRICT,
    seed: int = 0,
    similarity: bool = False,
    maps: bool = True,
    texts: bool = True,
    refits: int = 0,
    probes: str = "all",
    precisions: Sequence[str] = (),
    dims: Sequence[int] = (),
    margins: Mapping[str, Margin] | None = None,
    complete: Callable[[Results], Any] | None = None,
    jobs: int = 1,
    processes: Processes = ALONE,
    progress: Progress | str | None = "auto",
) -> Results:
    """Measure every model on every task at every layer under every pooling.

    Every choice of an analysis is an argument here; all but the models have a default. Inside, they are one `Request`.

    Parameters
    ----------
    models : sequence of str, Path, model or Encoder
        Anything that `load_encoder` opens.
    tasks : sequence of str or Task
    poolings : sequence of str, optional
        Names from `pooling.POOLINGS`. Default: "model" for all models if one of them declares more than the mean of the
        token states (another pooling, Dense, Normalize, truncate_dim, a prompt), else "mean".
    layers : sequence of int, or "all"
        0 is the embedding layer, -1 the last. The pooling "model" is measured at the last one only.
    prompt, query_prompt : str, optional
        What is put before each text, and before the first text of each pair (see `encoders.prompts.with_prompts`).
    baselines : sequence of str
        Names from `baselines.BASELINES`: encoders that learned nothing or next to nothing, measured like the models.
        Those made of words take them from the train texts of all tasks, or the validation texts where there are none.
    data_dir : path, optional
        Folder of ``glue/<task>/<split>.parquet``; without it tasks come from the Hugging Face hub.
    limit : int, optional
        Most rows of each split, the first ones; for a quick look.
    long : {"cut", "chunk"}
        Whether texts longer than a model reads are cut, or divided into windows whose vectors are averaged (see
        `embed`); both are counted. Poolings are trained on cut texts.
    protocol : Protocol
        Choices of the analysis: `protocols.STRICT`, `protocols.PAPER`, or one of `protocols.choose`.
    out : path, optional
        Results folder. Finished cells are kept there and reused when the same cell is asked for again.
    cells : path, optional
        Folder of finished cells, which several results folders may share; ``out/cells`` by default.
    similarity : bool
        Also say how alike the models are, each two of them; with all layers, map their layers (see `similarities`).
    maps : bool
        Also keep what maps of the rows are drawn from (see `analysis.maps`): points, neighbours, and what moved from
        the first model to each other one; on at most 500 rows of each task.
    texts : bool
        Whether these rows' texts are kept, too.
    refits : int
        How often each probe is fitted again, on halves of the training rows, so that its intervals and differences also
        cover the choice of these rows (see `geomprobe.inference.refits`): an even number, 20 for instance; 0 for none.
    probes : {"all", "fast", "none"}
        Which probes are fitted (see `geomprobe.probes.PROBES`).
    precisions : sequence of {"float32", "int8", "binary"}
    dims : sequence of int
        Also measure the vectors of the models (not of baselines) quantised and truncated: each precision at the full
        width and at each dim, as it is and renormalised (see `variants.plan`). Each variant is a model of its own,
        after all others, with its paired differences from the full vectors in `comparisons`.
    margins : mapping of metric to Margin, optional
        Equivalence margins of differences, in place of those of the records.
    complete : callable, optional
        What to add to the results, such as comparisons, before they are written; called on the first rank. Default:
        the order of the models, with tests of all pairs (`comparison.rankings.add_rankings`).
    jobs : int
        Processes that are started on this machine to share the work, this one included, each with its share of the
        cores. Numbers are those of one process with as many threads.
    processes : Processes
        Processes that share the work (see `geomprobe.distributed.join`); all call this with the same arguments and
        get the same results, and the first alone reads and writes folders.
    progress : "auto", None, or callable (done, total)
        "auto" shows a bar in a notebook or on a terminal, after a second; elsewhere nothing is shown.

    Returns
    -------
    Results
        A stage of a cell that failed (`results.STAGES`) is a row with status "failed" and the reason in `note`.

    Raises
    ------
    UsageError
        A name is unknown, a task is given twice, or no model has as many dimensions as one of `dims`.
    InputError
        A model or a task cannot be read.
    GeomprobeError
        Another process writes into ``out``.

    Examples
    --------
    >>> import geomprobe as gp
    >>> from geomprobe.tasks import load_file
    >>> task = load_file("reviews.csv")  # columns text and label
    >>> results = gp.analyze(["my-encoder"], [task], ["mean", "max"])
    >>> found = results.results.query("metric == 'effective_rank' and view == 'raw'")
    >>> found[["task", "pooling", "status"]].values.tolist()
    [['reviews', 'mean', 'ok'], ['reviews', 'max', 'ok']]
    """
    started = time.perf_counter()
    asked = Request(
        models=models, tasks=tasks, poolings=poolings, layers=layers, prompt=prompt, query_prompt=query_prompt,
        baselines=baselines, data_dir=data_dir, limit=limit, device=device, protocol=protocol, seed=seed,
        variants=variants.plan(precisions, dims), maps=maps, texts=texts, long=long, refits=refits, probes=probes,
    )  # fmt: skip
    check_request(tasks, poolings, baselines, limit, device, long, protocol, layers, refits, probes, jobs)
    if jobs > 1:
        check_sharing(models)
    if out is not None and processes.first:
        named = [each for each in (*models, *tasks, data_dir) if isinstance(each, (str, Path))]
        check_folder(Path(out), named)
    with hold_folder(out) if out is not None and processes.first else contextlib.nullcontext():
        kept = Path(cells) if cells is not None else Path(out) / "cells" if out is not None else None
        work = partial(measured, asked, kept, similarity)
        with contextlib.nullcontext(processes) if jobs == 1 else helped(jobs, work) as sharing:
            plan, results = work(sharing, progress)
        results.run["wall_seconds"] = round(time.perf_counter() - started, 1)
        if processes.first:
            complete(results) if complete else add_rankings(results, margins)
        if plan.stored and processes.first:
            add_variants(results, margins)
        if out is not None and processes.first:
            write_results(out, results)
    return results


def check_sharing(models: Sequence[Any]) -> None:
    """Raise UsageError for what the processes of ``jobs`` would not have, or would all put on one GPU."""
    if own := [name for registry in (REGISTRY, TASKS, POOLINGS) for name in registry.registered]:
        raise UsageError(
            f"jobs starts processes in which {listed(own)} is not registered.",
            "Leave jobs out, or make a package of it (docs/how-to/add-your-own.md).",
        )
    if torch.cuda.is_available() and not all(isinstance(model, (str, Path)) for model in models):
        raise UsageError(
            "jobs on GPUs opens each model in every process.", "Give folders or hub ids in place of models."
        )


def measured(
    asked: Request, kept: Path | None, similarity: bool, processes: Processes, progress: Progress | str | None = None
) -> tuple[RunPlan, Results]:
    """The plan of what was asked for, and its results, on each of the processes that share the work."""
    plan = make_plan(asked, kept, processes)
    with shown(progress if processes.first else None, "measuring") as show:
        tables, truncated = measure_models(plan, show)
    alike = similarity_table(plan) if similarity else table([], SIMILARITY_COLUMNS)
    mapped, entries = make_maps(plan)
    return plan, record(plan, tables | mapped, alike, truncated, entries)


def measure_models(plan: RunPlan, progress: Progress | None = None) -> tuple[Tables, dict[str, dict[str, int]]]:
    """Tables of all cells of a plan, and how many texts of each task were cut for each model."""
    grid = list(product(plan.models, plan.tasks))
    total = sum(2 * len(texts.texts) for _, texts in grid)
    done = 0
    frames: dict[str, list[pd.DataFrame]] = {kind: [] for kind in CELL_COLUMNS}
    truncated: dict[str, dict[str, int]] = {texts.task.name: {} for texts in plan.tasks}
    for model, texts in grid:

        def advance(part: int, whole: int, base: int = done, size: int = 2 * len(texts.texts)) -> None:
            if progress:
                progress(base + size * part // whole, total)

        tables, cut = measure_task(plan, model, texts, advance)
        if not model.of:
            truncated[texts.task.name][model.name] = cut
        for kind, frame in tables.items():
            frames[kind].append(frame.assign(model=model.name))
        advance(1, 1)
        done += 2 * len(texts.texts)
    whole = {kind: pd.concat(found, ignore_index=True) for kind, found in frames.items()}
    return {kind: table(frame, CELL_COLUMNS[kind]) for kind, frame in whole.items()}, truncated


def measure_task(plan: RunPlan, model: Model, texts: TaskTexts, progress: Progress) -> tuple[Tables, int]:
    """Tables of a model's cells on one task, and how many texts were cut; one forward pass at most.

    Processes share the batches of the forward pass, then the cells. A variant's vectors are made from the full ones.
    """
    asked, processes = plan.asked, plan.processes
    cells = {
        (layer, pooling): CellContext(
            model.encoder, texts, layer, pooling, asked.protocol, asked.seed, model.variant, asked.refits, asked.probes
        )
        for layer, pooling in product(model.layers, plan.poolings)
        if has_cell(model.encoder, layer, pooling)
    }
    folders = {} if plan.kept is None else {at: plan.kept / cell.key for at, cell in cells.items()}
    tables = kept_tables(folders, CELL_COLUMNS, processes)
    missing = [at for at in cells if at not in tables]
    if missing:
        embedded = embed_cells(plan, model.encoder, texts, missing, lambda part, whole: progress(part, 2 * whole))
        cut = embedded.n_truncated

        def send(at: Cell) -> tuple[Cell, np.ndarray | str]:
            return at, embedded.failures.get(at) or np.asarray(embedded.vectors[at])

        def work(sent: tuple[Cell, np.ndarray | str]) -> tuple[Tables, bool]:
            at, vectors = sent
            if isinstance(vectors, str):  # why there are none
                return failed_cell("embedding", vectors)
            return measure_cell(cells[at], vectors)

        for i, (at, (part, whole)) in enumerate(processes.in_turns(missing, send, work), 1):
            if at in embedded.trained and model.variant == FULL:  # which it was trained on
                part = joined(part, learned_tables(embedded.trained[at]))
            tables[at] = cells[at].stamp(part)
            if folders and whole and processes.first:
                write_tables(folders[at], tables[at])
            progress(len(missing) + i, 2 * len(missing))
    else:
        cut = count_truncated(model.encoder, texts, plan.poolings)
    return {kind: pd.concat([tables[at][kind] for at in cells]) for kind in CELL_COLUMNS}, cut
