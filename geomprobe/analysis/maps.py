"""Maps of the rows of each task: where each model puts them, their neighbours, and what moved from the first model.

One cell a task, the deepest layer of each model under the first pooling, on a bounded sample of rows that is the same
for all models; baselines and variants are left out. Vectors come from the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from geomprobe.analysis.cells import CellContext, kept_tables, write_tables
from geomprobe.analysis.embed import embed_cells, vectors_of
from geomprobe.analysis.failures import CELL_ERRORS, reason
from geomprobe.analysis.plan import RunPlan
from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import hash_bytes
from geomprobe.common.text import BIDI_CONTROLS, clean
from geomprobe.comparison.neighbours import neighbour_overlap
from geomprobe.metrics import maps
from geomprobe.metrics.matrix import NEIGHBOURS, Matrix
from geomprobe.metrics.undefined import NotApplicable, too_few
from geomprobe.results import TABLES, table

ROWS = 500
MOVED = 20
"""Most pairs that are kept of those that came nearer, and of those that came apart."""
LENGTH = 200
"""Most characters of a text that are kept."""
VERSION = "1"
"""Part of every key: raised where a change of the code changes what is kept in the folder of cells."""
COLUMNS = {name: TABLES[name] for name in ("maps", "neighbours", "neighbour_overlap", "moved_pairs")}
AXES = {"pca": ["pca_x", "pca_y"], "tsne": ["tsne_x", "tsne_y"]}
Tables = dict[str, pd.DataFrame]


def make_maps(plan: RunPlan) -> tuple[Tables, list[dict[str, Any]]]:
    """Maps of every task of a plan, and what run.json says of them; none where none were asked for."""
    made = [map_task(plan, texts) for texts in plan.tasks] if plan.asked.maps else []
    found = {name: [tables[name] for tables, _ in made] for name in (*COLUMNS, "texts")}
    whole = {name: pd.concat(frames, ignore_index=True) for name, frames in found.items() if frames}
    return {name: table(whole.get(name, []), TABLES[name]) for name in found}, [entry for _, entry in made]


def map_task(plan: RunPlan, texts: TaskTexts) -> tuple[Tables, dict[str, Any]]:
    """Tables of one task, and its entry of run.json, which names the models that were left out.

    Of several processes the first measures: vectors of a few hundred rows are quickly done with.
    """
    asked, pooling, processes = plan.asked, plan.poolings[0], plan.processes
    rows = sampled_rows(texts.task.geometry_rows.clusters, asked.seed)
    ids = [texts.task.geometry_rows.row_ids[i] for i in rows]
    cells = {
        model.name: CellContext(model.encoder, texts, max(model.layers), pooling, asked.protocol, asked.seed)
        for model in plan.own
    }
    key = hash_bytes("maps", VERSION, repr((ROWS, MOVED)), *cells, *(cell.key for cell in cells.values()))
    place = {} if plan.kept is None else {"": plan.kept / key}
    kept = kept_tables(place, COLUMNS, processes)
    if kept:
        tables, left_out = kept[""], dict[str, str]()
    else:
        at = {name: (cell.layer, pooling) for name, cell in cells.items()}
        embedded = {name: embed_cells(plan, cell.encoder, texts, [at[name]]) for name, cell in cells.items()}

        def measured() -> tuple[Tables, dict[str, str]]:
            vectors, failed = {}, {}
            for name, found in embedded.items() if processes.first else ():
                try:
                    vectors[name] = vectors_of(found, at[name], texts)[texts.geometry[rows]]
                except CELL_ERRORS as error:
                    failed[name] = reason(error)
            # on so few rows threads only wait for each other: two took ten times as long on a busy machine
            with threadpool_limits(1):
                tables, left_out = measure_maps(vectors, ids)
            where = {"task": texts.task.name, "pooling": pooling}
            layers = {name: layer for name, (layer, _) in at.items()}
            placed = {name: in_place(frame, layers, where, COLUMNS[name]) for name, frame in tables.items()}
            return placed, failed | left_out

        tables, left_out = processes.broadcast(processes.agreed(measured))
        if place and not left_out and processes.first:
            write_tables(place[""], tables)
    entry = {
        "task": texts.task.name,
        "pooling": pooling,
        "point": what_a_point_is(texts),
        "rows": len(rows),
        "of": len(texts.geometry),
        "neighbours": NEIGHBOURS,
        "perplexity": maps.perplexity(len(rows)),
        "onto": next(iter(tables["maps"]["model"]), None),
        "shown": shown(tables["maps"], tables["neighbours"]),
        "overlap": mean_overlap(tables["neighbour_overlap"]),
        "left_out": left_out,
    }
    return tables | {"texts": text_table(texts, rows, with_texts=asked.texts)}, entry


def sampled_rows(clusters: np.ndarray, seed: int) -> np.ndarray:
    """Rows that are mapped, ascending: all, or ROWS of them, drawn a cluster after the other.

    So the texts of a pair stay together. The last cluster may be cut.
    """
    _, numbers = np.unique(clusters, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(numbers.max(initial=-1) + 1)
    return np.sort(np.argsort(turn[numbers], kind="stable")[:ROWS])


def measure_maps(vectors: Mapping[str, np.ndarray], ids: Sequence[str]) -> tuple[Tables, dict[str, str]]:
    """Tables of the maps of some rows, and why models have none, or no neighbours.

    Maps are turned onto those of the first model that has one, and the others are compared with it.

    Parameters
    ----------
    vectors : mapping of model to ndarray of shape (n, d)
    ids : sequence of str, length n
    """
    left_out: dict[str, str] = {}
    points: dict[str, pd.DataFrame] = {}
    near: dict[str, pd.DataFrame] = {}
    squared: dict[str, np.ndarray] = {}
    for name, Z in vectors.items():
        if len(Z) < 2:
            left_out[name] = too_few(len(Z), 2)
            continue
        frame = pd.DataFrame(maps.principal_map(Z), columns=AXES["pca"]).assign(model=name, row_id=ids)
        try:
            side = Matrix(Z)
            frame[AXES["tsne"]], frame["group"] = maps.neighbour_map(side.z.numpy()), maps.groups(side.z.numpy())
            squared[name] = maps.squared_distances(side)
            near[name] = neighbour_rows(squared[name], ids).assign(model=name)
        except (*CELL_ERRORS, NotApplicable) as error:
            left_out[name] = str(error) if isinstance(error, NotApplicable) else reason(error)
        points[name] = turned(frame, next(iter(points.values()), frame))
    a, *others = squared or [""]
    found = {b: maps.moved_pairs(squared[a], squared[b], MOVED) for b in others}
    moved = [pair_rows(pairs, ids).assign(a=a, b=b) for b, pairs in found.items()]
    overlap = [neighbour_overlap(near[a], near[b]).assign(a=a, b=b) for b in others]
    parts = {"maps": points.values(), "neighbours": near.values(), "neighbour_overlap": overlap, "moved_pairs": moved}
    return {name: pd.concat(frames) if frames else pd.DataFrame() for name, frames in parts.items()}, left_out


def turned(frame: pd.DataFrame, target: pd.DataFrame) -> pd.DataFrame:
    """Maps of one model, each turned onto that of another model where it has it."""
    there = [axes for axes in AXES.values() if set(axes) <= set(frame) & set(target)]
    points = {tuple(axes): maps.turned_onto(frame[axes].to_numpy(), target[axes].to_numpy()) for axes in there}
    return frame.assign(**{name: at[:, i] for axes, at in points.items() for i, name in enumerate(axes)})


def neighbour_rows(squared: np.ndarray, ids: Sequence[str]) -> pd.DataFrame:
    """Rows of the table of neighbours of one model, without its name."""
    near, cosines = maps.nearest_rows(squared)
    names, (n, k) = np.array(ids, object), near.shape
    ranks = np.tile(np.arange(1, k + 1), n)
    columns = {
        "row_id": np.repeat(names, k),
        "rank": ranks,
        "neighbour": names[near.ravel()],
        "cosine": cosines.ravel(),
    }
    return pd.DataFrame(columns)


def pair_rows(pairs: Mapping[str, np.ndarray], ids: Sequence[str]) -> pd.DataFrame:
    """Rows of the table of pairs that moved, without the models' names."""
    names = np.array(ids, object)
    return pd.DataFrame({**pairs, "row": names[pairs["row"]], "other": names[pairs["other"]]}).rename(
        columns={"row": "row_id"}
    )


