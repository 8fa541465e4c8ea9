"""Open any text encoder (folder, hub id, loaded model) and say exactly what was opened."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from geomprobe import hub
from geomprobe.common import InputError, UsageError, hash_bytes, read_json, unknown_name

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_HINT = "Give a folder with config.json, model.safetensors and a tokenizer, or a hub id; offline, download it first."
TEXTS_AT_ONCE = 20_000  # what the tokenizer returns besides ids is large
_DEFAULT_LENGTH = 512  # where neither the tokenizer nor the model states a limit
# what a config says that token states do not depend on
_VOLATILE = {"_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
_VOLATILE |= {"use_cache", "output_hidden_states", "output_attentions", "return_dict", "id2label", "label2id"}
_UNUSED = re.compile(r"(^|\.)pooler\.")  # the pooling head of BERT-like models: token states do not pass through it


@dataclass(eq=False)
class Encoder:
    """A text encoder that gives token states, and what is known about where it comes from.

    Made by `load_encoder`.

    Attributes
    ----------
    name : str
        Short name for tables.
    source : str
        What the user gave.
    taken : {"path", "hub", "loaded model"}
        How the source was understood; an existing path wins over a hub id.
    kind : {"encoder", "decoder"}
        "decoder" where a token's state does not depend on later tokens (measured, not read from the config).
    model : Module
        The base model, without any head; of an encoder-decoder the encoder.
    tokenizer : PreTrainedTokenizerBase
    dim : int
        Width of the last layer.
    n_layers : int
        Layers are numbered 0 (embedding output) to n_layers (the output, after the final norm).
    max_length : int
        Tokens per text, special tokens included; longer texts are cut.
    padding_safe : bool
        Whether padding leaves the other states unchanged (measured); if not, only texts of equal length share a batch.
    unmasked_length : int or None
        If set, every text is padded to this many tokens and the padding is not hidden from the model, as in the
        published analysis of Predict and Reconstruct; poolings skip it all the same. Replaces `max_length`.
    path : Path or None
        The folder that was read.
    revision : str or None
        The commit, for a model from the hub.
    pooling : str or None
        The pooling that a sentence-transformers folder declares.
    lower_case : bool
        Whether texts are lower-cased before the tokenizer (a sentence-transformers setting).
    notes : list of str
        What a reader of the results has to know.
    """

    name: str
    source: str
    taken: str
    model: nn.Module
    tokenizer: Any
    kind: str = "encoder"
    dim: int = 0
    n_layers: int = 0
    max_length: int = _DEFAULT_LENGTH
    padding_safe: bool = True
    unmasked_length: int | None = None
    path: Path | None = None
    revision: str | None = None
    pooling: str | None = None
    lower_case: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights and of the forward pass."""
        return next(self.model.parameters()).dtype

    @cached_property
    def parameters(self) -> int:
        """Number of weights, unused pooling heads left out."""
        return sum(p.numel() for name, p in self.model.named_parameters() if not _UNUSED.search(name))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of weights (as float32), config and tokenizer; a folder and the model loaded from it have the same.

        Of the model as it is at the first use; a model in training has to be wrapped anew after each change.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            if _UNUSED.search(name):
                continue
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().reshape(-1).view(np.uint8).data)
        return hash_bytes(digest.digest(), _config_text(self.model.config), tokenizer_hash(self.tokenizer))

    def describe(self) -> dict[str, Any]:
        """Return what was opened, ready for JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "taken": self.taken,
            "path": str(self.path) if self.path else None,
            "revision": self.revision,
            "kind": self.kind,
            "class": type(self.model).__name__,
            "hash": self.hash,
            "dim": self.dim,
            "n_layers": self.n_layers,
            "parameters": self.parameters,
            "max_length": self.max_length,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "tokenizer": type(self.tokenizer).__name__,
            "vocabulary": len(self.tokenizer),
            "declared_pooling": self.pooling,
            "notes": list(self.notes),
        }

    def tokenize(self, texts: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the token ids of each text (int32), cut to the limit, and a bool array that tells which were cut.

        A text without any token (an empty string, for tokenizers that add none of their own) becomes one
        end-of-text token.
        """
        parts = [self._tokenize(texts[i : i + TEXTS_AT_ONCE]) for i in range(0, len(texts), TEXTS_AT_ONCE)]
        ids = [row for part, _ in parts for row in part]
        highest, entries = max((int(row.max()) for row in ids), default=0), _vocabulary(self.model)
        if highest >= entries:
            raise InputError(
                f"{self.name}: the tokenizer gives token {highest}, but the model knows only {entries} tokens.",
                "Tokenizer and model do not belong together; give the folder of the right tokenizer.",
            )
        return ids, np.concatenate([cut for _, cut in parts] or [np.zeros(0, bool)])

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        texts = [text.lower() for text in texts] if self.lower_case else list(texts)
        # Rust tokenizers refuse lone surrogates, which appear in badly decoded files.
        texts = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        options: dict[str, Any] = {
            "add_special_tokens": True,
            "padding": False,
            "verbose": False,
            "return_attention_mask": False,
        }
        ids: list[list[int]] = self.tokenizer(texts, truncation=False, **options)["input_ids"]
        limit = self.unmasked_length or self.max_length
        cut = np.array([len(row) > limit for row in ids])
        if cut.any():
            long = np.flatnonzero(cut)
            options |= {"truncation": True, "max_length": limit}
            for i, row in zip(long, self.tokenizer([texts[i] for i in long], **options)["input_ids"], strict=True):
                ids[i] = row
        stand_in = [_stand_in(self.tokenizer)]
        return [np.array(row or stand_in, np.int32) for row in ids], cut

    def states(self, ids: Sequence[Sequence[int] | np.ndarray]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the token states of every layer for rows of token ids, padded on the right, and the mask.

        Returns
        -------
        states : list of n_layers + 1 tensors of shape (batch, tokens, dim of the layer)
            On the device, in the model's number format.
        mask : bool tensor of shape (batch, tokens)
        """
        lengths = np.array([len(row) for row in ids])
        longest = self.unmasked_length or int(lengths.max())
        padded = np.full((len(ids), longest), _padding(self.tokenizer, self.model), np.int64)
        for place, row in zip(padded, ids, strict=True):
            place[: len(row)] = row
        mask = torch.from_numpy(np.arange(longest) < lengths[:, None]).to(self.device)
        inputs: dict[str, Any] = {
            "input_ids": torch.from_numpy(padded).to(self.device),
            "output_hidden_states": True,
            "return_dict": True,
        }
        accepted = inspect.signature(self.model.forward).parameters
        if "attention_mask" in accepted and not self.unmasked_length:
            inputs["attention_mask"] = mask.long()
        if "use_cache" in accepted:
            inputs["use_cache"] = False
        with torch.inference_mode():
            output = self.model(**inputs)
        states = list(output.hidden_states)
        # Some architectures list the last layer before its norm; the output is what everyone downstream uses.
        states[-1] = output.last_hidden_state
        return states, mask

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch dropout off inside the block, and restore each module's mode after it."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


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
    """
    if isinstance(source, Encoder):
        return source
    if dtype != "auto" and dtype not in DTYPES:
        raise unknown_name("dtype", dtype, ["auto", *DTYPES])
    if isinstance(source, nn.Module):
        encoder = _wrap(source, tokenizer)
        where = encoder.device if device == "auto" else _device(device)
        form = encoder.dtype if dtype == "auto" else DTYPES[dtype]
        if (where.type, form) != (encoder.device.type, encoder.dtype):
            encoder.model = copy.deepcopy(encoder.model).to(device=where, dtype=form)
    else:
        encoder = _open(str(source), tokenizer)
        encoder.model.to(device=_device(device), dtype=DTYPES.get(dtype, torch.float32))
        encoder.model.eval()
    _examine(encoder)
    return encoder


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"Device {name!r} cannot be used: {str(error).splitlines()[0]}", "Try --device auto."
        ) from None
    return device


