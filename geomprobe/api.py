"""What `import geomprobe as gp` gives, where it joins several rooms."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from geomprobe import inference
from geomprobe.analysis import definitions
from geomprobe.analysis.plan import GLUE
from geomprobe.common import UsageError, hold_folder
from geomprobe.common.progress import Progress, shown
from geomprobe.metrics.records import STANDARD
from geomprobe.metrics.registry import REGISTRY, register_metric
from geomprobe.predict_reconstruct import formulas
from geomprobe.results.record import FAMILIES
from geomprobe.tasks.base import Task
from geomprobe.vectors import VectorSource
from geomprobe.vectors.moments import Moments

__all__ = ["audit", "every_metric", "families", "measure", "register_metric", "summary"]


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
    progress: Progress | str | None = "auto",
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
    progress : "auto", None, or callable (done, total)
        "auto" shows a bar in a notebook or on a terminal, after a second; elsewhere nothing is shown.

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
    with shown(progress, "measuring") as show:
        rows = VectorSource(data, show) if show and not isinstance(data, Moments | VectorSource) else data
        return inference.measure(
            rows, metrics=metrics, views=views, seed=seed, exact=exact, intervals=intervals, **declared
        )[0]


def summary(data: Any, *, seed: int = 0) -> dict[str, float]:
    """The geometry of vectors as a flat dictionary of floats, for a training log or a tracker.

    Parameters
    ----------
    data : array-like of shape (n, d), or Moments
        As `measure` takes it.
    seed : int
        Of the sampled pairs and rows that are read past 20,000 rows.

    Returns
    -------
    dict of str to float
        "n" and "d", then "METRIC_VIEW" for each built-in metric that needs no labels or pairs, in its own views: the
        names of docs/how-to/log-geometry.md. Every call gives all of them, in the same order; NaN where a metric has
        no value (`measure` says why).

    Raises
    ------
    ValueError
        As `measure` does.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> found = gp.summary(np.random.default_rng(0).normal(size=(500, 8)))
    >>> [f"{name} {found[name]:.2f}" for name in ("effective_rank_raw", "uniformity_raw", "uniformity_centred")]
    ['effective_rank_raw 7.98', 'uniformity_raw -3.08', 'uniformity_centred -3.09']
    """
    names = [name for name, metric in REGISTRY.built_in.items() if metric.needs in ("moments", "rows")]
    names = [name for name in names if REGISTRY[name].default_views]
    frame = measure(data, metrics=names, seed=seed, intervals=False)
    values = frame["value"].astype(float)
    found = dict(zip(frame["metric"] + "_" + frame["view"], values.where(frame["status"] == "ok"), strict=True))
    return {"n": float(frame["n"].max()), "d": float(frame["d"].max()), **found}


def audit(
    sides: Sequence[Any] | Mapping[str, Sequence[Any]],
    tasks: Sequence[str | Task] = GLUE,
    *,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress | str | None = "auto",
) -> dict[str, Any]:
    """The claims of Predict and Reconstruct, audited on two encoders or two groups of seeds.

    Both are measured by the published analysis, by the default protocol, and by the published analysis with one choice
    replaced at a time (docs/reference/audit.md).

    Parameters
    ----------
    sides : sequence of two models, or mapping of two names to sequences of models
        The first side stands for the published MLM encoder, the second for the hybrid one; models as `load_encoder`
        opens them. A mapping gives groups of seeds.
    tasks : sequence of str or Task
    data_dir, limit, device, seed
        As `analyze` takes them.
    out : path, optional
        Folder of audit.json and of the results folders strict/ and paper/; finished cells are kept there.
    progress : "auto", None, or callable (done, total)
        As `measure` takes it; each protocol is a pass of its own.

    Returns
    -------
    dict
        The content of audit.json: "claims" with their numbers and verdicts, "choices", "failed_cells" and the record.

    Raises
    ------
    UsageError
        There are other than two sides, or a model is given twice in groups.
    InputError
        A model or a task cannot be read.

    Examples
    --------
    >>> import geomprobe as gp
    >>> from geomprobe.tasks import load_file
    >>> document = gp.audit(["my-encoder", "my-encoder"], [load_file("reviews.csv")])
    >>> [claim["name"] for claim in document["claims"]]
    ['uniformity', 'spectrum', 'lexical', 'balance', 'probes']
    """
    from geomprobe.predict_reconstruct.checkpoints import audit_checkpoints

    grouped = isinstance(sides, Mapping)
    groups = dict(sides) if isinstance(sides, Mapping) else {f"side {i}": [side] for i, side in enumerate(sides, 1)}
    wrong = any(isinstance(members, str) or not members for members in groups.values())
    if isinstance(sides, str) or len(groups) != 2 or wrong:
        hint = 'gp.audit([MODEL_A, MODEL_B]), or gp.audit({"mlm": [a, b, c], "hybrid": [d, e, f]})'
        raise UsageError("audit takes two models, or two groups of seeds.", hint)
    named = [os.path.realpath(each) for g in groups.values() for each in g if isinstance(each, str | Path)]
    if grouped and len(set(named)) < len(named):
        raise UsageError("A model is given twice.", "Name each seed once.")
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()) if out is None else out)
        held.enter_context(hold_folder(folder))
        return audit_checkpoints(
            groups, tasks, grouped=grouped, data_dir=data_dir, limit=limit, device=device, seed=seed, out=folder,
            bars=lambda stage: shown(progress, stage),
        )  # fmt: skip


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
