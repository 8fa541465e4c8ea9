"""Standard errors for every number: how far each row moves each metric, and the intervals that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

import geomprobe.inference.neighbours as neighbours
import geomprobe.inference.shards as shards
import geomprobe.inference.spectral as spectral
import geomprobe.inference.sphere as sphere
from geomprobe.inference.intervals import (
    LEVEL,
    MIN_DEGREES,
    TAIL_DEGREES,
    TAIL_ROWS,
    Interval,
    degrees,
    heavy_tailed,
    p_two_sided,
    standard_error,
    t_quantile,
)
from geomprobe.inference.probe_tests import Discordant
from geomprobe.metrics import cloud_of, hypersphere, measure_clouds, reads_directions
from geomprobe.metrics.cloud import Cloud, NeedsRows, NotApplicable, Spectrum
from geomprobe.metrics.registry import STANDARD, Metric, Value, lidar_objects
from geomprobe.results import RESULT_COLUMNS
from geomprobe.vectors import unit_rows

__all__ = [
    "Difference",
    "Influence",
    "difference",
    "influence_table",
    "interval",
    "measure",
    "number_clusters",
    "paired_difference",
    "with_intervals",
]

FUNCTION = "influence function"
JACKKNIFE = "delete-a-shard jackknife"
KNOWN = ("raw", "centred")
ROUNDING = 0.25
"""Most variance that rounding the crossing up to a whole rank adds: it falls on either of two ranks equally often."""
CONSERVATIVE = 0.2
"""Share of a squared standard error that is second-order, and so counted twice, from which the interval covers too
much: 2Φ(1.96/√(1 − share)) − 1, 97.2 % at a fifth."""
RESOLUTION = 1e-9
"""Share of a value below which a difference is rounding: that of one cloud in other units, say."""
UNDERFLOW = 1e-140
"""Below it squares leave float64."""
CLASSES = {"class_alignment": sphere.class_alignment, "class_separation": sphere.class_separation}
NEIGHBOUR_ROWS = 30
"""Fewest independent rows for an interval of what nearest neighbours say: of the intrinsic dimension of 15, it covers
84 %; of shared neighbours of 12, where nearly all rows are neighbours, none."""
HUB_SHARE = 1 / 8
"""Largest share of the rows that have the same one among their two nearest; beyond it their ratios go together."""
LIDAR_OBJECTS = 10
"""Fewest objects a dimension for an interval of LiDAR: with fewer, its eigenvalues move far from linearly."""
LENGTHS = (
    *("effective_rank", "rankme", "spectral_entropy", "participation_ratio", "isoscore", "stable_rank"),
    *("norm_cv", "lidar"),
)
"""Metrics that a few rows far off move; counts and slopes of eigenvalues, and directions, bear heavy tails."""
SLOPES = ("rank_90", "rank_99", "alpha_req")
"""Those counts and slopes: where tails are heavy, they vary less than their influences say."""
JACKKNIFE_ROWS = 2_000
"""Most rows for which a metric that compares all rows is computed twenty times over."""


@dataclass(frozen=True)
class Influence:
    """How each row moves a metric.

    Attributes
    ----------
    value : float
    rows : float64 ndarray of shape (n,) or None
        The value moves by rows[i]/n where row i counts a little more; the sum over rows is zero. None where refused.
    method : str
        "influence function" or "delete-a-shard jackknife".
    extra : float
        Variance that no row answers for: rounding to whole ranks, sampling of pairs.
    second_order : float
        Estimated variance of the second-order term, which the influences alone overstate.
    refused : str or None
        Why there is no valid interval.
    """

    value: float
    rows: np.ndarray | None
    method: str = FUNCTION
    extra: float = 0.0
    second_order: float = 0.0
    refused: str | None = None

    def contributions(self, clusters: np.ndarray) -> np.ndarray:
        """Return the sum of rows/n in each cluster, float64 (g,); clusters are numbered from 0."""
        assert self.rows is not None
        return np.bincount(clusters, self.rows, minlength=int(clusters.max()) + 1) / len(self.rows)


def number_clusters(clusters: Any, n: int) -> np.ndarray:
    """Return cluster numbers from 0, int64 (n,); each row on its own where no clusters are declared."""
    return np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()


@dataclass
class Workspace:
    """A cloud with rows, in one view, and what the influences of several metrics share, computed once and on demand.

    Attributes
    ----------
    cloud : Cloud
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    """

    cloud: Cloud
    clusters: np.ndarray

    def _linearise(
        self, spectrum: Spectrum, functions: Mapping[str, spectral.Slope], centre: np.ndarray | None, share: float
    ) -> dict[str, spectral.Linearised]:
        assert self.cloud.rows is not None
        centre = np.zeros(self.cloud.d) if centre is None else centre
        return spectral.linearise(self.cloud.blocks(), spectrum, functions, centre, share, self.cloud.rows.work)

    @cached_property
    def heavy_tailed(self) -> bool:
        """Whether the distances of the rows from their mean, in the raw view, have a heavy tail."""
        state, rows = self.cloud.state, self.cloud.rows
        assert rows is not None
        if self.cloud.constant:
            return False
        mean, blocks = torch.from_numpy(state.mean), rows.blocks(max(256, 2**18 // state.d))
        squares = [(x.double() - mean.to(x.device)).square().sum(1).cpu().numpy() for _, x in blocks]
        return heavy_tailed(np.concatenate(squares), np.trace(state.scatter) ** 2 / (state.scatter**2).sum())

    @cached_property
    def distances(self) -> tuple[sphere.Checked, np.ndarray]:
        """Some rows, and the squared distances of their directions."""
        return sphere.checked_distances(self.cloud, self.clusters)

    @cached_property
    def mean_distance(self) -> tuple[np.ndarray, float]:
        """Influences on the mean squared distance over pairs, and the variance of its second-order term."""
        cloud, (checked, distances) = self.cloud, self.distances
        means = sphere.distance_row_means(cloud)
        second = sphere.second_order(distances, checked, means[checked.rows], cloud.distance_mean)
        return sphere.mean_distance(cloud, means), second

    @cached_property
    def rogue_shares(self) -> dict[int, tuple[np.ndarray, np.ndarray, bool]]:
        """Influences on the shares of 1 and of 3 leading coordinates, in the raw view."""
        return sphere.rogue_shares(self.cloud, (1, 3))

    @cached_property
    def objects(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The objects of LiDAR (see `geomprobe.metrics.registry.lidar_objects`)."""
        return lidar_objects(self.cloud)

    @cached_property
    def centred(self) -> dict[str, spectral.Linearised]:
        """Influences on the functions of the centred spectrum."""
        centre = self.cloud.state.mean if self.cloud.name == "raw" else None
        return self._linearise(self.cloud.spectrum, spectral.CENTRED, centre, 1 / (self.cloud.n - 1))

    @cached_property
    def uncentred(self) -> dict[str, spectral.Linearised]:
        """Influences on the functions of the uncentred spectrum."""
        n = self.cloud.n if self.cloud.name == "raw" else self.cloud.n - 1
        return self._linearise(self.cloud.uncentred_spectrum, spectral.UNCENTRED, None, 1 / n)

    @cached_property
    def directional(self) -> dict[str, spectral.Linearised]:
        """Influences on vendi_score, the function of the spectrum of the directions, in the raw view."""
        n = self.cloud.direction_sums[0]
        blocks = ((0, unit_rows(x[has]), has[has]) for _, x, has in self.cloud.blocks())
        work = self.cloud.rows.work if self.cloud.rows is not None else torch.float64
        return spectral.linearise(
            blocks, self.cloud.direction_spectrum, spectral.DIRECTIONAL, np.zeros(self.cloud.d), 1 / n, work
        )


