"""A cell of the published analysis (arXiv 2606.05173): from its rows to tables, choice by choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from geomprobe import inference
from geomprobe.analysis.measure import pair_vectors
from geomprobe.analysis.protocols import one_of, whole_number
from geomprobe.analysis.similarities import sample
from geomprobe.analysis.texts import TaskTexts
from geomprobe.encoders import Encoder
from geomprobe.inference import Estimate
from geomprobe.inference.estimate import FUNCTION
from geomprobe.metrics.undefined import NotApplicable, TooFewRows, too_few, undefined
from geomprobe.predict_reconstruct import formulas, probes
from geomprobe.probes.controls import class_shares
from geomprobe.probes.records import NO_TRAIN
from geomprobe.probes.semantic import labelled_rows, pair_features
from geomprobe.results import INFLUENCE_COLUMNS, RESULT_COLUMNS, table
from geomprobe.tasks.base import Task, sentence_groups

TOKEN_FOLDS, TASK_FOLDS = 3, 5
SPECTRAL = ("effective_rank", "stable_rank", "rank_90")


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

    @property
    def token_probe(self) -> str:
        """First part of the names of the token probe's numbers, which say whether it names tokens or words."""
        return f"lexical_top_{self.token_target}"

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
        found = {}
        for name in used:
            if name in formulas.FORMULAS:
                formula = {
                    "formula": formulas.FORMULAS[name],
                    "definitions": {formulas.DEFINITION: formulas.FORMULAS[name]},
                    "source": formulas.SOURCE,
                }
                found[name] = (formulas.RECORDS[name].entry() if name in formulas.RECORDS else known[name]) | formula
        return found


@dataclass(frozen=True)
class CellInputs:
    """The rows that a cell is measured on.

    Attributes
    ----------
    Z : float ndarray of shape (n, d)
        Vectors of the rows of geometry and of the token probe.
    classes : int64 ndarray of shape (n,) or None
        Their classes; None where each sentence of a pair is a row of its own.
    clusters : int64 ndarray of shape (n,)
        Rows with the same number share a sentence and are not independent.
    targets : int64 ndarray of shape (n,)
        What the token probe names, -1 for nothing.
    X, y : ndarray of shape (m, k), (m,)
        Features and labels of the task probe.
    y_clusters : int64 ndarray of shape (m,)
    train : tuple of (Z, targets, X, y) or None
        The same for the train split, where probes are fitted on it.
    """

    Z: np.ndarray
    classes: np.ndarray | None
    clusters: np.ndarray
    targets: np.ndarray
    X: np.ndarray
    y: np.ndarray
    y_clusters: np.ndarray
    train: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None


def published_rows(encoder: Encoder, texts: TaskTexts, vectors: np.ndarray, token_target: str | None) -> CellInputs:
    """Rows that the published formulas are computed on: all of validation, repeated ones too.

    Where the sentences of a pair are encoded apart, geometry and the token probe take the unique sentences.

    Parameters
    ----------
    vectors : float ndarray of shape (len(texts.texts), d)
    token_target : {"token", "word"} or None
        What the token probe names; None where it is not asked for.
    """
    task, (first, second) = texts.task, texts.validation
    at = first if second is None else texts.geometry
    clusters, y_clusters = published_clusters(texts)
    if token_target is None:
        targets = np.full(len(texts.texts), -1)
    elif token_target == "word":
        targets = probes.top_words(texts.texts)
    else:
        targets = probes.top_tokens(encoder.tokenize(texts.texts)[0], encoder.tokenizer.all_special_ids)
    train = None
    if task.train is not None and texts.train is not None:
        sides = [side for side in texts.train if side is not None]
        once = sides[0] if len(sides) == 1 else np.unique(np.concatenate(sides))
        X = pair_features(pair_vectors(vectors, texts.train))
        train = vectors[once], targets[once], X, task.train.labels
    return CellInputs(
        vectors[at],
        formulas.score_classes(task.validation.labels) if second is None else None,
        clusters,
        targets[at],
        pair_features(pair_vectors(vectors, texts.validation)),
        task.validation.labels,
        y_clusters,
        train,
    )


