"""A cell to its tables: geometry, ranks at fewer rows, probes; or a published analysis; and variants of the vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from geomprobe import inference, metrics, probes
from geomprobe.analysis import variants
from geomprobe.analysis.cells import CellContext, Tables, failed_cell, joined
from geomprobe.analysis.failures import CELL_ERRORS, Sides, check_finite, reason
from geomprobe.analysis.texts import TaskTexts
from geomprobe.analysis.variants import FULL
from geomprobe.embedding.trained_pooling import TrainedPooling
from geomprobe.metrics import sample_size
from geomprobe.metrics.undefined import TooFewRows, too_few
from geomprobe.tasks.base import sentence_groups

SIZE_DRAWS = 5
RAREFIED = ("effective_rank", "rankme", "participation_ratio")
"""Metrics whose rarefaction curve is kept; the others that grow with the rows follow one of these."""


def measure_cell(cell: CellContext, vectors: np.ndarray) -> tuple[Tables, bool]:
    """Tables of a cell from the full vectors of all texts of its task, and whether nothing in it failed.

    The vectors of a variant are truncated or quantised first.
    """
    texts, variant = cell.texts, cell.variant
    if variant == FULL:
        return measure_vectors(cell, vectors)
    if (narrow := variants.too_narrow(variant, vectors.shape[1])) is not None:
        return {"results": narrow}, True
    try:
        check_finite(vectors, texts.scored)
        stored = variant.apply(vectors, texts.calibration)
    except CELL_ERRORS as error:
        return failed_cell("embedding", reason(error))
    tables, whole = measure_vectors(cell, stored)
    repeated = variants.duplicates(stored[texts.geometry], vectors[texts.geometry])
    found = joined(tables, {"results": repeated})
    return found | {"results": variants.blanked(found["results"], variant)}, whole


def measure_vectors(cell: CellContext, vectors: np.ndarray) -> tuple[Tables, bool]:
    """Tables of a cell from vectors as they are stored, by the protocol's analysis."""
    texts = cell.texts
    if published := cell.protocol.published:
        try:
            check_finite(vectors, [*texts.scored, *texts.fitted])
            return joined(published.measure(cell.encoder, texts, vectors, cell.seed)), True
        except CELL_ERRORS as error:
            return failed_cell("published analysis", reason(error))
    try:
        check_finite(vectors, texts.scored)
    except CELL_ERRORS as error:
        return failed_cell("embedding", reason(error))
    parts, whole = [], True
    of_probes = partial(probe_tables, refits=cell.refits, chosen=cell.probes)
    for stage, tables_of in (STAGES | {"probes": of_probes}).items():
        try:
            part = tables_of(texts, vectors, cell.seed)
        except CELL_ERRORS as error:
            part, whole = failed_cell(stage, reason(error))
        whole &= "failed" not in set(part["results"].get("status", ()))  # of a metric of another package
        parts.append(part)
    return joined(*parts), whole


def geometry_tables(texts: TaskTexts, vectors: np.ndarray, seed: int) -> Tables:
    """Geometry of the task's unique sentences, its curves and its contributions by cluster."""
    Z, rows = vectors[texts.geometry], texts.task.geometry_rows
    if len(Z) < 2:
        return {"results": metrics.unmeasured(*Z.shape, labels=rows.labels, positives=rows.positives)}
    found, influences = inference.measure(
        Z, labels=rows.labels, positives=rows.positives, clusters=rows.clusters, seed=seed
    )
    return {
        "results": found,
        "curves": metrics.curves(Z, seed=seed),
        "influences": inference.influence_table(found, influences),
    }


def probe_tables(texts: TaskTexts, vectors: np.ndarray, seed: int, refits: int = 0, chosen: str = "all") -> Tables:
    """What probes read from the vectors, fitted on the train split where the task has one."""
    check_finite(vectors, texts.fitted)
    task = texts.task
    train = None if texts.train is None else pair_vectors(vectors, texts.train)
    held_out = pair_vectors(vectors, texts.validation)
    found = probes.run_probes(task, train, held_out, seed=seed, refits=refits, chosen=chosen)
    examples = pd.DataFrame(found.examples)
    if len(examples):  # paired tests need to know which rows share a sentence
        clusters = dict(zip(task.validation.row_ids, sentence_groups(task.validation), strict=True))
        examples["cluster"] = examples["row_id"].map(clusters).fillna(examples["cluster"])
    return {
        "results": pd.DataFrame(found.rows),
        "examples": examples,
        "influences": pd.DataFrame(found.influences),
        "refits": pd.DataFrame(found.refits),
    }


