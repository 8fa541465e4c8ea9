"""What can be known of an encoder without its weights: layers, widths, tokenizer, and what a text costs."""

from __future__ import annotations

import inspect
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from geomprobe.common.hub import WEIGHTS
from geomprobe.common.silence import quiet
from geomprobe.encoders.architecture import bare_model
from geomprobe.encoders.encoder import Encoder
from geomprobe.encoders.head import Head, Normalize
from geomprobe.encoders.opening import open_source

LENGTHS = (8, 24)
"""Tokens of the two texts that costs are taken from; any encoder takes so many."""


@dataclass(frozen=True)
class Outline:
    """An encoder without weights.

    Attributes
    ----------
    encoder : Encoder
        Its model has no memory: it gives token ids, prompts and limits, and no states.
    widths : list of int
        Of every layer, the embeddings first.
    by_token, by_square : float
        A text of L tokens takes by_token·L + by_square·L² FLOPs.
    """

    encoder: Encoder
    widths: list[int]
    by_token: float
    by_square: float

    def flops(self, tokens: np.ndarray) -> np.ndarray:
        """FLOPs of texts of so many tokens."""
        return self.by_token * tokens + self.by_square * tokens.astype(float) ** 2


def outline(source: str) -> Outline:
    """Outline of an encoder in a folder or on the hub.

    Raises
    ------
    InputError
        As `load_encoder` for what config and tokenizer show.
    """
    encoder = open_source(source, load=bare_model)
    if encoder.refusal and encoder.path and any(not file.stat().st_size for file in encoder.path.rglob(f"*{WEIGHTS}")):
        # which comes from the weights of its own modules: they are not here yet
        encoder.head, encoder.refusal = Head(["mean"], steps=[Normalize()]), ""
    encoder.model.eval()
    with suppress(Exception), quiet():  # of the fused attentions not all are counted
        encoder.model.set_attn_implementation("eager")  # type: ignore[operator]
    short, long = (_pass(encoder.model, tokens) for tokens in LENGTHS)
    if short is None or long is None:
        config: Any = encoder.model.config
        widths = [int(config.hidden_size)] * (int(config.num_hidden_layers) + 1)
        by_token, by_square = 2.0 * (encoder.parameters - _table_size(encoder.model)), 0.0
    else:
        (widths, a), (_, b), (m, n) = short, long, LENGTHS
        by_square = max(0.0, (b / n - a / m) / (n - m))
        by_token = a / m - by_square * m
    encoder.n_layers, encoder.dim = len(widths) - 1, widths[-1]
    return Outline(encoder, widths, by_token, by_square)


def _pass(model: nn.Module, tokens: int) -> tuple[list[int], int] | None:
    """Widths of the layers and FLOPs of one text, from shapes alone; None for a model that computes by its values."""
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    accepted = inspect.signature(model.forward).parameters
    inputs: dict[str, Any] = {"input_ids": ids, "output_hidden_states": True, "return_dict": True}
    if "use_cache" in accepted:
        inputs["use_cache"] = False
    for mask in ({}, {"attention_mask": torch.ones_like(ids)}):  # either may need a value
        try:
            with torch.inference_mode(), quiet(), FlopCounterMode(display=False) as counted:
                output = model(**inputs, **mask)
        except Exception:  # each architecture has its own
            continue
        return [int(layer.shape[-1]) for layer in output.hidden_states], counted.get_total_flops()
    return None


def _table_size(model: Any) -> int:
    try:
        return model.get_input_embeddings().weight.numel()
    except (NotImplementedError, AttributeError):
        return 0


def layer_speed(device: torch.device, width: int) -> float:
    """FLOP/s of a transformer layer of this width on this machine, measured for a moment."""
    width, length = min(width, 2048), 32
    heads = width // 64 if width % 64 == 0 else 1
    flops_of_text = 24 * width**2 * length + 4 * width * length**2
    texts = int(np.clip(1e10 / flops_of_text, 2, 128))
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True).to(device).eval()
    x = torch.randn(texts, length, width, device=device)

    def once() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            layer(x).sum().item()  # waits for the device
        return time.perf_counter() - began

    once()
    return texts * flops_of_text / float(np.median([once() for _ in range(7)]))


def product_speed() -> float:
    """FLOP/s of matrix products in float32 on this machine's processor, measured for a moment."""
    a = np.random.default_rng(0).random((1024, 1024), dtype=np.float32)

    def once() -> float:
        began = time.perf_counter()
        _ = a @ a
        return time.perf_counter() - began

    once()
    return 2 * 1024**3 / float(np.median([once() for _ in range(7)]))
