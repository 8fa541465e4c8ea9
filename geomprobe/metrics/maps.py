"""What a map of some rows shows: two axes, a map that keeps neighbours, groups, neighbours, pairs that moved.

All of it is deterministic: seeds are fixed, signs too, and ties go by the order of the rows.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE

from geomprobe.metrics.matrix import NEIGHBOURS, Matrix
from geomprobe.metrics.undefined import TooFewRows, too_few

PERPLEXITY = 30.0
ITERATIONS = 500
"""On 500 sentences of SST-2 in MiniLM's vectors t-SNE then keeps 26.8 % of the ten nearest neighbours; 27.2 % after
1,000 iterations, which take twice as long, and 24.5 % at perplexity 10. Two principal axes keep 6.5 %."""
GROUPS = 6


def principal_map(Z: np.ndarray) -> np.ndarray:
    """First two principal coordinates of centred rows, float64 (n, 2), in units of the rows' root-mean-square length.

    So the mean of x² + y² is the share of the variance that the map shows. The largest entry of each axis is positive.
    """
    centred = Z - Z.mean(0, dtype=np.float64)
    size = np.sqrt((centred**2).sum() / len(Z))
    if size == 0:
        return np.zeros((len(Z), 2))
    _, _, axes = np.linalg.svd(centred / size, full_matrices=False)
    axes = axes[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    found = (centred / size) @ axes.T
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1])))


def perplexity(n: int) -> float:
    """Perplexity of t-SNE on n rows: PERPLEXITY, less where there are few rows."""
    return min(PERPLEXITY, (n - 1) / 3)


def neighbour_map(z: np.ndarray) -> np.ndarray:
    """A map that keeps neighbours, float64 (n, 2): t-SNE (van der Maaten & Hinton 2008) of unit rows, its mean at zero.

    Distances of unit rows order neighbours as cosines do. It starts at the principal map, with seed 0.
    """
    if len(z) < 5:
        raise TooFewRows(too_few(len(z), 5))
    start = principal_map(z)
    start = start / (start[:, 0].std() or 1.0) * 1e-4  # as scikit-learn scales its own
    made = TSNE(init=start.astype(np.float32), perplexity=perplexity(len(z)), max_iter=ITERATIONS, random_state=0)
    found = made.fit_transform(z.astype(np.float32)).astype(np.float64)
    return found - found.mean(0)


def turned_onto(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points (n, 2) rotated, or reflected, to lie as near as they can to those of the same rows in another map.

    Both have their mean at zero (orthogonal Procrustes problem, Schönemann 1966).
    """
    u, _, vt = np.linalg.svd(points.T @ target)
    return points @ (u @ vt)


def groups(z: np.ndarray) -> np.ndarray:
    """Group of each unit row by k-means with seed 0, int64 (n,), from 0, the largest group first."""
    found = KMeans(min(GROUPS, len(np.unique(z, axis=0))), n_init=10, random_state=0).fit_predict(z)
    order = np.argsort(-np.bincount(found), kind="stable")
    return np.argsort(order)[found]


def squared_distances(side: Matrix) -> np.ndarray:
    """Squared distances of all directions, 2 − 2 cos, float64 (n, n); those of equal rows are exactly zero.

    Raises
    ------
    NotApplicable
        Which rows are near is undecided for most rows, or a row has no direction; TooFewRows for up to NEIGHBOURS rows.
    """
    _ = side.ranked
    z = (side.z - side.z.mean(0)).numpy()
    return cdist(z, z, "sqeuclidean")


def squared_in_plane(points: np.ndarray) -> np.ndarray:
    """Squared distances of points of a map, float64 (n, n)."""
    return cdist(points, points, "sqeuclidean")


def nearest_rows(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the NEIGHBOURS nearest rows of each row, nearest first, and cosines with them, both (n, k).

    As near ones come in the order of the rows.
    """
    others = squared + np.diag(np.full(len(squared), np.inf))
    near = np.argsort(others, axis=1, kind="stable")[:, :NEIGHBOURS]
    return near, 1 - np.take_along_axis(squared, near, 1) / 2


def moved_pairs(first: np.ndarray, second: np.ndarray, most: int) -> dict[str, np.ndarray]:
    """Pairs of rows whose similarity moved most from one model to another: up to `most` that came nearer, and apart.

    Cosines have another scale in every model, so a pair is placed among all pairs of its model: by the share of the
    pairs that are less alike (ties count half). It is the same for every increasing function of the cosines, as RSA's
    rank correlation is; standardised cosines would be measured by the few pairs of a long tail. Of a row that moved
    against many others the pair that moved most is taken, so that each row is in one pair of either list at most.

    Parameters
    ----------
    first, second : ndarray of shape (n, n)
        Squared distances of directions, 2 − 2 cos, of the same rows.
    most : int

    Returns
    -------
    dict
        Arrays row, other (row < other), cosine_a, cosine_b, share_a, share_b; nearer pairs first, then by how far they
        moved, then in the order of the rows.
    """
    row, other = np.triu_indices(len(first), 1)
    a, b = (squared[row, other] for squared in (first, second))
    share_a, share_b = ((rankdata(-side) - 0.5) / len(side) for side in (a, b))
    moved = share_b - share_a
    kept: list[int] = []
    for nearer in (moved, -moved):
        seen: set[int] = set()
        for at in np.argsort(-nearer, kind="stable"):
            if nearer[at] <= 0 or len(seen) == 2 * most:
                break
            if not {row[at], other[at]} & seen:
                seen |= {row[at], other[at]}
                kept.append(at)
    found = {"row": row, "other": other, "cosine_a": 1 - a / 2, "cosine_b": 1 - b / 2}
    return {name: values[kept] for name, values in (found | {"share_a": share_a, "share_b": share_b}).items()}
