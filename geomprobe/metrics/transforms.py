"""Views of embeddings: what is done to the vectors before they are measured."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from geomprobe.metrics.eigenvalues import Spectrum
from geomprobe.metrics.embeddings import Embeddings, added
from geomprobe.metrics.undefined import undefined
from geomprobe.vectors import block_rows, full_precision, gram
from geomprobe.vectors.moments import Moments

VIEWS = {
    "raw": "the vectors as they are",
    "centred": "the mean vector subtracted",
    "standardised": "each coordinate centred and divided by its standard deviation (1/N); constant ones stay zero",
    "all-but-top-k": "centred, and the k = max(1, round(D/100)) first components removed (Mu & Viswanath 2018)",
    "whitened": "centred, and multiplied by Σ^(−1/2) (ZCA), on the directions that have variance",
}


def transform(embeddings: Embeddings, name: str) -> Embeddings:
    """Raw embeddings in another view (see VIEWS)."""
    return embeddings if name == "raw" else Transformed(embeddings, name)


class Transformed(Embeddings):
    """Embeddings in a view other than raw, (x − mean)·A; the spectrum is taken from the raw one's."""

    def __init__(self, base: Embeddings, name: str):
        super().__init__(
            base.state, base.rows, base.labels, base.positives, base.seed, base.exact, base.influences, base.processes
        )
        self.base, self.name = base, name

    @cached_property
    def spectrum(self) -> Spectrum:
        if self.name == "centred":
            return self.base.spectrum
        if self.name == "standardised":
            if self.base.constant:
                raise self._without_spread()
            return self.base.resolved(self._correlation, min(self.n - 1, self.d), vectors=False)
        if self.name == "whitened":
            positive = self.base.spectrum.values > 0
            return Spectrum(positive.astype(np.float64), lambda: self.base.spectrum.vectors)
        self._require_rest()
        k = self.leading
        order = [*range(k, self.d), *range(k)]
        return Spectrum(self.base.spectrum.values[k:], lambda: self.base.spectrum.vectors[:, order])

    @property
    def uncentred_spectrum(self) -> Spectrum:
        return self.spectrum

    def _require_rest(self) -> None:
        if not (self.base.spectrum.values[self.leading :] > 0).any():
            needed = self.leading + 2 if self.d > self.leading else 0
            raise undefined(self.n, needed, f"nothing is left after removing {self.leading} principal components")

    def _require_near_and_far(self) -> None:
        if self.name == "whitened" and int(self.spectrum.values.sum()) == self.n - 1:
            reason = f"whitened, {self.n} rows of rank {self.n - 1} are all equally far apart"
            raise undefined(self.n, self.d + 2, reason)

    @cached_property
    def direction_sums(self) -> tuple[int, np.ndarray, float]:
        return self._direction_moments[:3] if not self.reads_all_pairs else self._sum_directions(False)[:3]

    @property
    def direction_second_moment(self) -> np.ndarray:
        return self._direction_moments[3]

    @cached_property
    def _direction_moments(self) -> tuple[int, np.ndarray, float, np.ndarray]:
        return self._sum_directions(True)

    def _sum_directions(self, products: bool) -> tuple[int, np.ndarray, float, np.ndarray]:
        """What `direction_sums` holds and, where products are wanted, (1/n) Σ z zᵀ, in one pass."""
        work = self.source.work
        total, square, n = torch.zeros(self.d, dtype=torch.float64), 0.0, 0
        moment = np.zeros((self.d, self.d) if products else (0, 0))
        with full_precision():
            for rows, w in self._directions():
                total, square, n = total + w.sum(0).cpu(), square + float((w * w).sum()), n + len(rows)
                if products:
                    moment += gram((w + self.pilot).to(work)).cpu().numpy()
        total, square, n, moment = self.processes.reduce((total, square, n, moment), added)
        mean = total / max(n, 1)
        spread = max(0.0, square - n * float(mean @ mean))
        return n, (self.pilot.cpu() + mean).numpy(), spread, moment / max(n, 1)

    def _directions(self) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield directions as `directions` does, from memory where all pairs are read anyway."""
        if not self.reads_all_pairs:
            yield from self.directions(block_rows(self.d) // 4)
            return
        rows, w = self.sphere
        size = block_rows(self.d)
        for start in range(0, len(rows), size):
            yield rows[start : start + size], w[start : start + size].double()

    def _correlation(self, state: Moments) -> np.ndarray:
        scale = self._inverse_deviation(state)
        return state.covariance * np.outer(scale, scale)

    def _inverse_deviation(self, state: Moments) -> np.ndarray:
        """1/standard deviation of each coordinate, 0 where it is constant up to rounding."""
        variance = np.diag(state.covariance)
        varies = variance > (0.5 * state.eps * state.mean) ** 2
        return np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0.0)

    @cached_property
    def _matrix(self) -> torch.Tensor | None:
        """A in (x − mean)·A: None for the identity, a vector for a diagonal."""
        if self.name == "centred":
            return None
        if self.name == "standardised":
            return torch.from_numpy(self._inverse_deviation(self.state))
        values, vectors = self.base.spectrum.values, self.base.spectrum.vectors
        if self.name == "whitened":
            positive = values > 0
            kept = vectors[:, : len(values)][:, positive]
            matrix = kept / np.sqrt(values[positive]) @ kept.T
        else:
            self._require_rest()
            top = vectors[:, : self.leading]
            matrix = np.eye(self.d) - top @ top.T
        return torch.from_numpy(self.processes.broadcast(matrix))

    def _apply(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float64 rows in this view, and whether each differs from the mean by more than rounding."""
        mean = torch.from_numpy(self.state.mean).to(x.device)
        y = x - mean
        floor = 0.5 * self.state.eps * float(np.linalg.norm(self.state.mean))
        off_mean = torch.linalg.vector_norm(y, dim=1) > floor
        if self._matrix is not None:
            matrix = self._matrix.to(x.device)
            y = y * matrix if matrix.ndim == 1 else y @ matrix
        # a row that fell to zero lost its direction; so did one that is a rounding error of what was removed
        y.masked_fill_(~off_mean[:, None], 0)
        return y, off_mean & (y.abs().amax(1) > 0)

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for start, block, _ in self.base.blocks(size):
            yield start, *self._apply(block)

    def take(self, rows: np.ndarray) -> torch.Tensor:
        return self._apply(self.base.take(rows))[0]
