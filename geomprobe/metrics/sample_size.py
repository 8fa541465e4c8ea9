"""Sample size: rarefaction curves and N-matched values, because ranks and entropies grow with the number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.metrics import REGISTRY, embeddings_of, measure_embeddings, reads_directions
from geomprobe.metrics.records import Metric
from geomprobe.results.record import Record
from geomprobe.vectors import VectorSource

MATCHED = ("effective_rank", "rankme", "spectral_entropy", "participation_ratio", "vendi_score")
DRAWS = 10


@dataclass(frozen=True, kw_only=True)
class Matched(Record):
    """A metric of several tasks at the same number of rows: comparable between tasks, which the plain one is not."""

    of: Metric

    def entry(self) -> dict[str, Any]:
        """JSON-ready description that goes to definitions.json."""
        return super().entry() | {"needs": self.of.needs, "views": list(self.of.views), "definitions": {}}


def _matched(of: Metric) -> Matched:
    of_same = {name: getattr(of, name) for name in ("family", "range", "direction", "invariances", "source")}
    formula = (
        f"{of.formula}; at the number of rows of the smallest task: mean over random subsamples without replacement"
    )
    return Matched(name=f"{of.name}_n_matched", formula=formula, compared=False, stage="sample size", of=of, **of_same)


RECORDS = {record.name: record for record in (_matched(REGISTRY[name]) for name in MATCHED)}


def rarefaction(
    data: Any,
    *,
    metrics: Sequence[str] = MATCHED,
    sizes: Sequence[int] | None = None,
    draws: int = DRAWS,
    view: str = "raw",
    seed: int = 0,
) -> pd.DataFrame:
    """How metrics depend on the number of rows, from seeded subsamples without replacement.

    Parameters
    ----------
    data : array-like of shape (n, d)
    metrics : sequence of str
        Of the registry; those that need neither labels nor positives.
    sizes : sequence of int, optional
        Numbers of rows, each at least 2 and at most n; default: eight, evenly spaced in log from max(2, n/64) to n.
    draws : int
        Subsamples per size (one at n itself).
    view : str
    seed : int

    Returns
    -------
    DataFrame
        Columns metric, view, n, value (mean over draws), sd (over draws; None for one draw), draws. A size where a
        metric has no value is left out.

    Notes
    -----
    The mean over subsamples of m rows is an unbiased estimate of the metric's expected value at m rows, whatever its
    bias against the population is. `sd` is between overlapping subsamples of these rows, no standard error.
    """
    rows = VectorSource(data)
    if sizes is None:
        sizes = np.unique(np.geomspace(max(2, rows.n // 64), rows.n, 8).round().astype(int)).tolist()
    if not sizes or min(sizes) < 2 or max(sizes) > rows.n:
        raise ValueError(f"sizes must lie between 2 and {rows.n}, not {list(sizes)}")
    rng = np.random.default_rng(seed)
    out = []
    for size in sizes:
        repeats = 1 if size == rows.n else draws
        values: dict[str, list[float]] = {name: [] for name in metrics}
        for _ in range(repeats):
            part = rows.take(np.sort(rng.choice(rows.n, size, replace=False)))
            embeddings = embeddings_of(part, seed=seed, directions=reads_directions(metrics))
            frame, _ = measure_embeddings(embeddings, metrics, [view])
            for name, value, status in zip(metrics, frame["value"], frame["status"], strict=True):
                if status == "ok":
                    values[name].append(float(value))
        for name, found in values.items():
            if found:
                spread = float(np.std(found, ddof=1)) if len(found) > 1 else None
                out.append((name, view, size, float(np.mean(found)), spread, len(found)))
    return pd.DataFrame(out, columns=["metric", "view", "n", "value", "sd", "draws"])
