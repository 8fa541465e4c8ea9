"""How far each row moves each metric: derivatives where they are known, else a jackknife; refusals with reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

import geomprobe.inference.classes as classes
import geomprobe.inference.jackknife as jackknife
import geomprobe.inference.neighbours as neighbours
import geomprobe.inference.spectral as spectral
import geomprobe.inference.sphere as sphere
from geomprobe.common import first_line
from geomprobe.inference.estimate import JACKKNIFE, ROUNDING, Estimate, NoInterval
from geomprobe.inference.intervals import MIN_DEGREES, TAIL_DEGREES, TAIL_ROWS, degrees, heavy_tailed
from geomprobe.metrics import REGISTRY
from geomprobe.metrics.dimension import lidar_objects
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.records import BOTH, RAW, STANDARD, Metric
from geomprobe.metrics.spectrum_derivatives import OfSpectrum
from geomprobe.metrics.undefined import NeedsRows, NotApplicable

UNDERFLOW = 1e-140
"""Below it squares leave float64."""
NEIGHBOUR_ROWS = 30
"""Fewest independent rows for an interval of what nearest neighbours say: of the intrinsic dimension of 15, it covers
84 %; of shared neighbours of 12, where nearly all rows are neighbours, none."""
HUB_SHARE = 1 / 8
"""Largest share of the rows that have the same one among their two nearest; beyond it their ratios are correlated."""
TAIL_CLUSTERS = 0.25
"""Where the tail is heavy, degrees of freedom for each of a few clusters: those asked for are no more than this."""
LIDAR_OBJECTS = 10
"""Fewest objects a dimension for an interval of LiDAR: with fewer, its eigenvalues move far from linearly."""
JACKKNIFE_ROWS = 2_000
"""Most rows for which a metric that compares all rows is computed twenty times over."""


def number_clusters(clusters: Any, n: int) -> np.ndarray:
    """Cluster numbers from 0, int64 (n,); each row on its own where no clusters are declared."""
    return np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()


@dataclass
class Workspace:
    """Embeddings with rows, in one view, and what the influences of several metrics share, computed once and on demand.

    Attributes
    ----------
    embeddings : Embeddings
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    """

    embeddings: Embeddings
    clusters: np.ndarray
    _moved: dict[str, dict[str, spectral.Moved]] = field(default_factory=dict, init=False, repr=False)

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.clusters.max()) + 1

    def estimate(self, value: float, rows: np.ndarray, **known: Any) -> Estimate:
        """A number from the influences of the rows; `known` as `Estimate.of_rows` takes it."""
        return Estimate.of_rows(value, rows, self.clusters, **known)

    def spread(self, rows: np.ndarray) -> float:
        """Variance of the mean of influences of rows."""
        return float(np.var(rows)) / self.embeddings.n

    def steep(self, found: Metric) -> bool:
        """Whether a metric varies less than its influences say: counts and slopes where tails are heavy."""
        return found.tail == "steady" and self.heavy_tailed

    def slopes(self, found: Metric, contributions: np.ndarray) -> np.ndarray:
        """Contributions to first order, where known: left out, a row that lies far off shows too little of it."""
        function = found.of_spectrum
        if function is None or not _reads_spectrum(function, self.embeddings):
            return contributions
        return np.bincount(self.clusters, self.moved(function.spectrum)[found.name].rows)

    @cached_property
    def heavy_tailed(self) -> bool:
        """Whether the distances of the rows from their mean, in the raw view, have a heavy tail."""
        state, rows = self.embeddings.state, self.embeddings.source
        if self.embeddings.constant:
            return False
        mean, blocks = torch.from_numpy(state.mean), rows.blocks(max(256, 2**18 // state.d))
        squares = [(x.double() - mean.to(x.device)).square().sum(1).cpu().numpy() for _, x in blocks]
        return heavy_tailed(np.concatenate(squares), np.trace(state.scatter) ** 2 / (state.scatter**2).sum())

    @cached_property
    def distances(self) -> tuple[sphere.Checked, np.ndarray]:
        """Some rows, and the squared distances of their directions."""
        return sphere.checked_distances(self.embeddings, self.clusters)

    @cached_property
    def turn(self) -> torch.Tensor | None:
        """How far the mean direction turns as the centre of the centred view moves (see `sphere.centre_turn`)."""
        return sphere.centre_turn(self.embeddings) if self.embeddings.name == "centred" else None

    @cached_property
    def mean_distance(self) -> tuple[np.ndarray, np.ndarray]:
        """Influences on the mean squared distance over pairs, and what pairs of clusters add."""
        rows, pairs = sphere.mean_distance(self.embeddings, *self.distances, self.turn)
        return self.without_own_pairs(rows, self.embeddings.distance_mean, lambda cosines: 2 - 2 * cosines, -2.0), pairs

    def without_own_pairs(self, rows: np.ndarray, mean: float, kernel: sphere.Kernel, slope: float) -> np.ndarray:
        """Influences whose sums over clusters count pairs within one once, where all rows have a direction."""
        if self.embeddings.direction_sums[0] < self.embeddings.n:
            return rows
        return sphere.without_own_pairs(self.embeddings, rows, self.clusters, mean, kernel, slope, self.turn)

    def of_pairs(self, value: float, rows: np.ndarray, pairs: np.ndarray, sampling: float = 0.0) -> Estimate:
        """A mean over pairs, from the influences of the rows and what seeded pairs add (see `sphere.together`).

        Where a row has no direction, another encoder's pairs would be others: what they add is not made good.
        """
        second = float((pairs**2).mean()) if len(pairs) else 0.0
        if not rows.any():  # no row moves it by itself
            return self.estimate(value, rows, unattributed_variance=sampling + second)
        if self.embeddings.direction_sums[0] == self.embeddings.n:
            return self.estimate(value, rows, unattributed_variance=sampling, together=pairs, pairs_only=True)
        return self.estimate(value, rows, unattributed_variance=sampling, second_order=second)

    @cached_property
    def objects(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The objects of LiDAR (see `geomprobe.metrics.dimension.lidar_objects`)."""
        return lidar_objects(self.embeddings)

    def moved(self, which: str) -> dict[str, spectral.Moved]:
        """How rows move the metrics that are functions of one of the spectra, by name."""
        if which not in self._moved:
            records = [
                one for one in REGISTRY.built_in.values() if one.of_spectrum and one.of_spectrum.spectrum == which
            ]
            functions = {one.name: one.of_spectrum for one in records if one.of_spectrum}
            in_order = dict(sorted(functions.items(), key=lambda item: item[1].column))
            self._moved[which] = spectral.moved(self.embeddings, which, in_order, self.clusters)
        return self._moved[which]