# ---- where it is -----------------------------------------------------------------------------------------------------


def _open(source: str, tokenizer: Any) -> Encoder:
    """Find the folder that a string means, and load model and tokenizer from it on the CPU as float32."""
    path = Path(source).expanduser()
    if path.exists():
        if not path.is_dir():
            raise InputError(f"{source} is a file, not a model folder.", _HINT)
        folder, commit, taken, name = path, None, "path", _short_name(path)
    else:
        repo_id, _, revision = source.partition("@")
        if not hub.is_repo_id(repo_id):
            raise InputError(f"{source} does not exist.", _HINT)
        folder, commit = hub.snapshot(repo_id, kind="model", revision=revision or None, patterns=_HUB_FILES, hint=_HINT)
        taken, name = "hub", repo_id.split("/")[-1]
    encoder = Encoder(name, source, taken, nn.Module(), None, path=folder, revision=commit)
    inner, settings = _sentence_transformers_parts(folder, encoder)
    encoder.model = _load_model(inner, encoder)
    encoder.tokenizer = _load_tokenizer(tokenizer if tokenizer is not None else inner)
    encoder.max_length = _max_length(encoder.model, encoder.tokenizer, settings.get("max_seq_length"))
    encoder.lower_case = bool(settings.get("do_lower_case"))
    return encoder


