"""Open any text encoder: a folder, a hub id or a loaded model; and measure what its config does not reliably say."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geomprobe.common import InputError, UsageError, first_line, hub, model_name, refusing, unknown_name
from geomprobe.common.names import is_utf8
from geomprobe.encoders.adapters import merge_loaded, unwrapped
from geomprobe.encoders.architecture import load_model, text_part
from geomprobe.encoders.encoder import DEFAULT_LENGTH, Encoder, vocabulary
from geomprobe.encoders.forward import forward
from geomprobe.encoders.sentence_transformers import Declared, lowercased, read_folder, read_loaded
from geomprobe.encoders.tokenizers import load_tokenizer, reading_text
from geomprobe.encoders.weights import HINT, UNUSED, model_files

_VECTORS = "Embed the texts yourself and use geomprobe.measure(vectors)."
Load = Callable[..., tuple[nn.Module, list[str], Path]]
"""Model, notes and folder of the tokenizer from a folder, as `load_model` gives them."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_encoder(source: Any, *, tokenizer: Any = None, device: str = "auto", dtype: str = "auto") -> Encoder:
    """Open a text encoder.

    Parameters
    ----------
    source : str, Path, Encoder, or a loaded transformers or sentence-transformers model
        A folder, or a hub id, ``name@revision`` to pin it. An existing path wins over a hub id.
    tokenizer : optional
        For a loaded transformers model: its tokenizer, or a folder that has it. Default: the folder that the model was
        loaded from.
    device : str
        "auto" (CUDA, else MPS, else CPU; a loaded model stays where it is) or a torch device.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Number format of the forward pass; "auto" is float32 (a loaded model stays as it is).

    Returns
    -------
    Encoder

    Raises
    ------
    InputError
        Nothing there, damaged or incomplete weights, no safetensors, a model that needs its own code, no tokenizer.
    UsageError
        Unknown device or dtype.

    Notes
    -----
    Nothing is unpickled and no code of a model repository is run.

    Examples
    --------
    >>> import geomprobe as gp
    >>> encoder = gp.load_encoder("my-encoder")  # a folder with a BERT of two layers
    >>> encoder.kind, encoder.n_layers, encoder.dim
    ('encoder', 2, 16)
    """
    if isinstance(source, Encoder):
        return source
    if dtype != "auto" and dtype not in DTYPES:
        raise unknown_name("dtype", dtype, ["auto", *DTYPES])
    if isinstance(source, nn.Module):
        encoder = _wrap(source, tokenizer)
        where = encoder.device if device == "auto" else find_device(device)
        form = encoder.dtype if dtype == "auto" else DTYPES[dtype]
        if (where.type, form) != (encoder.device.type, encoder.dtype):
            encoder.model = copy.deepcopy(encoder.model).to(device=where, dtype=form)
    elif not isinstance(source, (str, Path)):
        raise _not_an_encoder(source)
    else:
        encoder = open_source(str(source), tokenizer)
        encoder.model.to(device=find_device(device), dtype=DTYPES.get(dtype, torch.float32))
        encoder.model.eval()
    if encoder.head is not None:
        encoder.head.to(device=encoder.device, dtype=encoder.dtype)
    _examine(encoder)
    return encoder


def follow_model(model: Any, tokenizer: Any = None) -> Encoder:
    """Encoder around a model in training: it shares the model's weights and follows them, adapters unmerged.

    Parameters
    ----------
    model : a loaded transformers, peft or sentence-transformers model
        Stays where it is, in its number format.
    tokenizer : optional
        As for `load_encoder`.

    Raises
    ------
    InputError
        As `load_encoder`.
    """
    encoder = _wrap(model, tokenizer, merge=False)
    _examine(encoder)
    return encoder


