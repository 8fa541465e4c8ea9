"""Influence functions of estimates from nearest neighbours, whose terms share rows with those of their neighbours."""

from __future__ import annotations

import numpy as np

from geomprobe.metrics.dimension import TWONN_DISCARD
from geomprobe.metrics.embeddings import Embeddings


def two_nn(ratios: np.ndarray, discard: float = TWONN_DISCARD) -> np.ndarray:
    """Influence of each x = log(r_2/r_1) on the TwoNN slope, float64 (n,), as if they were independent.

    The slope is A/B, A = ∫ Q(u)·y(u) du, B = ∫ Q(u)² du over u < 1 − discard, Q the quantile function of x and
    y(u) = −log(1 − u). Q(u) moves by (u − 1[x ≤ Q(u)])/f(Q(u)), so that with u = F(t) the density f cancels and the
    slope T moves by ∫ (y(F(t)) − 2T·t)·(F(t) − 1[x ≤ t]) dt/B.

    Parameters
    ----------
    ratios : float64 ndarray of shape (n,)
    discard : float
        Share of the largest that is left out.
    """
    n = len(ratios)
    known = np.sort(ratios)[: int(n * (1 - discard))]
    below = np.arange(1, len(known) + 1) / n  # F from each of them to the next
    y = -np.log1p(-below)
    slope = float((known @ y) / (known @ known))
    # over each step, where F stands still
    steps = np.append(y[:-1] * np.diff(known) - slope * np.diff(known**2), 0.0)
    upto = np.concatenate([[0.0], np.cumsum(steps)])
    x = np.clip(ratios, None, known[-1])
    place = np.searchsorted(known, x, side="right") - 1
    beyond = upto[-1] - upto[place] - y[place] * (x - known[place]) + slope * (x**2 - known[place] ** 2)
    moved = (steps @ below - beyond) / float(known @ known / n)
    return moved - moved.mean()


def intrinsic_dimension(embeddings: Embeddings) -> tuple[np.ndarray, float]:
    """Influence of each row on the TwoNN dimension, float64 (n,); 0 for rows that were not read.

    The second value is the largest share of the rows that have the same one among their two nearest.

    The ratio of a row is made by three rows, itself and its two neighbours, so that it goes together with theirs. To
    count this, each row is given the sum of the influences of these three over √3: the sum of squares then holds
    the products of neighbours, too. Leaving rows out would not do: it gives every row a new neighbour for each that it
    loses, and an error almost twice too large.
    """
    found = embeddings.point_neighbours(2)
    out = np.zeros(embeddings.n)
    moved = two_nn(np.log(found.distances[:, 1] / found.distances[:, 0]))
    out[found.rows] = moved * (embeddings.n / len(moved))
    together = out[found.rows] + out[found.neighbours].sum(1)
    out[found.rows] = (together - together.mean()) / np.sqrt(3)
    return out, float(np.bincount(found.neighbours.ravel()).max() / len(moved))
