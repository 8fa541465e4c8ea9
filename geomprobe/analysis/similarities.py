"""How alike the encoders of an analysis are: similarities beside their null, maps of layers, the ceiling of seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.analysis.cells import CellContext, kept_tables, write_tables
from geomprobe.analysis.embed import Embedded, embed_cells, vectors_of
from geomprobe.analysis.failures import CELL_ERRORS, failed_row, reason
from geomprobe.analysis.plan import Model, RunPlan
from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import InputError, hash_bytes
from geomprobe.embedding.layers import Cell
from geomprobe.inference.similarity import similarity
from geomprobe.metrics.similarity import SIMILARITIES, similarity_map
from geomprobe.metrics.undefined import TooFewRows, too_few
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

    @property
    def sides(self) -> list[tuple[str, list[Cell]]]:
        """A and b, each with the (layer, pooling) that are read of it."""
        found = []
        for side, name in enumerate((self.a, self.b)):
            layers = {pair[side] for pair in self.scored} | set(self.mapped[side] if self.mapped else ())
            found.append((name, [(layer, self.pooling) for layer in sorted(layers)]))
        return found


def pairs(layers: Mapping[str, Sequence[int]], poolings: Sequence[str], maps: bool) -> list[Pair]:
    """Pairs of models, each with each, in the order given.

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


def planned_pairs(plan: RunPlan) -> list[Pair]:
    """Pairs of models, and of each variant with its full vectors; `model` has the last layer only."""
    maps = plan.asked.layers == "all"
    depths = {model.name: sorted(model.layers) for model in plan.own}
    last = {model.name: [model.encoder.n_layers] for model in plan.own}
    groups = [(depths, [name for name in plan.poolings if name != "model"], maps)]
    if "model" in plan.poolings:
        groups.append((last, ["model"], False))
    found = []
    for layers, poolings, mapped in groups:
        found += pairs(layers, poolings, mapped)
        for model in plan.stored:
            of = layers[model.of]
            scored = tuple((layer, layer) for layer in (of[-1:] if mapped else of))
            found += [Pair(model.of, model.name, pooling, scored, None) for pooling in poolings]
    return found


def similarity_table(plan: RunPlan) -> pd.DataFrame:
    """How alike the models of a plan are on each task."""
    wanted = planned_pairs(plan)
    found = [measure_pairs(plan, texts, wanted) for texts in plan.tasks]
    return table(pd.concat(found, ignore_index=True), SIMILARITY_COLUMNS)


def measure_pairs(plan: RunPlan, texts: TaskTexts, wanted: Sequence[Pair]) -> pd.DataFrame:
    """How alike the models of each pair are on a task's geometry rows; their vectors come from the store.

    A pair that failed, or with a model that did, is a row with status "failed".
    """
    models = {model.name: model for model in (*plan.own, *plan.stored)}
    seed, processes = plan.asked.seed, plan.processes
    places = {} if plan.kept is None else {pair: plan.kept / pair_key(plan, texts, models, pair) for pair in wanted}
    kept = kept_tables(places, {"similarities": SIMILARITY_COLUMNS}, processes)
    # whatever they are called this time
    tables = {pair: found["similarities"].assign(a=pair.a, b=pair.b) for pair, found in kept.items()}
    missing = [pair for pair in wanted if pair not in tables]
    embedded = {}
    for name, model in models.items():
        if cells := {cell for pair in missing for side, own in pair.sides if side == name for cell in own}:
            embedded[name] = embed_cells(plan, model.encoder, texts, sorted(cells))
    missing = [pair for pair in missing if wide_enough(models[pair.b], embedded[pair.b], pair.sides[1][1])]
    read = sample(len(texts.geometry), seed, ROWS)
    clusters = texts.task.geometry_rows.clusters[read]

    def send(pair: Pair) -> tuple[Pair, Any]:
        try:
            rows = texts.geometry[read]
            return pair, [side_vectors(models[name], embedded[name], texts, cells, rows) for name, cells in pair.sides]
        except CELL_ERRORS as error:
            return pair, reason(error)

    def work(sent: tuple[Pair, Any]) -> tuple[pd.DataFrame, bool]:
        pair, sides = sent
        note = sides
        if not isinstance(sides, str):  # why there are no vectors
            try:
                return pair_table(pair, sides[0], sides[1], clusters, len(texts.geometry), seed), True
            except CELL_ERRORS as error:
                note = reason(error)
        failed = failed_row("similarity", note)
        return failed.assign(a=pair.a, b=pair.b, level="checkpoint", pooling=pair.pooling), False

    for pair, (rows, whole) in processes.in_turns(missing, send, work):
        tables[pair] = rows
        if whole and places and processes.first:
            write_tables(places[pair], {"similarities": rows})
    frames = [tables[pair] for pair in wanted if pair in tables]
    return table(pd.concat(frames).assign(task=texts.task.name) if frames else [], SIMILARITY_COLUMNS)


