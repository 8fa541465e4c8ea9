"""How alike the encoders of an analysis are: similarities beside their null, maps of layers, the ceiling of seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.inference.similarity import similarity
from geomprobe.metrics.cloud import TooFewRows, too_few
from geomprobe.metrics.similarity import SIMILARITIES, similarity_map
from geomprobe.results import SIMILARITY_COLUMNS, table

ROWS = 2000
PERMUTATIONS = 49
MAP = "linear_cka_unbiased"


@dataclass(frozen=True)
class Pair:
    """Two encoders under one pooling: the layers whose similarity is taken, and those that are mapped.

    Attributes
    ----------
    a, b : str
        Names of models; the same one twice for a map of its own layers.
    scored : tuple of (int, int)
        Layers of a and b that get every similarity, with its null.
    mapped : tuple of (int, ...), (int, ...) or None
        Layers of a and of b, each with each, by one similarity (MAP) without a null.
    """

    a: str
    b: str
    pooling: str
    scored: tuple[tuple[int, int], ...]
    mapped: tuple[tuple[int, ...], tuple[int, ...]] | None

    def cells(self, first: bool) -> list[tuple[int, str]]:
        """Return the (layer, pooling) that are read of a, or of b."""
        side = 0 if first else 1
        layers = {pair[side] for pair in self.scored} | set(self.mapped[side] if self.mapped else ())
        return [(layer, self.pooling) for layer in sorted(layers)]


def pairs(layers: Mapping[str, Sequence[int]], poolings: Sequence[str], maps: bool) -> list[Pair]:
    """Return the pairs of models, each with each, in the order given.

    Parameters
    ----------
    layers : mapping of model name to layers, ascending
        The i-th layers of two models are compared; with `maps` only the last ones, and all layers are mapped, each
        model's own as well.
    poolings : sequence of str
    maps : bool
    """
    found = []
    for (a, b), pooling in product(combinations_with_replacement(layers, 2), poolings):
        depths = list(zip(layers[a], layers[b], strict=False)) if not maps else [(layers[a][-1], layers[b][-1])]
        scored = () if a == b else tuple(depths)
        mapped = (tuple(layers[a]), tuple(layers[b])) if maps else None
        if scored or mapped:
            found.append(Pair(a, b, pooling, scored, mapped))
    return found


def variant_pairs(of: str, name: str, layers: Sequence[int], poolings: Sequence[str], maps: bool) -> list[Pair]:
    """Return the pairs of a model's full vectors and a variant of them, at the layers that `pairs` scores."""
    scored = tuple((layer, layer) for layer in (layers[-1:] if maps else layers))
    return [Pair(of, name, pooling, scored, None) for pooling in poolings]


def sample(n: int, seed: int) -> np.ndarray:
    """Return the rows that similarities of n rows read: all, or a seeded sample of ROWS, ascending."""
    return np.arange(n) if n <= ROWS else np.sort(np.random.default_rng(seed).choice(n, ROWS, replace=False))


def pair_table(
    pair: Pair, first: Mapping[int, Any], second: Mapping[int, Any], clusters: Any, n: int, seed: int
) -> pd.DataFrame:
    """Return the rows of a pair.

    Parameters
    ----------
    pair : Pair
    first, second : mapping of layer to array-like of shape (n_read, d)
        Vectors of a and of b of the same rows.
    clusters : array-like of shape (n_read,) or None
        Rows with the same value are not independent.
    n : int
        Rows that these were sampled from.
    seed : int
        Of the permutations.

    Returns
    -------
    DataFrame
        Columns of `results.SIMILARITY_COLUMNS`, task left empty.
    """
    where = {"a": pair.a, "b": pair.b, "level": "checkpoint", "pooling": pair.pooling}
    frames = []
    few = {"n": n, "status": TooFewRows.status, "note": too_few(n, 2)}
    for layer_a, layer_b in pair.scored:
        if n < 2:
            frames += [
                pd.DataFrame([{"layer_a": layer_a, "layer_b": layer_b, "metric": name} | few for name in SIMILARITIES])
            ]
            continue
        found = similarity(first[layer_a], second[layer_b], clusters=clusters, permutations=PERMUTATIONS, seed=seed)
        frames.append(found.assign(layer_a=layer_a, layer_b=layer_b))
    if pair.mapped and n < 2:
        layers = ((a, b) for a, b in product(*pair.mapped) if (a, b) not in pair.scored)
        frames.append(pd.DataFrame([{"layer_a": a, "layer_b": b, "metric": MAP} | few for a, b in layers]))
    elif pair.mapped:
        without = {"status": TooFewRows.status, "note": too_few(n, 4)} if n < 4 else {"status": "not applicable"}
        values = similarity_map([first[k] for k in pair.mapped[0]], [second[k] for k in pair.mapped[1]], MAP)
        rows = [
            {"layer_a": a, "layer_b": b, "metric": MAP, "n": len(first[a])}
            | ({"value": v, "status": "ok"} if np.isfinite(v) else without)
            for (a, b), v in zip(product(*pair.mapped), values.flat, strict=True)
            if (a, b) not in pair.scored
        ]
        frames.append(pd.DataFrame(rows))
    frame = pd.concat(frames, ignore_index=True).assign(**where)
    if len(sample(n, seed)) < n:
        frame["note"] = frame["note"].fillna(f"seeded sample of {ROWS:,} of {n:,} rows")
    return table(frame, SIMILARITY_COLUMNS)


def maps(similarities: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the maps between layers in the form that run.json holds: values[i][j] of layers_a[i] and layers_b[j]."""
    mapped = similarities[(similarities["metric"] == MAP) & (similarities["level"] == "checkpoint")]
    found = []
    for (a, b, task, pooling), part in mapped.groupby(["a", "b", "task", "pooling"], sort=False):
        grid = part.pivot(index="layer_a", columns="layer_b", values="value")
        if len(part) > len(grid):  # more than each layer against its like
            values = [[None if pd.isna(v) else float(v) for v in row] for row in grid.to_numpy(object)]
            where = {"metric": MAP, "a": a, "b": b, "task": task, "pooling": pooling}
            layers = {"layers_a": [int(k) for k in grid.index], "layers_b": [int(k) for k in grid.columns]}
            found.append({**where, **layers, "values": values})
    return found


def with_groups(similarities: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Add the mean similarity of pairs of seeds, within each group and between the two.

    Two runs of one objective are as alike as the seed lets them be: that is the ceiling for two objectives.

    Parameters
    ----------
    similarities : DataFrame
        Columns of `results.SIMILARITY_COLUMNS`, a row for each two models.
    groups : mapping of group name to model names
    """
    home = {model: group for group, members in groups.items() for model in members}
    # a model's map of its own layers is no pair of seeds
    pairs_of_seeds = similarities[(similarities["a"] != similarities["b"]) & (similarities["status"] == "ok")]
    named = pairs_of_seeds.assign(a=pairs_of_seeds["a"].map(home), b=pairs_of_seeds["b"].map(home))
    keys = ["a", "b", "task", "pooling", "layer_a", "layer_b", "metric"]
    means = named.groupby(keys, sort=False).agg(
        value=("value", "mean"), null_mean=("null_mean", "mean"), n=("n", "first"), seeds=("value", "size")
    )
    means = means.reset_index().assign(level="objective", status="ok")
    means["note"] = "mean over " + means.pop("seeds").astype(str) + " pairs of seeds"
    means["ci_method"] = "no valid interval: a mean over pairs of seeds, which share seeds and rows"
    return table(pd.concat([similarities, means], ignore_index=True), SIMILARITY_COLUMNS)
