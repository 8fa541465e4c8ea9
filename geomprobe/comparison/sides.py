"""A model in a results folder: its rows of every table, and what run.json says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from geomprobe.results import Results


@dataclass(frozen=True)
class Side:
    """A model in a results folder.

    Attributes
    ----------
    folder : Path
    results : Results
        Everything in the folder.
    entry : mapping
        What run.json says of the model.
    """

    folder: Path
    results: Results
    entry: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name in the folder."""
        return self.entry["name"]

    @property
    def run(self) -> Mapping[str, Any]:
        """The folder's run.json."""
        return self.results.run

    def task_entry(self, task: str) -> Mapping[str, Any]:
        """What run.json says of a task."""
        return next((entry for entry in self.run.get("tasks", ()) if entry["name"] == task), {"name": task})

    def pooling_entry(self, pooling: str) -> Mapping[str, Any]:
        """What run.json says of a pooling."""
        return next((entry for entry in self.run.get("poolings", ()) if entry["name"] == pooling), {"name": pooling})

    def part(self, kind: str) -> pd.DataFrame:
        """Rows of a table that are the model's."""
        frame = getattr(self.results, kind)
        return frame[frame["model"] == self.name]

    def __str__(self) -> str:
        return f"{self.folder}#{self.name}"


def task_hashes(side: Side) -> dict[str, str]:
    """Fingerprint of each task that a model was measured on."""
    hashes = side.part("results").groupby("task", sort=False)["task_hash"].first()
    return dict(zip(hashes.index, hashes, strict=True))
