"""The Hugging Face hub: which commit a name means, and the train split of a data set, document by document."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geomprobe.common import (
    GeomprobeError,
    InputError,
    UsageError,
    atomic_path,
    cache_dir,
    first_line,
    hash_bytes,
    hub,
    read_json,
    write_json,
)
from geomprobe.pretrain.corpus.files import text_of

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_SHARD = 1000  # documents
HUB_SOURCES = {"wikipedia": "wikimedia/wikipedia", "wikimedia/wikipedia": "wikimedia/wikipedia"}
HINT = "Give a local file or folder with --corpus PATH, or use --corpus docstrings, which needs no network."
HUB_CONFIGS = {"wikimedia/wikipedia": "20231101.en"}


def read_hub(name: str, start: int, column: str = "text") -> Iterator[str | None]:
    """Yield the train split's texts of a hub data set from document ``start`` on, over broken connections.

    ``name`` is ``owner/name@commit``: without the commit, texts of different versions would be kept as one.

    What has come is kept in the cache, in shards of `HUB_SHARD` documents that also hold the stream's position after
    them: a document comes over the network once, whatever is interrupted and however often it is read.
    """
    key = hash_bytes(name) if column == "text" else hash_bytes(name, column)
    folder = cache_dir() / "hub" / f"{slug(name.partition('@')[0])}-{key[:16]}"

    def shard(number: int) -> Path:
        return folder / f"{number:06d}.parquet"

    first = start // HUB_SHARD
    while first and not shard(first - 1).is_file():
        first -= 1
    position = _load_hub_shard(shard(first - 1))[1] if first else None
    stream = None
    for number in itertools.count(first):
        if (file := shard(number)).is_file():
            texts, position = _load_hub_shard(file)
            stream = None
        else:
            stream = stream or _HubStream(name, position, column)
            texts = stream.take(HUB_SHARD, number * HUB_SHARD)
            position = stream.position
            _save_hub_shard(file, texts, position)
        yield from texts[max(0, start - number * HUB_SHARD) :]
        if len(texts) < HUB_SHARD:
            return


class _HubStream:
    """A hub data set's train split as it comes over the network, from a position that an earlier stream reached."""

    def __init__(self, name: str, position: dict[str, Any] | None, column: str):
        repo_id, _, revision = name.partition("@")
        info, reason = hub.ask(repo_id, kind="dataset", revision=revision or None, hint=HINT)
        if info is None:
            raise InputError(f"The Hugging Face hub cannot be reached: {reason}", HINT)
        self.name, self.position, self.column = name, position, column
        self.records: Iterator[dict[str, Any]] | None = None

    def _open(self) -> None:
        try:
            from datasets import load_dataset
        except ImportError:
            raise UsageError("Reading from the hub needs the package datasets.", "pip install datasets") from None
        name, _, revision = self.name.partition("@")
        self.data = load_dataset(name, HUB_CONFIGS.get(name), split="train", streaming=True, revision=revision or None)
        if self.position:
            self.data.load_state_dict(self.position)
        self.records = iter(self.data)

    def take(self, n: int, done: int) -> list[str]:
        """Next ``n`` texts, fewer at the end; ``done`` says how many came before, for the error."""
        texts: list[str] = []
        wait = 1.0
        while True:
            try:
                if self.records is None:
                    self._open()
                assert self.records is not None
                for record in itertools.islice(self.records, n - len(texts)):
                    # no text: left out later, but it keeps its number
                    texts.append(text_of(record, self.name, self.column) or "")
                    wait = 1.0
                self.position = self.data.state_dict()
                return texts
            except (ValueError, FileNotFoundError) as error:  # no such data set, or a configuration must be chosen
                raise InputError(f"Cannot open {self.name} on the hub: {first_line(error)}", HINT) from None
            except GeomprobeError:
                raise
            except Exception as error:  # the HTTP clients under datasets change, and their errors have no common class
                if self.records is not None:  # where it broke off
                    self.position = self.data.state_dict()
                    self.records = None
                if wait > 60:
                    raise InputError(
                        f"The connection to the hub broke at document {done + len(texts)}: {error}",
                        "Repeat the command to go on.",
                    ) from None
                time.sleep(wait)
                wait *= 4


def slug(name: str) -> str:
    """A name as part of a folder's name."""
    return "".join(c if c.isalnum() else "-" for c in Path(name).name.lower())[:40].strip("-") or "corpus"


def _save_hub_shard(file: Path, texts: list[str], position: dict[str, Any] | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": pa.array(texts, pa.string())}, metadata={"position": json.dumps(position)})
    with atomic_path(file) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _load_hub_shard(file: Path) -> tuple[list[str], dict[str, Any] | None]:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        return table["text"].to_pylist(), json.loads(table.schema.metadata[b"position"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} is damaged: {error}", f"Remove {file.parent} and repeat the command.") from None


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
    if COMMIT.fullmatch(revision):
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
        return COMMIT.fullmatch(read_json(file)["commit"])[0]  # type: ignore[index]
    except (InputError, KeyError, TypeError):
        return None


def _cached_commit(repo_id: str, kind: str, revision: str) -> str | None:
    """Commit of a revision in the hub's own local cache, None where it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo_id, repo_type=kind, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return folder.name if COMMIT.fullmatch(folder.name) else None
