"""Tokenizers: trained on a corpus, or opened from a folder or the hub, and how many ids they have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from geomprobe.common import InputError, UsageError, hash_bytes, hash_file, hub
from geomprobe.pretrain.corpus.hub import resolve

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPECIALS = ("pad", "cls", "sep", "mask")
HINT = "Give a local folder with --tokenizer PATH, or train one on the corpus: --tokenizer train:8192"
MOST_ENTRIES = 1 << 20  # to train, or of a table that is hardly used
MODELS = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", *MODELS)
ADDED = ("special_tokens_map.json", "added_tokens.json")
FILES = (*VOCABULARIES, "merges.txt", "tokenizer_config.json", *ADDED)
HUB_FILES = ["tokenizer*", "vocab*", "merges.txt", *ADDED, "config.json", "*.model"]


def train_tokenizer(texts: Callable[[], Iterator[str]], vocab_size: int) -> Tokenizer:
    """An uncased WordPiece tokenizer (as BERT's) trained on ``texts()``, which is read twice.

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
    """A fast transformers tokenizer from a path or hub id (``name@revision`` pins).

    Raises
    ------
    InputError
        Not found, or without the tokens that pretraining needs.
    """
    from transformers import AutoTokenizer

    folder, hint = Path(name), "It should hold tokenizer.json."
    if folder.is_file():
        raise InputError(f"{name} is a file.", "Give the folder of the tokenizer.")
    if not folder.exists():
        repo_id, _, commit = choose_tokenizer(name).name.partition("@")
        folder, hint = hub.download(repo_id, kind="model", revision=commit, patterns=HUB_FILES, hint=HINT), HINT
    if not any((folder / file).is_file() for file in (*VOCABULARIES, "tokenizer_config.json")):
        raise InputError(f"{name} holds no tokenizer.", hint)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, use_fast=True, local_files_only=True)
    except Exception as error:  # the library raises many kinds here
        raise InputError(
            f"Cannot open the tokenizer {name}: {' '.join(str(error).split())[:200]}",
            "A folder needs tokenizer.json and tokenizer_config.json, as save_pretrained of transformers writes them.",
        ) from None
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"The tokenizer {name} has no fast form (tokenizer.json).")
    ids = {kind: getattr(tokenizer, f"{kind}_token_id") for kind in ("cls", "sep", "mask", "unk", "pad")}
    fault = ""
    if missing := [kind for kind in ("cls", "sep", "mask") if ids[kind] is None]:
        fault = f"The tokenizer {name} has no {', '.join(missing)} token."
    elif list(ids.values()).count(ids["mask"]) > 1:
        fault = (
            f"The mask token of the tokenizer {name}, {tokenizer.mask_token!r}, has the id of another special token."
        )
    if fault:
        raise InputError(fault, "Use one made for masked language models, or train:8192")
    if ids["pad"] is None:
        tokenizer.pad_token = tokenizer.sep_token
    return tokenizer


def wrap_tokenizer(tokenizer: Tokenizer) -> Any:
    """A trained tokenizer as a transformers tokenizer."""
    from transformers import PreTrainedTokenizerFast

    names = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@dataclass(frozen=True)
class TokenizerChoice:
    """What ``--tokenizer`` means.

    Attributes
    ----------
    name : str
        What `load_tokenizer` opens, or ``train:N``; a hub id with its commit.
    identity : str
        Changes when the tokenizer does: the hash of a folder's files, else the name.
    warnings : list of str
        What the user must know of this moment, such as a hub out of reach.
    """

    name: str
    identity: str
    warnings: list[str] = field(default_factory=list)


def choose_tokenizer(name: str) -> TokenizerChoice:
    """What a folder, hub id (``name@revision`` pins) or ``train:N`` means; a folder wins over a hub id.

    Raises
    ------
    UsageError
        A bad size after ``train:``.
    InputError
        Neither a folder nor on the hub, or the hub cannot be reached and the tokenizer is not in its local cache.
    """
    if name.startswith("train:"):
        if not re.fullmatch("[0-9]{2,7}", name[6:]) or not 64 <= int(name[6:]) <= MOST_ENTRIES:
            hint = f"Write for example --tokenizer train:8192 (64 to {MOST_ENTRIES:,}, without the commas)"
            raise UsageError(f"{name[:40]!r} is no vocabulary size.", hint)
        return TokenizerChoice(name, name)
    if Path(name).exists():
        files = [Path(name) / file for file in FILES if (Path(name) / file).is_file()]
        identity = hash_bytes(*(f"{file.name} {hash_file(file)}" for file in files)) if files else name
        return TokenizerChoice(name, identity)
    if name.startswith((".", "/", "~")) or name.partition("@")[0].count("/") > 1:
        raise InputError(f"No tokenizer at {name}.", "Give a folder with tokenizer.json, a hub id, or train:8192")
    commit, warnings = resolve(name, "model", HINT)
    pinned = f"{name.partition('@')[0]}@{commit}"
    return TokenizerChoice(pinned, pinned, warnings)


def vocabulary(ids: dict[str, int]) -> tuple[int, list[int]]:
    """How many entries the embeddings need, the highest id plus one, and the ids that no token has.

    Raises
    ------
    InputError
        Nearly all of a large table would never be used.
    """
    used = set(ids.values())
    size = max(used) + 1
    if size > MOST_ENTRIES and size > 2 * len(used):
        raise InputError(
            f"The tokenizer's highest id is {size - 1:,}, but it has {len(used):,} tokens only.",
            "Number its tokens anew, or use train:8192.",
        )
    return size, sorted(set(range(size)) - used)
