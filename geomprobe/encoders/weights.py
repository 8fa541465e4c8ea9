"""Weights in a folder: safetensors only, from inside the folder, complete, under the model's names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from geomprobe.common import InputError, read_json
from geomprobe.encoders.settings import inside

HINT = "Give a folder with config.json, model.safetensors and a tokenizer, or a hub id; offline, download it first."
UNUSED = re.compile(r"(^|\.)pooler\.")  # the pooling head of BERT-like models: token states do not pass through it

Tensors = dict[str, torch.Tensor]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# what training wraps around modules, anywhere in a name: torch.compile, FSDP, activation checkpointing
_WRAPPERS = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")
_MODULE_FOLDER = re.compile(r"\d+_\w+")
_SHARD = re.compile(r"model.*-of-\d+\.safetensors")
_BESIDE_WEIGHTS = re.compile(r"\.(json|txt|model|spm|tiktoken|jinja|codes)$")  # configs and tokenizers
_UNMERGED = re.compile(r"\.(base_layer|lora_[A-Za-z_]+|original_module|modules_to_save)\.")
_NOT_WEIGHTS = re.compile(r"training_args|optimizer|scheduler|scaler|rng_state")
_REWRITE = "If you trust it: load it with transformers and write it anew with save_pretrained(FOLDER)."
MEASURE = "Embed the texts with the model itself, save the vectors and use: geomprobe measure VECTORS_FILE"
_EXPORTED = f"Give the folder that it was exported from. {MEASURE}"
_FOREIGN = {  # file patterns: what they hold, what to do
    ("*.bin", "*.pt", "*.pth", "*.ckpt"): ("pickled, which can run any code when opened", _REWRITE),
    ("*.gguf",): (
        "GGUF of llama.cpp",
        "Convert it: AutoModel.from_pretrained(FOLDER, gguf_file=FILE).save_pretrained(NEW).",
    ),
    ("*.onnx", "onnx/*.onnx"): ("ONNX, an exported graph", _EXPORTED),
    ("openvino*.xml", "openvino/*.xml"): ("OpenVINO, an exported graph", _EXPORTED),
    ("*.h5", "*.msgpack"): (
        "TensorFlow or Flax",
        "Convert it with transformers 4: AutoModel.from_pretrained(FOLDER, from_flax=True or from_tf=True)"
        ".save_pretrained(NEW).",
    ),
}


def model_files(names: Sequence[str]) -> list[str]:
    """Files of a hub repository that a model is read from, without exports and training checkpoints.

    A module of sentence-transformers lies in a subfolder named as it saves them: ``2_Dense``.
    """
    has_modules = "modules.json" in names
    wanted = []
    for name in names:
        folder, file = str(PurePosixPath(name).parent), PurePosixPath(name).name
        if folder != "." and not (has_modules and _MODULE_FOLDER.fullmatch(folder)):
            continue
        beside = "" if folder == "." else f"{folder}/"
        single = f"{beside}model.safetensors" in names
        weights = file in ("model.safetensors", "adapter_model.safetensors") or (not single and _SHARD.fullmatch(file))
        if weights or _BESIDE_WEIGHTS.search(file):
            wanted.append(name)
    return wanted


def read_weights(folder: Path, source: str, *, hub: bool) -> tuple[Tensors, list[str]]:
    """Every tensor of a folder's weights, and notes on how they were read.

    Parameters
    ----------
    folder : Path
    source : str
        What the user gave, for messages.
    hub : bool
        Whether the folder is a download, which holds no pickled files.

    Raises
    ------
    InputError
        No safetensors, a damaged or missing file, an index that leads out of the folder.
    """
    files = found_weights(folder, source, hub=hub)
    notes = []
    if files == [folder / _SINGLE] and (folder / _INDEX).is_file():
        notes.append(f"{_SINGLE} was read; the files that {_INDEX} names were not")
    tensors: Tensors = {}
    for file in files:
        tensors |= read_tensors(file)
    if unmerged := [name for name in tensors if _UNMERGED.search(name)]:
        raise InputError(
            f"{folder}: the weights file holds the layers of an adapter, not merged into its base model: "
            f"{', '.join(unmerged[:2])}, … ({len(unmerged)} names).",
            "Merge it and save the whole model, or save the adapter with peft: "
            "model.merge_and_unload().save_pretrained(FOLDER).",
        )
    plain = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    wrappers = " and ".join(dict.fromkeys(wrapper for name in tensors for wrapper in _WRAPPERS.findall(name)))
    if len(plain) < len(tensors):
        raise InputError(
            f"{folder}: the file holds weights twice, with and without {wrappers} in their names.",
            "Save the unwrapped model: model._orig_mod.save_pretrained(FOLDER).",
        )
    if wrappers:
        notes.append(f"{wrappers} was removed from the names in the weights file")
    return plain, notes


def found_weights(folder: Path, source: str, *, hub: bool) -> list[Path]:
    """Files as `weight_files` finds them; raises InputError where there are none."""
    if files := weight_files(folder):
        return files
    refuse_foreign_formats(folder, source)
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    if others:
        raise InputError(
            f"{folder} has no model.safetensors; it holds {', '.join(others[:3])}.",
            "If that file is the whole model, rename it to model.safetensors.",
        )
    if hub:
        raise InputError(f"{source} has no model.safetensors on the hub; geomprobe reads safetensors.", _REWRITE)
    raise InputError(f"{folder} has no weights: no .safetensors file in it.", HINT)


def weight_files(folder: Path) -> list[Path]:
    """Safetensors files that hold a folder's weights, none where there are none.

    Raises
    ------
    InputError
        A damaged index, or one that leads out of the folder or names a missing file.
    """
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    return _shards(folder / _INDEX) if (folder / _INDEX).is_file() else []


def read_tensors(file: Path) -> Tensors:
    """Tensors of a safetensors file; raises InputError where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as damage:
        raise InputError(
            f"{file} is damaged or incomplete: {damage}.",
            "Copy or download it again, or use an older checkpoint.",
        ) from None


