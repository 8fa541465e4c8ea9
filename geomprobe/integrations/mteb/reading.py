"""Scores of mteb as our results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from geomprobe.common import hash_bytes, listed
from geomprobe.inference import Estimate
from geomprobe.integrations.mteb.row_scores import contributions, read_predictions
from geomprobe.integrations.mteb.score_files import MAIN, Scored, scored
from geomprobe.integrations.mteb.tasks import converted, loaded
from geomprobe.results import INFLUENCE_COLUMNS, RESULT_COLUMNS, Results, provenance, table
from geomprobe.tasks.base import Task

POOLING = "model"
"""What mteb scores is the vector that the model gives: our pooling of this name, at the last layer."""
POOLING_ENTRY: dict[str, Any] = {
    "name": POOLING,
    "trained": None,
    "note": "what the model's own encode gives",
    "untrained_on": {},
}


def read(
    folder: str | Path, *, tasks: Iterable[Any] = (), predictions: str | Path | Iterable[str | Path] = ()
) -> Results:
    """The scores of a folder of mteb as results, a row a score, named ``mteb_SCORE``.

    Parameters
    ----------
    folder : path
        The cache of mteb, its folder of results, or the part of one model or one revision.
    tasks : iterable of str or mteb task
        Tasks whose labels are needed for intervals, or their names where mteb is installed; loaded where they are not.
    predictions : path, or iterable of paths
        Folders that mteb wrote the predictions to (``prediction_folder``). With the labels of a task they give every
        row's share in accuracies and correlations, and so intervals and paired differences between models.

    Returns
    -------
    Results
        ``run["notes"]`` says which scores have no interval, and why.

    Raises
    ------
    InputError
        There are no results, or a file is not what mteb writes.
    """
    found, notes = scored(Path(folder))
    kept = read_predictions([predictions] if isinstance(predictions, str | Path) else predictions)
    known = {task.metadata.name: task for task in map(loaded, tasks)}
    names = _model_names(found)
    rows: list[dict[str, Any]] = []
    influences: list[dict[str, Any]] = []
    entries: dict[str, dict[str, Any]] = {}
    reasons: dict[str, list[str]] = {}
    for each in found:
        task = converted(known.get(each.task), each)
        moved, reason = contributions(each, known.get(each.task), task, kept)
        if reason:
            reasons.setdefault(reason, []).append(each.label)
        entry = entries.setdefault(each.label, _task_entry(each, task))
        place = {"model": names[each.model, each.revision], "task": each.label, "layer": 1, "pooling": POOLING}
        place |= {"view": None, "definition": None}
        for score, value in each.scores.items():
            metric = f"mteb_{score}"
            estimate = Estimate(value, moved[score]) if value is not None and score in moved else None
            none = {"se": None, "ci_low": None, "ci_high": None, "ci_method": "no valid interval: no scores of rows"}
            rows.append(
                place
                | (estimate.interval().to_row() if estimate else none)
                | {
                    "metric": metric,
                    "model_hash": _hash(each.model, each.revision),
                    "task_hash": entry["fingerprint"],
                    "split": each.split,
                    "protocol": "mteb",
                    "value": value,
                    "n": entry.get("rows"),
                    "status": "ok" if value is not None else "not applicable",
                    "note": None if value is not None else "mteb gave no finite score",
                }
            )
            if estimate:
                influences.append(place | {"metric": metric, "contributions": moved[score].tolist(), "extra": 0.0})
    notes += [f"no intervals, {reason}: {listed(sorted(set(labels)))}" for reason, labels in reasons.items()]
    models = [
        {"name": name, "source": model, "revision": revision, "hash": _hash(model, revision), "n_layers": 1}
        for (model, revision), name in names.items()
    ]
    run = provenance.environment() | {
        "command": "", "protocol": "mteb", "seed": 0, "limit": None, "models": models, "baselines": {},
        "tasks": list(entries.values()), "poolings": [POOLING_ENTRY], "layers": "last", "compared": None,
        "groups": None, "failed_cells": 0, "notes": notes,
    }  # fmt: skip
    metrics = dict.fromkeys(row["metric"] for row in rows)
    return Results(
        results=table(rows, RESULT_COLUMNS),
        influences=table(influences, INFLUENCE_COLUMNS),
        definitions={metric: _definition(metric) for metric in metrics},
        run=run,
    )


def _model_names(found: Sequence[Scored]) -> dict[tuple[str, str], str]:
    """(model, revision) -> name in results: with its revision where a model has several."""
    pairs = list(dict.fromkeys((each.model, each.revision) for each in found))
    models = [model for model, _ in pairs]
    return {(m, r): m if models.count(m) == 1 else f"{m}@{r}" for m, r in pairs}


def _hash(model: str, revision: str) -> str:
    """Hash of a model: our own where it was given to mteb as the revision."""
    return revision if re.fullmatch(r"[0-9a-f]{64}", revision) else hash_bytes("mteb", model, revision)


def _task_entry(each: Scored, task: Task | None) -> dict[str, Any]:
    entry = {"name": each.label, "source": f"mteb {each.task}", "revision": each.task_revision, "notes": []}
    if task is None:
        return entry | {"fingerprint": hash_bytes("mteb", each.task, each.task_revision, each.subset, each.split)}
    return entry | {
        "fingerprint": task.fingerprint,
        "rows": len(task.validation),
        "geometry_rows": len(task.geometry_rows.texts),
        "row_ids_hash": task.geometry_rows.fingerprint,
    }


def _definition(metric: str) -> dict[str, Any]:
    name = metric.removeprefix("mteb_")
    entry: dict[str, Any] = {
        "name": metric,
        "family": "semantic",
        "formula": "the main score that mteb declares for the task" if name == MAIN else f"{name}, as mteb computes it",
        "range": "",
        "direction": "larger: better" if name == MAIN else "",
        "invariances": [],
        "source": "mteb, Muennighoff et al. 2023, EACL",
        "stage": "probes",
        "order": 90,
    }
    return entry | ({"headline": {"order": 55, "views": [""]}} if name == MAIN else {})
