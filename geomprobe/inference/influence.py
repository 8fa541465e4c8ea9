"""How far each row moves each metric: derivatives where they are known, else a jackknife; refusals with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

import geomprobe.inference.jackknife as jackknife
import geomprobe.inference.neighbours as neighbours
import geomprobe.inference.spectral as spectral
import geomprobe.inference.sphere as sphere
from geomprobe.common import first_line
from geomprobe.inference.estimate import JACKKNIFE, ROUNDING, Estimate, NoInterval
from geomprobe.inference.intervals import MIN_DEGREES, TAIL_DEGREES, TAIL_ROWS, degrees, heavy_tailed
from geomprobe.metrics import REGISTRY, hypersphere
from geomprobe.metrics.dimension import lidar_objects
from geomprobe.metrics.eigenvalues import Spectrum
from geomprobe.metrics.embeddings import Embeddings, NeedsRows, NotApplicable
from geomprobe.metrics.records import STANDARD, Metric, Value
from geomprobe.metrics.slopes import OfSpectrum
from geomprobe.vectors import unit_rows

KNOWN = ("raw", "centred")
UNDERFLOW = 1e-140
"""Below it squares leave float64."""
CLASSES = {"class_alignment": sphere.class_alignment, "class_separation": sphere.class_separation}
NEIGHBOUR_ROWS = 30
"""Fewest independent rows for an interval of what nearest neighbours say: of the intrinsic dimension of 15, it covers
84 %; of shared neighbours of 12, where nearly all rows are neighbours, none."""
HUB_SHARE = 1 / 8
"""Largest share of the rows that have the same one among their two nearest; beyond it their ratios are correlated."""
LIDAR_OBJECTS = 10
"""Fewest objects a dimension for an interval of LiDAR: with fewer, its eigenvalues move far from linearly."""
JACKKNIFE_ROWS = 2_000
"""Most rows for which a metric that compares all rows is computed twenty times over."""


def number_clusters(clusters: Any, n: int) -> np.ndarray:
    """Cluster numbers from 0, int64 (n,); each row on its own where no clusters are declared."""
    return np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()


def _of(spectrum: str) -> dict[str, OfSpectrum]:
    """Built-in metrics that are functions of one of the spectra."""
    found = {name: record.of_spectrum for name, record in REGISTRY.built_in.items()}
    chosen = {name: function for name, function in found.items() if function and function.spectrum == spectrum}
    return dict(sorted(chosen.items(), key=lambda item: item[1].column))


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

    def _linearise(
        self, spectrum: Spectrum, which: str, centre: np.ndarray | None, share: float
    ) -> dict[str, spectral.Linearised]:
        assert self.embeddings.rows is not None
        centre = np.zeros(self.embeddings.d) if centre is None else centre
        return spectral.linearise(
            self.embeddings.blocks(), spectrum, _of(which), centre, share, self.embeddings.rows.work
        )

    @cached_property
    def heavy_tailed(self) -> bool:
        """Whether the distances of the rows from their mean, in the raw view, have a heavy tail."""
        state, rows = self.embeddings.state, self.embeddings.rows
        assert rows is not None
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
    def mean_distance(self) -> tuple[np.ndarray, float]:
        """Influences on the mean squared distance over pairs, and the variance of its second-order term."""
        embeddings, (checked, distances) = self.embeddings, self.distances
        means = sphere.distance_row_means(embeddings)
        second = sphere.second_order(distances, checked, means[checked.rows], embeddings.distance_mean)
        return sphere.mean_distance(embeddings, means), second

    @cached_property
    def rogue_shares(self) -> dict[int, tuple[np.ndarray, np.ndarray, bool]]:
        """Influences on the shares of the leading coordinates, in the raw view."""
        counts = [record.leading for record in REGISTRY.built_in.values() if record.leading is not None]
        return sphere.rogue_shares(self.embeddings, counts)

    @cached_property
    def objects(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The objects of LiDAR (see `geomprobe.metrics.dimension.lidar_objects`)."""
        return lidar_objects(self.embeddings)

    @cached_property
    def centred(self) -> dict[str, spectral.Linearised]:
        """Influences on the functions of the centred spectrum."""
        centre = self.embeddings.state.mean if self.embeddings.name == "raw" else None
        return self._linearise(self.embeddings.spectrum, "centred", centre, 1 / (self.embeddings.n - 1))

    @cached_property
    def uncentred(self) -> dict[str, spectral.Linearised]:
        """Influences on the functions of the uncentred spectrum."""
        n = self.embeddings.n if self.embeddings.name == "raw" else self.embeddings.n - 1
        return self._linearise(self.embeddings.uncentred_spectrum, "uncentred", None, 1 / n)

    @cached_property
    def directional(self) -> dict[str, spectral.Linearised]:
        """Influences on vendi_score, the function of the spectrum of the directions, in the raw view."""
        n = self.embeddings.direction_sums[0]
        blocks = ((0, unit_rows(x[has]), has[has]) for _, x, has in self.embeddings.blocks())
        work = self.embeddings.rows.work if self.embeddings.rows is not None else torch.float64
        return spectral.linearise(
            blocks, self.embeddings.direction_spectrum, _of("directions"), np.zeros(self.embeddings.d), 1 / n, work
        )