def _short_name(path: Path) -> str:
    """Return the folder's name, with its parent's where the name alone says nothing."""
    path = path.resolve()
    return f"{path.parent.name}/{path.name}" if path.name in ("model", "ema", "checkpoint", "final") else path.name


def _sentence_transformers_parts(folder: Path, encoder: Encoder) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the transformer inside a sentence-transformers folder, and its settings."""
    modules: list[dict[str, Any]] = []
    if (folder / "modules.json").is_file():
        modules = read_json(folder / "modules.json")
    inner = folder
    if modules:
        kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
        if kinds[0] != "Transformer":
            raise InputError(
                f"{encoder.source} (sentence-transformers: {', '.join(kinds)}) has no transformer, so no token states.",
                "geomprobe measures transformers; embed with the model itself and use: geomprobe measure VECTORS_FILE",
            )
        inner = _inside(folder, modules[0].get("path", ""))
        for kind, module in zip(kinds[1:], modules[1:], strict=True):
            if kind == "Pooling":
                encoder.pooling = _declared_pooling(_inside(folder, module.get("path", "")) / "config.json")
            else:
                encoder.notes.append(f"module {kind} after the pooling is not applied")
    settings: dict[str, Any] = {}
    if modules and (inner / "sentence_bert_config.json").is_file():
        settings = read_json(inner / "sentence_bert_config.json")
    if (folder / "config_sentence_transformers.json").is_file():
        prompt = read_json(folder / "config_sentence_transformers.json").get("default_prompt_name")
        if prompt:
            encoder.notes.append(f"prompt {prompt!r} is not put before the texts")
    return inner, settings


def _inside(folder: Path, part: str) -> Path:
    """Return a subfolder, refusing paths that lead out of the folder."""
    path = folder / part
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder / 'modules.json'} points outside of its folder: {part!r}.")
    return path


def _declared_pooling(config: Path) -> str | None:
    if not config.is_file():
        return None
    values = read_json(config)
    if isinstance(values.get("pooling_mode"), str):
        return values["pooling_mode"]
    chosen = [key for key, value in values.items() if key.startswith("pooling_mode_") and value is True]
    names = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "lasttoken": "last"}
    return "+".join(names.get(key.removeprefix("pooling_mode_"), key) for key in chosen) or None


# ---- loading ---------------------------------------------------------------------------------------------------------


@contextmanager
def _quiet() -> Iterator[None]:
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


def _load_model(folder: Path, encoder: Encoder) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is not a model folder: it has no config.json.", _HINT)
    read_json(folder / "config.json")
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in folder.glob("*.bin")) or sorted(p.name for p in folder.glob("*.pt"))
        if pickled or encoder.taken == "hub":
            raise InputError(
                f"{encoder.source} has its weights only as {', '.join(pickled) or 'pickled files'}, "
                "which can run any code when opened; geomprobe reads safetensors.",
                "If you trust it: load it with transformers and write it anew with save_pretrained(FOLDER).",
            )
        raise InputError(f"{folder} has no weights: no .safetensors file in it.", _HINT)
    try:
        with _quiet():
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
    if config.is_encoder_decoder:
        encoder.notes.append("an encoder-decoder: its encoder is measured, the decoder is not used")
    _refuse_random_weights(folder, report, config.is_encoder_decoder)
    return _base(model)


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
    return f"{folder} cannot be loaded as a text encoder: {text}", _HINT


def _refuse_random_weights(folder: Path, report: dict[str, Any], encoder_decoder: bool) -> None:
    """Raise InputError if any weight that token states depend on was not in the file and so would be random."""
    missing = {str(key) for key in report.get("missing_keys", ())}
    missing |= {str(key[0] if isinstance(key, tuple) else key) for key in report.get("mismatched_keys", ())}
    missing = {key for key in missing if not _UNUSED.search(key)}
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


def _load_tokenizer(source: Any) -> Any:
    from transformers import AutoTokenizer

    if not isinstance(source, (str, Path)):
        return source
    files = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")
    has_vocabulary = any(file for pattern in files for file in Path(source).glob(pattern))
    try:
        with _quiet():
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


def _wrap(model: Any, tokenizer: Any) -> Encoder:
    """Return an encoder around a loaded transformers or sentence-transformers model, which stays as it is."""
    name, pooling = type(model).__name__, None
    settings: dict[str, Any] = {}
    encoder_notes: list[str] = []
    if "SentenceTransformer" in [kind.__name__ for kind in type(model).__mro__]:
        first = next(iter(model.children()))
        if not hasattr(first, "auto_model"):
            raise InputError(f"This sentence-transformers model begins with {type(first).__name__}: no token states.")
        for module in list(model.children())[1:]:
            if type(module).__name__ == "Pooling":
                mode = getattr(module, "pooling_mode", None)
                pooling = mode if isinstance(mode, str) else None
            else:
                encoder_notes.append(f"module {type(module).__name__} after the pooling is not applied")
        if getattr(model, "default_prompt_name", None):
            encoder_notes.append(f"prompt {model.default_prompt_name!r} is not put before the texts")
        settings = {"max_seq_length": first.max_seq_length, "do_lower_case": getattr(first, "do_lower_case", False)}
        tokenizer = first.tokenizer if tokenizer is None else tokenizer
        model = first.auto_model
    origin = getattr(model, "name_or_path", "") or ""
    if not hasattr(model, "config"):
        raise InputError(
            f"{type(model).__name__} is not a transformers or sentence-transformers model.",
            "Embed the texts yourself and use geomprobe.measure(vectors).",
        )
    if tokenizer is None:
        if not origin or not Path(origin).is_dir():
            raise InputError("A loaded model needs its tokenizer.", "load_encoder(model, tokenizer=tokenizer)")
        tokenizer = origin
    encoder = Encoder(
        _short_name(Path(origin)) if origin else name,
        origin or name,
        "loaded model",
        _base(model),
        _load_tokenizer(tokenizer),
        pooling=pooling,
        lower_case=bool(settings.get("do_lower_case")),
        notes=encoder_notes,
    )
    if model.config.is_encoder_decoder:
        encoder.notes.append("an encoder-decoder: its encoder is measured, the decoder is not used")
    encoder.max_length = _max_length(encoder.model, encoder.tokenizer, settings.get("max_seq_length"))
    return encoder


def _base(model: Any) -> nn.Module:
    """Return the model without its head; of an encoder-decoder, the encoder."""
    base = model.base_model
    return base.get_encoder() if base.config.is_encoder_decoder and hasattr(base, "get_encoder") else base


# ---- facts -----------------------------------------------------------------------------------------------------------


def _max_length(model: nn.Module, tokenizer: Any, declared: int | None) -> int:
    """Return the smallest of the limits that the tokenizer, the position table and sentence-transformers state."""
    limits = [int(limit) for limit in (declared, getattr(tokenizer, "model_max_length", None)) if limit]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa-like tables begin behind the padding index
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions)
    known = [limit for limit in limits if 0 < limit < 10**6]
    return min(known, default=_DEFAULT_LENGTH)


def _config_text(config: Any) -> str:
    values = {key: value for key, value in config.to_dict().items() if key not in _VOLATILE}
    return json.dumps(values, sort_keys=True, default=str)


def tokenizer_hash(tokenizer: Any) -> str:
    """Return the SHA-256 of what decides the token ids of a text; padding and truncation settings do not."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        values = json.loads(backend.to_str())
        values.pop("truncation", None)
        values.pop("padding", None)
        return hash_bytes(json.dumps(values, sort_keys=True))
    return hash_bytes(type(tokenizer).__name__, json.dumps(sorted(tokenizer.get_vocab().items())))


