"""Differences between two encoders, measured on the same rows, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from geomprobe import metrics
from geomprobe.common import UsageError, unknown_name
from geomprobe.results import COMPARISON_COLUMNS, Results, table

NO_INTERVAL = "no interval, no verdict"


def compare(
    vectors: Mapping[str, Any],
    rows: Sequence[Any] | None = None,
    *,
    metrics_: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    positives: np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the differences between two sets of embeddings of the same rows.

    Parameters
    ----------
    vectors : mapping of two names to array-like of shape (n_rows, dim)
        Row i of both belongs to the same text. The dimensions may differ.
    rows : sequence of length n_rows, optional
        Row ids, for the check that there are as many as vectors and none twice.
    metrics_ : sequence of str, optional
        Names from the registry; all that apply by default.
    labels : ndarray of shape (n_rows,), optional
    positives : ndarray of shape (n_pairs, 2), optional

    Returns
    -------
    DataFrame
        Columns of `results.COMPARISON_COLUMNS`; `diff` is second minus first.

    Raises
    ------
    UsageError
        There are not two sets, or they do not have the same rows.
    """
    if len(vectors) != 2:
        raise UsageError(f"compare takes two sets of embeddings, not {len(vectors)}.")
    (a, first), (b, second) = vectors.items()
    if len(first) != len(second):
        raise UsageError(
            f"{a!r} has {len(first)} rows and {b!r} has {len(second)}.", "Embed the same texts, in the same order."
        )
    if rows is not None and (len(rows) != len(first) or len(set(rows)) < len(rows)):
        raise UsageError("`rows` must hold one id a row, none of them twice.")
    measured = {
        name: metrics.measure(Z, metrics=metrics_, labels=labels, positives=positives, seed=seed)
        for name, Z in vectors.items()
    }
    return difference_table(measured[a], measured[b], a, b, on=("view", "metric", "definition"))


def add_comparisons(results: Results, a: str, b: str) -> Results:
    """Add the differences b − a of every cell that both models have; layers are matched by relative depth.

    Raises
    ------
    UsageError
        A name is unknown, or the two models did not see the same rows of a task.
    """
    frame = results.results
    depth = {entry["name"]: entry["n_layers"] for entry in results.run["models"]}
    for name in (a, b):
        if name not in depth:
            raise unknown_name("model", name, list(depth))
    sides = []
    for name in (a, b):
        side = frame[(frame["model"] == name) & (frame["status"] == "ok") & frame["control"].isna()]
        sides.append(side.assign(depth=(side["layer"].astype(float) / max(depth[name], 1)).round(6)))
    hashes = [side.groupby("task")["task_hash"].first() for side in sides]
    shared = hashes[0].index.intersection(hashes[1].index)
    for task in shared:
        if hashes[0][task] != hashes[1][task]:
            raise UsageError(f"{a} and {b} did not see the same rows of {task}.", "Analyse both in one command.")
    results.comparisons = difference_table(
        *sides, a, b, on=("task", "depth", "pooling", "view", "metric", "definition")
    )
    results.run["compared"] = [a, b]
    return results


def difference_table(first: pd.DataFrame, second: pd.DataFrame, a: str, b: str, on: Sequence[str]) -> pd.DataFrame:
    """Return one row a number that both frames have, `diff` = second − first."""
    keys = list(on)
    # missing keys (a metric without variants, a probe without a view) match one another
    first, second = (f.assign(**{k: f[k].astype("string").fillna("") for k in keys}) for f in (first, second))
    both = first.merge(second, on=keys, suffixes=("_a", "_b"), validate="one_to_one")
    both = both.assign(
        a=a,
        b=b,
        level="checkpoint",
        diff=both["value_b"] - both["value_a"],
        n=both["n_a"],
        verdict=NO_INTERVAL,
    )
    if "layer_a" in both:
        both["layer"] = both["layer_a"]
    return table(both.reindex(columns=list(COMPARISON_COLUMNS)), COMPARISON_COLUMNS)
