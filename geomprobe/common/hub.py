"""Repositories on the Hugging Face hub: found within seconds, pinned to a commit, or refused with what to do."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geomprobe.common.errors import InputError
from geomprobe.common.files import write_text

TIMEOUT_S = 5.0  # for the one question asked before any download
WEIGHTS = ".safetensors"


class NotDownloaded(InputError):
    """A data set that a `Rehearsal` does not download."""


@dataclass(frozen=True)
class Rehearsal:
    """What would be downloaded: the files of each repository with their bytes, those in the hub's cache left out.

    Attributes
    ----------
    folder : Path
        Where configs and tokenizers lie meanwhile, with empty files in the place of weights.
    downloads : dict of repository to dict of file to bytes
    """

    folder: Path
    downloads: dict[str, dict[str, int]] = field(default_factory=dict)


_REHEARSAL: ContextVar[Rehearsal | None] = ContextVar("rehearsal", default=None)


@contextlib.contextmanager
def rehearsing() -> Iterator[Rehearsal]:
    """Block in which `snapshot` notes what it would download, and keeps nothing.

    Of a model that is not in the hub's cache it gives a folder without weights, which is gone after the block; for a
    data set it raises `NotDownloaded`.
    """
    with tempfile.TemporaryDirectory(prefix="geomprobe-") as folder:
        rehearsal = Rehearsal(Path(folder))
        token = _REHEARSAL.set(rehearsal)
        try:
            yield rehearsal
        finally:
            _REHEARSAL.reset(token)


def is_repo_id(name: str) -> bool:
    """Whether a string has the form of a hub id: ``name`` or ``owner/name``."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def ask(repo_id: str, *, kind: str, revision: str | None, hint: str) -> tuple[Any, str]:
    """What the hub says of a repository, or None and the reason where it does not answer.

    Parameters
    ----------
    repo_id : str
    kind : {"model", "dataset"}
    revision : str or None
        Branch, tag or commit; None for the main branch.
    hint : str
        What to do instead, for the error message.

    Raises
    ------
    InputError
        There is no such repository or revision, or it needs permission.
    """
    from huggingface_hub import HfApi

    wanted: dict[str, Any] = {"repo_type": kind, "revision": revision, "timeout": TIMEOUT_S}
    return _answer(lambda: HfApi().repo_info(repo_id, **wanted), repo_id, kind, revision, hint)


def revisions(repo_id: str, *, kind: str, hint: str) -> tuple[dict[str, str], str]:
    """Branches and tags of a repository with their commits, and why the hub did not answer ("" where it did).

    Where it does not answer, they are those that its local cache holds.

    Raises
    ------
    InputError
        There is no such repository, it needs permission, or the hub cannot be reached and nothing is cached.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    info, reason = ask(repo_id, kind=kind, revision=None, hint=hint)  # which has a time limit
    if info is not None:
        found, reason = _answer(lambda: HfApi().list_repo_refs(repo_id, repo_type=kind), repo_id, kind, None, hint)
    if info is not None and found is not None:
        return {ref.name: ref.target_commit for ref in (*found.branches, *found.tags)}, ""
    refs = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo_id, repo_type=kind), "refs")
    files = [file for file in sorted(refs.rglob("*")) if file.is_file()]
    if not files:
        raise not_here(repo_id, kind, reason, hint)
    return {file.relative_to(refs).as_posix(): file.read_text().strip() for file in files}, reason


def _answer(question: Callable[[], Any], repo_id: str, kind: str, revision: str | None, hint: str) -> tuple[Any, str]:
    """What the hub answers to a question about a repository, or None and why it does not; raises as `ask` does."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return question(), ""
    except GatedRepoError:
        raise _gated(repo_id, kind) from None
    except RevisionNotFoundError:
        raise InputError(f"The {kind} {repo_id!r} has no revision {revision!r} on the hub.", hint) from None
    except (RepositoryNotFoundError, HFValidationError):
        reason = f"{repo_id!r} is neither an existing path nor a {kind} on the hub that you can read."
        raise InputError(reason, f"If it is private: hf auth login. {hint}") from None
    except Exception as error:  # offline mode, no name resolution, timeout, a proxy's answer: all mean "not reachable"
        return None, _reason(error)


