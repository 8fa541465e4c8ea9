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
from geomprobe.inference.left_out import EigenvalueSums, drawn_pairs, members_of, unit_changes
from geomprobe.metrics import dimension
from geomprobe.metrics.eigenvalues import Spectrum, spectrum_of
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.spectrum_derivatives import OfSpectrum, perplexity
from geomprobe.vectors import full_precision, unit_rows


@dataclass(frozen=True)
class Moved:
    """A function of eigenvalues and how rows move it.

    Attributes
    ----------
    rows : float64 ndarray of shape (n,)
        Influence of each row to first order.
    values, slope : float64 ndarray of shape (r,)
        Eigenvalues λ and ∂f/∂λ.
    units : float64 ndarray of shape (G,) or None
        Contribution of each cluster, from leaving it out; None where only the slope is known.
    together : float64 ndarray of shape (m,) or None
        What seeded pairs of clusters add to these, with a mean square that is the variance of the second-order term.
    """

    rows: np.ndarray
    values: np.ndarray
    slope: np.ndarray
    units: np.ndarray | None = None
    together: np.ndarray | None = None

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
        return float(((ratio * values[:, None] * values[None, :]) ** 2).sum()) / n**2


def moved(
    embeddings: Embeddings, which: str, functions: Mapping[str, OfSpectrum], clusters: np.ndarray
) -> dict[str, Moved]:
    """Functions of a spectrum and how rows move them: by their slope, and by leaving clusters out where that is exact.

    The slope gives row i the influence Σ_k g_k·((v_k·(x_i − centre))² − λ_k). All is float64, the
    decomposition too: where the rows are fewer than the dimensions, a row is all that holds one of them, and what pairs
    add is a small difference.

    Parameters
    ----------
    embeddings : Embeddings
        In the raw or the centred view.
    which : {"centred", "uncentred", "directions"}
        The spectrum, of the covariance around its centre.
    functions : mapping of name to function of the eigenvalues
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.
    """
    spectrum, centre, moving = _spectrum(embeddings, which)
    values, kept, d, n = spectrum.values, len(spectrum.values), embeddings.d, embeddings.n
    slopes = {name: slope for name, function in functions.items() if (slope := function.slope(values, d)) is not None}
    weights = torch.from_numpy(np.column_stack(list(slopes.values())))
    mean, single = torch.from_numpy(centre), int(clusters.max()) + 1 == n

    def from_centre(x: torch.Tensor) -> torch.Tensor:
        return (unit_rows(x) if which == "directions" else x) - mean.to(x.device)

    if embeddings.source.work != torch.float64:
        with full_precision():
            products = np.zeros((d, d))
            for _, block, _ in embeddings.blocks():
                y = from_centre(block)
                products += (y.T @ y).cpu().numpy()
        spectrum = spectrum_of(products / n, kept, vectors=True)
    vectors = torch.from_numpy(spectrum.vectors[:, :kept].copy())
    sums = EigenvalueSums(spectrum.values, n, moving)

    def along(x: torch.Tensor) -> torch.Tensor:
        return from_centre(x) @ vectors.to(x.device)

    parts, changes = [], []
    with full_precision():
        for _, block, _ in embeddings.blocks():
            coordinates = along(block)
            parts.append((coordinates.square() @ weights.to(coordinates.device)).cpu().numpy())
            if single:
                changes.append(sums.changes(coordinates[:, None]))
        rows = np.concatenate(parts) - values @ weights.numpy()
        units = members_of(clusters)
        if single:
            change = np.empty((n, len(sums.sums)))
            change[clusters] = np.concatenate(changes)
        else:
            change = unit_changes(sums, lambda kept: along(embeddings.take(kept)), units)
        sizes = np.array([len(unit) for unit in units])
        pairs = drawn_pairs(sizes, embeddings.seed) if len(units) > 2 else np.zeros((0, 2), np.int64)
        both = [np.concatenate([units[a], units[b]]) for a, b in pairs]
        change_of_both = unit_changes(sums, lambda kept: along(embeddings.take(kept)), both)
    found = {}
    for i, (name, slope) in enumerate(slopes.items()):
        contributions, together = None, None
        if (function := functions[name].left_out) is not None:
            with np.errstate(divide="ignore", invalid="ignore"):  # of two rows, nothing is left without one: NaN
                whole, one, two = (
                    function((sums.sums + each).T, kept, d) for each in (np.zeros((1, 6)), change, change_of_both)
                )
                contributions, together = contributions_of(float(whole[0]), one, two, sizes, pairs)
            if sums.positive == 1:  # no function of one eigenvalue's share moves
                contributions, together = np.zeros(len(sizes)), together[:0]
        found[name] = Moved(rows[:, i], values, slope, contributions, together)
    return found


def contributions_of(
    whole: float, one: np.ndarray, two: np.ndarray, sizes: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Contributions of units, Σ 0, and what pairs of them add, from the values without one of them and without two."""
    n, g = sizes.sum(), len(sizes)
    contributions = (n - sizes) / n * (whole - one)
    contributions = contributions - sizes / n * contributions.sum()  # a smaller sample's bias is no unit's
    a, b = pairs.T
    together = n * whole - (n - sizes[a]) * one[a] - (n - sizes[b]) * one[b] + (n - sizes[a] - sizes[b]) * two
    together = together[np.isfinite(together)]  # without two of them nothing may be left
    return contributions, (together - together.mean() if len(together) else together) * np.sqrt(g * (g - 1) / 2) / n


def _spectrum(embeddings: Embeddings, which: str) -> tuple[Spectrum, np.ndarray, bool]:
    """A spectrum, its centre (in this view), and whether this is the mean of the rows, which moves with them."""
    raw, origin = embeddings.name == "raw", np.zeros(embeddings.d)
    if which == "centred":
        return embeddings.spectrum, embeddings.state.mean if raw else origin, True
    if which == "uncentred":
        return embeddings.uncentred_spectrum, origin, not raw
    return embeddings.direction_spectrum, origin, False


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
