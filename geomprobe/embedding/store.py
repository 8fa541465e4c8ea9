"""Embeddings on disk: memory-mapped, written whole or not at all, keyed by what they were made from."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geomprobe.common import (
    GeomprobeError,
    InputError,
    atomic_path,
    cache_dir,
    hash_bytes,
    hash_file,
    read_json,
    write_json,
)
from geomprobe.common.atomic import sweep, sweep_once

FORMAT = "1"  # part of every key: raised when the meaning of stored vectors changes


@dataclass(frozen=True)
class Entry:
    """One stored array: what it is, where it lies, how large it is and when it was last used (seconds since 1970)."""

    key: str
    folder: Path
    size: int
    used: float
    meta: dict[str, Any]


class Store:
    """A folder of arrays, each under a key made of everything that decides its values.

    Parameters
    ----------
    folder : path, optional
        Default: ``embeddings`` in the cache folder (GEOMPROBE_CACHE).
    """

    def __init__(self, folder: str | os.PathLike | None = None):
        self.folder = Path(folder) if folder is not None else cache_dir() / "embeddings"

    @staticmethod
    def key(*parts: str) -> str:
        """Key for these parts."""
        return hash_bytes(FORMAT, *parts)

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def get(self, key: str) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Array (memory-mapped, read-only) and its description.

        None where it is absent, or no longer what was written: every byte is checked.
        """
        place = self._place(key)
        sweep_once(place.parent)
        try:
            meta = read_json(place / "meta.json")
            if not isinstance(meta, dict) or hash_file(place / "vectors.npy") != meta.get("sha256"):
                return None
            array = np.load(place / "vectors.npy", mmap_mode="r", allow_pickle=False)
        except (InputError, OSError, ValueError, EOFError):
            return None
        with contextlib.suppress(OSError):  # another user's cache
            os.utime(place / "meta.json")
        return array, meta

    @contextmanager
    def writing(self, key: str, shape: tuple[int, int], meta: dict[str, Any]) -> Iterator[np.ndarray]:
        """Yield a writable float32 array on disk that is stored under the key if the block ends well.

        ``meta`` is written at the end, so the block may still add to it.

        Raises
        ------
        GeomprobeError
            Where the disk has no room for the array; it is reserved before anything is computed.
        """
        place = self._place(key)
        try:
            with atomic_path(place) as temporary:
                temporary.mkdir()
                array = _reserve(temporary / "vectors.npy", shape)
                yield array
                array.flush()
                sha256 = hash_file(temporary / "vectors.npy")
                write_json(temporary / "meta.json", {**meta, "shape": list(shape), "sha256": sha256})
        except OSError as error:
            raise GeomprobeError(
                f"Embeddings cannot be written to {self.folder}: {error.strerror or error}.",
                "Free some space (geomprobe cache prune), or point GEOMPROBE_CACHE to another disk.",
            ) from None

    def entries(self) -> list[Entry]:
        """What is stored, most recently used first."""
        found = []
        for meta_file in self.folder.glob("??/*/meta.json"):
            try:
                meta = read_json(meta_file)
                size = sum(file.stat().st_size for file in meta_file.parent.iterdir())
                found.append(Entry(meta_file.parent.name, meta_file.parent, size, meta_file.stat().st_mtime, meta))
            except (InputError, OSError):
                continue
        return sorted(found, key=lambda entry: -entry.used)

    def prune(self, *, older_than_days: float | None = None, max_bytes: int | None = None) -> tuple[int, int]:
        """Remove entries: all, or those not used for some days, or the oldest beyond a total size.

        Returns
        -------
        (removed, freed) : int, int
            Number of entries and bytes.
        """
        everything = older_than_days is None and max_bytes is None
        removed = freed = kept = 0
        for entry in self.entries():
            old = older_than_days is not None and entry.used < time.time() - 86400 * older_than_days
            beyond = max_bytes is not None and kept + entry.size > max_bytes
            if everything or old or beyond:
                shutil.rmtree(entry.folder, ignore_errors=True)
                removed, freed = removed + 1, freed + entry.size
            else:
                kept += entry.size
        for part in self.folder.glob("??"):
            sweep(part)
        return removed, freed


def _reserve(path: Path, shape: tuple[int, int]) -> np.memmap:
    """A writable .npy with its space reserved: writing to a map on a full disk would kill the process."""
    array: np.memmap = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    size = path.stat().st_size
    if size and hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as handle:
            try:
                os.posix_fallocate(handle.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot reserve
                    raise
    return array