def _vocabulary(model: nn.Module) -> int:
    return int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]


def _padding(tokenizer: Any, model: nn.Module) -> int:
    """Return the id to pad with; padded positions are masked, but RoBERTa-like models count positions by it."""
    for candidate in (tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None)):
        if candidate is not None and 0 <= candidate < _vocabulary(model):
            return int(candidate)
    return 0


def _stand_in(tokenizer: Any) -> int:
    """Return the token that stands for a text without tokens."""
    for name in ("eos_token_id", "bos_token_id", "sep_token_id", "cls_token_id", "unk_token_id", "pad_token_id"):
        if (token := getattr(tokenizer, name, None)) is not None:
            return int(token)
    return 0


def _examine(encoder: Encoder) -> None:
    """Measure on a few tokens what the config does not reliably say: layers, width, direction, effect of padding."""
    bad = [name for name, p in encoder.model.named_parameters() if not bool(torch.isfinite(p).all())]
    bad = [name for name in bad if not _UNUSED.search(name)]
    if bad:
        raise InputError(
            f"{encoder.name}: {len(bad)} weights hold NaN or infinity, first {bad[0]}.",
            "The training diverged or the file is damaged; take an older checkpoint"
            + (", or --dtype float32." if encoder.dtype == torch.float16 else "."),
        )
    ids = [i % _vocabulary(encoder.model) for i in encoder.tokenizer("a b c d")["input_ids"]] or [0]
    ids = (ids * 3)[: max(3, min(len(ids), 8))]
    other = [*ids[:-1], (ids[-1] + 1) % _vocabulary(encoder.model)]
    try:
        with encoder.evaluating():
            alone, _ = encoder.states([ids])
            changed, _ = encoder.states([other])
            padded, _ = encoder.states([ids, ids * 2])
    except Exception as error:
        text = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise InputError(
            f"{encoder.name} ({type(encoder.model).__name__}) does not run on text: {type(error).__name__}: {text}",
            "geomprobe measures models that map token ids to token states.",
        ) from None
    if any(layer.shape[:2] != (1, len(ids)) for layer in alone):
        raise InputError(
            f"{encoder.name} ({type(encoder.model).__name__}) changes the number of tokens between layers.",
            "geomprobe measures models with one state per token in every layer.",
        )
    encoder.n_layers, encoder.dim = len(alone) - 1, int(alone[-1].shape[-1])
    exact = 1e-4 if encoder.dtype == torch.float32 else 3e-2
    last = alone[-1][0].float()
    scale = float(last.abs().max()) or 1.0
    if float((last[0] - changed[-1][0, 0].float()).abs().max()) <= 1e-6 * scale:
        encoder.kind = "decoder"
    if float((last - padded[-1][0, : len(ids)].float()).abs().max()) > exact * scale:
        encoder.padding_safe = False
        encoder.notes.append("padding changes this model's states: only texts of equal length share a batch")
