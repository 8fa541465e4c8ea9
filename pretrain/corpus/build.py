"""Text to token shards: read once, deduplicate, hold out a part, tokenise, and keep the ids memory-mapped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, UsageError, cache_dir, hash_bytes, hash_file, read_json, write_json
from geomprobe.common.atomic import fcntl, temporary_folder
from geomprobe.pretrain.corpus.held_out import MOST, Rule, plan_held_out
from geomprobe.pretrain.corpus.hub import slug
from geomprobe.pretrain.corpus.shards import (
    VERSION,
    Corpus,
    Writer,
    damaged_files,
    document_hash,
    info_hash,
    open_corpus,
)
from geomprobe.pretrain.corpus.sources import Progress, Source, check_source, open_source
from geomprobe.pretrain.corpus.tokenizer import choose_tokenizer, load_tokenizer, train_tokenizer, wrap_tokenizer

BATCH_DOCUMENTS = 512
TRAINER_CHARACTERS = 50_000_000
TOKENIZER_FILES = "tokenizer_files.json"  # their hashes
DEFAULT_TOKENIZERS = {"docstrings": "train:8192"}


def build_corpus(
    source: str,
    tokenizer: str = "",
    *,
    documents: str = "auto",
    text: str = "text",
    cache: Path | None = None,
    limit_tokens: int = 0,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> Corpus:
    """Corpus of a source: tokenised and cached, or opened where that was done before.

    Its parameters are the options of ``geomprobe corpus build``, hence their number.

    Parameters
    ----------
    source : str
        ``docstrings``, ``wikipedia``, a parquet, jsonl or txt file (the last two also as .gz) or a folder of them, a
        hub id, or the folder of a finished corpus. Of a folder with splits (by the names of folders or files) only
        train is trained on; validation is the held-out part.
    tokenizer : str
        A path, a hub id, or ``train:N`` for a WordPiece vocabulary of N trained on the source. Empty takes train:8192
        for docstrings and bert-base-uncased for all else.
    documents : str
        What a document of a plain-text file is: lines, paragraphs or files; ``auto`` chooses by the content.
    text : str
        Column (parquet) or key (JSON lines) of the texts.
    cache : Path, optional
        Folder for corpora; by default `corpora` in the cache.
    limit_tokens : int
        Stop after so many training tokens; 0 takes all.
    progress : callable, optional
        ``progress(stage, done, total)``.
    tell : callable, optional
        Gets what the user must know, a line each: how the text was read, what was left out. `Corpus.info["notes"]`
        has the same lines.

    Raises
    ------
    InputError
        The source or tokenizer cannot be read, or holds too little text.
    UsageError
        A finished corpus was made with other settings, or ``documents`` does not apply to the source.
    """
    if os.path.isfile(os.path.join(source, "corpus.json")):  # False for a name that is too long
        corpus = open_corpus(Path(source))
        _refuse_other_settings(source, corpus, tokenizer=tokenizer, documents=documents, text=text)
        if limit_tokens and limit_tokens != corpus.info.get("asked", {}).get("limit_tokens"):
            tell(
                f"all {corpus.info['tokens']['train']:,} training tokens are used: {source} was built before, and a "
                "limit of tokens applies when a corpus is built"
            )
        return corpus
    tokenizer = tokenizer or DEFAULT_TOKENIZERS.get(source, "bert-base-uncased")
    check_source(source, documents, text)
    chosen = choose_tokenizer(tokenizer)  # first: opening a source can take long
    where = open_source(source, documents, text, progress, limit_tokens)
    said = [*where.notes, *where.warnings, *chosen.warnings]
    for note in said:  # before the work, which can be long
        tell(note)
    key = hash_bytes(str(VERSION), where.name, where.identity, chosen.identity, str(limit_tokens))[:16]
    folder = (cache or cache_dir() / "corpora") / f"{slug(_unpinned(where.name))}-{key}"
    with _lock(folder):
        if not (folder / "corpus.json").is_file():
            asked = {"documents": documents, "text": text, "limit_tokens": limit_tokens}
            _build(where, {"tokenizer": chosen.name, "asked": asked}, folder, progress)
    corpus = open_corpus(folder)
    for note in corpus.info["notes"]:
        if note not in said:
            tell(note)
    return corpus


def _refuse_other_settings(source: str, corpus: Corpus, **asked: str) -> None:
    """Raise UsageError where a finished corpus is asked for with settings that it was not made with."""
    usual = {"documents": "auto", "text": "text", "tokenizer": ""}
    made = usual | corpus.info.get("asked", {}) | {"tokenizer": str(corpus.info.get("tokenizer"))}
    for name, value in asked.items():
        if value not in ("", usual[name], made[name], _unpinned(str(made[name]))):
            raise UsageError(f"{source} was made with --{name} {made[name]}, not {value}.", "Leave it out.")


def _unpinned(name: str) -> str:
    """A hub id without its commit; any other name as it is."""
    return re.sub("@[0-9a-f]{40}$", "", name)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process build a corpus while others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as handle:
        if fcntl:  # no such lock on Windows; two builders at once would only waste work
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(source: Source, settings: dict[str, Any], folder: Path, progress: Progress | None) -> None:
    """Write chunk after chunk into `<folder>.part`, from where an earlier attempt stopped, and rename it at the end."""
    part, limit_tokens = folder.parent / f"{folder.name}.part", settings["asked"]["limit_tokens"]
    shutil.rmtree(folder, ignore_errors=True)  # a folder without corpus.json was never finished
    source, held_out = plan_held_out(source)
    part.mkdir(parents=True, exist_ok=True)
    tokenizer = _prepare_tokenizer(settings["tokenizer"], source, held_out, part, progress)
    writer = Writer(part, tokenizer)
    texts = source.read(writer.consumed)
    started = time.monotonic()
    while not (limit_tokens and writer.tokens["train"] >= limit_tokens):
        if not (batch := _take(texts, BATCH_DOCUMENTS)):
            break
        writer.add(batch, held_out)
        if progress:
            progress("tokenising", writer.tokens["train"], limit_tokens)
    writer.flush()
    info = {
        "version": VERSION,
        "source": source.name,
        **settings,
        "tokenizer_files": read_json(part / TOKENIZER_FILES),
        "document": source.unit,
        **writer.finish(),
        "seconds": round(time.monotonic() - started, 1),
    }
    info["notes"] = source.notes + _notes(info, split=source.validation is not None)
    write_json(part / "corpus.json", info | {"hash": info_hash(info)})
    os.rename(part, folder)


def _take(texts: Iterator[str | None], n: int) -> list[str]:
    """Next documents, ``n`` with those without text not counted."""
    taken: list[str] = []
    for text in texts:
        taken.append(text or "")
        n -= text is not None
        if not n:
            break
    return taken


def _notes(info: dict[str, Any], split: bool) -> list[str]:
    """What the counts of a corpus say that a user must know."""
    notes, documents, tokens = [], info["documents"], info["tokens"]
    share = tokens["heldout"] / sum(tokens.values())
    if share > MOST:
        what = "the validation files" if split else f"{documents['heldout']:,} of {sum(documents.values()):,} documents"
        notes.append(f"{share:.1%} of the tokens are held out: {what}")
    if info["empty"]:
        notes.append(f"left out: {info['empty']:,} records without text")
    if info["duplicates"]:
        notes.append(f"left out: {info['duplicates']:,} documents that occur before")
    if unused := info["unused_ids"]:
        entries = f"{info['vocab_size']:,} entries (highest id + 1)"
        notes.append(f"the tokenizer's ids have gaps: {entries}, {unused:,} never used")
    return notes


def _prepare_tokenizer(name: str, source: Source, held_out: Rule, part: Path, progress: Progress | None) -> Any:
    """Load the tokenizer, or train it on what is not held out; either way it is saved with the corpus."""
    if _is_whole(part):
        return load_tokenizer(str(part))
    if name.startswith("train:"):
        if progress:
            progress("training the tokenizer", 0, 0)
        tokenizer = wrap_tokenizer(train_tokenizer(lambda: _training_texts(source, held_out), int(name[6:])))
    else:
        tokenizer = load_tokenizer(name)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    with temporary_folder(part) as holder:
        tokenizer.save_pretrained(holder / "new")
        files = sorted((holder / "new").iterdir())
        hashes = {file.name: hash_file(file) for file in files if file.is_file()}
        for file in files:
            os.replace(file, part / file.name)
    write_json(part / TOKENIZER_FILES, hashes)  # last: where it is, all of them are
    return tokenizer


def _is_whole(part: Path) -> bool:
    """Tell whether the tokenizer of an earlier attempt lies in a folder as it was written."""
    try:
        files = read_json(part / TOKENIZER_FILES)
        return "tokenizer.json" in files and not damaged_files(part, files)
    except (InputError, AttributeError, TypeError):
        return False


def _training_texts(source: Source, held_out: Rule) -> Iterator[str]:
    left = TRAINER_CHARACTERS
    for text in source.read(0):
        if left <= 0:
            return
        if text and not held_out(document_hash(text)):
            left -= len(text)
            yield text
