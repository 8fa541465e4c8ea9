"""The registry of metrics of embeddings: the records of all families, by name, and those that others add."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import geomprobe.metrics.alignment_uniformity as alignment_uniformity
import geomprobe.metrics.dimension as dimension
import geomprobe.metrics.isotropy as isotropy
import geomprobe.metrics.spectrum as spectrum
from geomprobe.common import InputError, UsageError, first_line
from geomprobe.common.plugins import Extensible, Owner
from geomprobe.metrics.records import Metric
from geomprobe.metrics.reserved import RESERVED
from geomprobe.results import STAGES
from geomprobe.results.record import FAMILIES
from geomprobe.results.schema import check_definitions


def _accepted(name: str, found: Any, owner: Owner) -> Metric:
    if not isinstance(found, Metric):
        raise TypeError(f"it is of type {type(found).__name__}, not geomprobe.Metric")
    if found.name != name:
        raise ValueError(f"its record is called {found.name!r}")
    return _checked(found)


def _checked(metric: Metric) -> Metric:
    """A metric of another package; raises an error where it cannot stand with the built-in ones."""
    if metric.family in FAMILIES:
        raise ValueError(
            f"its family {metric.family!r} is one of geomprobe's, whose adjusted p-values it would change; "
            "give it a family of its own"
        )
    if metric.of_spectrum is not None or metric.statistic is not None:
        raise ValueError("of_spectrum and statistic are for built-in metrics; give influence instead")
    check_definitions(json.loads(json.dumps({metric.name: metric.entry()}, allow_nan=False)), "its record")
    return metric


REGISTRY = Extensible(
    "metric",
    {
        record.name: record
        for record in (*spectrum.METRICS, *dimension.METRICS, *alignment_uniformity.METRICS, *isotropy.METRICS)
    },
    _accepted,
    reserved=(*RESERVED, *STAGES),
)


def register_metric(metric: Metric, *, replace: bool = False) -> Metric:
    """Add a metric in this process: it is measured, compared and reported as the built-in ones are.

    Parameters
    ----------
    metric : Metric
    replace : bool
        Whether it takes the place of one of the same name that was registered in this process, as where a cell of a
        notebook runs again.

    Returns
    -------
    Metric
        The same, so that it can be assigned.

    Raises
    ------
    TypeError
        It is no `Metric`.
    UsageError
        Its name is taken, or its family is one of geomprobe's own.

    Notes
    -----
    Nothing says whether another process registers the same, so finished cells of `analyze` are not found again by it.
    A metric of a package, by an entry point ``geomprobe.metrics``, has a version, and its cells are found again.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> def median_length(embeddings):
    ...     return np.median(np.linalg.norm(embeddings.vectors, axis=1))
    >>> metric = gp.Metric(
    ...     name="median_length", family="lengths", compute=median_length, needs="rows", formula="median of ‖x‖",
    ...     range="[0, ∞)", direction="larger: longer vectors", invariances=("rotation",), source="this example",
    ... )
    >>> _ = gp.register_metric(metric)
    >>> Z = np.random.default_rng(0).normal(size=(500, 8))
    >>> found = gp.measure(Z, metrics=["median_length"]).loc[0]
    >>> f"{found.value:.2f} ± {found.se:.2f}, {found.ci_method}"
    '2.70 ± 0.03, delete-a-shard jackknife'
    """
    if not isinstance(metric, Metric):
        raise TypeError(f"a metric is a geomprobe.Metric, not of type {type(metric).__name__}")
    try:
        _checked(metric)
    except (ValueError, TypeError, InputError) as error:
        raise UsageError(f"The metric {metric.name!r} is refused: {first_line(error)}.") from None
    REGISTRY.register(metric.name, metric, Owner("this process", uuid4().hex[:12]), replace=replace)
    return metric


def definitions(names: Iterable[str] | None = None) -> dict[str, Any]:
    """Registry's entries of the given metrics (default: all), JSON-ready; names outside it are left out."""
    return {name: REGISTRY[name].entry() for name in (REGISTRY if names is None else names) if name in REGISTRY}
