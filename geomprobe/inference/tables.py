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
    estimates: list[Estimate | None] = []
    values = frame["value"].to_numpy(float, na_value=np.nan)
    workspaces: dict[str, Workspace] = {}
    numbers = number_clusters(clusters, chosen[0][2].n) if chosen else np.zeros(0, np.int64)
    for i, (found, definition, embeddings) in enumerate(chosen):
        if frame["status"].iat[i] != "ok" or embeddings.rows is None:
            estimates.append(None)
            continue
        work = workspaces.setdefault(embeddings.name, Workspace(embeddings, numbers))
        estimates.append(estimate_of(found, definition, work, float(values[i])))
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
) -> tuple[pd.DataFrame, list[Estimate | None]]:
    """What `geomprobe.measure` returns, and the estimate behind each of its rows (None without one)."""
    directions = reads_directions(metrics)
    embeddings = embeddings_of(data, labels, positives, clusters, seed, exact, directions=directions, influences=True)
    return with_intervals(*measure_embeddings(embeddings, metrics, views), clusters)


def influence_table(frame: pd.DataFrame, estimates: Sequence[Estimate | None]) -> pd.DataFrame:
    """Rows of `results.INFLUENCE_COLUMNS` (without model, task, layer, pooling) of what `measure` returned.

    Parameters
    ----------
    frame, estimates
        As `measure` returns them.
    """
    rows = []
    for i, estimate in enumerate(estimates):
        if estimate is None or estimate.contributions is None:
            continue
        place = {column: frame[column].iat[i] for column in ("view", "metric", "definition")}
        contributions = estimate.contributions.astype(np.float32)
        rows.append({**place, "contributions": contributions, "extra": estimate.unattributed_variance})
    return pd.DataFrame(rows, columns=["view", "metric", "definition", "contributions", "extra"])
