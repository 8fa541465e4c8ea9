"""Tokenizers: loading one from a folder, and the hash of what decides its token ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, hash_bytes
from geomprobe.encoders.architecture import quiet


def load_tokenizer(source: Any) -> Any:
    from transformers import AutoTokenizer

    if not isinstance(source, (str, Path)):
        return source
    files = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")
    has_vocabulary = any(file for pattern in files for file in Path(source).glob(pattern))
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=True)
            tokenizer("a")
        if not has_vocabulary and len(tokenizer) < 100:  # transformers makes an empty one up; byte tokenizers have more
            raise FileNotFoundError(f"none of {', '.join(files)}")
    except Exception as error:
        text = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{source} has no usable tokenizer: {text}",
            "Save it beside the model with tokenizer.save_pretrained(FOLDER).",
        ) from None
    return tokenizer


def tokenizer_hash(tokenizer: Any) -> str:
    """Return the SHA-256 of what decides the token ids of a text; padding and truncation settings do not."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        values = json.loads(backend.to_str())
        values.pop("truncation", None)
        values.pop("padding", None)
        return hash_bytes(json.dumps(values, sort_keys=True))
    return hash_bytes(type(tokenizer).__name__, json.dumps(sorted(tokenizer.get_vocab().items())))


def stand_in(tokenizer: Any) -> int:
    """Return the token that stands for a text without tokens."""
    for name in ("eos_token_id", "bos_token_id", "sep_token_id", "cls_token_id", "unk_token_id", "pad_token_id"):
        if (token := getattr(tokenizer, name, None)) is not None:
            return int(token)
    return 0