def pair_key(plan: RunPlan, texts: TaskTexts, models: Mapping[str, Model], pair: Pair) -> str:
    """Content key of a pair's similarities on a task."""
    protocol, seed = plan.asked.protocol, plan.asked.seed
    sides = [
        CellContext(models[name].encoder, texts, *cell, protocol, seed, models[name].variant).key
        for name, cells in pair.sides
        for cell in cells
    ]
    choices = (ROWS, PERMUTATIONS, pair.scored, pair.mapped, tuple(SIMILARITY_COLUMNS))
    return hash_bytes("similarity", repr(choices), *sides)


def wide_enough(model: Model, embedded: Embedded, cells: Sequence[Cell]) -> bool:
    """Whether the vectors have the dimensions that a variant keeps; where not, the variant's cells say why."""
    dim, found = model.variant.dim, embedded.vectors
    return all(dim is None or cell not in found or dim <= found[cell].shape[1] for cell in cells)


def side_vectors(
    model: Model, embedded: Embedded, texts: TaskTexts, cells: Sequence[Cell], rows: np.ndarray
) -> dict[int, np.ndarray]:
    """A model's vectors of some texts by layer; raises InputError where it has none."""
    found = {}
    for cell in cells:
        try:
            vectors = vectors_of(embedded, cell, texts)
        except InputError as error:
            raise InputError(f"{model.name}: {error}") from None
        found[cell[0]] = model.variant.apply(vectors, texts.calibration)[rows]
    return found


def sample(n: int, seed: int, most: int) -> np.ndarray:
    """Rows that are read of n, ascending: all, or a seeded sample of `most`."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def pair_table(
    pair: Pair, first: Mapping[int, Any], second: Mapping[int, Any], clusters: Any, n: int, seed: int
) -> pd.DataFrame:
    """Rows of a pair.

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
    few: dict[str, Any] = {"n": n, "status": TooFewRows.status, "note": too_few(n, 2)}
    frames = []
    for layer_a, layer_b in pair.scored:
        if n < 2:
            found = pd.DataFrame([{"metric": name} | few for name in SIMILARITIES])
        else:
            found = similarity(first[layer_a], second[layer_b], clusters=clusters, permutations=PERMUTATIONS, seed=seed)
        frames.append(found.assign(layer_a=layer_a, layer_b=layer_b))
    if pair.mapped:
        grid = list(product(*pair.mapped))
        if n < 2:
            cells = [few] * len(grid)
        else:
            values = similarity_map([first[k] for k in pair.mapped[0]], [second[k] for k in pair.mapped[1]], MAP)
            without = {"status": TooFewRows.status, "note": too_few(n, 4)} if n < 4 else {"status": "not applicable"}
            n_read: dict[str, Any] = {"n": len(first[pair.mapped[0][0]])}
            cells = [n_read | ({"value": v, "status": "ok"} if np.isfinite(v) else without) for v in values.flat]
        rows = [{"layer_a": a, "layer_b": b, "metric": MAP} | cell for (a, b), cell in zip(grid, cells, strict=True)]
        frames.append(pd.DataFrame([row for row in rows if (row["layer_a"], row["layer_b"]) not in pair.scored]))
    frame = pd.concat(frames, ignore_index=True).assign(**where)
    if n > ROWS:
        frame["note"] = frame["note"].fillna(f"seeded sample of {ROWS:,} of {n:,} rows")
    return table(frame, SIMILARITY_COLUMNS)


def maps(similarities: pd.DataFrame) -> list[dict[str, Any]]:
    """Maps between layers in the form that run.json holds: values[i][j] of layers_a[i] and layers_b[j]."""
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
