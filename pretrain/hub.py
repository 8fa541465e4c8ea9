"""Which commit a name on the Hugging Face hub means, and whether that has changed."""

from __future__ import annotations

import re
from pathlib import Path

from geomprobe.common import InputError, cache_dir, hash_bytes, hub, read_json, write_json

_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(name: str, kind: str, hint: str) -> tuple[str, list[str]]:
    """Commit that a hub id means, and notes that the user must read.

    Where the hub does not answer, the commit is the one that it named last, to this program or to the libraries that
    share the hub's local cache.

    Parameters
    ----------
    name : str
        ``owner/name``, or ``owner/name@revision`` with a branch, tag or commit.
    kind : {"model", "dataset"}
    hint : str
        What to do instead, for the error message.

    Returns
    -------
    commit : str
        40 hexadecimal digits.
    notes : list of str
        Said where the hub was not asked, or names another commit than before.

    Raises
    ------
    InputError
        There is no such repository or revision, or the hub cannot be reached and never named a commit.
    """
    repo_id, _, revision = name.partition("@")
    if _COMMIT.fullmatch(revision):
        return revision, []
    file = cache_dir() / "hub" / "commits" / f"{hash_bytes(kind, name)[:16]}.json"
    before = _commit_in(file)
    info, reason = hub.ask(repo_id, kind=kind, revision=revision or None, hint=hint)
    if info is None:
        known = before or _cached_commit(repo_id, kind, revision or "main")
        if known is None:
            raise hub.not_here(name, kind, reason, hint)
        return known, [f"the hub cannot be reached; {repo_id} is taken as last seen, at commit {known}"]
    commit = str(info.sha)
    if commit == before:
        return commit, []
    write_json(file, {"name": name, "kind": kind, "commit": commit})
    moved = f"{repo_id} has changed on the hub: now {commit}; for what was read before, give {repo_id}@{before}"
    return commit, [moved] if before else []


def _commit_in(file: Path) -> str | None:
    """Commit that a file of the cache records, None where there is none or it is damaged."""
    try:
        record = read_json(file)
    except InputError:
        return None
    commit = record.get("commit") if isinstance(record, dict) else None
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None


def _cached_commit(repo_id: str, kind: str, revision: str) -> str | None:
    """Commit of a revision in the hub's own local cache, None where it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo_id, repo_type=kind, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return folder.name if _COMMIT.fullmatch(folder.name) else None