def published_clusters(texts: TaskTexts) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of the rows of geometry, and of the rows of the task probe (the validation rows), int64."""
    first, second = texts.validation
    if second is None:
        clusters = sentence_groups(texts.task.validation)
        return clusters, clusters
    clusters = texts.task.geometry_rows.clusters
    home = dict(zip(texts.geometry.tolist(), clusters.tolist(), strict=True))
    return clusters, np.array([home[row] for row in first.tolist()], np.int64)


class Sheet:
    """The rows of a cell, the choices by which they are measured, and the results and influences as they are found."""

    def __init__(self, inputs: CellInputs, choices: Published, seed: int):
        numbers, self.clusters = np.unique(inputs.clusters, return_inverse=True)
        self.y_clusters, self.n_clusters = np.searchsorted(numbers, inputs.y_clusters), len(numbers)
        self.inputs, self.choices, self.seed = inputs, choices, seed
        self.train = inputs.train if choices.probe_rows == "train" else None
        self.view = "centred" if choices.centre else "raw"
        self.place = {"view": self.view, "definition": formulas.DEFINITION, "d": inputs.Z.shape[1], "seed": seed}
        self.rows: list[dict[str, Any]] = []
        self.influences: list[dict[str, Any]] = []
        self.moved: dict[str, tuple[float, np.ndarray]] = {}

    def add(
        self,
        metric: str,
        value: float,
        n: int,
        moved: np.ndarray | None = None,
        *,
        extra: float = 0.0,
        together: np.ndarray | None = None,
        pairs_only: bool = False,
        method: str = FUNCTION,
        note: str = "",
    ) -> None:
        """Add a number; `moved` is how much each cluster of rows moves it, float64 (g,)."""
        if not np.isfinite(value):
            # fewer than 3 rows leave nothing to compare, whatever they hold
            self.missing(metric, n, undefined(n, 3, note or "undefined on these rows"))
            return
        row = self.place | {"metric": metric, "n": n, "note": note, "status": "ok", "value": value}
        row["ci_method"] = "no valid interval: none is derived for this formula"
        if moved is not None:
            moved = np.pad(moved, (0, self.n_clusters - len(moved)))
            found = Estimate(value, moved, extra, method=method, together=together, pairs_only=pairs_only)
            row |= found.interval().to_row()
            key = {"view": self.view, "metric": metric, "definition": formulas.DEFINITION}
            kept = {"contributions": moved.astype(np.float32), "extra": extra}
            kept["together"] = None if together is None else together.astype(np.float32)
            self.influences.append(key | kept)
            self.moved[metric] = value, moved
        self.rows.append(row)

    def missing(self, metric: str, n: int, why: NotApplicable) -> None:
        """Add the row that stands where a number could not be computed."""
        self.rows.append(self.place | {"metric": metric, "n": n, "status": why.status, "note": str(why)})


def measure_rows(rows: CellInputs, choices: Published, seed: int) -> dict[str, Any]:
    """Tables of a cell by the published formulas and probes.

    Returns
    -------
    dict
        "results" and "influences": tables of the results folder, without the columns that name the cell.
    """
    sheet = Sheet(rows, choices, seed)
    if "geometry" in choices.parts:
        _geometry(sheet)
    scores = np.issubdtype(rows.y.dtype, np.floating)
    for part, metric, n, measure in (
        ("token", f"{choices.token_probe}_accuracy", len(rows.targets), _token_probe),
        ("task", "sts_probe_spearman" if scores else "semantic_accuracy", len(rows.y), _task_probe),
    ):
        if part in choices.parts and choices.probe_rows == "train" and rows.train is None:
            sheet.missing(metric, n, NotApplicable(NO_TRAIN))
        elif part in choices.parts:
            measure(sheet, metric)
    if {"token", "task"} <= set(choices.parts):
        _balance(sheet)
    return {"results": table(sheet.rows, RESULT_COLUMNS), "influences": table(sheet.influences, INFLUENCE_COLUMNS)}


def _geometry(sheet: Sheet) -> None:
    rows, choices, clusters = sheet.inputs, sheet.choices, sheet.clusters
    Z = np.asarray(rows.Z, np.float64)
    n, d = Z.shape
    if n < 2:
        for metric in (*SPECTRAL, "spectral_entropy", "uniformity"):
            sheet.missing(metric, n, TooFewRows(too_few(n, 2)))
        return
    sigma = formulas.singular_values(Z)
    if sigma[0] > 0:
        bound = min(n, d) if choices.entropy_bound == "N" else min(n - 1, d)
        moved = _influences(Z, SPECTRAL, "raw", clusters)
        sheet.add("effective_rank", formulas.effective_rank(sigma), n, **moved["effective_rank"])
        sheet.add("spectral_entropy", formulas.spectral_entropy(sigma, bound), n)
        sheet.add("stable_rank", formulas.stable_rank(sigma), n, **moved["stable_rank"])
        sheet.add("rank_90", formulas.rank_90(sigma), n, **moved["rank_90"])
    else:
        two = TooFewRows("2 rows that are equal; at least 2 different rows are needed")
        for metric in (*SPECTRAL, "spectral_entropy"):
            sheet.missing(metric, n, two if n == 2 else NotApplicable("all rows are equal"))
    z = formulas.directions(Z, choices.centre)
    read = sample(n, sheet.seed, choices.uniformity_rows or n)
    # where a mean is removed, it is an estimate, too
    moved = _influences(Z[read], ("uniformity",), sheet.view, clusters[read])
    note = "" if len(read) == n else f"pairs of {len(read):,} of {n:,} rows, drawn with the seed"
    sheet.add("uniformity", formulas.uniformity(z[read]), len(read), note=note, **moved["uniformity"])
    if rows.classes is not None:
        sheet.add("alignment", formulas.alignment(z, rows.classes, choices.alignment_power), n)
        within, between = formulas.class_distances(z, rows.classes, choices.class_distance == "squared")
        sheet.add("class_distance_within", within, n)
        sheet.add("class_distance_between", between, n)
        sheet.add("class_distance_ratio", within / between if between else float("nan"), n)


def _influences(Z: np.ndarray, names: Sequence[str], view: str, clusters: np.ndarray) -> dict[str, dict[str, Any]]:
    """How each cluster moves metrics that the registry has by the same formula; {} where it is not known."""
    frame, found = inference.measure(Z, metrics=names, views=[view], clusters=clusters)
    moved: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, estimate in zip(frame["metric"], found, strict=True):
        if estimate is not None and estimate.contributions is not None:
            contributions = np.zeros(int(clusters.max()) + 1)
            contributions[np.unique(clusters)] = estimate.contributions
            moved[str(name)] = {"moved": contributions, "extra": estimate.unattributed_variance}
            moved[str(name)] |= {"together": estimate.together, "pairs_only": estimate.pairs_only}
            moved[str(name)]["method"] = estimate.method
    return moved


def _probed(
    sheet: Sheet, X: np.ndarray, y: np.ndarray, train: tuple[np.ndarray, np.ndarray] | None, n_folds: int
) -> tuple[probes.Probed, str]:
    """Predictions for rows in folds, or by a probe that is fitted on train rows, and what a reader has to know."""
    choices = sheet.choices
    if train is None:
        folds = probes.make_folds(X, y, n_folds)
    else:
        X, y = (np.concatenate(both) for both in zip(train, (X, y), strict=True))
        folds = [(np.arange(len(train[1])), np.arange(len(train[1]), len(y)))]
    found = probes.predict(X, y, folds, choices.scaling, choices.max_iter, sheet.seed)
    fits = int(found.fold.max()) + 1
    return found, f"{found.stopped} of {fits} fits stopped at {choices.max_iter} iterations" if found.stopped else ""


def _scored(sheet: Sheet, probe: str, y: np.ndarray, probed: tuple[probes.Probed, str], clusters: np.ndarray) -> None:
    value, moved = probes.accuracy(y, probed[0])
    by_cluster = np.bincount(clusters, moved)
    sheet.add(f"{probe}_accuracy", value, len(y), by_cluster, note=probed[1])
    if sheet.choices.score == "skill":
        room = 1 - class_shares(y)[1].max()
        skill = (value - 1 + room) / room if room else float("nan")
        sheet.add(f"{probe}_skill", skill, len(y), by_cluster / (room or 1.0))


def _token_probe(sheet: Sheet, metric: str) -> None:
    rows, choices, train = sheet.inputs, sheet.choices, None
    if sheet.train is None:
        use = probes.frequent(rows.targets)
    else:
        Z, targets = sheet.train[:2]
        keep = probes.frequent(targets)
        train = Z[keep], targets[keep]
        use = np.isin(rows.targets, train[1])
    y = rows.targets[use]
    if len(np.unique(y if train is None else train[1])) < 2 or not len(y):
        needed = f"2 {choices.token_target}s that each lead at least 5 rows are needed"
        sheet.missing(metric, len(y), TooFewRows(f"{len(rows.targets):,} rows; {needed}"))
        return
    probed = _probed(sheet, rows.Z[use], y, train, TOKEN_FOLDS)
    _scored(sheet, choices.token_probe, y, probed, sheet.clusters[use])


def _task_probe(sheet: Sheet, metric: str) -> None:
    y, train = sheet.inputs.y, sheet.train and sheet.train[2:]
    scores = np.issubdtype(y.dtype, np.floating)
    if train is not None and len(np.unique(train[1])) < 2:
        one = f"{len(train[1]):,} train rows of 1 label; at least 2 labels are needed"
        sheet.missing(metric, len(y), TooFewRows(one))
        return
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2 or (not scores and counts.max() < TASK_FOLDS) or len(y) < TASK_FOLDS:
        have = f"{len(y):,} row{'' if len(y) == 1 else 's'} of {len(classes)} label{'' if len(classes) == 1 else 's'}"
        of_a_class = "" if scores else f", {TASK_FOLDS} of them of one class,"
        needed = f"{TASK_FOLDS} rows{of_a_class} and 2 labels are needed for {TASK_FOLDS} folds"
        sheet.missing(metric, len(y), TooFewRows(f"{have}; at least {needed}"))
        return
    probed = _probed(sheet, sheet.inputs.X, y, train, TASK_FOLDS)
    if scores:
        value, moved = probes.spearman(y, probed[0])
        sheet.add(metric, value, len(y), np.bincount(sheet.y_clusters, moved))
        return
    _scored(sheet, "semantic", y, probed, sheet.y_clusters)
    sheet.add("semantic_macro_f1", probes.macro_f1(y, probed[0]), len(y))


def _balance(sheet: Sheet) -> None:
    choices = sheet.choices
    forms = [("semantic_lexical_balance", "accuracy")]
    forms += [("semantic_lexical_skill_gap", "skill")] if choices.score == "skill" else []
    for metric, score in forms:
        task = sheet.moved.get("sts_probe_spearman") or sheet.moved.get(f"semantic_{score}")
        token = sheet.moved.get(f"{choices.token_probe}_{score}")
        if task is None or token is None or (score == "accuracy" and token[0] == 0):
            continue
        (s, moved_s), (t, moved_t) = task, token
        n = next(row["n"] for row in sheet.rows if row["metric"] in ("sts_probe_spearman", "semantic_accuracy"))
        if score == "skill":
            sheet.add(metric, s - t, n, moved_s - moved_t)
        else:
            sheet.add(metric, s / t, n, (moved_s - s / t * moved_t) / t)
