"""What a sentence-transformers model does after its transformer: a pooling, then Dense, LayerNorm, Normalize, a cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from geomprobe.common import InputError, hash_bytes
from geomprobe.encoders.settings import size

# the switches of older configs, in the order in which sentence-transformers concatenates
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
MODES = tuple(_SWITCHES.values())


def pooling_modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Modes that a Pooling config of any version declares, in the order of their concatenation."""
    given = config.get("pooling_mode")
    if given is None:
        given = [mode for key, mode in _SWITCHES.items() if config.get(key)] or "mean"
    modes = (given,) if isinstance(given, str) else tuple(given)
    unknown = [str(mode) for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise InputError(f"Pooling mode {', '.join(unknown) or 'none'} is not known; known: {', '.join(MODES)}.")
    return modes


class Dense(nn.Module):
    """A linear map, an activation and, where declared, a residual, named as sentence-transformers saves them."""

    def __init__(self, config: Mapping[str, Any], activation: nn.Module):
        super().__init__()
        n_in, n_out = (size(config, name, "Dense") for name in ("in_features", "out_features"))
        self.linear = nn.Linear(n_in, n_out, bias=bool(config.get("bias", True)))
        self.activation_function = activation
        self.use_residual = bool(config.get("use_residual", False))
        if self.use_residual and n_in != n_out:
            self.residual = nn.Linear(n_in, n_out, bias=False)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Activation(linear(vectors)), plus the residual."""
        out = self.activation_function(self.linear(vectors))
        if self.use_residual:
            out = out + (self.residual(vectors) if hasattr(self, "residual") else vectors)
        return out

    def __str__(self) -> str:
        words = f"{self.linear.in_features} → {self.linear.out_features}, {self.activation_function}"
        return f"Dense ({words}{', residual' * self.use_residual})"


class LayerNorm(nn.Module):
    """Layer normalisation, named as sentence-transformers saves it."""

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.norm = nn.LayerNorm(size(config, "dimension", "LayerNorm"))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Normalised vectors."""
        return self.norm(vectors)

    def __str__(self) -> str:
        return "LayerNorm"


class Normalize(nn.Module):
    """Vectors scaled to unit length."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors over their Euclidean norm."""
        return nn.functional.normalize(vectors, p=2, dim=-1)

    def __str__(self) -> str:
        return "Normalize"


class Head(nn.Module):
    """Token states to the vectors that a model's own `encode` returns.

    Parameters
    ----------
    modes : sequence of str
        Poolings (`MODES`) whose vectors are concatenated.
    include_prompt : bool
        Whether tokens of the prompt take part in the pooling.
    steps : sequence of Module
        Applied in order to the pooled vectors.
    truncate_dim : int or None
        Dimensions kept at the end, the first ones.
    """

    def __init__(
        self,
        modes: Sequence[str] = ("mean",),
        *,
        include_prompt: bool = True,
        steps: Sequence[nn.Module] = (),
        truncate_dim: int | None = None,
    ):
        super().__init__()
        self.modes, self.include_prompt, self.truncate_dim = tuple(modes), include_prompt, truncate_dim
        self.steps = nn.ModuleList(steps)
        self.eval()

    @property
    def plain(self) -> bool:
        """Whether the vectors are the mean of the token states and nothing else, unless there is a prompt."""
        return self.modes == ("mean",) and not self.steps and self.truncate_dim is None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of settings and weights (as float32)."""
        settings = [self.modes, self.include_prompt, [str(step) for step in self.steps], self.truncate_dim]
        parts: list[bytes | str] = [json.dumps(settings)]
        for name, tensor in sorted(self.state_dict().items()):
            values = tensor.detach().float().cpu().contiguous().numpy().reshape(-1).view(np.uint8)
            parts += [f"{name} {tuple(tensor.shape)}", values.tobytes()]
        return hash_bytes(*parts)

    @property
    def stages(self) -> list[str]:
        """What is done, in order, in words."""
        pooling = " + ".join(self.modes) + " pooling" + ("" if self.include_prompt else " without the prompt's tokens")
        cut = [] if self.truncate_dim is None else [f"truncate_dim {self.truncate_dim}"]
        return [pooling, *(str(step) for step in self.steps), *cut]

    def width(self, dim: int) -> int:
        """Width of the vectors of token states of width `dim`."""
        like = next(self.parameters(), torch.empty(0))
        states = torch.zeros(1, 1, dim, device=like.device, dtype=like.dtype)
        return int(self(states, torch.ones(1, 1, dtype=torch.bool, device=like.device)).shape[-1])

    def forward(self, states: torch.Tensor, mask: torch.Tensor, skip: int = 0) -> torch.Tensor:
        """Vectors of one batch.

        Parameters
        ----------
        states : Tensor of shape (batch, tokens, dim), any float type
            Padded on the right; sums are taken in float32 at least, all else in this type, as in sentence-transformers.
        mask : bool Tensor of shape (batch, tokens)
            True at real tokens.
        skip : int
            Tokens of the prompt, which come first; left out of the pooling unless `include_prompt`.

        Returns
        -------
        Tensor of shape (batch, width), float32
        """
        counted = mask.clone()
        if skip and not self.include_prompt:
            counted[:, :skip] = False
        vectors = torch.cat([_pooled(mode, states, counted) for mode in self.modes], -1)
        for step in self.steps:
            vectors = step(vectors)
        return vectors[..., : self.truncate_dim].float()


def _pooled(mode: str, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """One pooling of the tokens under the mask; of a text without any, what sentence-transformers gives."""
    places = torch.arange(states.shape[1], device=states.device)
    if mode == "max":
        return states.masked_fill(~mask[..., None], -torch.inf).amax(1)
    if mode == "cls":
        return states[torch.arange(len(states)), torch.where(mask, places, len(places)).argmin(1)]
    if mode == "lasttoken":
        last = torch.where(mask, places, -1).argmax(1)
        return states.masked_fill(~mask[..., None], 0)[torch.arange(len(states)), last]
    exact = torch.float32 if states.dtype in (torch.float16, torch.bfloat16) else states.dtype
    weights = mask.to(exact) * (places + 1 if mode == "weightedmean" else 1)
    total = (states.masked_fill(~mask[..., None], 0).to(exact) * weights[..., None]).sum(1)
    size = weights.sum(1, keepdim=True).clamp_min(1e-9)
    return (total / (size.sqrt() if mode == "mean_sqrt_len_tokens" else size)).to(states.dtype)