def estimate_of(found: Metric, definition: str, work: Workspace, value: float) -> Estimate:
    """A metric with the contribution of each cluster of rows, refused where there is no valid interval.

    A sample of heavy-tailed rows without one that lies far off does not know of it: its value and its standard error
    are both off, and the interval, narrow as it is, misses. So more degrees of freedom are asked for where the tail of
    the lengths is heavy (a mixture of short and long rows has them, a tail that goes on has not), and norm_cv, which is
    all lengths, has no interval where there are too few rows to tell. Counts and slopes of eigenvalues are steadier
    there than their influences, and labelled.

    Parameters
    ----------
    found : Metric
        Of the registry.
    definition : str
        Which of its variants.
    work : Workspace
        Of the embeddings that the value was measured in.
    value : float
        As measured.
    """
    try:
        estimate = _estimate_of(found, definition, work, value)
        if found.tail == "lengths" and work.heavy_tailed and estimate.contributions is not None:
            if found.of_spectrum is not None and work.embeddings.n <= work.embeddings.d:
                raise NoInterval("the lengths of fewer rows than dimensions have a heavy tail: more rows are needed")
            check_tail(work.slopes(found, estimate.contributions))
    except NoInterval as reason:
        return Estimate.refused(value, reason)
    except (Exception, SystemExit) as error:
        if found.name in REGISTRY.built_in:
            raise
        return Estimate.refused(value, f"{type(error).__name__}: {first_line(error)}")
    return estimate


def check_tail(contributions: np.ndarray, share: float = TAIL_DEGREES[1]) -> None:
    """Refuse contributions with too few degrees of freedom for rows whose lengths have a heavy tail.

    Parameters
    ----------
    contributions : float64 ndarray of shape (G,)
    share : float
        Fewest degrees of freedom for each cluster.

    Raises
    ------
    NoInterval
    """
    count = len(contributions)
    if degrees(contributions) < max(min(TAIL_DEGREES[0], TAIL_CLUSTERS * count), share * count):
        raise NoInterval("the lengths of the rows have a heavy tail: more rows are needed, or metrics of directions")


