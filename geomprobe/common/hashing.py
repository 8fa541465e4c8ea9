"""SHA-256 of parts and of files."""

from __future__ import annotations

import hashlib
import os


def hash_bytes(*parts: bytes | memoryview | str) -> str:
    """SHA-256 (hex) of the parts, each preceded by its length so that no two lists of parts collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def hash_file(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