def _shards(index: Path) -> list[Path]:
    """Files that an index names, each of them inside the index's folder and there."""
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    given = list(places.values()) if isinstance(places, dict) else []
    if not given or not all(isinstance(name, str) for name in given):
        raise InputError(f"{index} does not say which files hold the weights.", HINT)
    names = sorted(set(given))
    for name in names:
        inside(index.parent, name, index)
    absent = [name for name in names if not (index.parent / name).is_file()]
    if absent:
        raise InputError(
            f"{index.parent}: {len(absent)} of {len(names)} files of weights are missing: {', '.join(absent[:3])}.",
            "Copy or download the folder again.",
        )
    return [index.parent / name for name in names]


def refuse_foreign_formats(folder: Path, source: str) -> None:
    """Raise InputError where a folder has weights only in a form that is not read."""
    for patterns, (form, hint) in _FOREIGN.items():
        files = sorted(file for pattern in patterns for file in folder.glob(pattern))
        names = [str(file.relative_to(folder)) for file in files if not _NOT_WEIGHTS.search(file.name)]
        if names:
            named = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise InputError(f"{source} has its weights only as {named} ({form}); geomprobe reads safetensors.", hint)


def refuse_quantised(config: Mapping[str, Any], source: str) -> None:
    """Raise InputError where a config declares quantised weights, which need a runtime of their own."""
    for name in ("quantization_config", "compression_config"):
        if settings := config.get(name):
            method = settings.get("quant_method") if isinstance(settings, dict) else None
            raise InputError(
                f"{source} holds quantised weights ({method or name}); geomprobe runs weights as floats.",
                f"Give the model that was quantised. {MEASURE}",
            )


def prefixes(tensors: Tensors, missing: set[str]) -> list[str]:
    """Prefixes of the missing names in the file, most frequent first: ``module.``, ``model.``, …"""
    counts: Counter[str] = Counter()
    for name in tensors:
        ends = [dot.end() for dot in re.finditer(r"\.", name)]
        counts.update(name[:end] for end in ends if name[end:] in missing)
    return [prefix for prefix, _ in counts.most_common()]
