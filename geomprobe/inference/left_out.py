"""How sums over the eigenvalues change once rows are left out, exactly, and what that says of the variance.

Without the rows of a unit (a row, or a cluster of them) a function f of the eigenvalues becomes f_(a), without those of
two units f_(ab). From these, (N − s_a)/N·(f − f_(a)) is the contribution of a unit of s_a rows, and

    Q_ab = N·f − (N − s_a)·f_(a) − (N − s_b)·f_(b) + (N − s_a − s_b)·f_(ab)

what two of them do together: terms of single units cancel in it (Efron & Stein 1981, "The jackknife estimate of
variance", Annals of Statistics 9, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

PAIRS = 512
"""Pairs of units that are left out together."""
LEADING = 12
"""Leading eigenvalues that are followed one by one to find how the first moves; the others enter to second order."""
NUMBERS = 2**23
"""Numbers of one batch."""
WHOLE = 8
"""Dimensions for each row of a set beyond which it is left out by a decomposition of its own."""
WORK = 2**17
"""Most squared rows of all pairs together: large clusters have fewer pairs, at least LEAST_PAIRS of them."""
LEAST_PAIRS = 64


class EigenvalueSums:
    """Σσ, Σσ log σ, Σλ, Σλ log λ, Σλ² and λ_1 of a matrix M = Σ xxᵀ/N, σ = √λ, in units that make λ_1 = 1.

    Without the rows Y of a set, M loses YᵀKY with K = (I + 11ᵀ/(N − s))/N where the centre moves along, else K = I/N.
    With D(t) = log det(M − YᵀKY + t) − log det(M + t) = log det(I − K^½ Y (M + t)⁻¹ Yᵀ K^½) the sums change by

    Σσ: ∫ D t^(−1/2) dt/2π; Σσ log σ: the same + ∫ D t^(−1/2) log t dt/4π; Σλ log λ: ∫ (tr(YᵀKY)·(−1/(1 + t)) − D) dt
    plus the change of Σλ, −tr(YᵀKY), for λ^a = a·sin(πa)/π·∫ t^(a−1) log(1 + λ/t) dt. In s = log t the integrands are
    analytic within ±π of the line, so that the trapezoidal rule with step 1 has an error of about exp(−2π²). Sets of
    many rows are left out by a decomposition of what remains.

    Parameters
    ----------
    values : float64 ndarray of shape (r,)
        Eigenvalues, descending, the first above 0.
    n : int
        Rows.
    moving : bool
        Whether the centre is the mean of the rows, and moves once some are left out.
    """

    def __init__(self, values: np.ndarray, n: int, moving: bool):
        self.positive = int((values > 0).sum())  # they come first
        self.n, self.moving, self.first = n, moving, float(values[0])
        scaled = values[: self.positive] / self.first
        s = np.arange(np.log(scaled[-1]) - 40, 41)
        t = np.exp(s)
        self.values = torch.from_numpy(scaled)
        self.resolvent = torch.from_numpy(1 / (scaled[:, None] + t))
        self.rule = torch.from_numpy(np.column_stack([np.sqrt(t) / (2 * np.pi), s * np.sqrt(t) / (4 * np.pi), t]))
        self.trace = 1 + float((t / (1 + t)).sum())
        self.sums = _sums(self.values).numpy()

    def changes(self, sets: torch.Tensor) -> np.ndarray:
        """Changes of the six sums without each of g sets of s rows, float64 (g, 6).

        Parameters
        ----------
        sets : float64 tensor of shape (g, s, r)
            Coordinates of the rows along the eigenvectors, from the centre.
        """
        size = self._batch(sets.shape[1])
        return np.concatenate([self._changes(part).cpu().numpy() for part in sets.split(size)])

    def _batch(self, s: int) -> int:
        wide = self.positive**2 if self._whole(s) else s * (s + 1) // 2 * self.positive + len(self.rule) * s**2
        return max(1, NUMBERS // wide)

    def _whole(self, s: int) -> bool:
        """Whether a decomposition of what is left costs less than the rule."""
        return s > max(self.positive / WHOLE, 2)

    def _changes(self, sets: torch.Tensor) -> torch.Tensor:
        s = sets.shape[1]
        device = sets.device
        if s >= self.n:  # nothing is left
            return torch.full((len(sets), len(self.sums)), torch.nan, dtype=torch.float64)
        values, resolvent, rule = (each.to(device) for each in (self.values, self.resolvent, self.rule))
        y = sets[..., : self.positive] / np.sqrt(self.n * self.first)
        if self.moving:  # times K^½, whose own direction is that of the sum
            y = y + y.sum(1, keepdim=True) * ((np.sqrt(self.n / (self.n - s)) - 1) / s)
        if self._whole(s):
            left = torch.linalg.eigvalsh(torch.diag(values) - y.mT @ y).flip(1).clamp_min(0)
            return _sums(left) - torch.from_numpy(self.sums).to(device)
        square = y.square()
        root, log, plain = (self._log_determinants(y, resolvent) @ rule).T
        trace = -square.sum((1, 2))
        own = (y @ y.mT).square().sum((1, 2)) if s > 1 else trace.square()
        squares = own - 2 * (square @ values).sum(1)
        sums = [root, root + log, trace, trace * self.trace - plain, squares, self._first(y, values)]
        return torch.stack(sums, 1)

    def _log_determinants(self, y: torch.Tensor, resolvent: torch.Tensor) -> torch.Tensor:
        """D at each t, (g, T)."""
        s = y.shape[1]
        i, j = torch.triu_indices(s, s)
        products = (y[:, i] * y[:, j]) @ resolvent
        if s == 1:
            return torch.log1p(products[:, 0].clamp_(max=1 - 1e-15).neg_())
        if s == 2:
            a, b, c = products.unbind(1)
            near, determinant = a * c - b * b - a - c, (1 - a) * (1 - c) - b * b
            return torch.where(near > -0.5, torch.log1p(near), determinant.clamp_(min=1e-30).log())
        left = torch.empty(len(y), products.shape[2], s, s, dtype=y.dtype, device=y.device)
        left[:, :, i, j] = left[:, :, j, i] = -products.mT
        trace, square = -left.diagonal(dim1=2, dim2=3).sum(-1), left.square().sum((2, 3))
        left.diagonal(dim1=2, dim2=3).add_(1)
        # where it is near 0 a determinant near 1 has too few digits
        return torch.where(trace < 1e-5, -trace - square / 2, torch.linalg.slogdet(left).logabsdet)

    def _first(self, y: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Change of λ_1: of the leading block, to which the others are eliminated at λ_1."""
        m = min(LEADING, self.positive)
        lead, rest = y[..., :m], y[..., m:]
        weight = 1 / (1 - values[m:]).clamp_min(1e-6)
        middle = torch.linalg.inv((rest * weight) @ rest.mT + torch.eye(y.shape[1], dtype=y.dtype, device=y.device))
        block = torch.diag(values[:m]) - lead.mT @ middle @ lead
        return torch.linalg.eigvalsh(block)[:, -1] - 1


