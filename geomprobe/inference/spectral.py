"""Influence functions of spectral metrics: how far each row moves a function of the eigenvalues, by one projection.

Giving row i a little more weight moves the k-th eigenvalue of the covariance by (v_k·(x_i − x̄))² − λ_k, so every smooth
function f(λ) moves by Σ_k g_k·((v_k·(x_i − x̄))² − λ_k) with g = ∂f/∂λ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.special
import torch

import geomprobe.inference.jackknife as jackknife
from geomprobe.metrics import dimension
from geomprobe.metrics.eigenvalues import Spectrum
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.spectrum_derivatives import OfSpectrum, perplexity
from geomprobe.vectors import full_precision, unit_rows


@dataclass(frozen=True)
class Linearised:
    """A function of eigenvalues and how rows move it.

    Attributes
    ----------
    rows : float64 ndarray of shape (n,)
        Influence of each row.
    values, slope : float64 ndarray of shape (r,)
        Eigenvalues λ and ∂f/∂λ.
    gain : float
        Variance of `rows` over that of the influences to first order.
    """

    rows: np.ndarray
    values: np.ndarray
    slope: np.ndarray
    gain: float = 1.0

    def curvature_variance(self, n: int) -> float:
        """Variance of the second-order term that comes from the rotation of eigenvectors, for n rows.

        D²f[E, E] = Σ_(k≠l) Γ_kl·E_kl² with Γ_kl = (g_k − g_l)/(λ_k − λ_l) (Daleckii & Krein 1965), and for independent
        rows the variance of half of it is about Σ_(k≠l) Γ_kl²·λ_k²·λ_l²/n².
        """
        kept = self.values > 1e-12 * self.values[0]
        values, slope = self.values[kept], self.slope[kept]
        gap = values[:, None] - values[None, :]
        apart = np.abs(gap) > 1e-9 * values[0]
        ratio = np.where(apart, (slope[:, None] - slope[None, :]) / np.where(apart, gap, 1.0), 0.0)
        return self.gain * float(((ratio * values[:, None] * values[None, :]) ** 2).sum()) / n**2


def linearise(embeddings: Embeddings, which: str, functions: Mapping[str, OfSpectrum]) -> dict[str, Linearised]:
    """Functions of a spectrum with the influence of each row: Σ_k g_k·((v_k·(x_i − centre))² − λ_k).

    For entropies it is (N − 1)·(f − f without row i), exactly, where that has the larger variance. Rows are multiplied
    in their own precision where it resolves all eigenvalues, else in float64.

    Parameters
    ----------
    embeddings : Embeddings
        In the raw or the centred view.
    which : {"centred", "uncentred", "directions"}
        The spectrum, of the covariance around its centre.
    functions : mapping of name to function of the eigenvalues
    """
    spectrum, centre, share = _spectrum(embeddings, which)
    values, kept, d = spectrum.values, len(spectrum.values), embeddings.d
    slopes = {name: slope for name, function in functions.items() if (slope := function.slope(values, d)) is not None}
    weights = torch.from_numpy(np.column_stack(list(slopes.values())))
    work = embeddings.source.work if values[-1] > 1e-6 * values[0] else torch.float64
    vectors, mean = torch.from_numpy(spectrum.vectors[:, :kept]).to(work), torch.from_numpy(centre)
    changes = _TraceChanges(values, share)
    parts, moved = [], []
    with full_precision():
        for _, block, has in embeddings.blocks():
            x = unit_rows(block[has]) if which == "directions" else block
            coordinates = (x - mean.to(x.device)).to(work) @ vectors.to(x.device)
            square = coordinates.double().square()
            parts.append((square @ weights.to(x.device)).cpu().numpy())
            moved.append(changes(square).cpu().numpy())
    rows = np.concatenate(parts) - values @ weights.numpy()
    change, found = np.concatenate(moved).T, {}
    for i, (name, slope) in enumerate(slopes.items()):
        influence, gain = rows[:, i], 1.0
        if (entropy := functions[name].left_out) is not None:
            whole = changes.sums[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):  # of two rows, nothing is left without one: NaN
                left = (len(rows) - 1) * (entropy(whole, kept) - entropy(whole + change, kept))
            influence, gain = wider(influence, left - left.mean())
        found[name] = Linearised(influence, values, slope, gain)
    return found


def _spectrum(embeddings: Embeddings, which: str) -> tuple[Spectrum, np.ndarray, float]:
    """A spectrum, its centre (in this view), and b in M − b·xxᵀ.

    To this the matrix M of the spectrum is proportional once row x is left out.
    """
    n, raw, origin = embeddings.n, embeddings.name == "raw", np.zeros(embeddings.d)
    if which == "centred":
        return embeddings.spectrum, embeddings.state.mean if raw else origin, 1 / (n - 1)
    if which == "uncentred":
        return embeddings.uncentred_spectrum, origin, 1 / (n if raw else n - 1)
    return embeddings.direction_spectrum, origin, 1 / embeddings.direction_sums[0]


def wider(slope: np.ndarray, left_out: np.ndarray) -> tuple[np.ndarray, float]:
    """Influences with the larger variance, and its ratio to that of `slope`.

    To first order a row that makes most of a small eigenvalue counts too little; left out, a row that lies far off
    counts too little. The larger error of the two is near the truth in both cases.
    """
    first, second = float(np.var(slope)), float(np.var(left_out))
    return (left_out, second / first) if second > first > 0 else (slope, 1.0)


class _TraceChanges:
    """How Σσ, Σσ log σ, Σλ and Σλ log λ change from M to M − b·xxᵀ, σ = √λ, in units that make λ_1 = 1.

    With D(t) = log det(M − b·xxᵀ + t) − log det(M + t) = log(1 − b·Σ_k (v_k·x)²/(λ_k + t)), the sums change by

    Σσ: ∫ D t^(−1/2) dt/2π; Σσ log σ: the same + ∫ D t^(−1/2) log t dt/4π; Σλ log λ: ∫ (b‖x‖²·(−1/(1 + t)) − D) dt
    plus the change of Σλ, −b‖x‖², for λ^a = a·sin(πa)/π·∫ t^(a−1) log(1 + λ/t) dt. In s = log t the integrands are
    analytic within ±π of the line, so that the trapezoidal rule with step 1 has an error of about exp(−2π²).
    """

    def __init__(self, values: np.ndarray, share: float):
        self.positive = int((values > 0).sum())  # they come first
        self.scale = share / float(values[0])
        scaled = values[: self.positive] / float(values[0])
        s = np.arange(np.log(scaled[-1]) - 20, 21)
        t = np.exp(s)
        self.resolvent = torch.from_numpy(1 / (scaled[:, None] + t))
        self.rule = torch.from_numpy(np.column_stack([np.sqrt(t) / (2 * np.pi), s * np.sqrt(t) / (4 * np.pi), t]))
        self.trace = 1 + float((t / (1 + t)).sum())
        sigma, logs = np.sqrt(scaled), np.log(scaled)
        self.sums = np.array([sigma.sum(), (sigma * logs).sum() / 2, scaled.sum(), (scaled * logs).sum()])

    def __call__(self, square: torch.Tensor) -> torch.Tensor:
        """Changes of the four sums, float64 (rows, 4), from the squared coordinates (rows, r)."""
        part = square[:, : self.positive]
        lost = (part @ self.resolvent.to(part.device)).mul_(self.scale).clamp_(max=1 - 1e-15)
        root, logs, plain = (torch.log1p(lost.neg_()) @ self.rule.to(part.device)).T
        trace = part.sum(1) * -self.scale
        return torch.stack([root, root + logs, trace, trace * self.trace - plain], 1)


def lidar(embeddings: Embeddings, objects: tuple[np.ndarray, ...], clusters: np.ndarray) -> np.ndarray:
    """Influence of each row on LiDAR, float64 (n,), from its objects as `lidar_objects` returns them.

    With B v_k = λ_k W v_k and v_k·W v_k = 1, object i moves λ_k by (v_k·o_i)² − λ_k·(mean square of v_k·(its views less
    their mean)), o_i its mean less that of all, both less their mean over objects; the I in W stands still. The
    influences of objects whose rows share a cluster, by a chain, lie on the first row of them all.
    """
    rows, member, outside, inside = objects
    between, within = dimension.scatters(member, outside, inside)
    values, vectors = scipy.linalg.eigh(between, within + dimension.LIDAR_DELTA * np.eye(embeddings.d))
    values = np.maximum(values, 0)
    slope = perplexity(values / values.sum(), dimension.LIDAR_EPSILON) / values.sum()
    spread = np.bincount(member, (inside @ vectors) ** 2 @ (slope * values)) / np.bincount(member)
    moved = (outside @ vectors) ** 2 @ slope - spread
    first = rows[np.unique(member, return_index=True)[1]]
    linked = np.column_stack([first[member], rows])
    return jackknife.on_first_rows(moved - moved.mean(), first, linked, clusters) * (embeddings.n / len(moved))


def partition_isotropy(embeddings: Embeddings) -> tuple[np.ndarray, bool]:
    """Influence of each row on min Z(c)/max Z(c), the rotation of the eigenvectors c included.

    With softmax weights s_i ∝ exp(c·x_i): log Z(c) moves by n·s_i − 1 directly, and through c by
    Σ_l (γ·v_l)(c·x_i)(v_l·x_i)/(λ_c − λ_l), with γ = Σ s_i x_i. The second value says whether another direction is
    within two standard errors of an extreme one: then which of them is extreme changes, and the interval is too wide.
    """
    spectrum, logs, n, d = embeddings.uncentred_spectrum, embeddings.log_partition, embeddings.n, embeddings.d
    vectors, values = spectrum.vectors, np.zeros(d)
    values[: len(spectrum.values)] = spectrum.values
    # only the extreme directions and the next to them are projected on, so that no step costs N·D²
    places = logs.argsort()[[0, 1, -2, -1]]
    k, sign = places % d, np.where(places < d, 1, -1)
    exponents = sign * embeddings.along(torch.from_numpy(np.ascontiguousarray(vectors[:, k])))
    exponents -= scipy.special.logsumexp(exponents, axis=0)
    weights, total = np.exp(exponents), np.zeros((d, 4))
    for start, block, _ in embeddings.blocks():
        total += block.cpu().numpy().T @ weights[start : start + len(block)]
    pull = vectors.T @ total  # γ·v_l for all l
    gap = values[k] - values[:, None]
    rotation = np.where(np.abs(gap) > 1e-9 * values[0], pull / np.where(gap == 0, 1, gap), 0.0)
    rotation[k, range(4)] = 0.0
    along = embeddings.along(torch.from_numpy(np.column_stack([vectors[:, k], vectors @ rotation])))
    moved = n * weights - 1 + sign * along[:, :4] * along[:, 4:]
    errors = [float(np.std(moved[:, best] - moved[:, next_])) / np.sqrt(n) for best, next_ in ((0, 1), (3, 2))]
    gaps = logs[places[1]] - logs[places[0]], logs[places[3]] - logs[places[2]]
    tied = any(gap < 2 * error for gap, error in zip(gaps, errors, strict=True))
    return float(np.exp(logs.min() - logs.max())) * (moved[:, 0] - moved[:, 3]), tied
