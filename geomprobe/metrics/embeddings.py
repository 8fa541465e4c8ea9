"""Embeddings in one view; what metrics share (spectra, directions, pair sums) is computed once, on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from geomprobe.common import refuse_beyond_memory
from geomprobe.distributed import ALONE, Processes, kernel_log_mean
from geomprobe.metrics.eigenvalues import Spectrum, spectrum_of
from geomprobe.metrics.pairs import (
    KernelMeans,
    PointNeighbours,
    Sampled,
    control_variates,
    kernel_means,
    nearest,
)
from geomprobe.metrics.undefined import NeedsRows, NotApplicable, TooFewRows, undefined
from geomprobe.vectors import VectorSource, full_precision, unit_rows
from geomprobe.vectors.moments import Moments, row_hashes

EXACT_ROWS = 20_000
SAMPLED_PAIRS = 2**20


def moments_of(rows: VectorSource, processes: Processes, precision: str = "input", directions: bool = True) -> Moments:
    """Moments of all rows, each process reading its share of them."""
    part = processes.agreed(lambda: Moments(precision, directions).update(rows))
    return processes.reduce(part, Moments.merge)


def added(a: tuple, b: tuple) -> tuple:
    """Sums of two tuples, item by item."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


@dataclass
class Embeddings:
    """Vectors in the raw view: the moments, and the rows where they are at hand.

    Attributes
    ----------
    state : Moments
    rows : VectorSource or None
    labels : ndarray of shape (n,) or None
        Classes.
    positives : int64 ndarray of shape (m, 2) or None
        Pairs of rows declared to mean the same.
    seed : int
        For sampled pairs and rows.
    exact : bool
        Whether pair metrics read all pairs whatever n is.
    influences : bool
        Whether the influences of rows will be asked for; what they share with the values is then made in one go.
    processes : Processes
        Processes that share the rows: each passes over its share (`rows.share`), though it can take any row, and sums
        are those of all. All of them ask for the same things in the same order.
    """

    state: Moments
    rows: VectorSource | None = None
    labels: np.ndarray | None = None
    positives: np.ndarray | None = None
    seed: int = 0
    exact: bool = False
    influences: bool = False
    processes: Processes = ALONE
    name: str = field(default="raw", init=False)
    _kernels: dict[float, KernelMeans] = field(default_factory=dict, init=False, repr=False)
    _point_neighbours: dict[int, PointNeighbours] = field(default_factory=dict, init=False, repr=False)

    @property
    def n(self) -> int:
        return self.state.n

    @property
    def d(self) -> int:
        return self.state.d

    @property
    def source(self) -> VectorSource:
        """The rows, for metrics that read them."""
        if self.rows is None:
            raise NeedsRows
        return self.rows

    @cached_property
    def exact_state(self) -> Moments:
        """The moments with blocks multiplied in float64, read again from the rows where they are at hand."""
        if self.rows is None or self.state.work_eps < 1e-10:
            return self.state
        return moments_of(self.rows, self.processes, "float64", directions=False)

    @cached_property
    def _directional(self) -> Moments:
        """The moments of the directions, read from the rows where `state` was made without."""
        if self.state.directions:
            return self.state
        return moments_of(self.source, self.processes)

    @property
    def constant(self) -> bool:
        """Whether all rows are equal up to the rounding of their number format."""
        spread, size = np.trace(self.state.scatter) / self.n, float(self.state.mean @ self.state.mean)
        return bool(spread <= (0.5 * self.state.eps) ** 2 * size)

    def resolved(self, matrix: Callable[[Moments], np.ndarray], keep: int, *, vectors: bool) -> Spectrum:
        """Spectrum of a matrix of the state, from float64 blocks where float32 cannot resolve its end."""
        spectrum = spectrum_of(matrix(self.state), keep, vectors=vectors)
        if spectrum.values[-1] < 1e-6 * spectrum.values[0] and self.exact_state is not self.state:
            return spectrum_of(matrix(self.exact_state), keep, vectors=vectors)
        return spectrum

    @cached_property
    def spectrum(self) -> Spectrum:
        """The centred spectrum."""
        if self.constant:
            raise self._without_spread()
        return self.resolved(lambda state: state.covariance, min(self.n - 1, self.d), vectors=self.influences)

    @cached_property
    def uncentred_spectrum(self) -> Spectrum:
        """The spectrum of (1/N) Σ x xᵀ."""
        if not self.state.second_moment.any():
            raise NotApplicable("all rows are zero")
        return self.resolved(lambda state: state.second_moment, min(self.n, self.d), vectors=self.influences)

    @property
    def leading(self) -> int:
        """How many principal components the view all-but-top-k removes."""
        return max(1, round(self.d / 100))

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield (first row, rows in this view as float64, whether each has a direction); blocks stay in cache."""
        for start, block in self.source.blocks(size or max(256, 2**18 // self.d)):
            yield start, block.double(), block.abs().amax(1) > 0

    def lengths(self) -> np.ndarray:
        """Length of each row of the share in this view, float64."""
        return np.concatenate([torch.linalg.vector_norm(x, dim=1).cpu().numpy() for _, x, _ in self.blocks()])

    def along(self, directions: torch.Tensor) -> np.ndarray:
        """Coordinates of the share's rows along a direction (d,), or several (d, m): float64 (n,) or (n, m)."""
        return np.concatenate([(block @ directions.to(block.device)).cpu().numpy() for _, block, _ in self.blocks()])

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Given rows in this view as float64."""
        return self.source.take(rows).double()

    @property
    def vectors(self) -> np.ndarray:
        """All rows in this view, float64 of shape (n, d); of several processes each gets all of them."""
        refuse_beyond_memory(8 * self.n * self.d, f"All {self.n:,} rows at once", "Read them by `blocks`.")
        return self.take(np.arange(self.n)).cpu().numpy()

    @cached_property
    def pilot(self) -> torch.Tensor:
        """A point near the mean direction; directions are given relative to it, to keep the digits of near ones."""
        found = (unit_rows(block[has]).mean(0) for _, block, has in self.blocks() if has.any())
        for pilot in self.processes.exchange(next(found, None)):
            if pilot is not None:
                return pilot
        raise NotApplicable("no row has a direction: all are zero or equal the mean")

    def paired(self, pairs: np.ndarray) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
        """Which pairs of rows, int64 (m, 2), have two directions, bool (m,), and both directions of those."""
        a, b = self.take(pairs[:, 0]), self.take(pairs[:, 1])
        both = (a.abs().amax(1) > 0) & (b.abs().amax(1) > 0)
        return both.cpu().numpy(), unit_rows(a[both]), unit_rows(b[both])

    def directed(self, size: int | None = None) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
        """Yield (row numbers, x in this view, z = x/‖x‖) as float64, leaving out rows without a direction."""
        for start, block, has_direction in self.blocks(size):
            kept = torch.nonzero(has_direction).flatten()
            if len(kept):
                block = block if len(kept) == len(block) else block[kept]
                yield kept.cpu().numpy() + start, block, unit_rows(block)

    def directions(self, size: int | None = None) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield (row numbers, w = z − pilot) as float64, leaving out rows without a direction."""
        pilot = self.pilot
        for rows, _, z in self.directed(size):
            yield rows, z.sub_(pilot)

    @cached_property
    def sphere(self) -> tuple[np.ndarray, torch.Tensor]:
        """All directions of the share at once: row numbers and w of shape (n_directions, d) in the work precision."""
        low, high = self.source.share
        rows, n = np.empty(high - low, np.int64), 0
        w = torch.empty(high - low, self.d, dtype=self.source.work, device=self.pilot.device)
        for found, part in self.directions():
            rows[n : n + len(found)], w[n : n + len(found)] = found, part
            n += len(found)
        return rows[:n], w[:n]

    @cached_property
    def direction_sums(self) -> tuple[int, np.ndarray, float]:
        """How many rows have a direction, the mean direction z̄, and Σ‖z − z̄‖²."""
        state = self._directional
        return state.n_directions, state.sphere_mean, float(np.trace(state.sphere_scatter))

    @cached_property
    def direction_second_moment(self) -> np.ndarray:
        """(1/n) Σ z zᵀ, float64 of shape (d, d)."""
        n, mean, _ = self.direction_sums
        if not n:
            raise NotApplicable("no row has a direction: all are zero or equal the mean")
        return self._directional.sphere_scatter / n + np.outer(mean, mean)

    @cached_property
    def direction_spectrum(self) -> Spectrum:
        """The spectrum of (1/n) Σ z zᵀ."""
        keep = min(self.direction_sums[0], self.d)
        return spectrum_of(self.direction_second_moment, keep, vectors=self.influences)

    @property
    def distance_mean(self) -> float:
        """Mean over pairs of ‖z_i − z_j‖² = 2(1 − mean cosine)."""
        return 2 * self.direction_sums[2] / (self.paired_directions() - 1)

    @property
    def cosine_mean(self) -> float:
        """Mean over pairs of the cosine, from the form that keeps its digits: near 0 or near 1."""
        n, mean, _ = self.direction_sums
        square = float(mean @ mean)
        return (n * square - 1) / (n - 1) if square < 0.5 and n > 1 else 1 - self.distance_mean / 2

    @property
    def cosine_square_mean(self) -> float:
        """Mean over pairs of the squared cosine."""
        n = self.paired_directions()
        return (n * float((self.direction_second_moment**2).sum()) - 1) / (n - 1)

    def _without_spread(self) -> NotApplicable:
        if self.n == 2:
            return TooFewRows("2 rows that are equal; at least 2 different rows are needed")
        return NotApplicable("all rows are equal up to rounding, so there is no spread")

    def _require_near_and_far(self) -> None:
        """Raise NotApplicable where no row is nearer than another, so that rounding would choose the neighbours."""

    def paired_directions(self) -> int:
        """How many rows have a direction, where at least two have."""
        if (n := self.direction_sums[0]) < 2:
            raise NotApplicable(f"{n} of {self.n} rows have a direction; pairs need two")
        return n

    @property
    def reads_all_pairs(self) -> bool:
        """Whether pair metrics read all pairs, or a seeded sample of them."""
        return self.exact or self.n <= EXACT_ROWS

    def kernel(self, t: float, *, turning: bool = False) -> KernelMeans:
        """Sums of exp(−t‖z_i − z_j‖²) over all pairs; with weights 1/length for directions that turn.

        In the centred view they turn, for each row moves the centre.
        """
        if t not in self._kernels or (turning and self._kernels[t].weighted is None):
            self.paired_directions()
            turning = turning or (self.influences and self.name == "centred")
            weights = self.inverse_lengths.to(self.sphere[1].dtype) if turning else None
            self._kernels[t] = kernel_means(self.sphere[1], t, self.distance_mean, weights)
        return self._kernels[t]

    @cached_property
    def inverse_lengths(self) -> torch.Tensor:
        """1/‖x‖ of the rows that have a direction, float64 (n_directions,)."""
        return torch.cat([1 / torch.linalg.vector_norm(x[has], dim=1) for _, x, has in self.blocks()])

    def kernel_log_mean(self, t: float) -> tuple[float, Sampled | None]:
        """Log mean over pairs of exp(−t‖z_i − z_j‖²), and how it was sampled (None: all pairs were read)."""
        if not self.reads_all_pairs:
            sampled = self._sampled_kernel(t)
            return float(np.log(sampled.mean)), sampled
        if self.processes.world > 1:
            return kernel_log_mean(self.sphere[1], t, self.distance_mean, self.processes), None
        return self.kernel(t).log_mean, None

    def sampled_cosines(self) -> np.ndarray:
        """Cosines of seeded random pairs of different rows, leaving out rows without a direction."""
        rng = np.random.default_rng(self.seed)
        first = rng.integers(0, self.n, SAMPLED_PAIRS)
        second = (first + rng.integers(1, self.n, SAMPLED_PAIRS)) % self.n
        # near rows lie near on the disk
        pairs = np.column_stack([first, second])[np.argsort(first, kind="stable")]
        step = max(1, 2**19 // self.d)
        low, high = self.processes.share(SAMPLED_PAIRS)
        blocks = (self.paired(pairs[start : min(start + step, high)]) for start in range(low, high, step))
        cosines = np.concatenate([(a * b).sum(1).cpu().numpy() for _, a, b in blocks])
        return np.concatenate(self.processes.exchange(cosines))

    def _sampled_kernel(self, t: float) -> Sampled:
        self.paired_directions()
        cosine = self.sampled_cosines()
        controls = np.column_stack([cosine, cosine**2])
        means = np.array([self.cosine_mean, self.cosine_square_mean])
        return control_variates(np.exp(-2 * t * (1 - cosine)), controls, means)

    @cached_property
    def log_partition(self) -> np.ndarray:
        """log Σ_i exp(±v_k·x_i) over the uncentred eigenvectors v_k, float64 of shape (2d,): all of +, then all of −.

        Multiplied and summed over a block in the precision of the rows, over blocks in float64.
        """
        work = self.source.work
        # one choice of signs for all processes
        vectors = torch.from_numpy(self.processes.broadcast(self.uncentred_spectrum.vectors)).to(work)
        total = np.full(2 * self.d, -np.inf)
        with full_precision():
            for _, block, _ in self.blocks():
                products = block.to(work) @ vectors.to(block.device)
                part = torch.cat([products.logsumexp(0), products.neg_().logsumexp(0)])
                total = np.logaddexp(total, part.double().cpu().numpy())
        return self.processes.reduce(total, np.logaddexp)

    def sampled_rows(self) -> np.ndarray | None:
        """Rows that neighbour metrics read: None for all, else a seeded sample of EXACT_ROWS."""
        if self.reads_all_pairs:
            return None
        return np.sort(np.random.default_rng(self.seed).choice(self.n, EXACT_ROWS, replace=False))

    def neighbours(self, k: int) -> torch.Tensor:
        """Row numbers of the k nearest directions of each direction, nearest first, shape (rows, k)."""
        self._require_near_and_far()
        sample = self.sampled_rows()
        if sample is None:
            w = self._gathered(self.sphere[1])
        else:
            x = self.take(sample)
            w = unit_rows(x[x.abs().amax(1) > 0]) - self.pilot
        if len(w) <= k:
            raise undefined(self.n, k + 1, f"{len(w)} rows with a direction; {k} neighbours of each need more")
        return self._gathered(nearest(w, k, self.processes.share(len(w)))[1])

    def _gathered(self, part: torch.Tensor) -> torch.Tensor:
        """Rows of all processes, one below the other."""
        return part if self.processes.world == 1 else torch.cat(self.processes.exchange(part))

    def point_neighbours(self, k: int) -> PointNeighbours:
        """K nearest different rows (Euclidean) of each row, duplicated rows dropped.

        In units that make the largest coordinate 1, for estimates that do not depend on scale.
        """
        if k in self._point_neighbours:
            return self._point_neighbours[k]
        self._require_near_and_far()
        sample = self.sampled_rows()
        x = self._gathered(torch.cat([block for _, block, _ in self.blocks()])) if sample is None else self.take(sample)
        x = x - x[0]
        largest = float(x.abs().max())
        x = (x / largest if largest > 0 else x).to(self.source.work)
        kept = np.sort(np.unique(row_hashes(x), return_index=True)[1])
        if len(kept) <= k + 1:
            raise undefined(self.n, k + 2, f"{len(kept)} different rows; {k} neighbours of each need more")
        points = x[torch.from_numpy(kept).to(x.device)]
        nearby = nearest(points, k, self.processes.share(len(kept)))
        squared, near = (self._gathered(part).cpu().numpy() for part in nearby)
        apart = squared[:, 0] > 0
        numbers = kept if sample is None else sample[kept]
        dropped = len(x) - int(apart.sum())
        found = PointNeighbours(numbers[apart], np.sqrt(squared[apart]), numbers[near[apart]], dropped)
        self._point_neighbours[k] = found
        return found

    def alone(self) -> Embeddings:
        """These embeddings as one process has them that reads all rows."""
        rows = None if self.rows is None else VectorSource(self.rows.source, self.rows.progress)
        return Embeddings(self.state, rows, self.labels, self.positives, self.seed, self.exact)
