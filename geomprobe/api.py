"""What `import geomprobe as gp` gives, where it joins several rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from geomprobe import inference
from geomprobe.analysis import definitions
from geomprobe.metrics.records import STANDARD
from geomprobe.metrics.registry import register_metric
from geomprobe.predict_reconstruct import formulas
from geomprobe.results.record import FAMILIES

__all__ = ["every_metric", "families", "measure", "register_metric"]


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
) -> pd.DataFrame:
    """Measure the geometry of vectors.

    Every choice of a measurement is an argument here; all but the vectors have a default.

    Parameters
    ----------
    data : array-like of shape (n, d), or Moments
        numpy or torch, any float type, any device, n >= 2; a list of lists, a pandas DataFrame of numbers and what else
        `geomprobe.vectors.as_matrix` takes. From moments alone, metrics that read the rows get the status "needs rows".
    metrics : sequence of str, optional
        Names of the registry, or "name:definition" for a variant; default: all whose needs are given.
    views : sequence of str, optional
        Views to measure in, where a metric makes sense there; default: each metric's own.
    labels : array-like of shape (n,), optional
        Classes, for class_alignment and class_separation.
    positives : array-like of int, shape (m, 2), optional
        Pairs of rows that mean the same, for alignment.
    clusters : array-like of shape (n,), optional
        Rows with the same number share a source and are not independent.
    seed : int
        Of the sampled pairs and rows that are read past 20,000 rows.
    exact : bool
        Read all pairs at any n.
    intervals : bool
        Whether to fill se, ci_low, ci_high and ci_method (see `geomprobe.inference`); they need the rows.

    Returns
    -------
    DataFrame
        Columns MEASURE_COLUMNS with the types of `geomprobe.results.RESULT_COLUMNS`, a row per metric and view.
        Where a metric has no value, `status` is "not applicable", "too few rows" or "needs rows" and `note` says why;
        "failed" where a metric that is not built in raised an error.

    Raises
    ------
    ValueError
        For rows that are not finite (with their numbers), fewer than two rows, a shape that is not (n, d), sparse
        matrices, tables with other columns than numbers, labels or positives that do not fit.
    UsageError
        For unknown names of metrics, definitions or views.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> Z = np.random.default_rng(0).normal(size=(500, 8))
    >>> found = gp.measure(Z, metrics=["effective_rank", "uniformity"], views=["raw"]).set_index("metric")
    >>> rank = found.loc["effective_rank"]
    >>> f"{rank.value:.2f}, 95 % interval {rank.ci_low:.2f} to {rank.ci_high:.2f}, {rank.n} rows"
    '7.98, 95 % interval 7.97 to 7.99, 500 rows'
    """
    declared = {"labels": labels, "positives": positives, "clusters": clusters}
    return inference.measure(
        data, metrics=metrics, views=views, seed=seed, exact=exact, intervals=intervals, **declared
    )[0]


def every_metric() -> dict[str, dict[str, Any]]:
    """Definition of every metric that can occur in results, by name, grouped by family.

    Returns
    -------
    dict
        JSON-ready: family, formula, range, direction, invariances, source. "definitions", where a metric has several,
        maps the name of each to its formula; the published analysis calls its own "paper".

    Examples
    --------
    >>> every_metric()["lexical_bow_r2"]["family"]
    'lexical'
    """
    known = _all_records()
    for name, formula in formulas.FORMULAS.items():
        others = {} if name in formulas.RECORDS else {STANDARD: known[name]["formula"]}
        known[name] |= {"definitions": others | known[name].get("definitions", {}) | {formulas.DEFINITION: formula}}
    order = list(dict.fromkeys([*FAMILIES, *(entry["family"] for entry in known.values())]))
    return dict(sorted(known.items(), key=lambda item: order.index(item[1]["family"])))


def families() -> dict[str, str]:
    """Family of claims of every metric, by name."""
    return {name: entry["family"] for name, entry in _all_records().items()}


def _all_records() -> dict[str, dict[str, Any]]:
    return definitions.records() | {name: record.entry() for name, record in formulas.RECORDS.items()}