def estimate_of(found: Metric, definition: str, work: Workspace, value: float) -> Estimate:
    """A metric with the contribution of each cluster of rows, refused where there is no valid interval.

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
        Of the embeddings that the value was measured in.
    value : float
        As measured.
    """
    try:
        estimate = _estimate_of(found, definition, work, value)
        if found.tail == "lengths" and work.heavy_tailed:
            check_tail(estimate)
    except NoInterval as reason:
        return Estimate.refused(value, reason)
    except Exception as error:
        if found.name in REGISTRY.built_in:
            raise
        return Estimate.refused(value, f"{type(error).__name__}: {first_line(error)}")
    return estimate


def check_tail(estimate: Estimate, share: float = TAIL_DEGREES[1]) -> None:
    """Refuse an estimate with too few degrees of freedom for rows whose lengths have a heavy tail.

    Parameters
    ----------
    share : float
        Fewest degrees of freedom for each cluster.

    Raises
    ------
    NoInterval
    """
    assert estimate.contributions is not None
    if degrees(estimate.contributions) < max(TAIL_DEGREES[0], share * len(estimate.contributions)):
        raise NoInterval("the lengths of the rows have a heavy tail")


def _check_rows(found: Metric, work: Workspace) -> None:
    """Refuse metrics that no rows, or not these rows, give an interval."""
    if found.of_lengths and work.n_clusters < TAIL_ROWS:
        raise NoInterval(f"under {TAIL_ROWS} independent rows do not show the tail of their lengths")
    if found.without_interval is not None:
        raise NoInterval(found.without_interval)
    if found.name == "lidar" and len(work.objects[2]) < LIDAR_OBJECTS * work.embeddings.d:
        raise NoInterval(f"fewer than {LIDAR_OBJECTS} objects a dimension")


def _estimate_of(found: Metric, definition: str, work: Workspace, value: float) -> Estimate:
    name, embeddings = found.name, work.embeddings
    _check_rows(found, work)
    if found.influence is not None and embeddings.name == "raw" and definition == STANDARD:
        return _given(found.influence(embeddings), work, value)
    if name not in REGISTRY.built_in:
        return _jackknife(found, definition, work, value)
    if embeddings.name in KNOWN and definition == STANDARD:
        if found.of_spectrum is not None and found.of_spectrum.spectrum != "directions":
            linearised = work.centred if found.of_spectrum.spectrum == "centred" else work.uncentred
            return _spectral(found, linearised, work, value)
        if (factor := found.of_mean_distance) is not None:
            rows, second = work.mean_distance
            return work.estimate(value, factor * rows, second_order=factor**2 * second)
        if name == "uniformity":
            return _uniformity(work, value)
        if name == "partition_isotropy":
            return _partition_isotropy(work, value)
        if name == "intrinsic_dimension":
            return _intrinsic_dimension(work, value)
        if name == "lidar":
            return work.estimate(value, spectral.lidar(embeddings, work.objects, work.clusters))
        if found.leading is not None and embeddings.name == "raw":
            return _rogue_share(work, value, found.leading)
    if embeddings.name == "raw" and definition == STANDARD:
        if found.of_spectrum is not None and embeddings.direction_sums[0] == embeddings.n:
            return _spectral(found, work.directional, work, value)
        if name == "alignment":
            return _alignment(work, value)
        if name in CLASSES:
            rows, second, fewest = CLASSES[name](embeddings, work.clusters)
            if fewest < MIN_DEGREES:
                raise NoInterval(f"a class has fewer than {MIN_DEGREES:g} independent rows")
            return work.estimate(value, rows, second_order=second)
        if found.of_lengths:
            return work.estimate(value, sphere.norm_cv(embeddings))
    return _jackknife(found, definition, work, value)