def influence_of(found: Metric, definition: str, work: Workspace, value: float) -> Influence:
    """Return how each row moves one metric.

    A sample of heavy-tailed rows without one that lies far off does not know of it: its value and its standard error
    are both off, and the interval, narrow as it is, misses. So more degrees of freedom are asked for where the tail of
    the lengths is heavy (a mixture of short and long rows has them, a tail that goes on has not), and norm_cv, which is
    all lengths, has no interval where there are too few rows to tell. Counts and slopes of eigenvalues are steadier
    there than their influences, and labelled conservative.

    Parameters
    ----------
    found : Metric
        Of the registry.
    definition : str
        Which of its variants.
    work : Workspace
        Of the cloud that the value was measured in.
    value : float
        As measured.
    """
    if found.name == "norm_cv" and int(work.clusters.max()) + 1 < TAIL_ROWS:
        return Influence(
            value, None, refused=f"under {TAIL_ROWS} independent rows do not show the tail of their lengths"
        )
    influence = _influence_of(found, definition, work, value)
    if influence.rows is None or found.name not in (*LENGTHS, *SLOPES) or not work.heavy_tailed:
        return influence
    if found.name in SLOPES:
        return replace(influence, second_order=float(np.var(influence.rows)) / work.cloud.n)
    return unless_few_decide(influence, work.clusters)


