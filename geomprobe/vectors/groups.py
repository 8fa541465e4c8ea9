"""Rows that belong together, directly or by a chain."""

from __future__ import annotations

import numpy as np


def connected(edges: np.ndarray, size: int) -> tuple[int, np.ndarray]:
    """Number of connected components of an undirected graph, and the component of each node.

    Parameters
    ----------
    edges : int64 ndarray of shape (m, 2)
        The two ends of each.
    size : int
        Number of nodes.

    Returns
    -------
    count : int
    component : int32 ndarray of shape (size,)
        Numbered from 0.

    Examples
    --------
    >>> connected(np.array([[0, 2], [3, 3]]), 4)
    (3, array([0, 1, 0, 2], dtype=int32))
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(edges)), tuple(edges.T)), shape=(size, size))
    count, component = connected_components(links, directed=False)
    return int(count), component
