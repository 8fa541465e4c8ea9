"""The mean length of the vectors, with its derivative."""

import numpy as np

import geomprobe as gp


def lengths(embeddings):
    """Return the length of each row, float64 of shape (n,)."""
    return np.linalg.norm(embeddings.vectors, axis=1)


def mean_length(embeddings):
    """Return the mean length."""
    return lengths(embeddings).mean()


def influence(embeddings):
    """Return how far each row moves a mean: its own term, less the mean."""
    found = lengths(embeddings)
    return found - found.mean()


MEAN_LENGTH = gp.Metric(
    name="mean_length",
    family="lengths",  # of its own: the p-values of other metrics stay as they are
    compute=mean_length,
    influence=influence,
    needs="rows",
    formula="mean ‖x‖",
    range="[0, ∞)",
    direction="larger: longer vectors",
    invariances=("rotation",),
    source="the example in geomprobe's documentation",
)
