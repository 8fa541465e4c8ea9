"""The model inside a folder: built by its config, filled with its weights, and cut to the part that reads text."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geomprobe.common import InputError, first_line, refuse_beyond_memory
from geomprobe.common.silence import quiet
from geomprobe.encoders.adapters import apply_adapter, find_adapter
from geomprobe.encoders.settings import read_object
from geomprobe.encoders.weights import (
    HINT,
    MEASURE,
    UNUSED,
    Tensors,
    found_weights,
    prefixes,
    read_weights,
    refuse_foreign_formats,
    refuse_quantised,
)

_ENCODER_OF_TWO = "an encoder-decoder: its encoder is measured, the decoder is not used"
MOST_LAYERS = 100  # made without a question: fewer weights are an incomplete file, whose missing ones are named
_LOADED = "Load it yourself and hand over the model: geomprobe.load_encoder(model, tokenizer=tokenizer)."
_TEXT_PARTS = ("text_model", "language_model", "text_encoder")  # of models that see, hear or read


def load_model(folder: Path, source: str, *, hub: bool) -> tuple[nn.Module, list[str], Path]:
    """Model of a folder in float32 on the CPU, an adapter in it applied.

    The folder's own files decide, and nothing else: no optional package changes what is loaded from it.

    Returns
    -------
    model : Module
        What is measured: without any head; of an encoder-decoder the encoder, of two towers the one for text.
    notes : list of str
        What a reader of the results has to know.
    tokenizer_folder : Path
        The folder whose tokenizer belongs to it; the base model's folder where an adapter's folder has none.
    """
    adapter = find_adapter(folder)
    whole, notes = _load_whole(adapter.base if adapter else folder, source, hub=hub or adapter is not None)
    if adapter:
        whole = apply_adapter(whole, adapter)
        notes.append(adapter.note)
    part, note = text_part(whole)
    return part, notes + note, _tokenizer_folder(folder, adapter.base if adapter else folder)


def text_part(model: Any) -> tuple[nn.Module, list[str]]:
    """Part of a model that turns token ids into token states, and what a reader has to know of it.

    Raises
    ------
    InputError
        Where there is none: a model of images or sounds.
    """
    from transformers import PreTrainedModel

    part = model.base_model
    notes = []
    encoder, decoder = getattr(part, "encoder", None), getattr(part, "decoder", None)
    towers = {name: tower for name in _TEXT_PARTS if isinstance(tower := getattr(part, name, None), PreTrainedModel)}
    if isinstance(encoder, PreTrainedModel) and decoder is None and "input_ids" in _takes(encoder):
        part = encoder
    elif isinstance(encoder, PreTrainedModel) and isinstance(decoder, PreTrainedModel):
        part, notes = encoder, [_ENCODER_OF_TWO]
    elif getattr(part.config, "is_encoder_decoder", False) and hasattr(part, "get_encoder"):
        part, notes = part.get_encoder(), [_ENCODER_OF_TWO]
    elif towers:
        name, tower = next(iter(towers.items()))
        notes = [f"{type(part).__name__}: its {name} ({type(tower).__name__}) is measured, on text alone"]
        part = tower.base_model
    if not hasattr(part, "config"):
        raise InputError(
            f"{type(model).__name__} has an encoder ({type(part).__name__}) that does not run without its decoder.",
            MEASURE,
        )
    if "input_ids" not in _takes(part):
        first = getattr(part, "main_input_name", "input_ids")
        wanted = first if first in _takes(part) else next(iter(_takes(part)), "no input")
        raise InputError(
            f"{type(model).__name__} does not run on text alone: it takes {wanted}.",
            f"geomprobe measures models that map token ids to token states. {MEASURE}",
        )
    return part, notes


def _takes(model: nn.Module) -> list[str]:
    """Names of what a model's forward pass takes."""
    return list(inspect.signature(model.forward).parameters)


def bare_model(folder: Path, source: str, *, hub: bool) -> tuple[nn.Module, list[str], Path]:
    """Model of a folder as `load_model` gives it, but without memory for its weights, which are not read."""
    adapter = find_adapter(folder)
    base = adapter.base if adapter else folder
    _config_values(base, source)
    found_weights(base, source, hub=hub or adapter is not None)
    with _as_encoder(base):
        bare, _ = _bare(base)
        refuse_large(bare, base)
    part, notes = text_part(bare)
    return part, notes + ([adapter.note] if adapter else []), _tokenizer_folder(folder, base)


def _tokenizer_folder(folder: Path, base: Path) -> Path:
    """Folder whose tokenizer belongs to a model; of an adapter without one the base model's."""
    return folder if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")) else base


def _config_values(folder: Path, source: str) -> dict[str, Any]:
    """Values of a folder's config.json; raises InputError where there is none or it asks for quantised weights."""
    if not (folder / "config.json").is_file():
        refuse_foreign_formats(folder, source)
        inside = sorted(str(path.parent) for name in ("", "adapter_") for path in folder.glob(f"*/{name}config.json"))
        hint = f"Give one of the models in it: {', '.join(inside[:3])}" if inside else HINT
        raise InputError(f"{folder} is not a model folder: it has no config.json.", hint)
    values = read_object(folder / "config.json")
    refuse_quantised(values, source)
    return values


