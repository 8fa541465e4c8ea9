"""Where text comes from: local files and folders, the docstrings of installed packages, data sets of the hub."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from geomprobe.common import InputError, UsageError, atomic_path, cache_dir, hash_bytes
from geomprobe.common.remote import fetch, is_remote
from geomprobe.pretrain.corpus.files import ENDINGS, UNITS, Reading, check_unit, choose_unit, is_plain, read_documents
from geomprobe.pretrain.corpus.hub import HINT, HUB_SOURCES, read_hub, resolve
from geomprobe.pretrain.corpus.splits import list_files

Progress = Callable[[str, int, int], None]  # (stage, done, total); total 0 where it is not known
DOCSTRINGS_VERSION = 3
LONGEST_TOKENS = 6  # characters in a token of English on average, and more than any tokenizer reaches


@dataclass(frozen=True)
class Source:
    """A named stream of documents with an identity that changes when its content does.

    Attributes
    ----------
    name, identity : str
        The name of a data set on the hub has the commit: ``owner/name@commit``.
    read : callable
        ``read(start)`` yields the documents from number ``start`` on, None for a record without text. Where there is a
        validation split, its documents come first.
    validation : callable, optional
        Yields the documents of the validation split, which are held out.
    unit : str
        What a document is, in words.
    notes : list of str
        What the user must know: how the text was read, and what was left out.
    warnings : list of str
        What the user must know of this moment, such as a hub out of reach; not kept with the corpus.
    """

    name: str
    identity: str
    read: Callable[[int], Iterator[str | None]]
    validation: Callable[[], Iterator[str | None]] | None = None
    unit: str = "a record"
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_source(name: str, documents: str = "auto", text: str = "text") -> None:
    """Raise what `open_source` raises, as far as it shows without reading a file."""
    check_unit(documents)
    for what, value in (("source", name), ("column of texts", text)):
        if not value:
            raise UsageError(f"The name of the {what} is empty.")
    if is_remote(name):  # nothing is known of it before it is asked for
        return
    if os.path.exists(name):  # False for a name that is too long
        list_files(Path(name))
        return
    if documents != "auto":
        raise UsageError(f"--documents is for .txt files; {name} is none.", "Leave it out.")
    known = name == "docstrings" or name.partition("@")[0] in HUB_SOURCES
    if not known and (name.count("/") != 1 or name.startswith((".", "/", "~")) or name.lower().endswith(ENDINGS)):
        raise InputError(
            f"No file or folder {name[:200]}, and no known source of that name.",
            "Known: docstrings, wikipedia, PATH, owner/dataset",
        )


def open_source(
    name: str, documents: str = "auto", text: str = "text", progress: Progress | None = None, limit_tokens: int = 0
) -> Source:
    """Source that a name or path means; an existing path wins over a hub id of the same name.

    Parameters
    ----------
    name : str
    documents : str
        What a document of a plain-text file is: lines, paragraphs or files; ``auto`` chooses by the content.
    text : str
        Column (parquet) or key (JSON lines) of the texts.
    progress : callable, optional
        ``progress(stage, done, total)``.
    limit_tokens : int
        How many tokens will be asked for; 0 for all. Docstrings are not looked for beyond that.

    Raises
    ------
    InputError
        No such file or folder, or nothing readable in it.
    UsageError
        ``documents`` is unknown, the source has no plain-text file, or a name is empty.
    """
    check_source(name, documents, text)
    if is_remote(name):
        return replace(_open_local(fetch(name, ENDINGS), documents, text), name=name)
    if os.path.exists(name):
        return _open_local(Path(name), documents, text)
    if name == "docstrings":
        file = _collect_docstrings(progress, limit_tokens * LONGEST_TOKENS)
        return Source(name, file.stem, lambda start: itertools.islice(read_documents([file], Reading()), start, None))
    if hub := HUB_SOURCES.get(name.partition("@")[0]):
        name = name.replace(name.partition("@")[0], hub)
    commit, warnings = resolve(name, "dataset", HINT)
    pinned = f"{name.partition('@')[0]}@{commit}"
    return Source(pinned, f"{pinned} {text}", functools.partial(read_hub, pinned, column=text), warnings=warnings)


def _open_local(path: Path, documents: str, text: str) -> Source:
    files = list_files(path)
    every = files.validation + files.train
    plain = list(filter(is_plain, files.train)) or list(filter(is_plain, every))
    notes, unit = list(files.notes), "a record"
    if plain:
        if documents == "auto":
            documents, found = choose_unit(plain)
            other = " or ".join(f"--documents {name}" for name in UNITS if name != documents)
            if not found.startswith("0 lines"):  # refused for that later
                notes.append(f"a document is {UNITS[documents]} ({found}); otherwise give {other}")
        unit = UNITS[documents] if len(plain) == len(files.train) else f"a record or {UNITS[documents]}"
    elif documents != "auto":
        raise UsageError(f"--documents is for .txt files; {path} has none.", "Leave it out.")
    reading = Reading(text, documents)
    identity = hash_bytes(
        *(f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in every),
        f"{len(files.validation)} {reading}",
    )
    return Source(
        str(path),
        identity,
        lambda start: itertools.islice(read_documents(every, reading), start, None),
        (lambda: read_documents(files.validation, reading)) if files.validation else None,
        unit,
        notes,
    )


def _collect_docstrings(progress: Progress | None, most: int) -> Path:
    """A file with the docstrings of the installed packages, made once for each set of packages.

    `most` is how many characters are enough, 0 for all.
    """
    from importlib.metadata import distributions

    import geomprobe.pretrain.corpus.docstrings as docstrings

    packages = sorted({f"{d.name} {d.version}" for d in distributions()})
    limited = f"-{most}" if most else ""
    key = hash_bytes(str(DOCSTRINGS_VERSION), *packages)[:16]
    file = cache_dir() / "docstrings" / f"docstrings-{key}{limited}.jsonl"
    if file.is_file():
        return file
    report = progress and functools.partial(progress, "reading docstrings")
    characters = 0
    with (
        atomic_path(file) as temporary,
        open(temporary, "w", encoding="utf-8") as handle,
        contextlib.closing(docstrings.documents(None if most else report)) as texts,
    ):
        for text in texts:
            handle.write(json.dumps({"text": text}) + "\n")
            characters += len(text)
            if most and report:
                report(min(characters, most), most)
            if most and characters >= most:
                break
    return file
