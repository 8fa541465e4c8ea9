"""Text to token shards: read once, deduplicate, hold out a part, tokenise, and keep the ids memory-mapped.

A corpus folder holds chunks of about `CHUNK_TOKENS` ids, each written whole or not at all: for `train` and `heldout` a
stream of ids in which every document ends with [SEP], and the offsets at which its documents start. Rows are cut from
the streams at training time, so one corpus serves every row length.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from geomprobe.common import (
    GeomprobeError,
    InputError,
    UsageError,
    atomic_path,
    cache_dir,
    hash_bytes,
    hash_file,
    read_json,
    write_json,
)

Progress = Callable[[str, int, int], None]  # (stage, done, total); total 0 where it is not known

VERSION = 2
SPLITS = ("train", "heldout")
CHUNK_TOKENS = 1 << 23
BATCH_DOCUMENTS = 512
HELD_OUT = 100  # one document in a hundred, by the hash of its text
PEEK = 2000  # a corpus with fewer documents holds out one in twenty, for one in a hundred could be none
TRAINER_CHARACTERS = 50_000_000
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPECIALS = ("pad", "cls", "sep", "mask")
DEFAULT_TOKENIZERS = {"docstrings": "train:8192"}
SUFFIXES = (".parquet", ".jsonl", ".txt")
HUB_SHARD = 1000  # documents
HUB_SOURCES = {"wikipedia": "wikimedia/wikipedia", "wikimedia/wikipedia": "wikimedia/wikipedia"}
HUB_CONFIGS = {"wikimedia/wikipedia": "20231101.en"}


@dataclass(frozen=True)
class Corpus:
    """A tokenised corpus on disk.

    Attributes
    ----------
    path : Path
    streams : dict of str to list of ndarray
        For "train" and "heldout" the chunks' ids (uint16 or uint32, memory-mapped).
    documents : dict of str to list of ndarray
        For each chunk the offsets at which its documents start (uint64).
    info : dict
        `corpus.json`: source, tokenizer, special ids, counts, fingerprint, unigram entropy.
    """

    path: Path
    streams: dict[str, list[np.ndarray]]
    documents: dict[str, list[np.ndarray]]
    info: dict[str, Any]

    @property
    def vocab_size(self) -> int:
        return int(self.info["vocab_size"])

    @property
    def special(self) -> dict[str, int]:
        """Ids of pad, cls, sep and mask."""
        return self.info["special"]

    def n_rows(self, split: str, row_length: int) -> int:
        """Number of full rows of ``row_length`` ids, [CLS] and [SEP] included."""
        return sum(len(stream) // (row_length - 2) for stream in self.streams[split])

    def rows(self, split: str, indices: np.ndarray, row_length: int) -> np.ndarray:
        """Return rows as int64 array of shape (len(indices), row_length): [CLS], contiguous text, [SEP]."""
        width = row_length - 2
        streams = self.streams[split]
        first = np.cumsum([0] + [len(stream) // width for stream in streams])
        out = np.empty((len(indices), row_length), dtype=np.int64)
        out[:, 0], out[:, -1] = self.special["cls"], self.special["sep"]
        for i, index in enumerate(indices):
            chunk = int(np.searchsorted(first, index, side="right")) - 1
            start = (int(index) - int(first[chunk])) * width
            out[i, 1:-1] = streams[chunk][start : start + width]
        return out


# --- sources ---------------------------------------------------------------------------------------------------------


def _local_files(path: Path) -> list[Path]:
    """Return the text files of a source; a folder's `validation*`, `test*` and `dev*` files are never trained on."""
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path} is not a text source.", f"Known endings: {', '.join(SUFFIXES)}")
        return [path]
    files = sorted(file for suffix in SUFFIXES for file in path.rglob(f"*{suffix}"))
    files = [
        f
        for f in files
        if not f.name.startswith((".", "validation", "valid.", "valid-", "test.", "test-", "dev.", "dev-"))
    ]
    if not files:
        raise InputError(f"No {', '.join(SUFFIXES)} file in {path}.", "Give a file, or a folder that holds such files.")
    return files