def unless_few_decide(influence: Influence, clusters: np.ndarray, share: float = TAIL_DEGREES[1]) -> Influence:
    """Return the influence, refused where it has too few degrees of freedom for rows whose lengths have a heavy tail.

    Parameters
    ----------
    share : float
        Fewest degrees of freedom for each row.
    """
    contributions = influence.contributions(clusters)
    if degrees(contributions) < max(TAIL_DEGREES[0], share * len(contributions)):
        return Influence(influence.value, None, refused="the lengths of the rows have a heavy tail")
    return influence


def _influence_of(found: Metric, definition: str, work: Workspace, value: float) -> Influence:
    name, cloud, clusters = found.name, work.cloud, work.clusters
    if name == "uniformity_reference":
        return Influence(value, None, refused="a constant of the dimension")
    if name == "lidar" and len(work.objects[2]) < LIDAR_OBJECTS * cloud.d:
        return Influence(value, None, refused=f"fewer than {LIDAR_OBJECTS} objects a dimension")
    if name == "hubness_skew":
        return Influence(value, None, refused="a few hubs decide the skewness, and how it would vary")
    if cloud.name in KNOWN and definition == STANDARD:
        if name in spectral.CENTRED:
            return _spectral(name, work.centred, value, cloud.n)
        if name in spectral.UNCENTRED:
            return _spectral(name, work.uncentred, value, cloud.n)
        if name in ("mean_cosine", "uniformity_jensen"):
            factor = -0.5 if name == "mean_cosine" else -hypersphere.T
            rows, second = work.mean_distance
            return Influence(value, factor * rows, second_order=factor**2 * second)
        if name == "uniformity":
            return _uniformity(work, value)
        if name == "partition_isotropy":
            return _partition_isotropy(cloud, value)
        if name == "intrinsic_dimension":
            return _intrinsic_dimension(cloud, value, clusters)
        if name == "lidar":
            return Influence(value, spectral.lidar(cloud, work.objects, clusters))
        if name.startswith("rogue_share_") and cloud.name == "raw":
            return _rogue_share(work, value, int(name.rsplit("_", 1)[1]))
    if cloud.name == "raw" and definition == STANDARD:
        if name in spectral.DIRECTIONAL and cloud.direction_sums[0] == cloud.n:
            return _spectral(name, work.directional, value, cloud.n)
        if name == "alignment":
            return _alignment(cloud, value, clusters)
        if name in CLASSES:
            rows, second, fewest = CLASSES[name](cloud, clusters)
            if fewest < MIN_DEGREES:
                return Influence(value, None, refused=f"a class has fewer than {MIN_DEGREES:g} independent rows")
            return Influence(value, rows, second_order=second)
        if name == "norm_cv":
            return Influence(value, sphere.norm_cv(cloud))
    return _jackknife(found, definition, cloud, value, clusters)


def _spectral(name: str, linearised: dict[str, spectral.Linearised], value: float, n: int) -> Influence:
    found = linearised[name]
    extra = ROUNDING if name.startswith("rank_") else 0.0
    return Influence(value, found.rows, extra=extra, second_order=found.curvature_variance(n))


def _uniformity(work: Workspace, value: float) -> Influence:
    rows, scaled = sphere.uniformity(work.cloud)
    checked, distances = work.distances
    kernel = np.exp(-hypersphere.T * distances - value)
    second = sphere.second_order(kernel, checked, scaled[checked.rows], 1.0)
    extra = 0.0
    if not work.cloud.reads_all_pairs:
        sampled = work.cloud.kernel_log_mean(hypersphere.T)[1]
        assert sampled is not None
        extra = (sampled.se / sampled.mean) ** 2
    return Influence(value, rows, extra=extra, second_order=second)


def _partition_isotropy(cloud: Cloud, value: float) -> Influence:
    if value < UNDERFLOW:
        return Influence(value, None, refused=f"the value is below {UNDERFLOW:g}")
    rows, tied = spectral.partition_isotropy(cloud)
    if not float(np.std(rows)) < 0.5 * value * np.sqrt(cloud.n):
        return Influence(value, None, refused="the standard error is over half of the value")
    return Influence(value, rows, second_order=float(np.var(rows)) / cloud.n if tied else 0.0)