def pair_vectors(vectors: np.ndarray, sides: Sides) -> probes.PairVectors:
    """Vectors of a split's rows."""
    first, second = sides
    return probes.PairVectors(vectors[first], None if second is None else vectors[second])


def size_tables(texts: TaskTexts, vectors: np.ndarray, seed: int) -> Tables:
    """How ranks grow with the number of rows, as curves, and their values at the rows of the smallest task."""
    Z, matched = vectors[texts.geometry], texts.matched
    n, d = Z.shape
    names = sample_size.MATCHED if matched else ()
    if n < 2:
        return {"results": pd.DataFrame(few_matched(names, n, d, too_few(n, 2)))}
    curve = size_curve(Z, None if matched == 1 else matched, seed)
    found = {row.metric: matched_row(row, n, d) for row in curve[curve["n"] == matched].itertuples()}
    # two rows have one eigenvalue
    few = {1: "1 row of the smallest task; at least 2 are needed", 2: too_few(2, 3)}
    absent = [name for name in names if name not in found] if matched in few else []
    rows = [*found.values(), *few_matched(absent, matched or n, d, few.get(matched or n, ""))]
    return {"results": pd.DataFrame(rows), "curves": rarefied(curve)}


STAGES = {"geometry": geometry_tables, "sample size": size_tables, "probes": probe_tables}
"""What is measured of a cell, in the order of its rows; one that fails leaves the others."""


def size_curve(Z: np.ndarray, matched: int | None, seed: int) -> pd.DataFrame:
    """Ranks at five sizes up to all rows, and at the rows of the smallest task."""
    sizes = {int(size) for size in np.geomspace(max(2, len(Z) // 32), len(Z), 5).round()}
    return sample_size.rarefaction(Z, sizes=sorted(sizes | {matched or len(Z)}), draws=SIZE_DRAWS, seed=seed)


def matched_row(row: Any, n: int, d: int) -> dict[str, Any]:
    """Row of results of a rank at the rows of the smallest task, from its row in the curve."""
    return {
        "metric": f"{row.metric}_n_matched",
        "definition": "standard",
        "view": row.view,
        "value": row.value,
        "n": row.n,
        "d": d,
        "ci_method": "no valid interval: a mean over subsamples of the same rows",
        "note": "all rows" if row.draws == 1 else f"mean over {row.draws} draws from {n:,} rows, sd {row.sd:.3g}",
    }


def few_matched(names: Sequence[str], n: int, d: int, note: str) -> list[dict[str, Any]]:
    """Rows of ranks that the smallest task has too few rows for."""
    few = {"definition": "standard", "view": "raw", "n": n, "d": d, "status": TooFewRows.status, "note": note}
    return [{"metric": f"{name}_n_matched"} | few for name in names]


def rarefied(curve: pd.DataFrame) -> pd.DataFrame:
    """Curves of ranks by number of rows, each with its band of one standard deviation over draws."""
    drawn = curve[curve["metric"].isin(RAREFIED)]
    drawn = drawn.assign(x=drawn["n"].astype(float), spread=drawn["sd"].astype(float).fillna(0.0))
    curves = [
        drawn.assign(curve="rarefaction_" + drawn["metric"] + end, y=drawn["value"] + sign * drawn["spread"])
        for end, sign in (("", 0.0), ("_low", -1.0), ("_high", 1.0))
    ]
    return pd.concat(curves, ignore_index=True)[["view", "curve", "x", "y"]]


def learned_tables(trained: Sequence[TrainedPooling]) -> Tables:
    """What a pooling learned: its loss and the loss of mean pooling, and its weights by position or token."""
    first = trained[0]
    losses = [each.loss for each in trained]
    shared = ", which share sentences" if any(each.cut for each in trained) else ""
    note = f"{first.n_train} rows fitted, {first.n_slice} rows to stop by{shared}; best epoch "
    note += ", ".join(f"{each.epochs} (seed {each.pooler.seed}: {each.loss:.4f})" for each in trained)
    row = {"metric": "trained_pooling_loss", "n": first.n_slice, "note": note}
    rows = [
        row | {"value": float(np.mean(losses))},
        row | {"value": float(np.mean([each.loss_mean for each in trained])), "control": "mean"},
    ]
    by_position = first.pooler.name == "weighted"
    weights = first.learned
    curve = pd.DataFrame(
        {
            "curve": "pooling_position_weight" if by_position else "pooling_token_weight",
            "x": weights["key"].astype(float) if by_position else np.arange(1.0, len(weights) + 1),
            "y": weights["weight"].astype(float),
            "label": None if by_position else weights["key"],
        }
    )
    return {"results": pd.DataFrame(rows), "curves": curve}
