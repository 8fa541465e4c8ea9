"""A corpus on disk: memory-mapped chunks of token ids, and the writer that makes them.

Each chunk holds about `CHUNK_TOKENS` ids and is written whole or not at all: for `train` and `heldout` a stream of ids
in which every document ends with [SEP], and the offsets at which its documents start. Rows are cut from the streams at
training time, so one corpus serves every row length.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from geomprobe.common import InputError, first_line, hash_bytes, hash_file, read_json, refusing, write_json
from geomprobe.pretrain.corpus.tokenizer import SPECIALS, vocabulary

VERSION = 3
SPLITS = ("train", "heldout")
INFO: dict[str, type] = {  # what corpus.json must hold
    **dict.fromkeys(("source", "tokenizer", "fingerprint"), str),
    **dict.fromkeys(("special", "documents", "tokens"), dict),
    "chunks": list,
    "vocab_size": int,
    "duplicates": int,
    "unigram_entropy": float,
}
LATER: dict[str, type] = {"notes": list, "asked": dict, "tokenizer_hash": str, "tokenizer_files": dict, "hash": str}
"""What corpora of the first versions do not hold."""
CHUNK_TOKENS = 1 << 23


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

    @functools.cached_property
    def unused_ids(self) -> list[int]:
        """Ids below ``vocab_size`` that no token of the tokenizer has."""
        if not self.info.get("unused_ids"):
            return []
        return vocabulary(Tokenizer.from_file(str(self.path / "tokenizer.json")).get_vocab())[1]

    def n_rows(self, split: str, row_length: int) -> int:
        """Number of full rows of ``row_length`` ids, [CLS] and [SEP] included."""
        return sum(len(stream) // (row_length - 2) for stream in self.streams[split])

    def rows(self, split: str, indices: np.ndarray, row_length: int) -> np.ndarray:
        """Rows as int64 array of shape (len(indices), row_length): [CLS], contiguous text, [SEP]."""
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
    info = read_json(path / "corpus.json", finite=True)
    try:
        return _open(path, info)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(path, f"{path / 'corpus.json'} is damaged ({type(error).__name__}: {error}).") from None


def _open(path: Path, info: dict[str, Any]) -> Corpus:
    for key, expected in (INFO | {key: kind for key, kind in LATER.items() if key in info}).items():
        if not isinstance(info[key], expected):
            raise TypeError(f"{key} is no {expected.__name__}")
    if not all(isinstance(value, str | int) for value in info.get("asked", {}).values()):
        raise TypeError("asked holds what is no setting")
    chunks = info["chunks"]
    streams, documents = (
        {split: [_array(path, f"{split}-{chunk['number']:05d}.{kind}.npy") for chunk in chunks] for split in SPLITS}
        for kind in ("ids", "starts")
    )
    for split in SPLITS:
        for chunk, ids in zip(chunks, streams[split], strict=True):
            if len(ids) != chunk[split]["tokens"]:
                raise _damaged(path, f"{path} is damaged: chunk {chunk['number']} has the wrong length.")
        for key, arrays in (("tokens", streams), ("documents", documents)):
            if sum(map(len, arrays[split])) != info[key][split]:
                raise TypeError(f"the number of {key} in {split} is not that of its chunks")
    for kind in SPECIALS:
        if type(info["special"][kind]) is not int or not 0 <= info["special"][kind] < info["vocab_size"] < 1 << 31:
            raise TypeError("an id of a special token is not below the number of entries")
    if not 0 <= info["unigram_entropy"] < math.inf:
        raise ValueError("unigram_entropy is no entropy")
    if fingerprint(chunks) != info["fingerprint"]:
        raise ValueError("the fingerprint is not that of its files")
    if "hash" in info and info["hash"] != info_hash(info):
        raise ValueError("its content does not match the hash in it")
    return Corpus(path, streams, documents, info)


def _array(path: Path, name: str) -> np.ndarray:
    """Map an array of ids or offsets; raises InputError for any other file."""
    try:
        array = np.load(path / name, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind != "u":
            raise ValueError("it is no list of whole numbers")
    except Exception as error:  # numpy lets out whatever its parsers of a header raise
        raise _damaged(path, f"{path / name} is missing or damaged: {first_line(error)}") from None
    return array


def _damaged(path: Path, what: str) -> InputError:
    return InputError(what, f"Remove {path} and build it again.")


def fingerprint(chunks: list[dict[str, Any]]) -> str:
    """Hash by which a corpus is known, of its files' names and hashes."""
    files = sorted((name, digest) for chunk in chunks for name, digest in chunk["files"].items())
    return hash_bytes(*(f"{name} {digest}" for name, digest in files))


