"""Embeddings on disk: memory-mapped, written whole or not at all, keyed by what they were made from."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
from geomprobe.common.atomic import sweep_once

FORMAT = "1"  # part of every key: raised when the meaning of stored vectors changes


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