def _check_rows(found: Metric, work: Workspace) -> None:
    """Refuse metrics that no rows, or not these rows, give an interval."""
    if found.of_lengths and work.n_clusters < TAIL_ROWS:
        raise NoInterval(f"under {TAIL_ROWS} independent rows do not show the tail of their lengths")
    if found.without_interval is not None:
        raise NoInterval(found.without_interval)
    of_objects = found.statistic is not None and found.statistic.kind == "objects"
    if of_objects and len(work.objects[2]) < LIDAR_OBJECTS * work.embeddings.d:
        raise NoInterval(f"fewer than {LIDAR_OBJECTS} objects a dimension")


def _estimate_of(found: Metric, definition: str, work: Workspace, value: float) -> Estimate:
    _check_rows(found, work)
    if found.influence is not None and work.embeddings.name == "raw" and definition == STANDARD:
        return _given(found.influence(work.embeddings), work, value)
    if definition == STANDARD and found.name in REGISTRY.built_in:
        if found.of_spectrum is not None and _reads_spectrum(found.of_spectrum, work.embeddings):
            return _of_spectrum(found, found.of_spectrum, work, value)
        if found.statistic is not None:
            views, linearise = KINDS[found.statistic.kind]
            if work.embeddings.name in views:
                return linearise(work, value, found.statistic.parameter)
    return _jackknife(found, definition, work, value)


def _given(influence: Any, work: Workspace, value: float) -> Estimate:
    rows = np.asarray(influence, np.float64)
    if rows.shape != (work.embeddings.n,) or not np.isfinite(rows).all():
        raise NoInterval(f"its influence is not {work.embeddings.n} finite numbers, one a row")
    return work.estimate(value, rows - rows.mean())


def _reads_spectrum(function: OfSpectrum, embeddings: Embeddings) -> bool:
    """Whether the influences on a function of a spectrum are known: of directions, where all rows have one."""
    if function.spectrum == "directions":
        return embeddings.name == "raw" and embeddings.direction_sums[0] == embeddings.n
    return embeddings.name in BOTH


def _of_spectrum(found: Metric, function: OfSpectrum, work: Workspace, value: float) -> Estimate:
    of, n = work.moved(function.spectrum)[found.name], work.embeddings.n
    if of.units is not None:
        if not np.isfinite(of.units).all():
            raise NoInterval("not defined once a row is left out")
        return Estimate.of_clusters(value, of.units, n, together=of.together)
    # where the rows are fewer than the dimensions, each holds one of these, and the slope makes too much of it
    wide = work.steep(found) or n <= work.embeddings.d
    second = np.inf if wide else of.curvature_variance(n)
    rounding = ROUNDING if found.integer else 0.0
    return work.estimate(value, of.rows, unattributed_variance=rounding, second_order=second)


def _mean_distance(work: Workspace, value: float, factor: float) -> Estimate:
    rows, pairs = work.mean_distance
    return work.of_pairs(value, factor * rows, factor * pairs)


def _log_mean_kernel(work: Workspace, value: float, t: float) -> Estimate:
    rows, scaled = sphere.log_mean_kernel(work.embeddings, t)
    rows = work.without_own_pairs(rows, 1.0, lambda cosines: torch.exp(2 * t * (cosines - 1) - value), 2 * t)
    checked, distances = work.distances
    terms = np.exp(-t * distances - value)
    if work.turn is not None:  # the kernel moves by 2t of itself with a cosine
        alone, centred = sphere.direction_moves(work.embeddings, work.turn, checked.rows)
        terms = terms + 2 * t * (centred @ centred.T - alone @ alone.T).cpu().numpy()
    pairs = sphere.together(terms, checked, scaled[checked.rows], 1.0)
    sampled = work.embeddings.kernel_log_mean(t)[1]
    sampling = 0.0 if sampled is None else (sampled.se / sampled.mean) ** 2
    return work.of_pairs(value, rows, pairs, sampling)


def _partition(work: Workspace, value: float, _: float) -> Estimate:
    if value < UNDERFLOW:
        raise NoInterval(f"the value is below {UNDERFLOW:g}")
    rows, tied = spectral.partition_isotropy(work.embeddings)
    if not float(np.std(rows)) < 0.5 * value * np.sqrt(work.embeddings.n):
        raise NoInterval("the standard error is over half of the value: more rows are needed")
    # around the mean no direction leads, so that which ones are extreme changes with the rows
    wide = tied or work.embeddings.name == "centred"
    return work.estimate(value, rows, second_order=np.inf if wide else 0.0)