def download(
    repo_id: str, *, kind: str, revision: str | None, patterns: list[str], hint: str, unreachable: str = ""
) -> Path:
    """A local folder with the files of a repository that match the patterns.

    Where the hub is ``unreachable`` for a reason, only its local cache is read.

    Raises
    ------
    InputError
        The download failed, or the hub cannot be reached and its local cache does not hold the repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

    named = f"{repo_id}@{revision}" if revision else repo_id
    wanted: dict[str, Any] = {"repo_type": kind, "revision": revision, "allow_patterns": patterns}
    try:
        return Path(snapshot_download(repo_id, **wanted, local_files_only=bool(unreachable)))
    except GatedRepoError:  # the files of a gated repository, which anyone may look at
        raise _gated(named, kind) from None
    except Exception as error:  # the HTTP clients under the library change, and their errors have no common class
        absent = isinstance(error, LocalEntryNotFoundError)
        if absent and unreachable:
            raise not_here(named, kind, unreachable, hint) from None
        cause = error.__cause__ if absent and error.__cause__ else error
        raise InputError(
            f"{named!r} could not be downloaded: {_reason(cause)}.",
            "Run the same command again: files that arrived whole are kept.",
        ) from None


def not_here(named: str, kind: str, reason: str, hint: str) -> InputError:
    """Error for a repository that neither the hub nor its local cache gives."""
    return InputError(f"The {kind} {named!r} is not on this machine, and the hub cannot be reached ({reason}).", hint)


def snapshot(
    repo_id: str,
    *,
    kind: str,
    revision: str | None,
    patterns: list[str] | Callable[[Sequence[str]], list[str]],
    hint: str,
) -> tuple[Path, str]:
    """A local folder with the files of a hub repository that match the patterns, and their commit.

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
    info, reason = ask(repo_id, kind=kind, revision=revision, hint=hint)
    commit = info.sha if info else None
    if callable(patterns):  # where the hub does not answer, all that is cached
        patterns = patterns([file.rfilename for file in getattr(info, "siblings", None) or ()]) if info else ["*"]
    rehearsal = _REHEARSAL.get()
    if commit and rehearsal and (absent := _absent(repo_id, kind, commit, patterns, hint)):
        rehearsal.downloads.setdefault(f"{repo_id}@{commit}", {}).update(absent)
        if kind == "dataset":
            raise NotDownloaded(f"The data set {repo_id!r} is not on this machine.", hint)
        return _without_weights(repo_id, commit, patterns, rehearsal.folder, list(absent)), commit
    folder = download(repo_id, kind=kind, revision=commit or revision, patterns=patterns, hint=hint, unreachable=reason)
    if commit and not rehearsal:
        _remember(folder, revision or "main", commit)
    return folder, commit or folder.name


def _absent(repo_id: str, kind: str, commit: str, patterns: list[str], hint: str) -> dict[str, int]:
    """Files of a repository that the hub's cache does not hold, with their bytes."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.utils import filter_repo_objects

    try:
        info = HfApi().repo_info(repo_id, repo_type=kind, revision=commit, timeout=TIMEOUT_S, files_metadata=True)
    except Exception as error:  # as in `ask`
        raise not_here(repo_id, kind, _reason(error), hint) from None
    sizes = {file.rfilename: int(file.size or 0) for file in getattr(info, "siblings", None) or ()}
    names = filter_repo_objects(list(sizes), allow_patterns=patterns)
    kept = {name: try_to_load_from_cache(repo_id, name, revision=commit, repo_type=kind) for name in names}
    return {name: sizes[name] for name, path in kept.items() if not isinstance(path, str)}


def _without_weights(repo_id: str, commit: str, patterns: list[str], root: Path, absent: Sequence[str]) -> Path:
    """A folder with the files of a model but for its weights, in whose place are empty files."""
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {"revision": commit, "allow_patterns": patterns, "ignore_patterns": f"*{WEIGHTS}"}
    folder = Path(snapshot_download(repo_id, **wanted, local_dir=root / repo_id))
    for name in absent:
        if name.endswith(WEIGHTS):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    return folder


def _remember(folder: Path, revision: str, commit: str) -> None:
    """Record a branch's commit in the hub's cache, as the hub's client does if it is not given the commit.

    Without that the cache does not find the download by the branch's name while the hub is out of reach.
    """
    ref = folder.parents[1] / "refs" / revision
    if folder.parent.name == "snapshots" and revision != commit and ".." not in revision:
        with contextlib.suppress(OSError):  # a cache that is shared, and read alone
            write_text(ref, commit)


def _gated(named: str, kind: str) -> InputError:
    return InputError(f"The {kind} {named!r} on the hub needs permission.", "Ask for it there, then: hf auth login")


def _reason(error: BaseException) -> str:
    """In one line why the hub gave nothing."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 429:
        return "too many requests: 429; wait some minutes, or log in for a higher limit: hf auth login"
    if status == 401:
        return "login refused: 401; renew it: hf auth login"
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
