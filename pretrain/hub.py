"""The Hugging Face hub: is it within reach, and which commit does a name mean? Asked once, within seconds."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import urlparse

from geomprobe.common import InputError, cache_dir, first_line, hash_bytes, read_json, write_json

TIMEOUT_S = 3.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


def require_hub(hint: str) -> None:
    """Raise InputError with ``hint`` where the hub cannot be reached."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    offline = next(
        (name for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE") if os.environ.get(name, "0") not in ("", "0")), None
    )
    if offline:
        raise InputError(f"The hub is switched off by {offline}.", hint)
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlparse(proxy or endpoint)
    try:
        socket.create_connection(
            (address.hostname or "", address.port or (80 if address.scheme == "http" else 443)), TIMEOUT_S
        ).close()
    except OSError as error:
        raise InputError(f"The Hugging Face hub ({endpoint}) cannot be reached: {error}", hint) from None


def resolve(name: str, kind: str, hint: str) -> tuple[str, list[str]]:
    """Return the commit that a hub id means, and notes that the user must read.

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
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    repo_id, _, revision = name.partition("@")
    if _COMMIT.fullmatch(revision):
        return revision, []
    file = cache_dir() / "hub" / "commits" / f"{hash_bytes(kind, name)[:16]}.json"
    before = _commit_in(file)
    try:
        commit = str(HfApi().repo_info(repo_id, repo_type=kind, revision=revision or None, timeout=TIMEOUT_S).sha)
    except GatedRepoError:
        raise InputError(f"The {kind} {name} on the hub needs permission.", "Ask for it there; log in.") from None
    except RevisionNotFoundError:
        raise InputError(f"The {kind} {repo_id} has no revision {revision!r} on the hub.", hint) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(f"{name} is neither an existing path nor a {kind} on the hub.", hint) from None
    except Exception as error:  # offline mode, no name resolution, timeout, a proxy's answer: all mean "not reachable"
        known = before or _cached_commit(repo_id, kind, revision or "main")
        if known is None:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise InputError(
                f"The {kind} {name} is not on this machine and the hub cannot be reached ({reason}).", hint
            ) from None
        return known, [f"the hub cannot be reached; {repo_id} is taken as last seen, at commit {known}"]
    if commit == before:
        return commit, []
    write_json(file, {"name": name, "kind": kind, "commit": commit})
    moved = f"{repo_id} has changed on the hub: now {commit}; for what was read before, give {repo_id}@{before}"
    return commit, [moved] if before else []


def download(repo_id: str, commit: str, patterns: list[str], hint: str) -> Path:
    """Return a local folder with the files of a model's commit that match the patterns.

    Raises
    ------
    InputError
        The hub cannot be reached and its local cache has no such commit.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, revision=commit, allow_patterns=patterns, etag_timeout=TIMEOUT_S))
    except Exception as error:  # the HTTP clients under the library change, and their errors have no common class
        reason = first_line(error)
        raise InputError(f"{repo_id}@{commit} could not be downloaded: {reason}", hint) from None


def _commit_in(file: Path) -> str | None:
    """Return the commit that a file of the cache records, None where there is none or it is damaged."""
    try:
        record = read_json(file)
    except InputError:
        return None
    commit = record.get("commit") if isinstance(record, dict) else None
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None


def _cached_commit(repo_id: str, kind: str, revision: str) -> str | None:
    """Return the commit of a revision in the hub's own local cache, None where it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo_id, repo_type=kind, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return folder.name if _COMMIT.fullmatch(folder.name) else None
