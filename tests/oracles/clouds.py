"""Clouds that every metric is checked on, from well-behaved to nearly degenerate."""

import numpy as np


def embeddings(name: str, dtype=np.float64, seed: int = 0) -> np.ndarray:
    """Return a named cloud, shape (n, d)."""
    rng = np.random.default_rng(seed)
    n, d = {"N<D": (25, 60), "N=2": (2, 10)}.get(name, (120, 24))
    x = rng.normal(size=(n, d))
    if name == "power law":
        x = (x * np.arange(1, d + 1) ** -1.0) @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    elif name == "shifted":
        x = x + 4 * rng.normal(size=d)
    elif name == "clustered":
        x = 0.2 * x + rng.normal(size=(5, d))[rng.integers(0, 5, n)]
    elif name == "near-collapsed":
        x = rng.normal(size=d) + 1e-3 * x
    return x.astype(dtype)


NAMES = ("random", "power law", "shifted", "clustered", "near-collapsed", "N<D", "N=2")
