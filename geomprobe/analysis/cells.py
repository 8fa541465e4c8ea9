"""A cell of the grid: what it is keyed by, the columns of its tables, and the finished ones on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

import geomprobe
from geomprobe.analysis.failures import failed_row
from geomprobe.analysis.protocols import Protocol
from geomprobe.analysis.texts import TaskTexts
from geomprobe.analysis.variants import FULL, Variant
from geomprobe.common import InputError, atomic_path, hash_bytes, hash_file, read_json, write_json
from geomprobe.common.atomic import sweep_once
from geomprobe.distributed import Processes
from geomprobe.embedding import trained_pooling
from geomprobe.embedding.pooling import POOLINGS, TRAINABLE
from geomprobe.encoders import Encoder
from geomprobe.metrics import REGISTRY
from geomprobe.results import (
    CURVE_COLUMNS,
    EXAMPLE_COLUMNS,
    INFLUENCE_COLUMNS,
    REFIT_COLUMNS,
    RESULT_COLUMNS,
    read_table,
    table,
    write_table,
)
from geomprobe.tasks import TASKS, choices

K = TypeVar("K")
Tables = dict[str, pd.DataFrame]
CELL_COLUMNS = {
    "results": RESULT_COLUMNS,
    "curves": CURVE_COLUMNS,
    "examples": EXAMPLE_COLUMNS,
    "influences": INFLUENCE_COLUMNS,
    "refits": REFIT_COLUMNS,
}
CELLS = "7"
"""Raised where a change of the code changes numbers within a version, so that cells of before are not found."""
HASHES = "hashes.json"


@dataclass(frozen=True, eq=False)
class CellContext:
    """One cell: an encoder on a task at a layer under a pooling, by a protocol, its vectors stored in one way."""

    encoder: Encoder
    texts: TaskTexts
    layer: int
    pooling: str
    protocol: Protocol
    seed: int = 0
    variant: Variant = FULL
    refits: int = 0
    probes: str = "all"

    @property
    def key(self) -> str:
        """The content key: equal for equal weights, texts and choices, whatever the files are called."""
        encoder, pooling = self.encoder, self.pooling
        prompts = (encoder.prompt_under(pooling), encoder.query_prompt)
        own = [repr(prompts)] if any(each is not None and each != "" for each in prompts) or pooling == "model" else []
        if pooling == "model" and encoder.head is not None:
            own.append(encoder.head.fingerprint)
        own += ["chunk"] if encoder.long == "chunk" else []
        own += [f"{self.refits} refits"] if self.refits else []
        own += [f"probes {self.probes}"] if self.probes != "all" else []
        own += POOLINGS.versions([pooling]) + TASKS.versions([self.texts.task.name])
        own += choices(self.texts.task)
        own += REGISTRY.versions(name for name, metric in REGISTRY.items() if metric.default_views)
        full = hash_bytes(
            geomprobe.__version__,
            CELLS,
            encoder.hash,
            str(encoder.dtype),
            str((encoder.max_length, encoder.lower_case, encoder.unmasked_length)),
            self.texts.task.fingerprint,
            str(self.texts.matched),
            str(self.layer),
            pooling,
            trained_pooling.VERSION if pooling in TRAINABLE else "",
            repr(self.protocol),
            str(self.seed),
            *own,
        )
        return self.variant.hash(full)

    def stamp(self, tables: Tables) -> Tables:
        """Tables with the columns that say which cell their rows belong to."""
        where: dict[str, Any] = {"task": self.texts.task.name, "layer": self.layer, "pooling": self.pooling}
        full = where | {
            "model_hash": self.variant.hash(self.encoder.hash),
            "task_hash": self.texts.task.fingerprint,
            "split": "validation",
            "protocol": self.protocol.name,
        }
        stamped = {}
        for kind, columns in CELL_COLUMNS.items():
            frame = table(tables.get(kind, []), columns).assign(**(full if kind == "results" else where))
            if kind == "results":
                filled: dict[str, Any] = {"seed": self.seed, "status": "ok", "note": ""}
                frame = frame.assign(**{name: frame[name].fillna(value) for name, value in filled.items()})
            stamped[kind] = table(frame, columns)
        return stamped


def joined(*parts: Tables) -> Tables:
    """Rows of several tables of a cell in one; a kind that none has is empty."""
    found = {}
    for kind, columns in CELL_COLUMNS.items():
        frames = [table(part[kind], columns) for part in parts if kind in part]
        found[kind] = pd.concat(frames) if frames else table([], columns)
    return found


def failed_cell(stage: str, note: str) -> tuple[Tables, bool]:
    """Table that stands for a stage that failed, and that it failed."""
    return {"results": failed_row(stage, note)}, False


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write tables as ``NAME.parquet`` into a folder, with their hashes; whole or not at all."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, frame in tables.items():
            write_table(temporary / f"{name}.parquet", frame)
        write_json(temporary / HASHES, {name: hash_file(temporary / f"{name}.parquet") for name in tables})


def read_tables(folder: Path, columns: Mapping[str, Mapping[str, str]]) -> dict[str, pd.DataFrame] | None:
    """Tables of a folder, or None where any is absent or not the one that was written: measure it again."""
    sweep_once(folder.parent)
    try:
        hashes = read_json(folder / HASHES)
        if not isinstance(hashes, dict):
            return None
        files = {name: folder / f"{name}.parquet" for name in columns}
        if any(hash_file(file) != hashes.get(name) for name, file in files.items()):
            return None
        return {name: read_table(files[name], columns[name]) for name in columns}
    except (InputError, OSError):
        return None


def count_finished(folder: Path, places: Collection[tuple[Any, ...]], most: int) -> int:
    """How many cells at some places a folder holds, of at most so many models.

    Parameters
    ----------
    folder : Path
        Of finished cells.
    places : collection of (task_hash, layer, pooling, protocol, seed)
    most : int
        Models. Which weights a cell belongs to is known once they are read, so those with most cells count.
    """
    found: Counter[str] = Counter()
    columns = ["model_hash", "task_hash", "layer", "pooling", "protocol", "seed"]
    for file in folder.glob("*/results.parquet"):
        with suppress(OSError, ValueError, IndexError):  # another kind of cell, or a damaged one
            model, *place = pd.read_parquet(file, columns=columns).iloc[0].tolist()
            found[model] += tuple(place) in places
    return sum(count for _, count in found.most_common(most))


def kept_tables(
    folders: Mapping[K, Path], columns: Mapping[str, Mapping[str, str]], processes: Processes
) -> dict[K, dict[str, pd.DataFrame]]:
    """Tables of the folders that hold finished ones, on all processes; the first alone reads."""
    found = {at: read_tables(folder, columns) for at, folder in folders.items()} if processes.first else {}
    return processes.broadcast({at: tables for at, tables in found.items() if tables is not None})
