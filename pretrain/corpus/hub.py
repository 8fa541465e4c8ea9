"""The train split of a hub data set, document by document, over broken connections; what has come is kept."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geomprobe.common import GeomprobeError, InputError, UsageError, atomic_path, cache_dir, first_line, hash_bytes, hub
from geomprobe.pretrain.corpus.files import text_of

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
    first = start // HUB_SHARD
    while first and not _hub_shard(folder, first - 1).is_file():
        first -= 1
    position = _load_hub_shard(_hub_shard(folder, first - 1))[1] if first else None
    stream = None
    for number in itertools.count(first):
        file = _hub_shard(folder, number)
        if file.is_file():
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


def _hub_shard(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.parquet"


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
