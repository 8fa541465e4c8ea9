"""What an opened text encoder is: token ids and token states of texts, and what is known about where it comes from."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from geomprobe.common import InputError, hash_bytes
from geomprobe.common.text import clean
from geomprobe.encoders.forward import evaluating, forward
from geomprobe.encoders.head import Head
from geomprobe.encoders.tokenizers import first_part, reading_text, stand_in, tokenizer_hash
from geomprobe.encoders.weights import UNUSED

TEXTS_AT_ONCE = 20_000  # what the tokenizer returns besides ids is large
DEFAULT_LENGTH = 512  # where neither the tokenizer nor the model states a limit
# what a config says that token states do not depend on
_VOLATILE = {"_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
_VOLATILE |= {"use_cache", "output_hidden_states", "output_attentions", "return_dict", "id2label", "label2id"}
_VOLATILE |= {"transformers_weights"}  # names of files


@dataclass(eq=False, repr=False)
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
    head : Head or None
        What a sentence-transformers model does with its token states: the pooling named `model`. None for a plain
        transformer, whose `model` pooling is the mean.
    refusal : str
        Why the pooling named `model` cannot be applied; empty where it can.
    prompts : mapping of str to str
        The model's own prompts by name.
    default_prompt : str
        What the model's own `encode` puts before each text; applied under the pooling named `model`.
    prompt : str or None
        What is put before each text under every pooling, in place of the default; see `with_prompt`.
    query_prompt : str or None
        If set, what is put before the first text of a pair in place of the prompt.
    long : {"cut", "chunk"}
        What becomes of texts longer than `max_length`: they are cut, or divided into windows whose vectors are averaged
        (see `geomprobe.embedding.windows`).
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
    max_length: int = DEFAULT_LENGTH
    padding_safe: bool = True
    unmasked_length: int | None = None
    path: Path | None = None
    revision: str | None = None
    pooling: str | None = None
    lower_case: bool = False
    head: Head | None = None
    refusal: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    prompt: str | None = None
    query_prompt: str | None = None
    long: str = "cut"
    notes: list[str] = field(default_factory=list)
    _hashed: tuple[Any, str] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        facts = f"dim={self.dim}, n_layers={self.n_layers}, max_length={self.max_length}, {dtype} on {self.device}"
        return f"Encoder({clean(self.name, 80)!r}, {type(self.model).__name__}, {facts})"

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
        return sum(p.numel() for name, p in self.model.named_parameters() if not UNUSED.search(name))

    @property
    def declares_more(self) -> bool:
        """Whether the model's own `encode` gives something else than the mean of the token states of the text."""
        return bool(self.refusal or self.default_prompt or (self.head is not None and not self.head.plain))

    def prompt_under(self, pooling: str) -> str:
        """What is put before each text under a pooling."""
        if self.prompt is not None:
            return self.prompt
        return self.default_prompt if pooling == "model" else ""

    def prompt_length(self, prompt: str) -> int:
        """How many tokens a prompt takes, a special token at its end left out, as sentence-transformers does."""
        if not prompt:
            return 0
        ids = dataclasses.replace(self, prompt=None)._tokenize([prompt])[0][0]
        return len(ids) - int(int(ids[-1]) in getattr(self.tokenizer, "all_special_ids", ()))

    def with_prompt(self, prompt: str | None, query_prompt: str | None = None) -> Encoder:
        """Encoder with a prompt put before each text, and another before the first text of each pair."""
        if (prompt, query_prompt) == (self.prompt, self.query_prompt):
            return self
        return dataclasses.replace(self, prompt=prompt, query_prompt=query_prompt)

    @property
    def hash(self) -> str:
        """SHA-256 of what runs: weights (as float32), config, tokenizer, head and prompts.

        A folder and the model loaded from it have the same. See `weights_hash` on models that change.
        """
        counted = self.head is None or self.head.include_prompt or not (self.prompt_under("model") or self.query_prompt)
        parts = [] if self.head is None or (self.head.plain and counted) else ["head", self.head.fingerprint]
        parts += ["lower case"] if self.lower_case else []
        parts += ["default prompt", self.default_prompt] if self.default_prompt else []
        parts += ["prompt", self.prompt] if self.prompt or (self.prompt == "" and self.default_prompt) else []
        parts += ["query prompt", self.query_prompt] if self.query_prompt is not None else []
        return hash_bytes(self.weights_hash, *parts) if parts else self.weights_hash

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the transformer alone: weights (as float32), config and tokenizer.

        Taken anew after the weights were changed in place, as by an optimiser; torch keeps no count of changes through
        ``.data``, so wrap the model anew after these.
        """
        weights = sorted(self.model.state_dict().items())
        versions = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for _, tensor in weights]
        state = (self.model, self.tokenizer, versions)
        if self._hashed is None or self._hashed[0] != state:
            digest = hashlib.sha256()
            for name, tensor in weights:
                if UNUSED.search(name):
                    continue
                digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().reshape(-1).view(np.uint8).data)
            whole = hash_bytes(digest.digest(), _config_text(self.model.config), tokenizer_hash(self.tokenizer))
            self._hashed = (state, whole)
        return self._hashed[1]

    def describe(self) -> dict[str, Any]:
        """What was opened, ready for JSON."""
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
        """Token ids of each text (int32), cut to the limit, and a bool array that tells which were cut.

        A text without any token (an empty string, for tokenizers that add none of their own) becomes one
        end-of-text token.
        """
        starts = range(0, len(texts), TEXTS_AT_ONCE)
        with reading_text(self.name):
            parts = [self._tokenize(texts[i : i + TEXTS_AT_ONCE]) for i in starts]
        ids = [row for part, _ in parts for row in part]
        highest, entries = max((int(row.max()) for row in ids), default=0), vocabulary(self.model)
        if highest >= entries:
            raise InputError(
                f"{self.name}: the tokenizer gives token {highest}, but the model knows only {entries} tokens.",
                "Tokenizer and model do not belong together; give the folder of the right tokenizer.",
            )
        return ids, np.concatenate([cut for _, cut in parts] or [np.zeros(0, bool)])

    @property
    def limit(self) -> int:
        """Most tokens of a text, special ones included."""
        return self.unmasked_length or self.max_length

    def as_read(self, text: str) -> str:
        """A text as the tokenizer gets it."""
        # Rust tokenizers refuse lone surrogates, which appear in badly decoded files.
        return (text.lower() if self.lower_case else text).encode("utf-8", "replace").decode("utf-8")

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        texts = [self.as_read((self.prompt or "") + text) for text in texts]
        options = {"add_special_tokens": True, "verbose": False, "return_attention_mask": False}
        tokenizer = partial(self.tokenizer, padding=False, **options)
        limit = self.limit
        texts = [first_part(self.tokenizer, text, limit) for text in texts]
        ids: list[list[int]] = tokenizer(texts, truncation=False)["input_ids"]
        cut = np.array([len(row) > limit for row in ids])
        if cut.any():
            long = np.flatnonzero(cut)
            special = len(tokenizer("")["input_ids"])
            if limit <= special:  # tokenizers then cut nothing, or everything
                raise InputError(
                    f"{self.name}: a limit of {limit} tokens has no room for text, since the tokenizer adds {special}.",
                    f"The limit must be {special + 1} or more: max_seq_length of sentence-transformers, "
                    "model_max_length of the tokenizer, or max_length.",
                )
            rows = tokenizer([texts[i] for i in long], truncation=True, max_length=limit)["input_ids"]
            for i, row in zip(long, rows, strict=True):
                ids[i] = row
        empty = [stand_in(self.tokenizer)]
        return [np.array(row or empty, np.int32) for row in ids], cut

    def states(self, ids: Sequence[Sequence[int] | np.ndarray]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Token states of every layer for rows of token ids, padded on the right, and the mask.

        The model is left as it was, also where its forward pass changes it.

        Returns
        -------
        states : list of n_layers + 1 tensors of shape (batch, tokens, dim of the layer)
            On the device, in the model's number format.
        mask : bool tensor of shape (batch, tokens)

        Raises
        ------
        InputError
            The model changes the number of tokens, or draws random numbers.
        """
        inputs, mask = self.inputs(ids)
        output, changed = forward(self.model, inputs)
        lengths = np.array([len(row) for row in ids])
        if changed and not self.unmasked_length and len(set(lengths)) > 1:
            return self._states_by_length(ids, lengths), mask
        tokens, widest = mask.shape[1], max(layer.shape[1] for layer in output.hidden_states)
        states = list(output.hidden_states)
        if widest > tokens:  # BigBird pads to whole blocks, and cuts its output alone
            whole, _ = forward(self.model, self.inputs(ids, widest)[0])
            if torch.allclose(whole.last_hidden_state[:, :tokens], output.last_hidden_state, rtol=1e-3, atol=1e-5):
                states = [layer[:, :tokens] for layer in whole.hidden_states]
        # Some architectures list the last layer before its norm; the output is what everyone downstream uses.
        states[-1] = output.last_hidden_state
        if any(layer.shape[:2] != mask.shape for layer in states):
            raise InputError(
                f"{self.name} ({type(self.model).__name__}) changes the number of tokens between layers.",
                "geomprobe measures models with one state per token in every layer.",
            )
        return states, mask

    def inputs(
        self, ids: Sequence[Sequence[int] | np.ndarray], width: int | None = None
    ) -> tuple[dict[str, Any], torch.Tensor]:
        """What the model is called with for rows of token ids, and the bool mask of their tokens.

        Rows are padded to the width: by default to the longest of them.
        """
        lengths = np.array([len(row) for row in ids])
        longest = width or self.unmasked_length or int(lengths.max())
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
        return inputs, mask

    def _states_by_length(self, ids: Sequence[Sequence[int] | np.ndarray], lengths: np.ndarray) -> list[torch.Tensor]:
        """States of rows whose model goes by the longest of a batch: each length in a batch of its own."""
        padded: list[torch.Tensor] = []
        for length in sorted(set(lengths.tolist()), reverse=True):
            rows = np.flatnonzero(lengths == length).tolist()
            states, _ = self.states([ids[i] for i in rows])
            padded = padded or [layer.new_zeros((len(ids), *layer.shape[1:])) for layer in states]
            for whole, layer in zip(padded, states, strict=True):
                whole[rows, :length] = layer
        return padded

    def evaluating(self) -> AbstractContextManager[None]:
        """Block in which dropout is off; each module's mode is restored after it."""
        return evaluating(self.model)


def _config_text(config: Any) -> str:
    values = {key: value for key, value in config.to_dict().items() if key not in _VOLATILE}
    if "is_encoder_decoder" in values:  # of an encoder alone some folders say so, some do not
        values["is_encoder_decoder"] = False
    return json.dumps(values, sort_keys=True, default=str)


def vocabulary(model: nn.Module) -> int:
    """How many token ids a model knows: rows of its input embeddings, else what its config says, if anything."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    except (NotImplementedError, AttributeError):  # several tables, or, as CANINE, a hash of any id
        return int(getattr(model.config, "vocab_size", 2**31 - 1))


def _padding(tokenizer: Any, model: nn.Module) -> int:
    """Id to pad with; padded positions are masked, but RoBERTa-like models count positions by it."""
    for candidate in (tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None)):
        if candidate is not None and 0 <= candidate < vocabulary(model):
            return int(candidate)
    return 0
