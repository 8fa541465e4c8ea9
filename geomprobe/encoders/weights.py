"""The model inside a folder: loaded from safetensors alone, complete, without code of its own and without its head."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geomprobe.common import InputError, read_json

HINT = "Give a folder with config.json, model.safetensors and a tokenizer, or a hub id; offline, download it first."
UNUSED = re.compile(r"(^|\.)pooler\.")  # the pooling head of BERT-like models: token states do not pass through it


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the loading reports of transformers: what matters in them becomes an error below."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_model(folder: Path, source: str, taken: str) -> tuple[nn.Module, list[str]]:
    """Return the model of a folder without its head, as float32 on the CPU, and what a reader has to know of it."""
    from transformers import AutoConfig, AutoModel

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is not a model folder: it has no config.json.", HINT)
    read_json(folder / "config.json")
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in folder.glob("*.bin")) or sorted(p.name for p in folder.glob("*.pt"))
        if pickled or taken == "hub":
            raise InputError(
                f"{source} has its weights only as {', '.join(pickled) or 'pickled files'}, "
                "which can run any code when opened; geomprobe reads safetensors.",
                "If you trust it: load it with transformers and write it anew with save_pretrained(FOLDER).",
            )
        raise InputError(f"{folder} has no weights: no .safetensors file in it.", HINT)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, with the names
                dtype=torch.float32,
            )
    except Exception as error:  # safetensors, torch and transformers each raise their own kinds
        raise InputError(*_why_not_loaded(folder, error)) from None
    _refuse_random_weights(folder, report, config.is_encoder_decoder)
    return base(model), decoder_notes(config)


def decoder_notes(config: Any) -> list[str]:
    """Return what a reader has to know of a model that has a decoder beside its encoder."""
    unused = "an encoder-decoder: its encoder is measured, the decoder is not used"
    return [unused] if config.is_encoder_decoder else []


def _why_not_loaded(folder: Path, error: Exception) -> tuple[str, str]:
    """Return message and hint for a folder that transformers could not load."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as damage:
            return (
                f"{file} is damaged or incomplete: {damage}.",
                "Copy or download it again, or take an older checkpoint.",
            )
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in str(error):
        return (
            f"{folder} needs code of its own, which geomprobe never runs.",
            "Load it yourself and hand over the model: geomprobe.load_encoder(model, tokenizer=tokenizer).",
        )
    return f"{folder} cannot be loaded as a text encoder: {text}", HINT


def _refuse_random_weights(folder: Path, report: dict[str, Any], encoder_decoder: bool) -> None:
    """Raise InputError if any weight that token states depend on was not in the file and so would be random."""
    missing = {str(key) for key in report.get("missing_keys", ())}
    missing |= {str(key[0] if isinstance(key, tuple) else key) for key in report.get("mismatched_keys", ())}
    missing = {key for key in missing if not UNUSED.search(key)}
    if encoder_decoder:
        missing = {key for key in missing if not key.startswith("decoder.")}
    if missing:
        named = ", ".join(sorted(missing)[:3]) + (", …" if len(missing) > 3 else "")
        raise InputError(
            f"{folder}: {len(missing)} weights are missing or of the wrong shape and would be random: {named}.",
            "The weights file is incomplete or does not belong to config.json.",
        )
    if errors := report.get("error_msgs"):
        raise InputError(f"{folder}: {str(errors)[:300]}", "The weights file does not belong to config.json.")


def base(model: Any) -> nn.Module:
    """Return the model without its head; of an encoder-decoder, the encoder."""
    base = model.base_model
    return base.get_encoder() if base.config.is_encoder_decoder and hasattr(base, "get_encoder") else base