def _neighbour_ratios(work: Workspace, value: float, _: float) -> Estimate:
    units = work.n_clusters
    if units < NEIGHBOUR_ROWS:
        raise NoInterval(f"fewer than {NEIGHBOUR_ROWS} independent rows")
    rows, most = neighbours.intrinsic_dimension(work.embeddings)
    if most > HUB_SHARE:
        reason = f"one row is among the two nearest of {most:.0%} of all rows"
        raise NoInterval(f"{reason}: more rows, or another layer, have fewer hubs")
    # neighbours in a cluster are counted as such, and as neighbours
    second = float(np.var(rows)) / units if units < work.embeddings.n else 0.0
    return work.estimate(value, rows, second_order=second)


def _objects(work: Workspace, value: float, _: float) -> Estimate:
    return work.estimate(value, spectral.lidar(work.embeddings, work.objects, work.clusters))


def _leading_share(work: Workspace, value: float, k: float) -> Estimate:
    embeddings = work.embeddings
    rows, whole, tied = sphere.leading_share(embeddings, int(k))
    error = float(np.std(whole)) / np.sqrt(embeddings.n)
    if abs(embeddings.cosine_mean) < 3 * error:
        raise NoInterval("the mean cosine, which is shared, is within three standard errors of 0")
    # where the next coordinate may well lead instead, holding the leading ones fixed overstates the error
    return work.estimate(value, rows, second_order=work.spread(rows) if tied else 0.0)


def _declared_pairs(work: Workspace, value: float, _: float) -> Estimate:
    pairs, of_pairs = sphere.alignment(work.embeddings)
    rows = jackknife.on_first_rows(of_pairs, pairs[:, 0], pairs, work.clusters) * (work.embeddings.n / len(pairs))
    return work.estimate(value, rows)


def _classes(within: bool, work: Workspace, value: float, _: float) -> Estimate:
    rows, second, fewest = classes.classes(within, work.embeddings, work.clusters)
    if fewest < MIN_DEGREES:
        raise NoInterval(f"a class has fewer than {MIN_DEGREES:g} independent rows")
    # classes are held fixed, so that pairs do less than their products say: labelled, and not made good
    return work.estimate(value, rows, second_order=second)


def _lengths(work: Workspace, value: float, _: float) -> Estimate:
    return work.estimate(value, sphere.norm_cv(work.embeddings))


Linearise = Callable[[Workspace, float, float], Estimate]
KINDS: dict[str, tuple[tuple[str, ...], Linearise]] = {
    "mean distance": (BOTH, _mean_distance),
    "log mean kernel": (BOTH, _log_mean_kernel),
    "partition": (BOTH, _partition),
    "neighbour ratios": (BOTH, _neighbour_ratios),
    "objects": (BOTH, _objects),
    "leading share": (RAW, _leading_share),
    "declared pairs": (RAW, _declared_pairs),
    "within classes": (RAW, partial(_classes, True)),
    "between classes": (RAW, partial(_classes, False)),
    "lengths": (RAW, _lengths),
}
"""Kind of statistic (see `geomprobe.metrics.records.Statistic`) -> the views in which its influences are known, and its
estimate from the workspace, the value and the statistic's parameter."""


def _jackknife(found: Metric, definition: str, work: Workspace, value: float) -> Estimate:
    embeddings = work.embeddings
    reads = found.needs != "moments" or embeddings.name not in BOTH
    if reads and embeddings.n > JACKKNIFE_ROWS:
        raise NoInterval(f"no derivative, and the jackknife stops at {JACKKNIFE_ROWS:,} rows")
    home = jackknife.shards(work.clusters, embeddings.seed)

    def compute(part: Embeddings) -> float:
        return found.value(part, definition).value

    try:
        try:
            rows = jackknife.jackknife(embeddings, compute, home, rows=reads)
        except NeedsRows:
            rows = jackknife.jackknife(embeddings, compute, home, rows=True)
    except NotApplicable as reason:
        raise NoInterval(f"not defined once a shard of rows is left out ({reason})") from None
    second = work.spread(rows) if work.steep(found) else 0.0
    if found.left_out_overstates:
        # rows left out give others new neighbours, and objects fewer dimensions: more than other rows would
        second = float((rows**2).sum()) / embeddings.n**2
    return work.estimate(value, rows, second_order=second, method=JACKKNIFE)