def _intrinsic_dimension(cloud: Cloud, value: float, clusters: np.ndarray) -> Influence:
    units = int(clusters.max()) + 1
    if units < NEIGHBOUR_ROWS:
        return Influence(value, None, refused=f"fewer than {NEIGHBOUR_ROWS} independent rows")
    rows, most = neighbours.intrinsic_dimension(cloud)
    if most > HUB_SHARE:
        return Influence(value, None, refused=f"one row is among the two nearest of {most:.0%} of all rows")
    # neighbours in a cluster are counted as such, and as neighbours
    return Influence(value, rows, second_order=float(np.var(rows)) / units if units < cloud.n else 0.0)


def _rogue_share(work: Workspace, value: float, k: int) -> Influence:
    cloud, (rows, whole, tied) = work.cloud, work.rogue_shares[k]
    error = float(np.std(whole)) / np.sqrt(cloud.n)
    if abs(cloud.cosine_mean) < 3 * error:
        return Influence(value, None, refused="the mean cosine, which is shared, is within three standard errors of 0")
    # where the next coordinate may well lead instead, holding the leading ones fixed overstates the error
    return Influence(value, rows, second_order=float(np.var(rows)) / cloud.n if tied else 0.0)


def _alignment(cloud: Cloud, value: float, clusters: np.ndarray) -> Influence:
    pairs, moved = sphere.alignment(cloud)
    rows = shards.on_first_rows(moved, pairs[:, 0], pairs, clusters) * (cloud.n / len(pairs))
    return Influence(value, rows)


def _jackknife(found: Metric, definition: str, cloud: Cloud, value: float, clusters: np.ndarray) -> Influence:
    reads = found.needs != "moments" or cloud.name not in KNOWN
    if reads and cloud.n > JACKKNIFE_ROWS:
        return Influence(value, None, refused=f"no derivative, and the jackknife stops at {JACKKNIFE_ROWS:,} rows")
    home = shards.shards(clusters, cloud.seed)

    def compute(part: Cloud) -> float:
        result = found.variants[definition](part)
        return result.value if isinstance(result, Value) else float(result)

    try:
        try:
            rows = shards.jackknife(cloud, compute, home, rows=reads)
        except NeedsRows:
            rows = shards.jackknife(cloud, compute, home, rows=True)
    except NotApplicable as reason:
        return Influence(value, None, refused=f"not defined once a shard of rows is left out ({reason})")
    # rows left out give others new neighbours, and objects fewer dimensions: the value moves more than by other rows
    second = float((rows**2).sum()) / cloud.n**2 if found.name in ("intrinsic_dimension", "lidar") else 0.0
    return Influence(value, rows, JACKKNIFE, second_order=second)


def interval(influence: Influence, clusters: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the interval of a metric for its expected value at this number of rows.

    Parameters
    ----------
    influence : Influence
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    """
    if influence.rows is None:
        return Interval(None, None, None, 0.0, f"no valid interval: {influence.refused}")
    contributions, method = influence.contributions(clusters), influence.method
    dof = degrees(contributions)
    if dof < MIN_DEGREES:
        units = "shards" if method == JACKKNIFE else "rows"
        return Interval(None, None, None, dof, f"no valid interval: a few {units} decide the standard error")
    se = standard_error(contributions, influence.extra)
    half = t_quantile((1 + level) / 2, dof) * se
    if len(contributions) < len(clusters):
        method += f", {len(contributions)} clusters"
    first_order = se**2 - influence.extra
    rounded = influence.extra == ROUNDING and first_order < 2 * influence.extra
    if rounded or 0 < first_order < influence.second_order / CONSERVATIVE:
        method += ", conservative"
    return Interval(se, influence.value - half, influence.value + half, dof, method)


def with_intervals(
    frame: pd.DataFrame, chosen: Sequence[tuple[Metric, str, Cloud]], clusters: Any
) -> tuple[pd.DataFrame, list[Influence | None]]:
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
    influences : list of Influence or None
        None where a row has no value, or only moments are at hand.
    """
    frame = frame.copy()
    influences: list[Influence | None] = []
    values = frame["value"].to_numpy(float, na_value=np.nan)
    workspaces: dict[str, Workspace] = {}
    numbers = number_clusters(clusters, chosen[0][2].n) if chosen else np.zeros(0, np.int64)
    for i, (found, definition, cloud) in enumerate(chosen):
        if frame["status"].iat[i] != "ok" or cloud.rows is None:
            influences.append(None)
            continue
        work = workspaces.setdefault(cloud.name, Workspace(cloud, numbers))
        influences.append(influence_of(found, definition, work, float(values[i])))
    bounds = [None if one is None else interval(one, numbers) for one in influences]
    for column, name in (("se", "se"), ("ci_low", "low"), ("ci_high", "high"), ("ci_method", "method")):
        filled = [None if bound is None else getattr(bound, name) for bound in bounds]
        frame[column] = pd.Series(filled, index=frame.index, dtype=RESULT_COLUMNS[column])
    return frame, influences


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
) -> tuple[pd.DataFrame, list[Influence | None]]:
    """Return what `geomprobe.measure` returns, and the influence behind each of its rows (None without one)."""
    directions = reads_directions(metrics)
    cloud = cloud_of(data, labels, positives, clusters, seed, exact, directions=directions, influences=True)
    return with_intervals(*measure_clouds(cloud, metrics, views), clusters)