def _read_parquet(path: Path) -> Iterator[str]:
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        if "text" not in table.schema_arrow.names:
            raise InputError(f"{path} has no column 'text' (it has {', '.join(table.schema_arrow.names)}).")
        for batch in table.iter_batches(batch_size=1024, columns=["text"]):
            yield from (text for text in batch.column(0).to_pylist() if text)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path} cannot be read as parquet: {error}") from None


def _read_jsonl(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise InputError(f"{path}:{number} is no JSON object with a 'text'.") from None
            if not isinstance(text, str):
                raise InputError(f"{path}:{number}: 'text' is not a string.")
            yield text


def _read_txt(path: Path) -> Iterator[str]:
    """Yield the blocks between blank lines."""
    with open(path, encoding="utf-8") as handle:
        for blank, lines in itertools.groupby(handle, key=lambda line: not line.strip()):
            if not blank:
                yield "".join(lines).strip()


def _read_local(files: list[Path]) -> Iterator[str]:
    readers = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".txt": _read_txt}
    for file in files:
        try:
            yield from readers[file.suffix](file)
        except (UnicodeDecodeError, PermissionError, FileNotFoundError) as error:
            raise InputError(f"{file} cannot be read: {error}") from None


def _read_hub(name: str, start: int) -> Iterator[str]:
    """Yield the train split of a hub data set from document ``start`` on, over broken connections.

    What has come is kept in the cache, in shards of `HUB_SHARD` documents that also hold the stream's position after
    them: a document comes over the network once, whatever is interrupted and however often it is read.
    """
    folder = cache_dir() / "hub" / f"{_slug(name)}-{hash_bytes(name)[:16]}"
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
            stream = stream or _HubStream(name, position)
            texts = stream.take(HUB_SHARD, number * HUB_SHARD)
            position = stream.position
            _save_hub_shard(file, texts, position)
        yield from texts[max(0, start - number * HUB_SHARD) :]
        if len(texts) < HUB_SHARD:
            return


class _HubStream:
    """A hub data set's train split as it comes over the network, from a position that an earlier stream reached."""

    HINT = "Give a local file or folder with --corpus PATH, or use --corpus docstrings, which needs no network."

    def __init__(self, name: str, position: dict[str, Any] | None):
        from pretrain.hub import require_hub

        require_hub(self.HINT)
        self.name, self.position = name, position
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
        """Return the next ``n`` texts, fewer at the end; ``done`` says how many came before, for the error."""
        texts: list[str] = []
        wait = 1.0
        while True:
            try:
                if self.records is None:
                    self._open()
                assert self.records is not None
                for record in itertools.islice(self.records, n - len(texts)):
                    if "text" not in record:
                        raise InputError(f"{self.name} has no column 'text' (it has {', '.join(record)}).")
                    texts.append(record["text"] or "")  # no text: left out later, but it keeps its number
                    wait = 1.0
                self.position = self.data.state_dict()
                return texts
            except (ValueError, FileNotFoundError) as error:  # no such data set, or a configuration must be chosen
                reason = str(error).splitlines()[0][:200]
                raise InputError(f"Cannot open {self.name} on the hub: {reason}", self.HINT) from None
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


def _collect_docstrings(progress: Progress | None) -> Path:
    """Return a file with the docstrings of the installed packages, made once for each set of packages."""
    from importlib.metadata import distributions

    from pretrain import docstrings

    packages = sorted({f"{d.name} {d.version}" for d in distributions()})
    file = cache_dir() / "docstrings" / f"docstrings-{hash_bytes(str(VERSION), *packages)[:16]}.jsonl"
    if not file.is_file():
        report = (lambda done, total: progress("reading docstrings", done, total)) if progress else None
        with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8") as handle:
            handle.writelines(json.dumps({"text": text}) + "\n" for text in docstrings.documents(report))
    return file


@dataclass(frozen=True)
class Source:
    """A named stream of documents with an identity that changes when its content does."""

    name: str
    identity: str
    read: Callable[[int], Iterator[str]]  # read(start) yields the documents from number `start` on


