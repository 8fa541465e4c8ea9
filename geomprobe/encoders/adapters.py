"""Adapters of peft (LoRA and its kin): found in a folder, applied to their base model and merged into its weights."""

from __future__ import annotations

import copy
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geomprobe.common import InputError, hub, read_json, refusing
from geomprobe.common.silence import quiet
from geomprobe.encoders.forward import evaluating
from geomprobe.encoders.settings import is_path, read_object
from geomprobe.encoders.weights import MEASURE, UNUSED, Tensors, model_files, read_tensors

_WEIGHTS = "adapter_model.safetensors"
# kinds that put vectors of their own before a text
_VIRTUAL_TOKENS = re.compile(r"PROMPT|PREFIX|P_TUNING|CPT|CARTRIDGE")
_NOT_THE_TEXT = "puts its own vectors before every text, so the states depend on more than the text"
_MERGE_YOURSELF = "Apply it with peft yourself, merge it, and write the whole model: save_pretrained(FOLDER)."

_ANOTHER_BASE = "Does it belong to this base model? " + _MERGE_YOURSELF


@dataclass(frozen=True)
class Adapter:
    """An adapter in a folder.

    Attributes
    ----------
    folder : Path
        Where its files are.
    kind : str
        The method, in peft's name: ``LORA``, ``IA3``, …
    base : Path
        Folder of the base model; the adapter's own where the base model lies in it.
    note : str
        What a reader of the results has to know.
    """

    folder: Path
    kind: str
    base: Path
    note: str


def find_adapter(folder: Path) -> Adapter | None:
    """Adapter in a folder, or None where there is none.

    Raises
    ------
    InputError
        Weights without a config or the reverse, pickled weights, a kind that cannot be measured, no base model;
        peft is not installed.
    """
    file = folder / "adapter_config.json"
    if not file.is_file():
        if stray := sorted(path.name for path in folder.glob("adapter_model*")):
            raise InputError(
                f"{folder} holds the weights of an adapter ({stray[0]}) but no adapter_config.json.",
                "Copy it from where the adapter was saved; or remove the adapter's files to measure the base model.",
            )
        return None
    settings = read_object(file)
    kind = settings.get("peft_type")
    if not isinstance(kind, str):
        raise InputError(f"{file} is not the config of a peft adapter: it names no peft_type.", _MERGE_YOURSELF)
    if not (folder / _WEIGHTS).is_file():
        if pickled := sorted(path.name for path in folder.glob("*adapter*.bin")):
            raise InputError(
                f"{folder} has its adapter only as {pickled[0]}, pickled, which can run any code when opened.",
                "If you trust it: load it with peft and write it anew with save_pretrained(FOLDER).",
            )
        raise InputError(f"{folder} has an adapter_config.json but no weights of the adapter ({_WEIGHTS}).")
    if _VIRTUAL_TOKENS.search(kind):
        raise InputError(f"The adapter in {folder} ({kind}) {_NOT_THE_TEXT}.", MEASURE)
    base, named = _base_folder(folder, settings)
    try:
        import_module("peft")
    except ImportError as error:
        reason = f"{folder} is an adapter ({kind}) of {named}; to apply it, the package peft is needed ({error})."
        raise InputError(reason, "pip install 'geomprobe[adapters]'") from None
    return Adapter(folder, kind, base, f"adapter {kind} ({folder.name}) applied to {named} and merged into its weights")


def apply_adapter(model: Any, adapter: Adapter) -> Any:
    """Base model with an adapter merged into its weights, checked against the adapter run unmerged.

    Raises
    ------
    InputError
        Where adapter and base model do not belong together, or peft cannot apply or merge it.
    """
    from peft import PeftModel, set_peft_model_state_dict

    tensors = {name.removeprefix("base_model.model."): t for name, t in read_tensors(adapter.folder / _WEIGHTS).items()}
    what = f"The adapter in {adapter.folder} ({adapter.kind}) cannot be applied to {type(model).__name__}"
    with refusing(what, _ANOTHER_BASE), warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # what matters in them is checked below
        applied = PeftModel(_under_prefix(model, _prefix(model, tensors)), _config(adapter))
        named = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
        report = set_peft_model_state_dict(applied, named)
        _check_complete(applied, adapter, report, tensors)
        return merged(model, str(adapter.folder))


