"""A cell of the published analysis (arXiv 2606.05173): from its rows to tables, choice by choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from geomprobe import inference
from geomprobe.analysis.choices import Reader, choices_of, one_of, whole_number
from geomprobe.analysis.texts import TaskTexts
from geomprobe.encoders import Encoder
from geomprobe.inference import Estimate
from geomprobe.metrics.embeddings import TooFewRows, too_few
from geomprobe.predict_reconstruct.cell_inputs import CellInputs, published_rows
from geomprobe.predict_reconstruct.formulas import (
    DEFINITION,
    alignment,
    class_distances,
    directions,
    effective_rank,
    published_definitions,
    rank_90,
    singular_values,
    spectral_entropy,
    stable_rank,
    uniformity,
    uniformity_sample,
)
from geomprobe.predict_reconstruct.probes import (
    Probed,
    accuracy,
    cross_validated,
    frequent,
    held_out,
    macro_f1,
    majority,
    spearman,
)
from geomprobe.probes.semantic import labelled_rows
from geomprobe.results import INFLUENCE_COLUMNS, RESULT_COLUMNS, table
from geomprobe.tasks.base import Task

TOKEN_FOLDS, TASK_FOLDS = 3, 5
NO_TRAIN = "the task has no train split"
TOO_FEW = TooFewRows.status


@dataclass(frozen=True)
class Published:
    """Choices of formulas and probes of the published analysis of Predict and Reconstruct (arXiv 2606.05173).

    Attributes
    ----------
    uniformity_rows : int or None
        Most rows whose pairs uniformity is taken over, drawn with the seed; None reads all pairs.
    centre : bool
        Whether the mean vector is subtracted before directions are taken.
    alignment_power : {4, 2}
        Power of the distance of two rows of a class.
    class_distance : {"unsquared", "squared"}
        What is averaged over the pairs within and between classes.
    entropy_bound : {"N", "N-1"}
        Spectral entropy is divided by log min(N, D) or log min(N - 1, D).
    token_target : {"token", "word"}
        Whether the token probe names the most frequent token or the most frequent word of a row.
    scaling : {"all-rows", "folds"}
        Whether the scaler of a probe sees all rows, or the rows that the probe is fitted on.
    probe_rows : {"validation", "train"}
        Probes cross-validated on the validation split, or fitted on train (`max_train_rows` of it) and scored on
        validation.
    score : {"accuracy", "skill"}
        "skill" adds (accuracy - majority) / (1 - majority), majority being the share of the most frequent class of the
        scored rows, and the difference of the skills of the task probe and the token probe.
    max_iter : int
        Most iterations of the probes' solver.
    parts : tuple of {"geometry", "task", "token"}
        What is computed.
    """

    uniformity_rows: int | None = field(default=1000, metadata=whole_number(2, or_all=True))
    centre: bool = field(default=False, metadata=one_of(True, False))
    alignment_power: int = field(default=4, metadata=one_of(4, 2))
    class_distance: str = field(default="unsquared", metadata=one_of("unsquared", "squared"))
    entropy_bound: str = field(default="N", metadata=one_of("N", "N-1"))
    token_target: str = field(default="token", metadata=one_of("token", "word"))
    scaling: str = field(default="all-rows", metadata=one_of("all-rows", "folds"))
    probe_rows: str = field(default="validation", metadata=one_of("validation", "train"))
    score: str = field(default="accuracy", metadata=one_of("accuracy", "skill"))
    max_iter: int = field(default=500, metadata=whole_number(1))
    parts: tuple[str, ...] = ("geometry", "task", "token")

    def prepare(self, task: Task, train_poolings: bool) -> Task:
        """Task with its labelled rows alone; without a train split where nothing is fitted on it."""
        train, validation = (None if s is None else s.take(labelled_rows(s)) for s in (task.train, task.validation))
        assert validation is not None
        fits_on_train = self.probe_rows == "train" or train_poolings
        return replace(task, train=train if fits_on_train else None, validation=validation)

    def measure(self, encoder: Encoder, texts: TaskTexts, vectors: np.ndarray, seed: int) -> dict[str, pd.DataFrame]:
        """Tables of one cell by the published formulas, from the vectors of all its texts."""
        target = self.token_target if "token" in self.parts else None
        return measure_rows(published_rows(encoder, texts, vectors, target), self, seed)

    def definitions(self, known: Mapping[str, dict[str, Any]], used: Iterable[str]) -> dict[str, Any]:
        """Definitions of the metrics that occur, with the published formulas."""
        return published_definitions(known, used)

    def choices(self) -> dict[str, Reader]:
        """Its choices, and how each is read from a word."""
        return choices_of(Published)

    def replaced(self, **choices: Any) -> Published:
        """The analysis with some of its choices replaced."""
        return replace(self, **choices)


class Sheet:
    """The rows and influences of a cell as they are found."""

    def __init__(self, d: int, view: str, seed: int, clusters: int):
        self.place = {"view": view, "definition": DEFINITION, "d": d, "seed": seed}
        self.n_clusters = clusters
        self.rows: list[dict[str, Any]] = []
        self.influences: list[dict[str, Any]] = []
        self.moved: dict[str, tuple[float, np.ndarray]] = {}

    def add(
        self, metric: str, value: float, n: int, moved: np.ndarray | None = None, *, extra: float = 0.0, note: str = ""
    ) -> None:
        """Add a number; `moved` is how much each cluster of rows moves it, float64 (g,)."""
        if not np.isfinite(value):
            few = n < 3  # which leave nothing to compare, whatever they hold
            self.missing(
                metric,
                n,
                too_few(n, 3) if few else note or "undefined on these rows",
                TOO_FEW if few else "not applicable",
            )
            return
        row = self.place | {"metric": metric, "n": n, "note": note, "status": "ok", "value": value}
        row["ci_method"] = "no valid interval: none is derived for this formula"
        if moved is not None:
            moved = np.pad(moved, (0, self.n_clusters - len(moved)))
            row |= Estimate(value, moved, extra).interval().to_row()
            key = {"view": self.place["view"], "metric": metric, "definition": DEFINITION}
            self.influences.append(key | {"contributions": moved.astype(np.float32), "extra": extra})
            self.moved[metric] = value, moved
        self.rows.append(row)

    def missing(self, metric: str, n: int, reason: str, status: str = "not applicable") -> None:
        """Add the row that stands where a number could not be computed."""
        self.rows.append(self.place | {"metric": metric, "n": n, "status": status, "note": reason})


def measure_rows(rows: CellInputs, choices: Published, seed: int) -> dict[str, Any]:
    """Tables of a cell by the published formulas and probes.

    Returns
    -------
    dict
        "results" and "influences": tables of the results folder, without the columns that name the cell.
    """
    numbers, clusters = np.unique(rows.clusters, return_inverse=True)
    sheet = Sheet(rows.Z.shape[1], "centred" if choices.centre else "raw", seed, len(numbers))
    if "geometry" in choices.parts:
        _geometry(sheet, rows, clusters, choices, seed)
    if "token" in choices.parts:
        _token_probe(sheet, rows, clusters, choices, seed)
    if "task" in choices.parts:
        _task_probe(sheet, rows, np.searchsorted(numbers, rows.y_clusters), choices, seed)
    if {"token", "task"} <= set(choices.parts):
        _balance(sheet, choices)
    return {"results": table(sheet.rows, RESULT_COLUMNS), "influences": table(sheet.influences, INFLUENCE_COLUMNS)}


def _geometry(sheet: Sheet, rows: CellInputs, clusters: np.ndarray, choices: Published, seed: int) -> None:
    Z = np.asarray(rows.Z, np.float64)
    n, d = Z.shape
    spectral = ("effective_rank", "stable_rank", "rank_90")
    if n < 2:
        for metric in (*spectral, "spectral_entropy", "uniformity"):
            sheet.missing(metric, n, too_few(n, 2), TOO_FEW)
        return
    moved = _influences(Z, spectral, "raw", clusters)
    sigma = singular_values(Z)
    if sigma[0] > 0:
        bound = min(n, d) if choices.entropy_bound == "N" else min(n - 1, d)
        sheet.add("effective_rank", effective_rank(sigma), n, **moved["effective_rank"])
        sheet.add("spectral_entropy", spectral_entropy(sigma, bound), n)
        sheet.add("stable_rank", stable_rank(sigma), n, **moved["stable_rank"])
        sheet.add("rank_90", rank_90(sigma), n, **moved["rank_90"])
    else:
        for metric in (*spectral, "spectral_entropy"):
            sheet.missing(
                metric,
                n,
                *(
                    ("2 rows that are equal; at least 2 different rows are needed", TOO_FEW)
                    if n == 2
                    else ("all rows are equal",)
                ),
            )
    z = directions(Z, choices.centre)
    sample = uniformity_sample(n, choices.uniformity_rows, seed)
    view = "centred" if choices.centre else "raw"  # the mean that is removed is an estimate, too
    moved = _influences(Z[sample], ("uniformity",), view, clusters[sample], len(np.unique(clusters)))
    note = "" if len(sample) == n else f"pairs of {len(sample):,} of {n:,} rows, drawn with the seed"
    sheet.add("uniformity", uniformity(z[sample]), len(sample), note=note, **moved["uniformity"])
    if rows.classes is not None:
        sheet.add("alignment", alignment(z, rows.classes, choices.alignment_power), n)
        within, between = class_distances(z, rows.classes, choices.class_distance == "squared")
        sheet.add("class_distance_within", within, n)
        sheet.add("class_distance_between", between, n)
        sheet.add("class_distance_ratio", within / between if between else float("nan"), n)


def _influences(
    Z: np.ndarray, names: Sequence[str], view: str, clusters: np.ndarray, g: int | None = None
) -> dict[str, dict[str, Any]]:
    """How each cluster moves metrics that the registry has by the same formula; {} where it is not known."""
    frame, found = inference.measure(Z, metrics=names, views=[view], clusters=clusters)
    moved: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, estimate in zip(frame["metric"], found, strict=True):
        if estimate is not None and estimate.contributions is not None:
            contributions = np.zeros(g or int(clusters.max()) + 1)
            contributions[np.unique(clusters)] = estimate.contributions
            moved[str(name)] = {"moved": contributions, "extra": estimate.unattributed_variance}
    return moved


def _probed(
    X: np.ndarray, y: np.ndarray, train: tuple[np.ndarray, np.ndarray] | None, folds: int, choices: Published, seed: int
) -> Probed:
    if choices.probe_rows == "validation":
        return cross_validated(X, y, folds, choices.scaling, choices.max_iter, seed)
    assert train is not None
    return held_out(*train, X, choices.scaling, choices.max_iter, seed)


def _note(probed: Probed, choices: Published) -> str:
    fits = int(probed.fold.max()) + 1
    return f"{probed.stopped} of {fits} fits stopped at {choices.max_iter} iterations" if probed.stopped else ""


def _scored(sheet: Sheet, stem: str, y: np.ndarray, probed: Probed, clusters: np.ndarray, choices: Published) -> None:
    value, moved = accuracy(y, probed)
    by_cluster = np.bincount(clusters, moved)
    sheet.add(f"{stem}_accuracy", value, len(y), by_cluster, note=_note(probed, choices))
    if choices.score == "skill":
        room = 1 - majority(y)
        skill = (value - 1 + room) / room if room else float("nan")
        sheet.add(f"{stem}_skill", skill, len(y), by_cluster / (room or 1.0))


def _token_stem(choices: Published) -> str:
    """First part of the names of the token probe's numbers, which say whether it names tokens or words."""
    return f"lexical_top_{choices.token_target}"


