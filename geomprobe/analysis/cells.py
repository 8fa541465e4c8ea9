"""Finished cells on disk: tables in a folder, written whole, and believed only while they are what was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from geomprobe.common import InputError, atomic_path, hash_file, read_json, write_json
from geomprobe.common.atomic import sweep_once
from geomprobe.results import read_table, write_table

HASHES = "hashes.json"


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write tables as ``NAME.parquet`` into a folder, with their hashes; whole or not at all."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, frame in tables.items():
            write_table(temporary / f"{name}.parquet", frame)
        write_json(temporary / HASHES, {name: hash_file(temporary / f"{name}.parquet") for name in tables})


def read_tables(folder: Path | None, columns: Mapping[str, Mapping[str, str]]) -> dict[str, pd.DataFrame] | None:
    """Return the tables of a folder, or None where any is absent or not the one that was written: measure it again."""
    if folder is None:
        return None
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