def unwrapped(model: Any) -> Any:
    """Model inside a peft model, its adapters in place; any other model as it is.

    Raises
    ------
    InputError
        The adapter puts vectors of its own before every text.
    """
    if "peft" not in sys.modules:
        return model
    from peft import PeftModel

    configs: Mapping[str, Any] = getattr(model, "peft_config", None) or {}
    if not isinstance(model, PeftModel):
        return model
    if any(config.is_prompt_learning for config in configs.values()):
        raise InputError(f"The adapter of this {type(model).__name__} {_NOT_THE_TEXT}.", MEASURE)
    return model.get_base_model()


def merge_loaded(model: Any) -> tuple[Any, list[str]]:
    """A loaded model, or a copy of it with its active adapters merged, and notes."""
    if "peft" not in sys.modules:
        return model, []
    configs: Mapping[str, Any] = getattr(model, "peft_config", None) or {}
    inner = unwrapped(model)
    layers: list[Any] = [module for module in inner.modules() if _is_adapted(module)]
    if not layers:
        return inner, []
    active = {name for layer in layers if not layer.disable_adapters for name in layer.active_adapters}
    types = [configs[name].peft_type for name in sorted(active) if name in configs]
    kinds = ", ".join(dict.fromkeys(str(getattr(kind, "value", kind)) for kind in types))
    note = f"adapter {kinds or 'of peft'} ({', '.join(sorted(active))}) merged into a copy of the model"
    if not active:
        note = "the model's adapter is switched off: its base model is measured"
    return merged(copy.deepcopy(inner), type(inner).__name__), [note]


def merged(model: Any, name: str) -> Any:
    """Merge every adapter layer of a model into the layer that it wraps, in place, and return the model.

    Raises
    ------
    InputError
        Where the merged model does not give the states that it gave before.
    """
    before = _sample(model)
    done: list[str] = []
    for place, module in list(model.named_modules()):
        if not _is_adapted(module) or any(place.startswith(f"{outer}.") for outer in done):
            continue
        model.set_submodule(place, _plain(module))
        done.append(place)
    after = _sample(model)
    if before is not None and after is not None:
        scale = float(before.abs().max()) or 1.0
        exact = 1e-4 if before.dtype in (torch.float32, torch.float64) else 5e-2
        if not float((before - after).abs().max()) <= exact * scale:
            raise InputError(f"The adapter of {name} cannot be merged into its base model: the states change.", MEASURE)
    return model


def _plain(module: Any) -> nn.Module:
    """Layer that an adapter layer wraps, the adapter merged into it unless it is switched off."""
    on = not module.disable_adapters and bool(module.active_adapters)
    if not hasattr(module, "unload_and_optionally_merge_module"):
        if on:
            module.merge(safe_merge=True)
        return module.get_base_layer()
    if not on and hasattr(module, "original_module"):
        return module.original_module
    return module.unload_and_optionally_merge_module(merge=on, safe_merge=True, adapter_names=None)


def _base_folder(folder: Path, settings: Mapping[str, Any]) -> tuple[Path, str]:
    """Folder of an adapter's base model, and words for it.

    A base model in the adapter's own folder is taken, as transformers does. Else the name in the config is a path, from
    the current folder, as for peft, or from the adapter's folder or the one around it; else a hub id.
    """
    if (folder / "config.json").is_file() and any(folder.glob("model*.safetensors")):
        return folder, "the base model in the same folder"
    name, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not name or not is_path(name):
        raise InputError(
            f"The adapter in {folder} does not name its base model.",
            "Write its path or hub id as base_model_name_or_path into adapter_config.json.",
        )
    starts = [Path(), folder, folder.resolve().parent]
    tried = list(dict.fromkeys((start / Path(name).expanduser()).resolve() for start in starts))
    bases = [path for path in tried if path.is_dir() and path != folder.resolve()]
    if len(bases) > 1:
        raise InputError(
            f"The adapter in {folder} names the base model {name!r}, which is here: {' and '.join(map(str, bases))}.",
            "Write the absolute path as base_model_name_or_path into adapter_config.json.",
        )
    if bases:
        if (bases[0] / "adapter_config.json").is_file():
            why = f"The base model of the adapter in {folder} is an adapter itself: {bases[0]}."
            raise InputError(why, _MERGE_YOURSELF)
        return bases[0], f"the base model {bases[0]}"
    file = folder / "adapter_config.json"
    hint = f"Looked for {', '.join(map(str, tried))}. Correct base_model_name_or_path in {file}."
    if not hub.is_repo_id(name) or name.startswith("."):
        raise InputError(f"The base model {name!r} of the adapter in {folder} does not exist.", hint)
    try:
        base, commit = hub.snapshot(name, kind="model", revision=revision or None, patterns=model_files, hint=hint)
    except InputError as error:
        raise InputError(f"The base model of the adapter in {folder}: {error.message}", error.hint) from None
    return base, f"the base model {name}@{commit}"