def _token_probe(sheet: Sheet, rows: CellInputs, clusters: np.ndarray, choices: Published, seed: int) -> None:
    stem, train = _token_stem(choices), None
    if choices.probe_rows == "train":
        if rows.train is None:
            sheet.missing(f"{stem}_accuracy", len(rows.targets), NO_TRAIN)
            return
        Z, targets = rows.train[:2]
        keep = frequent(targets)
        train = np.asarray(Z)[keep], targets[keep]
        use = np.isin(rows.targets, train[1])
    else:
        use = frequent(rows.targets)
    y = rows.targets[use]
    if len(np.unique(y if train is None else train[1])) < 2 or not len(y):
        words = f"2 {choices.token_target}s that each lead at least 5 rows are needed"
        sheet.missing(f"{stem}_accuracy", len(y), f"{len(rows.targets):,} rows; {words}", TOO_FEW)
        return
    probed = _probed(rows.Z[use], y, train, TOKEN_FOLDS, choices, seed)
    _scored(sheet, stem, y, probed, clusters[use], choices)


def _task_probe(sheet: Sheet, rows: CellInputs, clusters: np.ndarray, choices: Published, seed: int) -> None:
    y, train = rows.y, rows.train and rows.train[2:]
    scores = np.issubdtype(y.dtype, np.floating)
    name = "sts_probe_spearman" if scores else "semantic_accuracy"
    if choices.probe_rows == "train" and train is None:
        sheet.missing(name, len(y), NO_TRAIN)
        return
    if choices.probe_rows == "train" and train is not None and len(np.unique(train[1])) < 2:
        sheet.missing(name, len(y), f"{len(train[1]):,} train rows of 1 label; at least 2 labels are needed", TOO_FEW)
        return
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2 or (not scores and counts.max() < TASK_FOLDS) or len(y) < TASK_FOLDS:
        have = f"{len(y):,} row{'' if len(y) == 1 else 's'} of {len(classes)} label{'' if len(classes) == 1 else 's'}"
        of_a_class = "" if scores else f", {TASK_FOLDS} of them of one class,"
        needed = f"{TASK_FOLDS} rows{of_a_class} and 2 labels are needed for {TASK_FOLDS} folds"
        sheet.missing(name, len(y), f"{have}; at least {needed}", TOO_FEW)
        return
    probed = _probed(rows.X, y, train, TASK_FOLDS, choices, seed)
    if scores:
        value, moved = spearman(y, probed)
        sheet.add(name, value, len(y), np.bincount(clusters, moved))
        return
    _scored(sheet, "semantic", y, probed, clusters, choices)
    sheet.add("semantic_macro_f1", macro_f1(y, probed), len(y))


def _balance(sheet: Sheet, choices: Published) -> None:
    forms = [("semantic_lexical_balance", "accuracy")]
    forms += [("semantic_lexical_skill_gap", "skill")] if choices.score == "skill" else []
    for metric, score in forms:
        task = sheet.moved.get("sts_probe_spearman") or sheet.moved.get(f"semantic_{score}")
        token = sheet.moved.get(f"{_token_stem(choices)}_{score}")
        if task is None or token is None or (score == "accuracy" and token[0] == 0):
            continue
        (s, moved_s), (t, moved_t) = task, token
        n = next(row["n"] for row in sheet.rows if row["metric"] in ("sts_probe_spearman", "semantic_accuracy"))
        if score == "skill":
            sheet.add(metric, s - t, n, moved_s - moved_t)
        else:
            sheet.add(metric, s / t, n, (moved_s - s / t * moved_t) / t)
