"""Rows that belong together, directly or by a chain."""

from __future__ import annotations

import numpy as np


def connected(first: np.ndarray, second: np.ndarray, size: int) -> tuple[int, np.ndarray]:
    """Number of connected components of an undirected graph, and the component of each node.

    Parameters
    ----------
    first, second : int64 ndarray of shape (edges,)
        The two ends of each edge.
    size : int
        Number of nodes.

    Returns
    -------
    count : int
    component : int32 ndarray of shape (size,)
        Numbered from 0.

    Examples
    --------
    >>> connected(np.array([0, 3]), np.array([2, 3]), 4)
    (3, array([0, 1, 0, 2], dtype=int32))
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first)), (first, second)), shape=(size, size))
    count, component = connected_components(links, directed=False)
    return int(count), component