def info_hash(info: dict[str, Any]) -> str:
    """Hash of all that corpus.json says but this hash."""
    return hash_bytes(json.dumps({key: value for key, value in info.items() if key != "hash"}, sort_keys=True))


def verify_corpus(corpus: Corpus) -> list[str]:
    """Return the names of the files whose content does not match its recorded hash."""
    info = corpus.info
    first = {"tokenizer.json": info["tokenizer_hash"]} if "tokenizer_hash" in info else {}  # of the first versions
    parts = [info.get("tokenizer_files", first), *(chunk["files"] for chunk in info["chunks"])]
    return [name for files in parts for name in damaged_files(corpus.path, files)]


def damaged_files(folder: Path, files: dict[str, str]) -> list[str]:
    """Names of the files that are not in a folder with the content of their hash."""
    return [
        name for name, digest in files.items() if not ((folder / name).is_file() and hash_file(folder / name) == digest)
    ]


def refuse_damaged(corpus: Corpus) -> None:
    """Raise InputError where a file's content does not match its recorded hash."""
    if bad := verify_corpus(corpus):
        raise _damaged(corpus.path, f"{corpus.path} is damaged: {', '.join(bad)}.")


def document_hash(text: str) -> str:
    """Hash by which a document is known: the same whatever blanks surround it."""
    return hash_bytes(text.strip())[:32]


