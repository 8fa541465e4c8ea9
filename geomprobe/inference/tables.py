"""The columns that standard errors fill: intervals in the table of results, contributions in that of influences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.inference.estimate import Estimate
from geomprobe.inference.influence import Workspace, estimate_of, number_clusters
from geomprobe.metrics import embeddings_of, measure_embeddings, reads_directions
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.records import Metric
from geomprobe.results import RESULT_COLUMNS


def with_intervals(
    frame: pd.DataFrame, chosen: Sequence[tuple[Metric, str, Embeddings]], clusters: Any
) -> tuple[pd.DataFrame, list[Estimate | None]]:
    """Fill se, ci_low, ci_high and ci_method of a frame of `measure`, row by row.

    Parameters
    ----------
    frame : DataFrame
        Of `geomprobe.measure`.
    chosen : sequence of (Metric, definition, Cloud)
        What each row was measured with.
    clusters : array-like of shape (n,), optional

    Returns
    -------
    frame : DataFrame
    estimates : list of Estimate or None
        None where a row has no value, or only moments are available.
    """
    frame = frame.copy()
    numbers = number_clusters(clusters, chosen[0][2].n) if chosen else np.zeros(0, np.int64)
    workspaces = {embeddings.name: Workspace(embeddings, numbers) for _, _, embeddings in chosen}
    estimates: list[Estimate | None] = []
    for (found, definition, embeddings), status, value in zip(chosen, frame["status"], frame["value"], strict=True):
        known = status == "ok" and embeddings.rows is not None
        work = workspaces[embeddings.name]
        estimates.append(estimate_of(found, definition, work, float(value)) if known else None)
    rows = [{} if one is None else one.to_row() for one in estimates]
    for column in ("se", "ci_low", "ci_high", "ci_method"):
        filled = [row.get(column) for row in rows]
        frame[column] = pd.Series(filled, index=frame.index, dtype=RESULT_COLUMNS[column])
    return frame, estimates


def measure(
    data: Any,
    *,
    metrics: Sequence[str] | None = None,
    views: Sequence[str] | None = None,
    labels: Any = None,
    positives: Any = None,
    clusters: Any = None,
    seed: int = 0,
    exact: bool = False,
    intervals: bool = True,
) -> tuple[pd.DataFrame, list[Estimate | None]]:
    """What `geomprobe.measure` returns, and the estimate behind each of its rows (None without one).

    It takes the parameters of `geomprobe.measure`, hence their number.
    """
    directions = reads_directions(metrics)
    embeddings = embeddings_of(
        data, labels, positives, clusters, seed, exact, directions=directions, influences=intervals
    )
    frame, measured = measure_embeddings(embeddings, metrics, views)
    return with_intervals(frame, measured, clusters) if intervals else (frame, [None] * len(frame))


def influence_table(frame: pd.DataFrame, estimates: Sequence[Estimate | None]) -> pd.DataFrame:
    """Rows of `results.INFLUENCE_COLUMNS` (without model, task, layer, pooling) of what `measure` returned.

    Parameters
    ----------
    frame, estimates
        As `measure` returns them.
    """
    rows = [
        {column: frame[column].iat[i] for column in ("view", "metric", "definition")}
        | {"contributions": one.contributions.astype(np.float32), "extra": one.unattributed_variance}
        | {"together": None if one.together is None else one.together.astype(np.float32)}
        for i, one in enumerate(estimates)
        if one is not None and one.contributions is not None
    ]
    return pd.DataFrame(rows, columns=["view", "metric", "definition", "contributions", "extra", "together"])