def in_place(
    frame: pd.DataFrame, layers: Mapping[str, int], where: Mapping[str, str], columns: Mapping[str, str]
) -> pd.DataFrame:
    """Table with the columns that say where its rows belong."""
    sides = {"layer": "model", "layer_a": "a", "layer_b": "b"}
    known = {layer: frame[side].map(layers) for layer, side in sides.items() if side in frame}
    return table(frame.assign(**where, **known), columns)


def shown(points: pd.DataFrame, near: pd.DataFrame) -> dict[str, dict[str, float]]:
    """How much each model's maps show: share of the variance, and of nearest neighbours that are nearest there, too."""
    found: dict[str, dict[str, float]] = {}
    for model, frame in points.groupby("model", sort=False):
        shares = {"pca_variance": float((frame["pca_x"] ** 2 + frame["pca_y"] ** 2).mean())}
        own = near[near["model"] == model]
        for name, axes in AXES.items() if len(own) else ():
            places = maps.squared_in_plane(frame[axes].to_numpy(float))
            there = neighbour_rows(places, list(frame["row_id"]))
            shares[f"{name}_neighbours"] = float(neighbour_overlap(own, there)["overlap"].mean())
        found[str(model)] = shares
    return found


def mean_overlap(overlap: pd.DataFrame) -> dict[str, float]:
    """For each model, the mean share of a row's neighbours that are those of the first model with neighbours, too."""
    return {str(b): float(part["overlap"].mean()) for b, part in overlap.groupby("b", sort=False)}


def text_table(texts: TaskTexts, rows: np.ndarray, *, with_texts: bool) -> pd.DataFrame:
    """The mapped rows of a task: their labels and lengths, and the texts on one line, cut, unless they are left out."""
    given, labels, names = texts.task.geometry_rows, texts.task.geometry_rows.labels, texts.task.label_names
    found = []
    for i in rows:
        text, label = given.texts[i], None if labels is None else int(labels[i])
        found.append(
            {
                "task": texts.task.name,
                "row_id": given.row_ids[i],
                "text": one_line(text) if with_texts else None,
                "label": None if label is None or label < 0 else names[label] if names else str(label),
                "length": len(text),
            }
        )
    return table(found, TABLES["texts"])


def one_line(text: str) -> str:
    """Text on one line, cut; marks of writing direction are dropped, since each text is shown apart from the others."""
    return clean("".join(char for char in text[: 4 * LENGTH] if char not in BIDI_CONTROLS), LENGTH)


def what_a_point_is(texts: TaskTexts) -> str:
    """What a point of the map stands for, in words."""
    split = texts.task.validation
    if split.second is not None:
        return "one text of a pair"
    return "both texts of a pair as one" if split.groups is not None else "one text"
