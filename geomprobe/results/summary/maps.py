"""Tables of the maps → a `RowMap` a task: its rows by number, every text made inert."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common.text import NAME_LIMIT, clean

TEXT = 100
"""Most characters of a text that are shown."""
FAR = 1e100
"""Coordinates beyond are damage."""
PROJECTIONS = {"tsne": ("tsne_x", "tsne_y"), "pca": ("pca_x", "pca_y")}
"""Maps, with their columns; the one that is shown first comes first."""


@dataclass(frozen=True)
class ModelMap:
    """Where one model puts the rows.

    Attributes
    ----------
    layer : int
    points : dict of str to ndarray of shape (n, 2)
        Of the projections that there are.
    groups : list of int or None, length n
    near : list of list of (int, float), length n
        The nearest rows of each row, nearest first, with their cosines.
    """

    layer: int
    points: dict[str, np.ndarray]
    groups: list[int | None]
    near: list[list[tuple[int, float]]]


@dataclass(frozen=True)
class Moved:
    """A pair of rows: its cosine in both models, and the share of all pairs that are less alike there."""

    row: int
    other: int
    cosines: tuple[float, float]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class RowMap:
    """The maps of one task.

    Attributes
    ----------
    task, pooling : str
    entry : dict
        What run.json says of them (see `geomprobe.results.schema.MapEntry`), every text made inert.
    texts : list of str, length n
        The ids of the rows where the texts were left out.
    with_texts : bool
    labels : list of str, length n
        Empty where a row has none.
    lengths : list of int, length n
    models : dict of str to ModelMap
    overlap : dict of (a, b) to list of (int, float)
        Rows with the share of neighbours that both models name, least first.
    moved : dict of (a, b) to list of Moved
    """

    task: str
    pooling: str
    entry: Mapping[str, Any]
    texts: list[str]
    with_texts: bool
    labels: list[str]
    lengths: list[int]
    models: dict[str, ModelMap]
    overlap: dict[tuple[str, str], list[tuple[int, float]]]
    moved: dict[tuple[str, str], list[Moved]]


def row_maps(
    tables: Mapping[str, pd.DataFrame],
    entries: Iterable[tuple[str, Mapping[str, Any]]],
    names: Mapping[str, str],
) -> list[RowMap]:
    """Maps of every task that has rows.

    Parameters
    ----------
    tables : mapping
        Those of a results folder.
    entries : iterable of (task, entry)
        The task as the tables name it, and what run.json says of it, every text made inert.
    names : mapping
        Display names of models, tasks and poolings.
    """
    made = (_row_map(tables, task, entry, names) for task, entry in entries)
    return [found for found in made if found.texts]


def _row_map(
    tables: Mapping[str, pd.DataFrame], task: str, entry: Mapping[str, Any], names: Mapping[str, str]
) -> RowMap:
    def of_task(name: str) -> pd.DataFrame:
        frame = tables[name]
        return frame[frame["task"] == task]

    rows = of_task("texts").drop_duplicates("row_id")
    at = {row_id: i for i, row_id in enumerate(rows["row_id"])}

    def numbered(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
        """Rows of a table with the numbers of the rows that they name; those that name others are left out.

        So are those with a cosine or a share that is none.
        """
        frame = frame.assign(**{column: frame[column].map(at).astype("Int64") for column in columns}).dropna()
        values = frame.select_dtypes("Float64").to_numpy(float, na_value=np.nan)
        return frame[(np.abs(values) <= 1 + 1e-6).all(axis=1)]

    near = numbered(of_task("neighbours"), "row_id", "neighbour")
    models = {
        names[str(model)]: _model_map(part, near[near["model"] == model], list(at))
        for model, part in of_task("maps").groupby("model", sort=False)
    }
    kept = rows["text"].notna()
    shown = [clean(text if there else row_id, TEXT) for text, row_id, there in zip(rows["text"], at, kept, strict=True)]

    def of_pairs(frame: pd.DataFrame) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
        """Rows of a table of pairs of models, without the columns that say where they belong."""
        where = ["a", "b", "task", "pooling", "layer_a", "layer_b"]
        parts = frame.groupby(["a", "b"], sort=False)
        return {
            (names[str(a)], names[str(b)]): list(
                zip(*(part[column].tolist() for column in part.columns.difference(where, sort=False)), strict=True)
            )
            for (a, b), part in parts
        }

    moved = of_pairs(numbered(of_task("moved_pairs"), "row_id", "other"))
    return RowMap(
        task=names[task],
        pooling=str(entry.get("pooling", "")),
        entry=entry,
        texts=shown,
        with_texts=bool(kept.any()),
        labels=[clean(label, NAME_LIMIT) for label in rows["label"].fillna("")],
        lengths=[int(length) for length in rows["length"].fillna(0)],
        models=models,
        overlap=of_pairs(numbered(of_task("neighbour_overlap"), "row_id")),
        moved={
            pair: [Moved(row, other, (one, two), tuple(shares)) for row, other, one, two, *shares in rows]
            for pair, rows in moved.items()
        },
    )


def _model_map(frame: pd.DataFrame, near: pd.DataFrame, ids: list[str]) -> ModelMap:
    placed = frame.drop_duplicates("row_id").set_index("row_id").reindex(ids)
    points = {name: placed[list(axes)].to_numpy(float, na_value=np.nan) for name, axes in PROJECTIONS.items()}
    lists: list[list[tuple[int, float]]] = [[] for _ in ids]
    for row, other, cosine in near.sort_values("rank")[["row_id", "neighbour", "cosine"]].itertuples(index=False):
        lists[row].append((int(other), float(cosine)))
    layer = frame["layer"].iloc[0]
    return ModelMap(
        layer=0 if pd.isna(layer) else int(layer),
        points={name: at for name, at in points.items() if (np.abs(at) < FAR).all()},  # false for NaN
        groups=[None if pd.isna(group) else int(group) for group in placed["group"]],
        near=lists,
    )
