"""Maps of the rows of several results folders as those of one analysis; pairs that moved need vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from geomprobe.comparison.neighbours import neighbour_overlap
from geomprobe.comparison.sides import Side
from geomprobe.metrics.maps import turned_onto
from geomprobe.results import TABLES, table

AXES = (["pca_x", "pca_y"], ["tsne_x", "tsne_y"])
Tables = dict[str, pd.DataFrame]


def joined_maps(tables: Mapping[str, pd.DataFrame], kept: Mapping[str, Side], notes: list[str]) -> Tables:
    """Maps turned onto those of the first model that has one, neighbours, what neighbours are shared, and texts.

    Parameters
    ----------
    tables : mapping
        maps and neighbours of all models, under their names, a model after the other.
    kept : mapping of name to Side
    notes : list of str
        Gets the tasks whose maps show other rows in some folders: these are left out.
    """
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in ("maps", "neighbours", "neighbour_overlap", "texts")}
    for task, points in tables["maps"].groupby("task", sort=False):
        models = [frame.reset_index(drop=True) for _, frame in points.groupby("model", sort=False)]
        if any(not frame[["pooling", "row_id"]].equals(models[0][["pooling", "row_id"]]) for frame in models):
            notes.append(f"no maps of task {task}: the folders show other rows, or other poolings")
            continue
        near = tables["neighbours"][tables["neighbours"]["task"] == task]
        texts = [side.results.texts for side in kept.values()]
        found["maps"] += [turned(frame, models[0]) for frame in models]
        found["neighbours"].append(near)
        found["neighbour_overlap"] += overlaps(near)
        found["texts"] += [part for part in (frame[frame["task"] == task] for frame in texts) if len(part)][:1]
    return {
        name: table(pd.concat(parts, ignore_index=True) if parts else [], TABLES[name]) for name, parts in found.items()
    }


def turned(frame: pd.DataFrame, target: pd.DataFrame) -> pd.DataFrame:
    """Maps of one model, each turned onto that of another where both have it."""
    frame = frame.copy()
    for axes in AXES:
        if frame is not target and frame[axes].notna().all(axis=None) and target[axes].notna().all(axis=None):
            frame[axes] = turned_onto(frame[axes].to_numpy(float), target[axes].to_numpy(float))
    return frame


def overlaps(near: pd.DataFrame) -> list[pd.DataFrame]:
    """How many neighbours each model shares with the first that has any, of one task."""
    parts = [(str(name), frame) for name, frame in near.groupby("model", sort=False)]
    found = []
    for b, second in parts[1:]:
        a, first = parts[0]
        where = {"a": a, "b": b, **{column: first[column].iloc[0] for column in ("task", "pooling")}}
        layers = {"layer_a": first["layer"].iloc[0], "layer_b": second["layer"].iloc[0]}
        found.append(neighbour_overlap(first, second).assign(**where, **layers))
    return found


def map_entries(tables: Mapping[str, pd.DataFrame], kept: Mapping[str, Side]) -> list[dict[str, Any]]:
    """What run.json says of the maps of each task."""
    found = []
    for task, points in tables["maps"].groupby("task", sort=False):
        mapped = list(points["model"].unique())
        own = {name: (side.name, map_entry(side, str(task))) for name, side in kept.items()}
        shared = tables["neighbour_overlap"]
        shared = shared[shared["task"] == task]
        lost = {name: entry.get("left_out", {}).get(there) for name, (there, entry) in own.items()}
        found.append(
            {
                **own[mapped[0]][1],
                "onto": mapped[0],
                "shown": {name: own[name][1].get("shown", {}).get(own[name][0], {}) for name in mapped},
                "overlap": {str(b): float(part["overlap"].mean()) for b, part in shared.groupby("b", sort=False)},
                "left_out": {name: why for name, why in lost.items() if why},
            }
        )
    return found


def map_entry(side: Side, task: str) -> Mapping[str, Any]:
    """What a folder says of the maps of a task."""
    return next((entry for entry in side.run.get("maps", ()) if entry["task"] == task), {"task": task})