def _given(influence: Any, work: Workspace, value: float) -> Estimate:
    rows = np.asarray(influence, np.float64)
    if rows.shape != (work.embeddings.n,) or not np.isfinite(rows).all():
        raise NoInterval(f"its influence is not {work.embeddings.n} finite numbers, one a row")
    return work.estimate(value, rows - rows.mean())


def _spectral(found: Metric, linearised: dict[str, spectral.Linearised], work: Workspace, value: float) -> Estimate:
    of = linearised[found.name]
    second = work.spread(of.rows) if work.steep(found) else of.curvature_variance(work.embeddings.n)
    rounding = ROUNDING if found.integer else 0.0
    return work.estimate(value, of.rows, unattributed_variance=rounding, second_order=second)


def _uniformity(work: Workspace, value: float) -> Estimate:
    rows, scaled = sphere.uniformity(work.embeddings)
    checked, distances = work.distances
    kernel = np.exp(-hypersphere.T * distances - value)
    second = sphere.second_order(kernel, checked, scaled[checked.rows], 1.0)
    sampling = 0.0
    if not work.embeddings.reads_all_pairs:
        sampled = work.embeddings.kernel_log_mean(hypersphere.T)[1]
        assert sampled is not None
        sampling = (sampled.se / sampled.mean) ** 2
    return work.estimate(value, rows, unattributed_variance=sampling, second_order=second)


def _partition_isotropy(work: Workspace, value: float) -> Estimate:
    if value < UNDERFLOW:
        raise NoInterval(f"the value is below {UNDERFLOW:g}")
    rows, tied = spectral.partition_isotropy(work.embeddings)
    if not float(np.std(rows)) < 0.5 * value * np.sqrt(work.embeddings.n):
        raise NoInterval("the standard error is over half of the value")
    return work.estimate(value, rows, second_order=work.spread(rows) if tied else 0.0)


def _intrinsic_dimension(work: Workspace, value: float) -> Estimate:
    units = work.n_clusters
    if units < NEIGHBOUR_ROWS:
        raise NoInterval(f"fewer than {NEIGHBOUR_ROWS} independent rows")
    rows, most = neighbours.intrinsic_dimension(work.embeddings)
    if most > HUB_SHARE:
        raise NoInterval(f"one row is among the two nearest of {most:.0%} of all rows")
    # neighbours in a cluster are counted as such, and as neighbours
    second = float(np.var(rows)) / units if units < work.embeddings.n else 0.0
    return work.estimate(value, rows, second_order=second)


def _rogue_share(work: Workspace, value: float, k: int) -> Estimate:
    embeddings, (rows, whole, tied) = work.embeddings, work.rogue_shares[k]
    error = float(np.std(whole)) / np.sqrt(embeddings.n)
    if abs(embeddings.cosine_mean) < 3 * error:
        raise NoInterval("the mean cosine, which is shared, is within three standard errors of 0")
    # where the next coordinate may well lead instead, holding the leading ones fixed overstates the error
    return work.estimate(value, rows, second_order=work.spread(rows) if tied else 0.0)


def _alignment(work: Workspace, value: float) -> Estimate:
    pairs, of_pairs = sphere.alignment(work.embeddings)
    rows = jackknife.on_first_rows(of_pairs, pairs[:, 0], pairs, work.clusters) * (work.embeddings.n / len(pairs))
    return work.estimate(value, rows)


def _jackknife(found: Metric, definition: str, work: Workspace, value: float) -> Estimate:
    embeddings = work.embeddings
    reads = found.needs != "moments" or embeddings.name not in KNOWN
    if reads and embeddings.n > JACKKNIFE_ROWS:
        raise NoInterval(f"no derivative, and the jackknife stops at {JACKKNIFE_ROWS:,} rows")
    home = jackknife.shards(work.clusters, embeddings.seed)

    def compute(part: Embeddings) -> float:
        result = found.variants[definition](part)
        return result.value if isinstance(result, Value) else float(result)

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
