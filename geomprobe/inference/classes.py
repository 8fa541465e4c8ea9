"""Influence functions of mean distances within and between declared classes."""

from __future__ import annotations

import numpy as np

from geomprobe.inference.sphere import checked_rows
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.vectors import unit_rows

CLASS_ROWS = 4096
"""Most rows of the clusters whose sums are looked at for what their pairs hold beyond row means."""


def _class_distances(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class of each row (−1: no direction), counts, and mean squared distances to each class's rows."""
    assert embeddings.labels is not None
    codes = np.unique(embeddings.labels, return_inverse=True)[1]
    classes = int(codes.max()) + 1
    counts, sums, squares = np.zeros(classes), np.zeros((classes, embeddings.d)), np.zeros(classes)
    mine = np.full(embeddings.n, -1)
    for rows, w in embeddings.directions():
        mine[rows] = codes[rows]
        points = w.cpu().numpy()
        sums += np.eye(classes)[codes[rows]].T @ points
        counts += np.bincount(codes[rows], minlength=classes)
        squares += np.bincount(codes[rows], (points**2).sum(1), minlength=classes)
    safe = np.maximum(counts, 1)
    means, square = sums / safe[:, None], squares / safe
    distances = np.zeros((embeddings.n, classes))
    for rows, w in embeddings.directions():
        points = w.cpu().numpy()
        distances[rows] = (points**2).sum(1)[:, None] - 2 * points @ means.T + square
    return mine, counts, distances


def _class_interaction(embeddings: Embeddings, mine: np.ndarray, clusters: np.ndarray) -> float:
    """Variance of what a distance between two rows holds beyond the row means: 4·tr Σ², Σ within classes.

    From the squared products of the sums over CHECKED_CLUSTERS seeded clusters, each row less the mean of its class.
    """
    rows = checked_rows(clusters, mine >= 0, embeddings.seed, CLASS_ROWS).rows
    if not len(rows):
        return 0.0
    z = unit_rows(embeddings.take(rows)).cpu().numpy()
    codes = np.unique(mine[rows], return_inverse=True)[1]
    # the rows of a cluster in a class
    homes = np.unique(np.column_stack([clusters[rows], codes]), axis=0, return_inverse=True)[1].ravel()
    means = np.zeros((int(codes.max()) + 1, embeddings.d))
    np.add.at(means, codes, z)
    sums = np.zeros((int(homes.max()) + 1, embeddings.d))
    np.add.at(sums, homes, z - (means / np.bincount(codes)[:, None])[codes])
    m, lost = len(sums), len(means)
    if m <= lost:  # no two clusters of a class are among them
        return 0.0
    square = (sums @ sums.T) ** 2
    mean = float(square.sum() - np.trace(square)) / (m * (m - 1)) * (m / (m - lost)) ** 2
    return 4 * mean * (m / len(rows)) ** 2


def classes(within: bool, embeddings: Embeddings, clusters: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Influence of each row on the mean squared distance within or between classes, class sizes held fixed.

    The second value is the variance of the second-order term, that of a mean over pairs in each class or of each two;
    the third the clusters of the class that lies in fewest. The mean of each class is taken from its G_c clusters, so
    that their influences are too small by √(1 − 1/G_c); this is made good.
    """
    mine, counts, distances = _class_distances(embeddings)
    used = np.flatnonzero(counts > within)
    units = [len(np.unique(clusters[mine == c])) for c in used]
    means = len(used) if within else len(used) * (len(used) - 1) / 2
    out = np.zeros(embeddings.n)
    for c, g in zip(used, units, strict=True):
        rows = mine == c
        if within:
            moved = 2 * distances[rows, c] * (counts[c] / (counts[c] - 1))
        else:
            moved = distances[rows][:, used[used != c]].sum(1)
        out[rows] = (moved - moved.mean()) * (embeddings.n / counts[c]) / means * np.sqrt(g / max(g - 1, 1))
    size = counts[used]
    if within:
        crossed = 2 * float((1 / (size * (size - 1))).sum())
    else:
        crossed = float((1 / size).sum() ** 2 - ((1 / size) ** 2).sum()) / 2  # Σ over pairs of classes of 1/(n_a·n_b)
    return out, _class_interaction(embeddings, mine, clusters) * crossed / means**2, min(units)
