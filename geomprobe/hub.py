"""Fetch files from the Hugging Face hub: found within seconds, pinned to a commit, or refused with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from geomprobe.common import InputError, first_line

TIMEOUT = 5.0  # seconds for the one question asked before any download

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def is_repo_id(name: str) -> bool:
    """Tell whether a string has the form of a hub id: ``name`` or ``owner/name``."""
    return _REPO_ID.fullmatch(name) is not None and ".." not in name and "--" not in name


def snapshot(
    repo_id: str,
    *,
    kind: str,
    revision: str | None,
    patterns: list[str] | Callable[[Sequence[str]], list[str]],
    hint: str,
) -> tuple[Path, str]:
    """Return a local folder with the files of a hub repository that match the patterns, and their commit.

    The hub is asked once, with a timeout, which commit is meant. If it does not answer, the local cache of the hub
    is used where it holds the repository; nothing else ever takes its place.

    Parameters
    ----------
    repo_id : str
    kind : {"model", "dataset"}
    revision : str or None
        Branch, tag or commit; None for the main branch.
    patterns : list of str, or callable
        Which files, such as ``*.json``; or what chooses them from the names of all files.
    hint : str
        What to do instead, for the error message.

    Returns
    -------
    folder : Path
    commit : str
        The commit, 40 hexadecimal digits.

    Raises
    ------
    InputError
        Where the repository does not exist, or the hub cannot be reached and nothing is cached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    named = f"{repo_id}@{revision}" if revision else repo_id
    commit, reason, names = None, "", None
    try:
        info = HfApi().repo_info(repo_id, repo_type=kind, revision=revision, timeout=TIMEOUT)
        commit = info.sha
        names = [file.rfilename for file in getattr(info, "siblings", None) or ()] if callable(patterns) else None
    except GatedRepoError:
        raise InputError(f"The {kind} {named!r} on the hub needs permission.", "Ask for it there; log in.") from None
    except RevisionNotFoundError:
        raise InputError(f"The {kind} {repo_id!r} has no revision {revision!r} on the hub.", hint) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(f"{named!r} is neither an existing path nor a {kind} on the hub.", hint) from None
    except Exception as error:  # offline mode, no name resolution, timeout, a proxy's answer: all mean "not reachable"
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    if callable(patterns):  # where the hub does not answer, all that is cached
        patterns = patterns(names) if names is not None else ["*"]
    try:
        folder = snapshot_download(
            repo_id,
            repo_type=kind,
            revision=commit or revision,
            allow_patterns=patterns,
            local_files_only=commit is None,
        )
    except LocalEntryNotFoundError:
        raise InputError(
            f"The {kind} {named!r} is not on this machine and the hub cannot be reached ({reason}).", hint
        ) from None
    except Exception as error:
        raise InputError(f"{named!r} could not be downloaded: {first_line(error)}", hint) from None
    return Path(folder), commit or Path(folder).name