@contextmanager
def _as_encoder(folder: Path) -> Iterator[None]:
    """Block in which transformers makes a model, in silence; what it raises becomes an InputError."""
    try:
        with quiet():
            yield
    except InputError:
        raise
    except Exception as error:  # torch and transformers each raise their own kinds
        if "trust_remote_code" in str(error):
            raise InputError(f"{folder} needs custom code, which geomprobe never runs.", _LOADED) from None
        raise InputError(f"{folder} cannot be loaded as a text encoder: {first_line(error)}", HINT) from None


def _load_whole(folder: Path, source: str, *, hub: bool) -> tuple[Any, list[str]]:
    """Model of a folder without its head, complete, and notes."""
    values = _config_values(folder, source)
    tensors, notes = read_weights(folder, source, hub=hub)
    refuse_more_layers_than_weights(values, len(tensors), folder)
    with _as_encoder(folder):
        bare, config = _bare(folder)
        refuse_large(bare, folder)
        model, missing, errors = _filled(type(bare), config, tensors)
    # layers: the last map of a masked language model is called decoder too, but has only weight and bias
    if any(re.match(r"decoder\.\w+\.", name) for name in tensors) and not hasattr(model, "decoder"):
        notes.append(_ENCODER_OF_TWO)
    if missing:
        with quiet():
            model, missing, more = _otherwise(folder, model, config, tensors, missing)
        notes += more
    if missing:  # still
        named = ", ".join(sorted(missing)[:3]) + (", …" if len(missing) > 3 else "")
        raise InputError(
            f"{folder}: {len(missing)} weights are missing or of the wrong shape and would be random: {named}.",
            "The weights file is incomplete or does not belong to config.json.",
        )
    if errors:
        raise InputError(f"{folder}: {str(errors)[:300]}", "The weights file does not belong to config.json.")
    return model, notes


LAYERS = re.compile(r"(num_|n_)?(hidden_|encoder_|decoder_)?layers?")


def refuse_more_layers_than_weights(values: dict[str, Any], tensors: int, folder: Path) -> None:
    """Raise InputError where a config asks for more layers than there are weights, before any layer is made."""
    if "num_hidden_groups" in values:  # whose layers share their weights (ALBERT)
        return
    parts = [values, *(part for part in values.values() if isinstance(part, dict))]
    for key, layers in (setting for part in parts for setting in part.items()):
        if LAYERS.fullmatch(key) and isinstance(layers, int) and layers > max(tensors, MOST_LAYERS):
            raise InputError(
                f"{folder / 'config.json'}: {key} is {layers:,}, but the weights hold {tensors:,} tensors.",
                "The weights file does not belong to config.json.",
            )


def refuse_large(bare: nn.Module, folder: Path, limit: int | None = None) -> None:
    """Raise InputError where the weights of a model made without memory need more than `limit` bytes in float32."""
    needed = 4 * sum(weights.numel() for weights in bare.parameters())
    hint = "Check the sizes in config.json, or measure this model on a machine that can hold it."
    refuse_beyond_memory(needed, f"{folder / 'config.json'}: the weights", hint, limit)


def _bare(folder: Path) -> tuple[Any, Any]:
    """A model of the class that a folder's config asks for, without memory for weights, and the config."""
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoConfig, AutoModel, AutoModelForTextEncoding

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    with torch.device("meta"):
        bare = AutoModel.from_config(config, trust_remote_code=False)
        if hasattr(bare, "decoder") and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
            # of T5 and its kin the encoder has a class of its own; its folders do not say that there is no decoder
            bare = AutoModelForTextEncoding.from_config(config, trust_remote_code=False)
    return bare, bare.config


def _filled(kind: Any, config: Any, tensors: Tensors) -> tuple[Any, set[str], Any]:
    """A model with the tensors in it, the weights of its text part that none of them filled, and error messages.

    transformers is given tensors, not the folder: from a folder it would also read an adapter, if peft is installed.
    """
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused by the caller, with the names
        dtype=torch.float32,
    )
    missing = {str(key) for key in report.get("missing_keys", ())}
    missing |= {str(key[0] if isinstance(key, tuple) else key) for key in report.get("mismatched_keys", ())}
    part, _ = text_part(model)
    used = {id(tensor) for tensor in (*part.parameters(), *part.buffers())}
    known = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    missing = {name for name in missing if not UNUSED.search(name) and (name not in known or id(known[name]) in used)}
    return model, missing, report.get("error_msgs")


def _otherwise(
    folder: Path, model: Any, config: Any, tensors: Tensors, missing: set[str]
) -> tuple[Any, set[str], list[str]]:
    """Model read in another way that leaves no weight missing: an encoder saved alone, or prefixed names.

    Without such a way, the model as it was; with two, InputError.
    """
    part, _ = text_part(model)
    ways: list[tuple[Any, list[str]]] = []
    if part is not model:
        alone, absent, _ = _filled(type(part), part.config, tensors)
        if not absent:
            ways.append((alone, [f"the folder holds the {type(part).__name__} alone"]))
    frequent = prefixes(tensors, missing)[:3]
    for prefix in frequent:
        below = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        stripped, absent, _ = _filled(type(model), config, below)
        if not absent:
            ways.append((stripped, [f"{prefix!r} was removed from the names in the weights file"]))
    if len(ways) > 1:
        raise InputError(
            f"{folder}: the weights file holds several models, under the prefixes {' and '.join(map(repr, frequent))}.",
            "Write the one to be measured to a folder of its own.",
        )
    return (ways[0][0], set(), ways[0][1]) if ways else (model, missing, [])