class Writer:
    """Collects the ids of documents and writes them in chunks; after each chunk the state on disk is complete."""

    def __init__(self, part: Path, tokenizer: Any):
        self.part = part
        self.backend: Tokenizer = tokenizer.backend_tokenizer
        self.backend.no_truncation()
        self.backend.no_padding()
        self.vocab_size, unused = vocabulary(tokenizer.get_vocab())
        self.unused_ids = len(unused)
        self.dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.uint32
        self.special = {kind: int(getattr(tokenizer, f"{kind}_token_id")) for kind in SPECIALS}
        self.seen: set[str] = set()
        self.chunks: list[dict[str, Any]] = []
        self.consumed = self.duplicates = self.empty = 0
        self.tokens = dict.fromkeys(SPLITS, 0)
        self.counts = np.zeros(self.vocab_size, dtype=np.int64)
        self.pending: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        self.fresh: list[str] = []
        self._restore()

    def _restore(self) -> None:
        """Take up the chunks that an interrupted build finished."""
        for number in itertools.count():
            seen = self.part / f"seen-{number:05d}.npy"
            try:
                chunk = read_json(self.part / f"chunk-{number:05d}.json", finite=True)
                files = {**chunk["files"], seen.name: chunk.pop("seen")}
                if chunk["number"] != number or damaged_files(self.part, files):
                    return
                counts = chunk["consumed"], chunk["duplicates"], chunk["empty"]
                tokens = {split: self.tokens[split] + chunk[split]["tokens"] for split in SPLITS}
            except (InputError, OSError, KeyError, TypeError, AttributeError):
                return  # from here on it is made again
            self.chunks.append(chunk)
            self.consumed, self.duplicates, self.empty = counts
            self.tokens = tokens
            self.seen.update(np.load(seen, allow_pickle=False).astype(str).tolist())
            ids = np.load(self.part / f"train-{number:05d}.ids.npy", mmap_mode="r", allow_pickle=False)
            self.counts += np.bincount(ids, minlength=self.vocab_size)

    def add(self, texts: list[str], held_out: Callable[[str], bool]) -> None:
        """Tokenise new documents (in parallel threads of the tokenizer) and queue them."""
        self.consumed += len(texts)
        new: list[tuple[str, str]] = []
        for text in texts:
            digest = document_hash(text)
            if digest in self.seen:
                self.duplicates += 1
            elif not text.strip():
                self.empty += 1
            else:
                self.seen.add(digest)
                self.fresh.append(digest)
                new.append(("heldout" if held_out(digest) else "train", text.strip()))
        with refusing("The tokenizer cannot read a text", "Its files may be damaged: save the tokenizer anew."):
            encoded = self.backend.encode_batch_fast([text for _, text in new], add_special_tokens=False)
        for (split, _), encoding in zip(new, encoded, strict=True):
            if encoding.ids:
                ids = np.array([*encoding.ids, self.special["sep"]], dtype=self.dtype)
                self.pending[split].append(ids)
                self.tokens[split] += len(ids)
            else:
                self.empty += 1
        if any(sum(len(ids) for ids in queued) >= CHUNK_TOKENS for queued in self.pending.values()):
            self.flush()

    def flush(self) -> None:
        """Write what is queued as one chunk; its json comes last and makes it count."""
        if not any(self.pending.values()):
            return
        number = len(self.chunks)
        counts = {"consumed": self.consumed, "duplicates": self.duplicates, "empty": self.empty}
        chunk: dict[str, Any] = {"number": number, **counts, "files": {}}
        seen = self.part / f"seen-{number:05d}.npy"
        _save(seen, np.array(self.fresh, dtype="S32"))
        for split in SPLITS:
            documents = self.pending[split]
            ids = np.concatenate(documents) if documents else np.empty(0, dtype=self.dtype)
            starts = np.cumsum([0] + [len(d) for d in documents], dtype=np.uint64)[:-1]
            chunk[split] = {"tokens": len(ids), "documents": len(documents)}
            for kind, array in (("ids", ids), ("starts", starts)):
                name = f"{split}-{number:05d}.{kind}.npy"
                _save(self.part / name, array)
                chunk["files"][name] = hash_file(self.part / name)
            if split == "train":
                self.counts += np.bincount(ids, minlength=self.vocab_size)
        write_json(self.part / f"chunk-{number:05d}.json", chunk | {"seen": hash_file(seen)})
        self.chunks.append(chunk)
        self.pending, self.fresh = {split: [] for split in SPLITS}, []

    def finish(self) -> dict[str, Any]:
        """What corpus.json says of the chunks; removes what only a build needs."""
        documents = {split: sum(chunk[split]["documents"] for chunk in self.chunks) for split in SPLITS}
        for split in SPLITS:
            if not documents[split]:
                raise InputError(f"The source leaves no text to {'train on' if split == 'train' else 'hold out'}.")
        for file in [*self.part.glob("seen-*.npy"), *self.part.glob("chunk-*.json")]:
            file.unlink()
        return {
            "vocab_size": self.vocab_size,
            "unused_ids": self.unused_ids,
            "special": self.special,
            "dtype": np.dtype(self.dtype).name,
            "documents": documents,
            "duplicates": self.duplicates,
            "empty": self.empty,
            "tokens": self.tokens,
            "unigram_entropy": unigram_entropy(self.counts, list(self.special.values())),
            "fingerprint": fingerprint(self.chunks),
            "chunks": self.chunks,
        }


def unigram_entropy(counts: np.ndarray, special: list[int]) -> float:
    """Entropy in nats of the ordinary tokens: the loss of a model that knows frequencies only."""
    counts = counts.astype(np.float64)
    counts[special] = 0
    p = counts[counts > 0] / counts.sum()
    entropy = float(-(p * np.log(p)).sum())
    return entropy if math.isfinite(entropy) else 0.0


def _save(path: Path, array: np.ndarray) -> None:
    """`np.save`, whose own way of writing loses the reason when a disk fills."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