def find_device(name: str) -> torch.device:
    """Device of a name, "auto" for the best there is; raises UsageError where it cannot compute."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # meta holds no numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        why = f"Device {name[:50]!r} cannot be used: {first_line(error)}"
        raise UsageError(why, "Known: auto, cpu, cuda, cuda:N, mps.") from None
    return device


def check_source(source: str) -> None:
    """Raise InputError for a string that is neither a folder nor written as a hub id; nothing is read or asked."""
    path = Path(os.path.expanduser(source))
    if path.exists():
        if not path.is_dir():
            raise InputError(f"{source} is a file, not a model folder.", HINT)
        if not is_utf8(source):
            raise InputError(f"The name {source!r} is not UTF-8, and safetensors needs that.", "Rename the folder.")
    elif not hub.is_repo_id(source.partition("@")[0]):
        raise InputError(f"{source} does not exist.", HINT)


def open_source(source: str, tokenizer: Any = None, load: Load = load_model) -> Encoder:
    """Find the folder for a string, and load model and tokenizer from it, on the CPU as float32; nothing is run."""
    check_source(source)
    path = Path(os.path.expanduser(source))
    if path.exists():
        folder, commit, name = path, None, model_name(path)
    else:
        repo_id, _, revision = source.partition("@")
        folder, commit = hub.snapshot(repo_id, kind="model", revision=revision or None, patterns=model_files, hint=HINT)
        name = model_name(repo_id)
    inner, declared = read_folder(folder, source)
    model, notes, tokenizer_folder = load(inner, source, hub=commit is not None)
    tokenizer = load_tokenizer(tokenizer_folder if tokenizer is None else tokenizer)
    taken = "hub" if commit else "path"
    encoder = Encoder(
        name or type(model).__name__, source, taken, model, tokenizer, path=folder, revision=commit, notes=notes
    )
    _settle(encoder, declared)
    if declared.lower_case:
        encoder.tokenizer = copy.deepcopy(encoder.tokenizer)  # one that was handed over stays as it is
        encoder.lower_case = not lowercased(encoder.tokenizer)
    return encoder


def _settle(encoder: Encoder, declared: Declared) -> None:
    """Apply to an encoder what its sentence-transformers modules declare; a plain transformer declares nothing."""
    encoder.max_length = _max_length(encoder.model, encoder.tokenizer, declared.max_length)
    encoder.lower_case = declared.lower_case
    encoder.head, encoder.refusal, encoder.pooling = declared.head, declared.refusal, declared.pooling
    encoder.prompts, encoder.default_prompt = declared.prompts, declared.default_prompt
    encoder.notes += declared.notes


def _not_an_encoder(source: Any) -> InputError:
    """Error for an object that is neither a path, a hub id nor a model."""
    kind = type(source).__name__
    if callable(getattr(source, "tokenizer", None)) and isinstance(getattr(source, "model", None), nn.Module):
        hint = "Give the model inside: geomprobe.load_encoder(pipeline.model, tokenizer=pipeline.tokenizer)"
        return InputError(f"{kind} is a pipeline around a model, not a model.", hint)
    if hasattr(source, "convert_ids_to_tokens") or hasattr(source, "token_to_id"):
        hint = "Give the model as well: geomprobe.load_encoder(model, tokenizer=tokenizer)"
        return InputError(f"{kind} is a tokenizer, not a model.", hint)
    return InputError(f"{kind} is neither a folder, a hub id nor a loaded model.", _VECTORS)


def _wrap(model: Any, tokenizer: Any, *, merge: bool = True) -> Encoder:
    """An encoder around a loaded transformers or sentence-transformers model, which stays as it is.

    Adapters are merged in a copy, or run unmerged in the model itself.
    """
    name, declared = type(model).__name__, Declared()
    if (parts := read_loaded(model)) is not None:
        model, inside, declared = parts
        tokenizer = inside if tokenizer is None else tokenizer
    origin = getattr(model, "name_or_path", "") or ""
    origin = "" if origin == "None" else origin  # what transformers makes of no name
    if not hasattr(model, "config"):
        raise InputError(f"{type(model).__name__} is not a transformers or sentence-transformers model.", _VECTORS)
    if tokenizer is None:
        if not origin or not Path(origin).is_dir():
            raise InputError("A loaded model needs its tokenizer.", "load_encoder(model, tokenizer=tokenizer)")
        tokenizer = origin
    model, adapter_notes = merge_loaded(model) if merge else (unwrapped(model), [])
    if adapter_notes:  # what follows a copy must not change with the original either
        declared = replace(declared, head=copy.deepcopy(declared.head))
    part, part_notes = text_part(model)
    short, notes = model_name(origin) or name, adapter_notes + part_notes
    encoder = Encoder(short, origin or name, "loaded model", part, load_tokenizer(tokenizer), notes=notes)
    _settle(encoder, declared)
    return encoder


def _max_length(model: nn.Module, tokenizer: Any, declared: int | None) -> int:
    """Smaller of the limits that sentence-transformers, else the tokenizer, and the position table state."""
    stated = declared or getattr(tokenizer, "model_max_length", None)
    limits = [stated] if isinstance(stated, (int, float)) else []
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa-like tables begin behind the padding index
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions)
    known = [int(limit) for limit in limits if 0 < limit < 10**6]  # infinite: none was set
    return min(known, default=DEFAULT_LENGTH)


def _examine(encoder: Encoder) -> None:
    """Measure on a few tokens what the config does not state reliably: layers, width, direction, effect of padding."""
    used = {name: p for name, p in encoder.model.named_parameters() if not UNUSED.search(name)}
    if bad := [name for name, parameter in used.items() if not bool(torch.isfinite(parameter).all())]:
        hint = "The training diverged or the file is damaged; use an older checkpoint"
        hint += ", or dtype='float32'." if encoder.dtype == torch.float16 else "."
        raise InputError(f"{encoder.name}: {len(bad)} weights hold NaN or infinity, first {bad[0]}.", hint)
    with reading_text(encoder.name):
        ids = [i % vocabulary(encoder.model) for i in encoder.tokenizer("a b c d")["input_ids"]] or [0]
    ids = (ids * 3)[: max(3, min(len(ids), 8))]
    other = [*ids[:-1], (ids[-1] + 1) % vocabulary(encoder.model)]
    what = f"{encoder.name} ({type(encoder.model).__name__}) does not run on text alone"
    with refusing(what, "geomprobe measures models that map token ids to token states."), encoder.evaluating():
        _, changed = forward(encoder.model, encoder.inputs([ids])[0])
        alone, _ = encoder.states([ids])
        changed_last, _ = encoder.states([other])
        padded, _ = encoder.states([ids, ids * 2])
    encoder.n_layers, encoder.dim = len(alone) - 1, int(alone[-1].shape[-1])
    exact = 1e-4 if encoder.dtype == torch.float32 else 3e-2
    last = alone[-1][0].float()
    scale = float(last.abs().max()) or 1.0

    def change(other: torch.Tensor) -> float:
        return float((last[: len(other)] - other.float()).abs().max()) / scale

    if change(changed_last[-1][0, :1]) <= 1e-6:
        encoder.kind = "decoder"
    if changed or change(padded[-1][0, : len(ids)]) > exact:
        encoder.padding_safe = False
        why = "this model changes with the length of its input" if changed else "padding changes this model's states"
        encoder.notes.append(f"{why}: only texts of equal length share a batch")
    if encoder.head is not None and (not encoder.padding_safe or change(_padded_by_encode(encoder, ids)) > exact):
        encoder.notes.append("its own `encode` gives different vectors where it pads a text; here none is padded so")
    _note_unknown_tokens(encoder)


def _padded_by_encode(encoder: Encoder, ids: list[int]) -> torch.Tensor:
    """Last states of a row of tokens as the model's own `encode` gives them next to a row twice as long."""
    inputs, _ = encoder.inputs([ids, ids * 2])
    left = getattr(encoder.tokenizer, "padding_side", "right") == "left"
    for name in ("input_ids", "attention_mask") if left else ():
        if name in inputs:
            inputs[name][0] = inputs[name][0].roll(len(ids))
    with encoder.evaluating():
        output, _ = forward(encoder.model, inputs)
    return output.last_hidden_state[0, len(ids) :] if left else output.last_hidden_state[0, : len(ids)]


def _note_unknown_tokens(encoder: Encoder) -> None:
    """Note tokens for which the model has no row; a text that holds one is refused."""
    entries = vocabulary(encoder.model)
    beyond = [token for token, number in encoder.tokenizer.get_vocab().items() if number >= entries]
    if beyond:
        encoder.notes.append(
            f"the tokenizer has {len(beyond)} tokens that the model does not have (ids from {entries} on); "
            "a text with one of them is refused"
        )