def influence_table(frame: pd.DataFrame, influences: Sequence[Influence | None], clusters: Any) -> pd.DataFrame:
    """Return the rows of `results.INFLUENCE_COLUMNS` (without model, task, layer, pooling) of what `measure` returned.

    Parameters
    ----------
    frame, influences
        As `measure` returns them.
    clusters : array-like of shape (n,), optional
        As given to `measure`.
    """
    rows = []
    for i, influence in enumerate(influences):
        if influence is None or influence.rows is None:
            continue
        numbers = number_clusters(clusters, len(influence.rows))
        place = {column: frame[column].iat[i] for column in ("view", "metric", "definition")}
        contributions = influence.contributions(numbers).astype(np.float32)
        rows.append({**place, "contributions": contributions, "extra": influence.extra})
    return pd.DataFrame(rows, columns=["view", "metric", "definition", "contributions", "extra"])


@dataclass(frozen=True)
class Difference:
    """A paired difference, second minus first; without a valid interval all but `diff` and `method` are None.

    `discordant` counts the rows that tell two classifiers apart; where they are few, there is no standard error.
    """

    diff: float
    se: float | None
    low: float | None
    high: float | None
    dof: float
    p: float | None
    method: str
    discordant: Discordant | None = None


def paired_difference(
    first: Influence | None, second: Influence | None, clusters: np.ndarray, level: float = LEVEL
) -> Difference:
    """Return the difference of a metric between two encoders of the same rows.

    The standard error is that of the difference of influences row by row: what both encoders share cancels.
    """
    if first is None or second is None:
        raise ValueError("both sides need a value")
    diff = second.value - first.value
    if first.rows is None or second.rows is None:
        reason = first.refused or second.refused
        return Difference(diff, None, None, None, 0.0, None, f"no valid interval: {reason}")
    moved = second.contributions(clusters) - first.contributions(clusters)
    size = max(abs(first.value), abs(second.value))
    return difference(diff, moved, (first.extra, second.extra), first.method, size, level)


def difference(
    diff: float, moved: np.ndarray, extras: tuple[float, float], method: str, size: float = 0.0, level: float = LEVEL
) -> Difference:
    """Return a paired difference from contributions.

    Parameters
    ----------
    diff : float
    moved : float64 ndarray of shape (g,)
        Difference of the contributions of each cluster.
    extras : tuple of float
        Variance of each side that no row answers for.
    method : str
        Of the sides.
    size : float
        The larger of both values; a difference below RESOLUTION of it is rounding, and counts as none.
    """
    if abs(diff) <= RESOLUTION * size:
        diff = 0.0
    if not moved.any() and (diff == 0 or len(moved) > MIN_DEGREES):
        return Difference(diff, 0.0, diff, diff, float(len(moved) - 1), p_two_sided(diff, 0.0, 1.0), f"paired {method}")
    dof = degrees(moved)
    if dof < MIN_DEGREES:
        reason = "a few rows decide the standard error"
        return Difference(diff, None, None, None, dof, None, f"no valid interval: {reason}")
    se = standard_error(moved, 0.0)
    extra = sum(extras)
    if extras == (ROUNDING, ROUNDING):
        # nearly equal clouds are rounded to the same rank, but where a step falls between their crossings
        extra = min(extra, 10 * se)
    se = float(np.sqrt(se**2 + extra))
    half = t_quantile((1 + level) / 2, dof) * se
    return Difference(diff, se, diff - half, diff + half, dof, p_two_sided(diff, se, dof), f"paired {method}")