def open_source(name: str, progress: Progress | None = None) -> Source:
    """Return the source that a name or path means; an existing path wins over a hub id of the same name.

    Raises
    ------
    InputError
        No such file or folder, or nothing readable in it.
    """
    path = Path(name)
    if path.exists():
        files = _local_files(path)
        identity = hash_bytes(*(f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files))
        return Source(str(path), identity, lambda start: itertools.islice(_read_local(files), start, None))
    if name == "docstrings":
        file = _collect_docstrings(progress)
        return Source(name, file.stem, lambda start: itertools.islice(_read_jsonl(file), start, None))
    hub = HUB_SOURCES.get(name.partition("@")[0])
    if hub:
        name = name.replace(name.partition("@")[0], hub)
    elif name.count("/") != 1 or name.startswith((".", "/", "~")) or path.suffix in SUFFIXES:
        raise InputError(
            f"No file or folder {name}, and no known source of that name.",
            "Known: docstrings, wikipedia, PATH, owner/dataset",
        )
    return Source(name, name, functools.partial(_read_hub, name))


# --- tokenizers ------------------------------------------------------------------------------------------------------


def train_tokenizer(texts: Callable[[], Iterator[str]], vocab_size: int) -> Tokenizer:
    """Return an uncased WordPiece tokenizer (as BERT's) trained on ``texts()``, which is read twice.

    The library's trainer numbers the continuation letters ("##a") in the order of a randomly seeded hash table, and
    breaks ties by number, so its vocabulary differs from run to run. Here they get fixed numbers first, as if special.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for text in texts():
        counts.update(normalizer.normalize_str(text))
    letters = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    letters = sorted(letters[: max(32, min(1000, vocab_size // 8))])

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS + [f"##{letter}" for letter in letters],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)

    vocabulary = tokenizer.get_vocab()
    out = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    out.normalizer, out.pre_tokenizer, out.decoder = normalizer, tokenizer.pre_tokenizer, decoders.WordPiece()
    out.add_special_tokens(SPECIAL_TOKENS)
    out.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    return out


def load_tokenizer(name: str) -> Any:
    """Return a fast transformers tokenizer from a path or hub id (``name@revision`` pins).

    Raises
    ------
    InputError
        Not found, or without the tokens that pretraining needs.
    """
    from transformers import AutoTokenizer

    if Path(name).exists():
        if not any((Path(name) / file).is_file() for file in ("tokenizer.json", "vocab.txt", "tokenizer_config.json")):
            raise InputError(f"{name} holds no tokenizer.", "It should hold tokenizer.json.")
        revision = ""
    else:
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise InputError(f"No tokenizer at {name}.", "Give a folder with tokenizer.json, a hub id, or train:8192")
        name, _, revision = name.partition("@")
        from pretrain.hub import is_cached, require_hub

        if not is_cached(name):
            require_hub("Give a local folder with --tokenizer PATH, or train one on the corpus: --tokenizer train:8192")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=revision or "main", trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # the library raises many kinds here
        raise InputError(f"Cannot open the tokenizer {name}: {str(error).splitlines()[0][:200]}") from None
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"The tokenizer {name} has no fast form (tokenizer.json).")
    missing = [kind for kind in ("cls", "sep", "mask") if getattr(tokenizer, f"{kind}_token_id") is None]
    if missing:
        raise InputError(
            f"The tokenizer {name} has no {', '.join(missing)} token.",
            "Use one made for masked language models, or train:8192",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.sep_token
    return tokenizer


def wrap_tokenizer(tokenizer: Tokenizer) -> Any:
    """Return a trained tokenizer as a transformers tokenizer."""
    from transformers import PreTrainedTokenizerFast

    names = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


# --- building --------------------------------------------------------------------------------------------------------


def build_corpus(
    source: str,
    tokenizer: str = "",
    *,
    cache: Path | None = None,
    limit_tokens: int = 0,
    progress: Progress | None = None,
) -> Corpus:
    """Tokenise a source into a cached corpus, or open it where that was done before.

    Parameters
    ----------
    source : str
        ``docstrings``, ``wikipedia``, a parquet, jsonl or txt file or a folder of them, a hub id (column ``text``), or
        the folder of a finished corpus.
    tokenizer : str
        A path, a hub id, or ``train:N`` for a WordPiece vocabulary of N trained on the source. Empty takes train:8192
        for docstrings and bert-base-uncased for all else.
    cache : Path, optional
        Folder for corpora; by default `corpora` in the cache.
    limit_tokens : int
        Stop after so many training tokens; 0 takes all.
    progress : callable, optional
        ``progress(stage, done, total)``.

    Raises
    ------
    InputError
        The source or tokenizer cannot be read, or holds too little text.
    UsageError
        A finished corpus was made with another tokenizer.
    """
    if (Path(source) / "corpus.json").is_file():
        corpus = open_corpus(Path(source))
        if tokenizer not in ("", corpus.info.get("tokenizer")):
            made_with = corpus.info.get("tokenizer")
            raise UsageError(f"{source} was made with the tokenizer {made_with}, not {tokenizer}.", "Leave it out.")
        return corpus
    tokenizer = tokenizer or DEFAULT_TOKENIZERS.get(source, "bert-base-uncased")
    where = open_source(source, progress)
    identity = _tokenizer_identity(tokenizer)
    key = hash_bytes(str(VERSION), where.name, where.identity, identity, str(limit_tokens))[:16]
    folder = (cache or cache_dir() / "corpora") / f"{_slug(source)}-{key}"
    with _lock(folder):
        if not (folder / "corpus.json").is_file():
            _build(where, tokenizer, folder, limit_tokens, progress)
    return open_corpus(folder)


def open_corpus(path: str | Path) -> Corpus:
    """Open a finished corpus folder.

    Raises
    ------
    InputError
        The folder is missing, unfinished or damaged.
    """
    path = Path(path)
    if not (path / "corpus.json").is_file():
        raise InputError(f"{path} holds no finished corpus.", "Build one with: geomprobe corpus build SOURCE")
    info = read_json(path / "corpus.json")
    streams: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    documents: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for chunk in info["chunks"]:
        for split in SPLITS:
            for kind, out in (("ids", streams), ("starts", documents)):
                file = path / f"{split}-{chunk['number']:05d}.{kind}.npy"
                try:
                    out[split].append(np.load(file, mmap_mode="r", allow_pickle=False))
                except (OSError, ValueError) as error:
                    raise InputError(
                        f"{file} is missing or damaged: {error}", f"Remove {path} and build it again."
                    ) from None
            if len(streams[split][-1]) != chunk[split]["tokens"]:
                raise InputError(
                    f"{path} is damaged: chunk {chunk['number']} has the wrong length.",
                    f"Remove {path} and build it again.",
                )
    return Corpus(path, streams, documents, info)


def verify_corpus(corpus: Corpus) -> list[str]:
    """Return the names of the files whose content does not match its recorded hash."""
    return [
        name
        for chunk in corpus.info["chunks"]
        for name, digest in chunk["files"].items()
        if hash_file(corpus.path / name) != digest
    ]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in Path(name).name.lower())[:40].strip("-") or "corpus"


def _tokenizer_identity(name: str) -> str:
    for file in ("tokenizer.json", "vocab.txt"):
        if (Path(name) / file).is_file():
            return hash_file(Path(name) / file)
    if name.startswith("train:") and (not name[6:].isdigit() or int(name[6:]) < 64):
        raise UsageError(f"{name!r} is no vocabulary size.", "Write for example --tokenizer train:8192 (at least 64)")
    return name


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process build a corpus while others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # no such lock on Windows; two builders at once would only waste work
        yield
        return
    with open(folder.parent / f".{folder.name}.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(source: Source, tokenizer_name: str, folder: Path, limit_tokens: int, progress: Progress | None) -> None:
    """Write chunk after chunk into `<folder>.part`, from where an earlier attempt stopped, and rename it at the end."""
    part = folder.parent / f"{folder.name}.part"
    shutil.rmtree(folder, ignore_errors=True)  # a folder without corpus.json was never finished
    few = list(itertools.islice((text for text in source.read(0) if text.strip()), PEEK))
    held_out = _held_out_rule(few, source.name)
    part.mkdir(parents=True, exist_ok=True)
    tokenizer = _prepare_tokenizer(tokenizer_name, source, held_out, part, progress)
    writer = _Writer(part, tokenizer)
    texts = source.read(writer.consumed)
    started = time.monotonic()
    while not (limit_tokens and writer.tokens["train"] >= limit_tokens):
        if not (batch := list(itertools.islice(texts, BATCH_DOCUMENTS))):
            break
        writer.add(batch, held_out)
        if progress:
            progress("tokenising", writer.tokens["train"], limit_tokens)
    writer.flush()
    info = writer.finish(source, tokenizer_name, time.monotonic() - started)
    write_json(part / "corpus.json", info)
    os.rename(part, folder)


def _held_out_rule(first: list[str], name: str) -> Callable[[str], bool]:
    """Return the rule that says of a document's hash whether it is held out."""
    hashes = sorted({_document_hash(text) for text in first})
    if len(hashes) < 2:
        found = "no text" if not hashes else "one document only"
        raise InputError(f"{name} holds {found}.", "A corpus needs at least two different documents: one is held out.")
    if len(first) < PEEK:
        limit = hashes[max(1, len(hashes) // 20) - 1]
        return lambda digest: digest <= limit
    return lambda digest: int(digest[:8], 16) % HELD_OUT == 0


def _document_hash(text: str) -> str:
    return hash_bytes(text.strip())[:32]


def _prepare_tokenizer(
    name: str, source: Source, held_out: Callable[[str], bool], part: Path, progress: Progress | None
) -> Any:
    """Load the tokenizer, or train it on what is not held out; either way it is saved beside the corpus."""
    if (part / "tokenizer.json").is_file() and (part / "tokenizer_config.json").is_file():
        return load_tokenizer(str(part))
    if name.startswith("train:"):
        if progress:
            progress("training the tokenizer", 0, 0)
        tokenizer = wrap_tokenizer(train_tokenizer(lambda: _training_texts(source, held_out), int(name[6:])))
    else:
        tokenizer = load_tokenizer(name)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(part)
    return tokenizer


def _training_texts(source: Source, held_out: Callable[[str], bool]) -> Iterator[str]:
    left = TRAINER_CHARACTERS
    for text in source.read(0):
        if left <= 0:
            return
        if not held_out(_document_hash(text)):
            left -= len(text)
            yield text


class _Writer:
    """Collects the ids of documents and writes them in chunks; after each chunk the state on disk is complete."""

    def __init__(self, part: Path, tokenizer: Any):
        self.part = part
        self.backend: Tokenizer = tokenizer.backend_tokenizer
        self.backend.no_truncation()
        self.backend.no_padding()
        self.vocab_size = len(tokenizer)
        self.dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.uint32
        self.special = {kind: int(getattr(tokenizer, f"{kind}_token_id")) for kind in SPECIALS}
        self.seen: set[str] = set()
        self.chunks: list[dict[str, Any]] = []
        self.consumed = self.duplicates = 0
        self.tokens = dict.fromkeys(SPLITS, 0)
        self.counts = np.zeros(self.vocab_size, dtype=np.int64)
        self._empty()
        self._restore()

    def _empty(self) -> None:
        self.pending: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        self.fresh: list[str] = []

    def _restore(self) -> None:
        """Take up the chunks that an interrupted build finished."""
        for number in itertools.count():
            if not (self.part / f"chunk-{number:05d}.json").is_file():
                return
            chunk = read_json(self.part / f"chunk-{number:05d}.json")
            files = {self.part / name: digest for name, digest in chunk["files"].items()}
            if any(not file.is_file() or hash_file(file) != digest for file, digest in files.items()):
                return  # from here on it is made again
            self.chunks.append(chunk)
            self.consumed, self.duplicates = chunk["consumed"], chunk["duplicates"]
            hashes = np.load(self.part / f"seen-{number:05d}.npy", allow_pickle=False)
            self.seen.update(hashes.astype(str).tolist())
            for split in SPLITS:
                self.tokens[split] += chunk[split]["tokens"]
            self._count(np.load(self.part / f"train-{number:05d}.ids.npy", mmap_mode="r", allow_pickle=False))

    def _count(self, ids: np.ndarray) -> None:
        self.counts += np.bincount(ids, minlength=self.vocab_size)

    def add(self, texts: list[str], held_out: Callable[[str], bool]) -> None:
        """Tokenise new documents (in parallel threads of the tokenizer) and queue them."""
        self.consumed += len(texts)
        new: list[tuple[str, str]] = []
        for text in texts:
            digest = _document_hash(text)
            if digest in self.seen:
                self.duplicates += 1
            elif text.strip():
                self.seen.add(digest)
                self.fresh.append(digest)
                new.append(("heldout" if held_out(digest) else "train", text.strip()))
        encoded = self.backend.encode_batch_fast([text for _, text in new], add_special_tokens=False)
        for (split, _), encoding in zip(new, encoded, strict=True):
            if encoding.ids:
                ids = np.array([*encoding.ids, self.special["sep"]], dtype=self.dtype)
                self.pending[split].append(ids)
                self.tokens[split] += len(ids)
        if sum(len(ids) for ids in self.pending["train"]) >= CHUNK_TOKENS:
            self.flush()

    def flush(self) -> None:
        """Write what is queued as one chunk; its json comes last and makes it count."""
        if not any(self.pending.values()):
            return
        number = len(self.chunks)
        chunk: dict[str, Any] = {
            "number": number,
            "consumed": self.consumed,
            "duplicates": self.duplicates,
            "files": {},
        }
        np.save(self.part / f"seen-{number:05d}.npy", np.array(self.fresh, dtype="S32"))
        for split in SPLITS:
            documents = self.pending[split]
            ids = np.concatenate(documents) if documents else np.empty(0, dtype=self.dtype)
            starts = np.cumsum([0] + [len(d) for d in documents], dtype=np.uint64)[:-1]
            chunk[split] = {"tokens": len(ids), "documents": len(documents)}
            for kind, array in (("ids", ids), ("starts", starts)):
                name = f"{split}-{number:05d}.{kind}.npy"
                np.save(self.part / name, array)
                chunk["files"][name] = hash_file(self.part / name)
            if split == "train":
                self._count(ids)
        write_json(self.part / f"chunk-{number:05d}.json", chunk)
        self.chunks.append(chunk)
        self._empty()

    def finish(self, source: Source, tokenizer_name: str, seconds: float) -> dict[str, Any]:
        """Return the content of corpus.json and remove what only a build needs."""
        documents = {split: sum(chunk[split]["documents"] for chunk in self.chunks) for split in SPLITS}
        for split in SPLITS:
            if not documents[split]:
                raise InputError(f"{source.name} leaves no text to {'train on' if split == 'train' else 'hold out'}.")
        for file in [*self.part.glob("seen-*.npy"), *self.part.glob("chunk-*.json")]:
            file.unlink()
        files = {name: digest for chunk in self.chunks for name, digest in chunk["files"].items()}
        return {
            "version": VERSION,
            "source": source.name,
            "tokenizer": tokenizer_name,
            "tokenizer_hash": hash_file(self.part / "tokenizer.json"),
            "vocab_size": self.vocab_size,
            "special": self.special,
            "dtype": np.dtype(self.dtype).name,
            "documents": documents,
            "duplicates": self.duplicates,
            "tokens": self.tokens,
            "unigram_entropy": unigram_entropy(self.counts, list(self.special.values())),
            "seconds": round(seconds, 1),
            "fingerprint": hash_bytes(*(f"{name} {digest}" for name, digest in sorted(files.items()))),
            "chunks": self.chunks,
        }


def unigram_entropy(counts: np.ndarray, special: list[int]) -> float:
    """Return the entropy in nats of the ordinary tokens: the loss of a model that knows frequencies only."""
    counts = counts.astype(np.float64)
    counts[special] = 0
    p = counts[counts > 0] / counts.sum()
    entropy = float(-(p * np.log(p)).sum())
    return entropy if math.isfinite(entropy) else 0.0
