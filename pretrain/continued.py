"""Continued pretraining: a masked language model that is already trained, its settings, its weights and its cost."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel

from geomprobe.common import InputError, UsageError, first_line, hub, read_json
from geomprobe.common.silence import quiet
from geomprobe.pretrain.config import PretrainConfig, check_target_layers
from geomprobe.pretrain.corpus.hub import resolve
from geomprobe.pretrain.corpus.tokenizer import HUB_FILES, load_tokenizer

HINT = "Give --from a folder or a hub id (owner/name, or owner/name@revision) of a masked language model."
ARCHITECTURE = "ModernBERT with full attention in every layer, as geomprobe pretrain trains"


def settle(config: PretrainConfig) -> PretrainConfig:
    """Settings of a run that continues from a model: its commit, and its sizes in place of the preset's.

    Raises
    ------
    UsageError
        The objective or the length of rows does not fit the model.
    InputError
        There is no such model, it has no MLM head that transformers knows, or no tokenizer.
    """
    config = replace(config, start_from=_pinned(config))
    model, tokenizer = _blank(config.start_from), load_tokenizer(str(_folder(config.start_from)))
    known = model.config
    if config.objective != "mlm" and not is_ours(known):
        raise UsageError(
            f"--objective {config.objective} needs our own architecture ({ARCHITECTURE}), and {config.start_from} is "
            f"{type(model).__name__}.",
            "Continue it with --objective mlm.",
        )
    positions = int(getattr(known, "max_position_embeddings", config.max_length))
    for name, module in model.named_modules():  # RoBERTa and its like count positions from the padding id on
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    longest = min(positions, int(tokenizer.model_max_length))
    if config.row_length > longest:
        raise UsageError(
            f"{config.start_from} reads at most {longest} tokens, and rows have {config.row_length}.",
            f"--set row_length={longest}",
        )
    sizes = {"layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads"}
    sizes |= {"intermediate": "intermediate_size", "tied_head": "tie_word_embeddings"}
    found = {ours: getattr(known, theirs, getattr(config, ours)) for ours, theirs in sizes.items()}
    check_target_layers(config, found["layers"])
    return replace(config, max_length=longest, **found)


def is_ours(config: Any) -> bool:
    """Whether a model is of the architecture that the objectives look inside."""
    return (
        config.model_type == "modernbert"
        and set(getattr(config, "layer_types", ())) == {"full_attention"}
        and not (config.attention_bias or config.attention_dropout or config.mlp_dropout or config.embedding_dropout)
    )


def load(config: PretrainConfig, vocab_size: int) -> tuple[PreTrainedModel, bool]:
    """The model in float32, dropout off, and whether its MLM head, which a jepa checkpoint lacks, was drawn anew.

    Raises
    ------
    InputError
        Weights are missing or damaged, or the corpus has tokens that the model does not know.
    """
    folder = _folder(config.start_from)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            with quiet():  # what is missing is said below
                model, info = AutoModelForMaskedLM.from_pretrained(
                    folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True,
                    output_loading_info=True,
                )  # fmt: skip
        except Exception as error:  # the library raises many kinds here
            raise InputError(f"Cannot load {config.start_from}: {first_line(error)}", HINT) from None
    head = ("head.", "decoder.") if is_ours(model.config) else ()
    if missing := sorted(name for name in info["missing_keys"] if not name.startswith(head or ("\0",))):
        what = f"{config.start_from} holds no {missing[0]}, so it is no trained {type(model).__name__}"
        raise InputError(f"{what} ({len(missing)} weights are missing).", HINT)
    entries = int(model.get_input_embeddings().weight.shape[0])
    if vocab_size > entries:
        raise InputError(
            f"The corpus has {vocab_size:,} kinds of tokens, and {config.start_from} knows {entries:,}.",
            "Its tokenizer does not belong to it, or the corpus was built with another tokenizer.",
        )
    return model, bool(info["missing_keys"])


@functools.lru_cache
def row_flops(start_from: str, row_length: int) -> float:
    """FLOPs of a forward pass of one row, counted by torch on tensors without memory."""
    model = _blank(start_from)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.zeros(1, row_length, dtype=torch.long, device="meta"))
    return float(counter.get_total_flops())


def _pinned(config: PretrainConfig) -> str:
    """Path of a folder; a hub id with its commit, that of the run in `out` where it is being resumed."""
    name = config.start_from
    if Path(name).is_dir():
        return name
    if name.startswith((".", "/", "~")) or name.partition("@")[0].count("/") > 1 or Path(name).exists():
        raise InputError(f"No model at {name}.", HINT)
    with contextlib.suppress(InputError, AttributeError):
        before = str(read_json(Path(config.out) / "run.json").get("config", {}).get("start_from"))
        if before.partition("@")[0] == name:
            return before
    return f"{name.partition('@')[0]}@{resolve(name, 'model', HINT)[0]}"


@functools.lru_cache
def _folder(start_from: str) -> Path:
    """Folder of a model; of a hub's, its files in the hub's cache."""
    if Path(start_from).is_dir():
        return Path(start_from)
    repo_id, _, commit = start_from.partition("@")
    patterns = [*HUB_FILES, "*.safetensors", "*.safetensors.index.json"]
    return hub.download(repo_id, kind="model", revision=commit, patterns=patterns, hint=HINT)


def _blank(start_from: str) -> PreTrainedModel:
    """The model without weights."""
    try:
        known = AutoConfig.from_pretrained(_folder(start_from), trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            return AutoModelForMaskedLM.from_config(known, trust_remote_code=False)
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds here
        raise InputError(f"{start_from} is no masked language model: {first_line(error)[:200]}", HINT) from None