def _sums(values: torch.Tensor) -> torch.Tensor:
    """The six sums of eigenvalues (…, r), the first the largest."""
    sigma = values.sqrt()
    log = torch.where(values > 0, values, 1.0).log()
    found = [sigma.sum(-1), (sigma * log).sum(-1) / 2, values.sum(-1), (values * log).sum(-1)]
    return torch.stack([*found, values.square().sum(-1), values[..., 0]], -1)


Coordinates = Callable[[np.ndarray], torch.Tensor]
"""From numbers of rows (k,) to their coordinates along the eigenvectors, (k, r)."""


def unit_changes(sums: EigenvalueSums, coordinates: Coordinates, units: list[np.ndarray]) -> np.ndarray:
    """Changes of the sums without each unit, float64 (G, 6); each is the numbers of its rows."""
    out = np.empty((len(units), len(sums.sums)))
    for places, rows in of_like_size(units):
        for part in np.array_split(np.arange(len(places)), -(-rows.size // (NUMBERS // max(sums.positive, 1)))):
            found = coordinates(rows[part].ravel())
            out[places[part]] = sums.changes(found.reshape(len(part), rows.shape[1], -1))
    return out


def members_of(clusters: np.ndarray) -> list[np.ndarray]:
    """Numbers of the rows of each cluster, ascending; clusters int64 (n,), numbered from 0."""
    return np.split(np.argsort(clusters, kind="stable"), np.cumsum(np.bincount(clusters))[:-1])


def of_like_size(units: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (numbers of the units, their rows) of all units of each size."""
    sizes = np.array([len(unit) for unit in units])
    for size in np.unique(sizes):
        places = np.flatnonzero(sizes == size)
        yield places, np.stack([units[place] for place in places])


def drawn_pairs(sizes: np.ndarray, seed: int) -> np.ndarray:
    """Seeded pairs of different units, int64 (m, 2): the same for all encoders of the same rows.

    Parameters
    ----------
    sizes : int64 ndarray of shape (G,)
        Rows of each unit; three or more units.
    """
    rng, count = np.random.default_rng(seed), len(sizes)
    first = rng.integers(0, count, PAIRS)
    second = (first + rng.integers(1, count, PAIRS)) % count
    work = np.cumsum((sizes[first] + sizes[second]) ** 2)
    kept = max(LEAST_PAIRS, int(np.searchsorted(work, WORK)))
    return np.column_stack([first, second])[:kept]
