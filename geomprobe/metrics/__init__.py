"""Measure the geometry of embeddings: a row per metric and view, and the curves that figures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from geomprobe.common import first_line, refuse_beyond_memory, unknown_name
from geomprobe.distributed import ALONE, Processes
from geomprobe.metrics.embeddings import Embeddings, moments_of
from geomprobe.metrics.pairs import cosine_histogram
from geomprobe.metrics.records import STANDARD, Metric
from geomprobe.metrics.registry import REGISTRY
from geomprobe.metrics.transforms import VIEWS, transform
from geomprobe.metrics.undefined import NeedsRows, NotApplicable, TooFewRows, too_few
from geomprobe.results import CURVE_COLUMNS, RESULT_COLUMNS, table
from geomprobe.vectors import VectorSource
from geomprobe.vectors.moments import Moments

MEASURE_COLUMNS = {
    column: RESULT_COLUMNS[column]
    for column in (
        *("metric", "definition", "view", "value", "se", "ci_low", "ci_high", "ci_method"),
        *("n", "d", "status", "note"),
    )
}
BINS = 100
NEIGHBOURS = 20  # the most that a metric asks for


def unmeasured(
    n: int,
    d: int,
    metrics: Sequence[str] | None = None,
    views: Sequence[str] | None = None,
    *,
    labels: Any = None,
    positives: Any = None,
) -> pd.DataFrame:
    """Frame of `measure` for n < 2 rows: each metric and view with the status "too few rows"."""
    few = {"n": n, "d": d, "status": TooFewRows.status, "note": too_few(n, 2)}
    rows = [
        {"metric": found.name, "definition": definition, "view": view} | few
        for found, definition in _chosen(metrics, labels, positives)
        for view in _views(found, views, metrics is not None)
    ]
    return table(rows, MEASURE_COLUMNS)


def measure_embeddings(
    embeddings: Embeddings, metrics: Sequence[str] | None, views: Sequence[str] | None
) -> tuple[pd.DataFrame, list[tuple[Metric, str, Embeddings]]]:
    """Frame of `measure` without intervals, and the metric, definition and embeddings of each of its rows."""
    transformed: dict[str, Embeddings] = {}
    measured = []
    for found, definition in _chosen(metrics, embeddings.labels, embeddings.positives):
        for name in _views(found, views, metrics is not None):
            if name not in transformed:
                transformed[name] = transform(embeddings, name)
            measured.append((found, definition, transformed[name]))
    return table([value_row(*one) for one in measured], MEASURE_COLUMNS), measured


def curves(data: Any, *, seed: int = 0) -> pd.DataFrame:
    """Curves that figures are drawn from.

    Parameters
    ----------
    data : array-like of shape (n, d), or Moments
        From moments, the spectrum only.
    seed : int
        Of the sampled pairs that the histogram counts past 20,000 rows.

    Returns
    -------
    DataFrame
        Columns view, curve, x, y: the curves of `geomprobe.results.CURVES`; the spectrum in the raw view, the
        histogram of cosines in the raw and centred views. A curve that cannot be drawn (equal rows) is left out.
    """
    raw = embeddings_of(data, seed=seed, directions=False)
    centred = transform(raw, "centred")
    parts = []
    for name, curve, seen in (
        ("spectrum", _spectrum_curve, raw),
        ("cosine_histogram", _histogram_curve, raw),
        ("cosine_histogram", _histogram_curve, centred),
    ):
        try:
            x, y = curve(seen)
        except (NotApplicable, NeedsRows):
            continue
        parts.append(pd.DataFrame({"view": seen.name, "curve": name, "x": x, "y": y}))
    columns = {column: CURVE_COLUMNS[column] for column in ("view", "curve", "x", "y")}
    return table(pd.concat(parts, ignore_index=True) if parts else [], columns)


def embeddings_of(
    data: Any,
    labels: Any = None,
    positives: Any = None,
    clusters: Any = None,
    seed: int = 0,
    exact: bool = False,
    *,
    directions: bool = True,
    influences: bool = False,
    processes: Processes = ALONE,
) -> Embeddings:
    """Raw embeddings from vectors or their moments, with its companions checked.

    It takes most parameters of `geomprobe.measure`, which says what they are, hence their number.

    Without `directions` the moments of the directions are left until something asks for them, which then reads the
    rows once more. With `influences` the values are made along with what `geomprobe.inference` will ask for. With
    several `processes` all of them call this with the same rows, and each passes over its share only;
    `measure_embeddings` then gives all of them the numbers of all rows. Intervals are for one process that reads them
    all.
    """
    if isinstance(data, Moments):
        state, rows = data, None
    else:
        rows = data if isinstance(data, VectorSource) else VectorSource(data)
        if exact:
            needed, hint = exact_bytes(rows), "Leave exact out: past 20,000 rows pairs are then sampled."
            refuse_beyond_memory(needed, f"All pairs of {rows.n:,} rows", hint)
        if rows.n >= 2:
            if rows.n < processes.world:
                raise ValueError(f"{rows.n} rows cannot be shared by {processes.world} processes")
            rows.share = processes.share(rows.n)
            state = moments_of(rows, processes, directions=directions)
    n = state.n if rows is None else rows.n
    if n < 2:
        raise TooFewRows(f"geometry needs at least two rows, not {n}")
    if clusters is not None and np.shape(clusters) != (n,):
        raise ValueError(f"clusters must have shape ({n},), not {np.shape(clusters)}")
    wanted = influences and rows is not None
    return Embeddings(state, rows, _labels(labels, n), _positives(positives, n), seed, exact, wanted, processes)


def exact_bytes(rows: VectorSource) -> int:
    """Bytes that reading all pairs needs at least: all directions at once, and 20 neighbours of each."""
    return rows.n * (rows.d * rows.work.itemsize + NEIGHBOURS * 16)


def reads_directions(metrics: Sequence[str] | None) -> bool:
    """Whether some of the named metrics (None: all) are functions of the directions."""
    names = [metrics] if isinstance(metrics, str) else metrics
    return names is None or any(REGISTRY.choose(name.partition(":")[0]).of_directions for name in names)


def check_names(metrics: Sequence[str], views: Sequence[str]) -> None:
    """Raise UsageError where a metric, a definition ("name:definition") or a view is not known."""
    _named(metrics)
    for name in views:
        if name not in VIEWS:
            raise unknown_name("view", name, list(VIEWS))


def _array(values: Any) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _labels(labels: Any, n: int) -> np.ndarray | None:
    if labels is None:
        return None
    labels = _array(labels)
    if labels.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), not {labels.shape}")
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
        raise ValueError("labels must be classes, not scores")
    return labels


def _positives(positives: Any, n: int) -> np.ndarray | None:
    if positives is None or (positives := _array(positives)).size == 0:
        return None
    if positives.ndim != 2 or positives.shape[1] != 2 or positives.dtype.kind not in "iu":
        raise ValueError(f"positives must be integers of shape (m, 2), not {positives.dtype} {positives.shape}")
    if positives.min() < 0 or positives.max() >= n:
        raise ValueError(f"positives name rows outside 0 to {n - 1}")
    return positives.astype(np.int64)


def _chosen(metrics: Sequence[str] | None, labels: Any, positives: Any) -> list[tuple[Metric, str]]:
    if metrics is not None:
        return _named([metrics] if isinstance(metrics, str) else metrics)
    known = {"labels": labels is not None, "positives": positives is not None and len(positives) > 0}
    by_default = (found for found in REGISTRY.values() if found.default_views and known.get(found.needs, True))
    return [(found, STANDARD) for found in by_default]


def _named(metrics: Sequence[str]) -> list[tuple[Metric, str]]:
    chosen = []
    for name in metrics:
        name, _, definition = name.partition(":")
        found = REGISTRY.choose(name)
        definition = definition or STANDARD
        if definition not in found.variants:
            raise unknown_name(f"definition of {name}", definition, list(found.variants))
        chosen.append((found, definition))
    return chosen


def _views(found: Metric, views: Sequence[str] | None, named: bool) -> list[str]:
    if views is None:
        return list(found.default_views or found.views[:1])
    views = [views] if isinstance(views, str) else list(views)
    check_names((), views)
    # a metric asked for by name answers in every view asked for, if only to say that it makes no sense there
    return views if named else [view for view in views if view in found.views]


def value_row(found: Metric, definition: str, embeddings: Embeddings) -> dict[str, Any]:
    """Row of `measure` without interval; where a metric that is not built in raises an error, with status "failed"."""
    row: dict[str, Any] = {"metric": found.name, "definition": definition, "view": embeddings.name}
    row |= {"n": embeddings.n, "d": embeddings.d}
    try:
        value = found.value(embeddings, definition)
    except NotApplicable as reason:
        return {**row, "status": reason.status, "note": str(reason)}
    except NeedsRows:
        return {**row, "status": "needs rows", "note": "only moments are at hand, and this metric reads the rows"}
    except (Exception, SystemExit) as error:  # whatever another package raises
        if found.name in REGISTRY.built_in:
            raise
        note = f"{found.name} of {REGISTRY.owner(found.name).package}: {type(error).__name__}: {first_line(error)}"
        return {**row, "status": "failed", "note": note}
    if not np.isfinite(value.value):
        return {**row, "status": "not applicable", "note": f"the value is {value.value}: out of the range of float64"}
    return {**row, "value": value.value, "n": value.n or embeddings.n, "status": "ok", "note": value.note}


def _spectrum_curve(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    values = embeddings.spectrum.values
    return np.arange(1, len(values) + 1), values / values.sum()


def _histogram_curve(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    if embeddings.reads_all_pairs:
        w = embeddings.sphere[1]
        if len(w) < 2:
            raise NotApplicable("fewer than two rows have a direction")
        counts = cosine_histogram(w, BINS)
    else:
        counts = np.histogram(np.clip(embeddings.sampled_cosines(), -1, 1), BINS, (-1, 1))[0].astype(np.float64)
    width = 2 / BINS
    centres = -1 + width * (np.arange(BINS) + 0.5)
    return centres, counts / (counts.sum() * width)
