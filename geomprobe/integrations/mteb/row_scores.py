"""Scores of rows: from the predictions that mteb keeps and the labels of a task, so that scores get intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common import InputError, read_json
from geomprobe.common.json_types import checked
from geomprobe.common.text import finite
from geomprobe.inference.probe_tests import CORRELATIONS, mean_influence
from geomprobe.integrations.mteb.score_files import ANEW, MAIN, Scored
from geomprobe.tasks.base import Task, sentence_groups

DISTANCES = {
    "cosine": "cosine_scores",
    "manhattan": "manhattan_distances",
    "euclidean": "euclidean_distances",
    "": "similarity_scores",
}
"""Kind of similarity in the names of scores of pairs -> its name among the predictions."""
ROUNDING = 1e-5
"""mteb writes scores with six decimals."""


def read_predictions(folders: Iterable[str | Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """(task, model) -> the predictions of a file, of all these folders."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in map(Path, folders):
        files = sorted(folder.rglob("*_predictions.json"))
        if not files:
            raise InputError(f"{folder} holds no predictions of mteb (*_predictions.json).", "Give prediction_folder.")
        for path in files:
            content = checked(read_json(path), dict[str, Any], str(path), ANEW)
            meta = checked(content.pop("mteb_model_meta", None), dict[str, Any], str(path), ANEW, "mteb_model_meta")
            key = path.name.removesuffix("_predictions.json"), f"{meta.get('model_name')}@{meta.get('revision')}"
            if key in found:
                raise InputError(f"{path}: a second file has predictions of {key[1]} on {key[0]}.", "Give one of them.")
            found[key] = content
    return found


def contributions(
    each: Scored, source: Any, task: Task | None, kept: Mapping[tuple[str, str], Mapping[str, Any]]
) -> tuple[dict[str, np.ndarray], str]:
    """Score -> the contribution of each cluster of rows, and why there are none."""
    predicted: Any = kept.get((each.task, f"{each.model}@{each.revision}"), {}).get(each.subset)
    predicted = predicted.get(each.split) if isinstance(predicted, dict) else None
    if predicted is None:
        return {}, "no predictions were given"
    if source is None:
        return {}, "no labels: the task was not given"
    if task is None:
        return {}, "this kind of task has no scores of rows here"
    if source.metadata.type == "Classification":
        values, moves = _classified(predicted, task)
    elif source.metadata.type == "STS":
        values, moves = _correlated(predicted, task)
    else:
        return {}, "this kind of score is no mean over rows"
    agreeing = {name: move for name, move in moves.items() if _agree(each.scores.get(name), values[name])}
    if not agreeing:
        return {}, "the predictions and the labels do not give the recorded scores"
    clusters = np.unique(sentence_groups(task.validation), return_inverse=True)[1]
    moved = {name: np.bincount(clusters, move) / len(clusters) for name, move in agreeing.items()}
    if (main := source.metadata.main_score) in moved and each.scores[main] == each.scores[MAIN]:
        moved[MAIN] = moved[main]
    return moved, "" if MAIN in moved else "the main score is no mean over rows"


def _agree(recorded: float | None, recomputed: float) -> bool:
    return recorded is not None and abs(recorded - recomputed) <= ROUNDING


Moves = tuple[dict[str, float], dict[str, np.ndarray]]
"""Value of each score, recomputed, and how each row moves it."""


def _classified(predicted: Any, task: Task) -> Moves:
    """Accuracy, the mean over the experiments."""
    labels = task.validation.labels
    names = np.array([str(name) for name in task.label_names])[labels]
    experiments = predicted if isinstance(predicted, list) else []
    hits = [np.array([str(p) for p in each]) == names for each in experiments if _long_as(each, labels)]
    if not hits or len(hits) < len(experiments):
        return {}, {}
    share = np.mean(hits, axis=0)
    return {"accuracy": float(share.mean())}, {"accuracy": mean_influence(share)}


def _correlated(predicted: Any, task: Task) -> Moves:
    """Correlations of similarities with the scores of pairs."""
    labels = task.validation.labels.astype(float)
    values: dict[str, float] = {}
    moves: dict[str, np.ndarray] = {}
    for kind, key in DISTANCES.items():
        found: Any = predicted.get(key) if isinstance(predicted, dict) else None
        if not _long_as(found, labels) or not all(finite(value) is not None for value in found):
            continue
        similarity = np.array(found, float)
        if not np.ptp(similarity) or not np.ptp(labels):
            continue
        for name, influence in CORRELATIONS.items():
            score = f"{kind}_{name}".lstrip("_")
            values[score] = float(pd.Series(similarity).corr(pd.Series(labels), method=name))  # type: ignore[arg-type]
            moves[score] = influence(similarity, labels)
    return values, moves


def _long_as(values: Any, labels: np.ndarray) -> bool:
    return isinstance(values, list) and len(values) == len(labels)
