"""What was measured, to results: the tables, and what run.json says of models, tasks, poolings and the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from geomprobe.analysis import definitions, own_pooling, similarities, variants
from geomprobe.analysis.cells import Tables
from geomprobe.analysis.plan import Model, RunPlan
from geomprobe.analysis.texts import TaskTexts
from geomprobe.embedding import trained_pooling
from geomprobe.embedding.pooling import POOLINGS, TRAINABLE, Pooler, make_pooler
from geomprobe.embedding.windows import LONG
from geomprobe.metrics import REGISTRY
from geomprobe.results import Results, count_failures, provenance
from geomprobe.tasks import TASKS


def record(
    plan: RunPlan,
    tables: Tables,
    alike: pd.DataFrame,
    truncated: Mapping[str, dict[str, int]],
    maps: Sequence[dict[str, Any]] = (),
) -> Results:
    """Results of a plan.

    Parameters
    ----------
    plan : RunPlan
    tables : dict of str to DataFrame
        Of all cells, by kind, as `geomprobe.analysis.cells.CELL_COLUMNS` names them, and those of the maps.
    alike : DataFrame
        How alike the models are, with the columns of `results.SIMILARITY_COLUMNS`.
    truncated : mapping of task to dict of model to int
        How many texts were longer than the model reads.
    maps : sequence of dict
        What is said of the maps of each task.
    """
    used = sorted({*tables["results"]["metric"].dropna(), *alike["metric"].dropna()})
    asked = plan.asked
    plugins = REGISTRY.added(used) + TASKS.added(task for task in asked.tasks if isinstance(task, str))
    plugins += POOLINGS.added(plan.poolings)
    run = provenance.environment() | {
        "command": provenance.command_line(asked.data_dir),
        "protocol": asked.protocol.name,
        "seed": asked.seed,
        "limit": asked.limit,
        **({"refits": asked.refits} if asked.refits else {}),
        **({"probes": asked.probes} if asked.probes != "all" else {}),
        "models": model_entries(plan),
        "baselines": {model.name: model.baseline for model in plan.encoders if model.baseline},
        "tasks": [task_entry(texts, truncated[texts.task.name], asked.long) for texts in plan.tasks],
        "poolings": [pooling_entry(plan, name) for name in plan.poolings],
        "layers": asked.layers if isinstance(asked.layers, str) else list(asked.layers),
        "compared": None,
        "groups": None,
        "similarity": similarities.maps(alike),
        "maps": list(maps),
        **({"plugins": plugins} if plugins else {}),
        "processes": plan.processes.world,
        "failed_cells": count_failures(tables["results"], alike),
    }
    return Results(
        **tables,
        definitions=definitions.of_results(used, asked.protocol),
        run=run,
        training={model.name: model.training.log for model in plan.encoders if model.training and model.training.log},
        similarities=alike,
    )


def model_entries(plan: RunPlan) -> list[dict[str, Any]]:
    """What run.json says of models, baselines and variants, in this order."""
    full = {model.name: model_entry(plan, model) for model in plan.encoders}
    calibration = {texts.task.name: texts.calibrated_on for texts in plan.tasks}
    stored = [variants.entry(model.variant, full[model.of], model.name, calibration) for model in plan.stored]
    return [*full.values(), *stored]


def model_entry(plan: RunPlan, model: Model) -> dict[str, Any]:
    """What run.json says of a model; of its training, what the log shows to have happened."""
    assert model.training is not None
    entry = model.encoder.describe() | {"name": model.name, **model.training.entry}
    entry["notes"] += [*own_pooling.model_notes(model.encoder, plan.poolings), *model.training.notes]
    entry.pop("path")
    if model.serves:
        entry["baseline_of"] = list(model.serves)
    if Path(model.encoder.source).exists():
        entry["source"] = provenance.public_path(model.encoder.source, plan.asked.data_dir)
    return entry


def task_entry(texts: TaskTexts, longer: dict[str, int], long: str) -> dict[str, Any]:
    """What run.json says of a task; `longer` counts the texts that are longer than a model reads."""
    task, chunked = texts.task, {}
    if long == "chunk":
        chunked, longer = {"chunked": longer}, dict.fromkeys(longer, 0)
    return {
        "name": task.name,
        "source": task.source,
        "revision": task.revision,
        "fingerprint": task.fingerprint,
        "rows": len(task.validation),
        "train_rows": 0 if task.train is None else len(task.train),
        "geometry_rows": len(task.geometry_rows.texts),
        "row_ids_hash": task.geometry_rows.fingerprint,
        "truncated": longer,
        **chunked,
        "notes": [*task.notes, *texts.notes, *([LONG["chunk"]] if any(chunked.get("chunked", {}).values()) else [])],
    }


def pooling_entry(plan: RunPlan, name: str) -> dict[str, Any]:
    """What run.json says of a pooling; `trained` is None for one without parameters."""
    protocol, seed = plan.asked.protocol, plan.asked.seed
    pooler = make_pooler(name, 1, seed=seed)
    entry: dict[str, Any] = {"name": name, "trained": pooler.trained, "note": pooler.note, "untrained_on": {}}
    if name == "model":
        return entry | own_pooling.facts([model.encoder for model in plan.own], plan.why)
    if name not in TRAINABLE:
        return entry
    if not protocol.train_poolings:
        drawn = name == "attention" and protocol.query == "per-model"
        return entry | ({"note": "untrained pooling, a query drawn for each model"} if drawn else {})
    reasons = {texts.task.name: trained_pooling.why_untrainable(texts.task) for texts in plan.tasks}
    untrained = {task: reason for task, reason in reasons.items() if reason}
    trained = len(untrained) < len(reasons)
    return entry | {"trained": trained, "note": Pooler(name, None, trained, seed).note, "untrained_on": untrained}
