"""Files elsewhere (s3://, gs://, hf://, …), copied to the cache by fsspec; all formats are then read as ever."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from geomprobe.common.atomic import atomic_path
from geomprobe.common.errors import InputError, refusing
from geomprobe.common.files import cache_dir
from geomprobe.common.hashing import hash_bytes
from geomprobe.common.names import brief

URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""Protocol -> the package that fsspec needs for it; hf:// comes with huggingface_hub, http(s):// needs aiohttp."""
HINT = "Is the address right, and may you read it? Credentials are taken from where the protocol's package looks."


def is_remote(name: str | os.PathLike) -> bool:
    """Whether a text is a URL; a path that exists wins, and a `Path` is none.

    Examples
    --------
    >>> is_remote("s3://bucket/vectors.npy"), is_remote("vectors.npy"), is_remote("C:/vectors.npy")
    (True, False, False)
    """
    return isinstance(name, str) and URL.match(name) is not None and not os.path.exists(name)


def fetch(url: str, endings: Sequence[str]) -> Path:
    """Copy of a file or folder elsewhere, in the cache; what is already there and has not changed is not copied again.

    Of a folder, only the files with one of `endings` are copied, without the hidden ones and those whose names begin
    with "_": data sets in parts keep notes in them. What a URL says is on this machine (file://) is not copied.

    Raises
    ------
    InputError
        It does not exist, cannot be read, or holds no such file; the package of its protocol is not installed; the
        disk has no room for it.
    """
    shown = brief(_without_login(url), 200)
    try:
        with refusing(f"{shown} cannot be read", HINT):
            return _fetch(url, shown, tuple(endings))
    except InputError as error:
        protocol = url.partition("://")[0].lower()
        package = PACKAGES.get(protocol, "aiohttp" if protocol in ("http", "https") else None)
        if "ImportError" in error.message and package:
            raise InputError(f"{shown} needs the package {package}.", f"pip install {package}") from None
        raise


def _fetch(url: str, shown: str, endings: tuple[str, ...]) -> Path:
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    system, root = fsspec.core.url_to_fs(url)
    if not system.exists(root):
        raise InputError(f"{shown} does not exist.", HINT)
    if isinstance(system, LocalFileSystem):
        return Path(root)
    folder = system.isdir(root)
    parts = {_relative(file, root): file for file in sorted(system.find(root))} if folder else {_name(root): root}
    parts = {name: file for name, file in parts.items() if not name.startswith((".", "_")) and "/." not in name}
    parts = {name: file for name, file in parts.items() if "/_" not in name}
    if folder:
        parts = {name: file for name, file in parts.items() if name.lower().endswith(endings)}
    if not parts:
        raise InputError(f"{shown} holds no file that ends in {' or '.join(endings)}.", HINT)
    state = [f"{name} {_state(system, file)}" for name, file in parts.items()]
    place = cache_dir() / "remote" / hash_bytes(url, *state)[:24]
    missing = {name: file for name, file in parts.items() if not (place / name).is_file()}
    _refuse_beyond_disk(sum(system.info(file).get("size") or 0 for file in missing.values()), shown)
    for name, file in missing.items():
        with atomic_path(place / name) as temporary:
            system.get_file(file, str(temporary))
    return place if folder else place / _name(root)


def _state(system: Any, file: str) -> str:
    """What changes with a file's content: its size and whatever of a hash or time the storage knows."""
    info = system.info(file)
    known = ("size", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created", "md5Hash", "oid")
    return repr([(key, str(info[key])) for key in known if info.get(key) is not None])


def _refuse_beyond_disk(size: int, shown: str) -> None:
    """Raise InputError where so many bytes have no room in the cache."""
    place = next(part for part in (cache_dir(), *cache_dir().absolute().parents) if part.exists())
    if size > (free := shutil.disk_usage(place).free):
        raise InputError(
            f"{shown} has {size / 1e9:,.1f} GB, and {place} has room for {free / 1e9:,.1f} GB.",
            "Give a smaller part of it, or set GEOMPROBE_CACHE to a larger disk.",
        )


def _name(path: str) -> str:
    return PurePosixPath(path).name or "file"


def _relative(file: str, root: str) -> str:
    """Name of a file inside its folder; raises InputError where it would lead out of it."""
    name = file.removeprefix(root).lstrip("/")
    if not name or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
        raise InputError(f"The name of the file {brief(file, 200)!r} cannot be one on this machine.", "Rename it.")
    return name


def _without_login(url: str) -> str:
    """A URL without the user and password that it may hold."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)
