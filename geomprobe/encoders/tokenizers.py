"""Tokenizers: loading one from a folder, and the hash of what decides its token ids."""

from __future__ import annotations

import importlib
import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, first_line, hash_bytes, refusing
from geomprobe.common.silence import quiet

_SAVE = "Save it next to the model with tokenizer.save_pretrained(FOLDER)."
_CONVERT = (
    "or write tokenizer.json where they are installed: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)


def load_tokenizer(source: Any) -> Any:
    """Tokenizer of a folder; a loaded one is returned as it is.

    Raises
    ------
    InputError
        None there, files missing or damaged, or a package missing that its form needs.
    """
    from transformers import AutoTokenizer

    if not isinstance(source, (str, Path)):
        return source
    folder = Path(source)
    _refuse_unreadable_form(folder)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            tokenizer("a")
    except Exception as error:  # tokenizers and transformers each raise their own kinds
        text = first_line(error)
        package = re.search(r"requires the (\w+) library|install (?:the )?`?([\w-]+)`? to use", str(error))
        name = (package[1] or package[2]).lower() if package else ""
        raise InputError(
            f"{folder} has no usable tokenizer: {text}", f"pip install {name}; {_CONVERT}" if name else _SAVE
        ) from None
    wanted = [name for name in tokenizer.vocab_files_names.values() if isinstance(name, str)]
    if wanted and not any((folder / name).is_file() for name in wanted):  # transformers makes an empty one up
        raise InputError(
            f"{folder} has no usable tokenizer: {type(tokenizer).__name__} needs {' or '.join(dict.fromkeys(wanted))}, "
            "which is not installed.",
            _SAVE,
        )
    return tokenizer


def _refuse_unreadable_form(folder: Path) -> None:
    """Raise InputError for a tokenizer whose only form needs a package that is not installed.

    transformers then tries one form after the other, and ends with the complaint about the last.
    """
    if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json", "tekken.json")):
        return
    for file in sorted([*folder.glob("*.model"), *folder.glob("*.spm"), *folder.glob("*.tiktoken")]):
        with open(file, "rb") as handle:
            sentencepiece = handle.read(1) == b"\n"  # the first field of its protocol buffer; tiktoken is text
        packages = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"} if sentencepiece else _TIKTOKEN
        absent = [package for package, module in packages.items() if not _installed(module)]
        if absent:
            raise InputError(
                f"{folder} has its tokenizer only as {file.name} ({next(iter(packages))}); "
                f"to read it, {' and '.join(absent)} must be installed.",
                f"pip install {' '.join(absent)}; {_CONVERT}",
            )


_TIKTOKEN = {"tiktoken": "tiktoken"}


def _installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 of what decides the token ids of a text; padding and truncation settings do not."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        values = json.loads(backend.to_str())
        values.pop("truncation", None)
        values.pop("padding", None)
        return hash_bytes(json.dumps(values, sort_keys=True))
    return hash_bytes(type(tokenizer).__name__, json.dumps(sorted(tokenizer.get_vocab().items())))


def reading_text(name: str) -> AbstractContextManager[None]:
    """Turn what a damaged tokenizer raises, such as for an unknown word, into an InputError that names the encoder."""
    hint = "Its files may be damaged: save it anew with tokenizer.save_pretrained(FOLDER)."
    return refusing(f"The tokenizer of {name} cannot read a text", hint)


def stand_in(tokenizer: Any) -> int:
    """Token that stands for a text without tokens."""
    for name in ("eos_token_id", "bos_token_id", "sep_token_id", "cls_token_id", "unk_token_id", "pad_token_id"):
        if (token := getattr(tokenizer, name, None)) is not None:
            return int(token)
    return 0


PART = 32  # characters per token of the limit that are tried first
MARGIN = 256  # words before the end of a part that may be other ones than in the whole text


def first_part(tokenizer: Any, text: str, limit: int) -> str:
    """So much of a text that its first ``limit`` tokens are there, and more; the whole where that is not known.

    A tokenizer takes minutes for tens of megabytes of which an encoder reads a page. It splits a text into words first
    and these into tokens, so the tokens of words well before the end of a part are those of the whole text.
    """
    size = PART * limit
    if size >= len(text) or not getattr(tokenizer, "is_fast", False) or tokenizer.truncation_side != "right":
        return text
    while size < len(text):
        part = tokenizer(text[:size], add_special_tokens=False, truncation=False, verbose=False)
        number_of = [word for word in part.word_ids() if word is not None]
        if len(number_of) > limit and number_of[-1] - number_of[limit] >= MARGIN:
            return text[:size]
        size *= 4
    return text
