"""Sums over all pairs of rows, in tiles: kernels, histograms and nearest neighbours without an N×N matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from geomprobe.vectors import TILE, full_precision


def tiles(w: torch.Tensor, square: torch.Tensor) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Yield (rows, columns, squared distances) over the tiles on and above the diagonal; each overwrites the last."""
    n = len(w)
    buffer = torch.empty(min(TILE, n) ** 2, dtype=w.dtype, device=w.device)
    with full_precision():
        for i in range(0, n, TILE):
            rows = slice(i, min(i + TILE, n))
            for j in range(i, n, TILE):
                columns = slice(j, min(j + TILE, n))
                shape = (rows.stop - i, columns.stop - j)
                tile = buffer[: shape[0] * shape[1]].view(shape)
                torch.mm(w[rows], w[columns].T, out=tile)
                tile.mul_(-2).add_(square[rows, None]).add_(square[None, columns])
                yield rows, columns, tile


class KernelMeans(NamedTuple):
    """Sums over pairs of k_ij = exp(−t‖w_i − w_j‖²).

    Attributes
    ----------
    log_mean : float
        Log of the mean over pairs i<j.
    row_means : float64 ndarray of shape (n,)
        h_i = mean over j≠i of k_ij.
    weighted, turned : float64 tensors of shape (n,), or None
        Σ_j weight_j·k_ij and Σ_j k_ij·(1 − ‖w_i − w_j‖²/2), over j≠i; None without weights.
    """

    log_mean: float
    row_means: np.ndarray
    weighted: torch.Tensor | None = None
    turned: torch.Tensor | None = None


def kernel_means(w: torch.Tensor, t: float, pilot_distance: float, weights: torch.Tensor | None = None) -> KernelMeans:
    """Sums over all pairs of k_ij = exp(−t‖w_i − w_j‖²), in one sweep.

    Parameters
    ----------
    w : tensor of shape (n, d)
        Points, shifted to lie around zero (distances do not change, their rounding does).
    t : float
    pilot_distance : float
        The mean squared distance; where t times it is small, the kernel is summed as k − 1 to keep its digits.
    weights : tensor of shape (n,), optional
        In the type of w; for the sums that the influences of rows need where the weights are 1/length.
    """
    n = len(w)
    square = torch.linalg.vector_norm(w, dim=1) ** 2
    near = t * pilot_distance < 0.1
    sums, weighted, bent = (torch.zeros(n, dtype=torch.float64, device=w.device) for _ in range(3))
    for rows, columns, tile in tiles(w, square):
        exponent = tile.mul_(-t)
        kernel = exponent if weights is None else exponent.clone()
        kernel = kernel.expm1_() if near else kernel.exp_()
        if rows == columns:
            kernel.fill_diagonal_(0)
        else:
            sums[columns] += kernel.sum(0)
        sums[rows] += kernel.sum(1)
        if weights is None:
            continue
        if near:
            kernel += 1
            if rows == columns:
                kernel.fill_diagonal_(0)
        product = exponent.mul_(kernel)
        weighted[rows] += kernel @ weights[columns]
        bent[rows] += product.sum(1)
        if rows != columns:
            weighted[columns] += weights[rows] @ kernel
            bent[columns] += product.sum(0)
    means = sums.cpu().numpy() / (n - 1)
    mean = float(means.mean())
    log_mean, means = (float(np.log1p(mean)), 1 + means) if near else (float(np.log(mean)), means)
    if weights is None:
        return KernelMeans(log_mean, means)
    # 1 − ‖w_i − w_j‖²/2 = 1 + exponent/2t
    turned = torch.from_numpy(means * (n - 1)).to(w.device) + bent / (2 * t)
    return KernelMeans(log_mean, means, weighted, turned)


def cosine_histogram(w: torch.Tensor, bins: int) -> np.ndarray:
    """How many pairs i<j have their cosine 1 − ‖w_i − w_j‖²/2 in each of equal bins over [−1, 1]."""
    square = torch.linalg.vector_norm(w, dim=1) ** 2
    counts = np.zeros(bins)
    for rows, columns, tile in tiles(w, square):
        cosine = tile.mul_(-0.5).add_(1).clamp_(-1, 1)
        if rows == columns:
            upper = torch.ones(tile.shape, dtype=torch.bool, device=w.device).triu_(1)
            cosine = cosine[upper]
        counts += torch.histc(cosine.float().cpu(), bins, -1, 1).double().numpy()
    return counts


def nearest(points: torch.Tensor, k: int, asking: tuple[int, int] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """K nearest other rows of each row: squared distances (n, k), ascending, and row numbers (n, k).

    With `asking` (the first row, and that after the last), only those of these rows.

    Exact, in blocks of at most 2²⁴ scores and 2²⁵ numbers of candidates. Equal distances are broken in no declared
    order. Distances are recomputed from differences, summed in float64, for the expanded form loses the digits of close
    neighbours.
    """
    n, d = points.shape
    square = torch.linalg.vector_norm(points, dim=1) ** 2
    candidates = min(k + 4, n - 1)  # a few to spare, since rounding may swap near ties
    size = max(1, min(n, 2**24 // max(n, 1), 2**25 // max(candidates * d, 1)))
    first, last = asking or (0, n)
    rows_found = [torch.empty(0, k, dtype=torch.long, device=points.device)]
    distances = [torch.empty(0, k, dtype=torch.float64, device=points.device)]
    with full_precision():
        for start in range(first, last, size):
            block = points[start : min(start + size, last)]
            score = torch.addmm(square, block, points.T, alpha=-2)
            own = torch.arange(len(block), device=points.device)
            score[own, own + start] = torch.inf
            found = score.topk(candidates, largest=False).indices
            apart = points[found].sub_(block[:, None])
            exact = torch.linalg.vector_norm(apart, dim=2, dtype=torch.float64) ** 2
            order = exact.topk(k, largest=False, sorted=True)
            distances.append(order.values)
            rows_found.append(found.gather(1, order.indices))
    return torch.cat(distances), torch.cat(rows_found)


class PointNeighbours(NamedTuple):
    """The k nearest different rows of each row.

    Attributes
    ----------
    rows : int64 ndarray of shape (m,)
        Which rows: of duplicated ones the first.
    distances : float64 ndarray of shape (m, k)
        Euclidean, ascending and positive.
    neighbours : int64 ndarray of shape (m, k)
        Their row numbers.
    dropped : int
        Rows that were read and left out.
    """

    rows: np.ndarray
    distances: np.ndarray
    neighbours: np.ndarray
    dropped: int


@dataclass(frozen=True)
class Sampled:
    """A mean over pairs, estimated from sampled pairs with control variates."""

    mean: float
    se: float
    pairs: int
    gain: float
    """How many times smaller the control variates make the variance."""


def control_variates(y: np.ndarray, controls: np.ndarray, means: np.ndarray) -> Sampled:
    """Estimate the mean of y by regression on controls whose means are known.

    Parameters
    ----------
    y : float64 ndarray of shape (m,)
    controls : float64 ndarray of shape (m, c)
    means : float64 ndarray of shape (c,)
        The exact means of the controls.
    """
    m = len(y)
    spread = controls.std(0)
    usable = spread > 1e-12 * np.abs(controls).max(0)
    design = np.column_stack([np.ones(m), (controls[:, usable] - means[usable]) / spread[usable]])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    residual = y - design @ beta
    variance = float(residual @ residual) / max(m - design.shape[1], 1)
    gain = float(np.var(y)) / variance if variance > 0 else np.inf
    return Sampled(float(beta[0]), float(np.sqrt(variance / m)), m, gain)
