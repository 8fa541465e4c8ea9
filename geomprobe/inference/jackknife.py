"""The delete-a-shard jackknife: standard errors where a metric has no derivative, or none worth using."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import numpy as np

from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.transforms import transform
from geomprobe.metrics.undefined import NotApplicable
from geomprobe.vectors import VectorSource
from geomprobe.vectors.groups import connected
from geomprobe.vectors.moments import Moments

SHARDS = 20


def shards(clusters: np.ndarray, seed: int, count: int = SHARDS) -> np.ndarray:
    """Shard of each row, int64 (n,): whole clusters dealt out at random, the largest first.

    Parameters
    ----------
    clusters : int ndarray of shape (n,)
        Cluster numbers from 0.
    """
    sizes = np.bincount(clusters)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    count = min(count, len(sizes))
    rounds = np.arange(len(sizes)) // count
    place = np.arange(len(sizes)) % count
    home = np.empty(len(sizes), np.int64)
    home[order] = np.where(rounds % 2 == 0, place, count - 1 - place)  # there and back, so that sizes even out
    return home[clusters]


def merged_without(states: list[Moments]) -> list[Moments]:
    """Return, for each state, the merge of all others; prefixes and suffixes make that three merges a state."""
    before, after = (list(accumulate(part, Moments.merge, initial=Moments())) for part in (states[:-1], states[:0:-1]))
    return [b.merge(a) for b, a in zip(before, after[::-1], strict=True)]


def subset(embeddings: Embeddings, keep: np.ndarray) -> Embeddings:
    """Raw embeddings of some rows, with the labels and the positive pairs that are left."""
    rows = VectorSource(embeddings.source.take(np.flatnonzero(keep)))
    labels = None if embeddings.labels is None else embeddings.labels[keep]
    positives = embeddings.positives
    if positives is not None:
        number = np.cumsum(keep) - 1
        positives = number[positives[keep[positives].all(1)]]
    return Embeddings(Moments().update(rows), rows, labels, positives, embeddings.seed, embeddings.exact)


def jackknife(
    embeddings: Embeddings, compute: Callable[[Embeddings], float], home: np.ndarray, *, rows: bool
) -> np.ndarray:
    """Influences of shape (n,) whose clustered standard error is that of the delete-a-shard jackknife.

    Parameters
    ----------
    embeddings : Embeddings
        In any view.
    compute : callable
        The metric, as a function of embeddings in the same view.
    home : int64 ndarray of shape (n,)
        Shard of each row.
    rows : bool
        Whether the metric reads rows; if not, the states of the shards are merged and rows are read once.

    Notes
    -----
    The whole influence of a shard is written to its first row: SE² = (S−1)/S·Σ(θ_(s) − θ̄)² (Efron & Stein 1981).
    """
    sizes = np.bincount(home)
    if len(home) - sizes.max() < 3:
        raise NotApplicable("fewer than three rows are left without a shard")
    count, values = len(sizes), np.empty(len(sizes))
    if rows or embeddings.name not in ("raw", "centred"):
        for s in range(count):
            values[s] = compute(transform(subset(embeddings, home != s), embeddings.name))
    else:
        states = [Moments().update(embeddings.source.take(np.flatnonzero(home == s))) for s in range(count)]
        for s, state in enumerate(merged_without(states)):
            values[s] = compute(transform(Embeddings(state), embeddings.name))
    return spread(values, home)


def spread(values: np.ndarray, home: np.ndarray) -> np.ndarray:
    """Influences of shape (n,) from the values without each shard; a shard's lies on its first row."""
    if not np.isfinite(values).all():
        raise NotApplicable("the value without some shard is not finite")
    count, n = len(values), len(home)
    out = np.zeros(n)
    first = np.unique(home, return_index=True)[1]
    out[first] = n * np.sqrt((count - 1) / count) * (values.mean() - values)
    return out


def on_first_rows(moved: np.ndarray, at: np.ndarray, linked: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Influences of shape (n,) from those of pairs or objects; what shares a cluster, by a chain, counts as one.

    Parameters
    ----------
    moved : float64 ndarray of shape (m,)
        Influence of each pair or object.
    at : int64 ndarray of shape (m,)
        A row of each.
    linked : int64 ndarray of shape (p, 2)
        Pairs of rows that belong together.
    clusters : int64 ndarray of shape (n,)
        Cluster numbers from 0.

    Notes
    -----
    The sum over a chain is written to the first row of it all.
    """
    component = connected(clusters[linked], int(clusters.max()) + 1)[1][clusters]
    first = np.unique(component, return_index=True)[1]
    return np.bincount(first[component[at]], moved, minlength=len(clusters))