def _config(adapter: Adapter) -> Any:
    """An adapter's config as peft reads it; raises InputError for settings that this peft would pass over."""
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(adapter.folder))
    config.inference_mode = True
    known = set(config.to_dict()) | {"runtime_config"}
    given = read_json(adapter.folder / "adapter_config.json")
    unknown = sorted(key for key, value in given.items() if key not in known and value)
    if unknown:
        raise InputError(
            f"The adapter in {adapter.folder} has settings that this peft does not know: {', '.join(unknown[:5])}.",
            "pip install --upgrade peft",
        )
    return config


def _prefix(model: nn.Module, tensors: Tensors) -> str:
    """What stands before the base model's names in an adapter that was trained on a model with a head."""
    places = {name for name, _ in model.named_modules() if name}
    for name in tensors:
        parts = name.split(".")
        for start in range(len(parts)):
            if any(".".join(parts[start:stop]) in places for stop in range(start + 2, len(parts))):
                return ".".join(parts[:start])
    return ""


def _under_prefix(model: Any, prefix: str) -> Any:
    """A module that holds the model under a prefix: an adapter then finds the names it was trained with."""
    for part in reversed(prefix.split(".")) if prefix else ():
        holder = nn.Module()
        holder.add_module(part, model)
        holder.config = model.config
        holder.is_gradient_checkpointing = False  # type: ignore[assignment]
        model = holder
    return model


def _check_complete(applied: Any, adapter: Adapter, report: Any, tensors: Tensors) -> None:
    """Raise InputError unless every layer of an adapter has its weights, and every weight its layer.

    Weights of a head or a decoder, which the measured model does not have, may be left over.
    """
    markers = (applied.base_model.prefix, ".modules_to_save.", "trainable_tokens")
    absent = [name for name in report.missing_keys if not UNUSED.search(name)]
    missing = [name for name in absent if any(marker in name for marker in markers)]
    unused = {name for name in report.unexpected_keys if not UNUSED.search(name)}
    places = {name for name, _ in applied.named_modules()}
    astray = [name for name in unused if any(name.startswith(f"{p}.") for p in places if p.count(".") > 2)]
    if missing or astray or len(unused) >= len(tensors):
        wrong = sorted(missing or astray or unused)
        named = ", ".join(name.removeprefix("base_model.model.") for name in wrong[:3])
        raise InputError(
            f"The adapter in {adapter.folder} does not fit its base model: "
            f"{len(wrong)} weights are {'missing' if missing else 'without a layer'}: {named}.",
            _ANOTHER_BASE,
        )


def _is_adapted(module: nn.Module) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return isinstance(module, BaseTunerLayer) or hasattr(module, "unload_and_optionally_merge_module")


def _sample(model: Any) -> torch.Tensor | None:
    """Last states of a few tokens, or None of a model that does not run on token ids alone."""
    try:
        entries = model.get_input_embeddings().weight.shape[0]
        ids = (torch.arange(8) * 7 % entries)[None].to(next(model.parameters()).device)
        part = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
        with torch.no_grad(), evaluating(model):
            return part(input_ids=ids, return_dict=True).last_hidden_state
    except Exception:  # such a model is refused where it is examined
        return None
