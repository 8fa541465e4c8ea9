"""Encoder and predictor: stock ModernBERT classes of transformers with full attention in every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import ModernBertConfig, ModernBertForMaskedLM, ModernBertModel
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

from geomprobe.pretrain.config import PretrainConfig


def _full_attention(layers: int, special: Mapping[str, int], **sizes: Any) -> ModernBertConfig:
    """Transformers configuration with full attention in every layer, and the tokenizer's own special ids."""
    return ModernBertConfig(
        num_hidden_layers=layers,
        # Sliding windows count indices, not positions: they would change when the context is gathered.
        layer_types=["full_attention"] * layers,
        pad_token_id=special.get("pad"),
        cls_token_id=special.get("cls"),
        sep_token_id=special.get("sep"),
        bos_token_id=special.get("cls"),
        eos_token_id=special.get("sep"),
        **sizes,
    )


def build_encoder(config: PretrainConfig, vocab_size: int, special: dict[str, int]) -> ModernBertForMaskedLM:
    """Encoder with its MLM head, initialised from the seed alone."""
    sizes = _full_attention(
        config.layers,
        special,
        vocab_size=vocab_size,
        hidden_size=config.hidden,
        num_attention_heads=config.heads,
        intermediate_size=config.intermediate,
        max_position_embeddings=config.max_length,
        initializer_range=config.init_std,
        tie_word_embeddings=config.tied_head,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ModernBertForMaskedLM(sizes)


def encode(
    encoder: ModernBertModel,
    ids: torch.Tensor,
    positions: torch.Tensor | None = None,
    wanted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Last hidden states.

    Parameters
    ----------
    ids : (rows, length)
    positions : (rows, k), optional
        Read only these tokens, each at its own position.
    wanted : (rows, m), optional
        Return only the states at these indices of what is read; the last layer runs there alone.

    Returns
    -------
    (rows, length or k or m, hidden)
    """
    if positions is None:
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
    else:
        ids = ids.gather(1, positions)
    return run_layers(encoder, encoder.embeddings(input_ids=ids), positions, wanted=wanted)


def run_layers(
    model: ModernBertModel,
    hidden: torch.Tensor,
    positions: torch.Tensor,
    mask: torch.Tensor | None = None,
    wanted: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the model's own forward returns for embedded tokens, with the last layer at ``wanted`` indices only.

    ``mask`` is bool, (1, 1, length, length), True where the first index attends to the second.
    """
    rotary = model.rotary_emb(hidden, positions, "full_attention")
    bias = None if mask is None else torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, float("-inf"))
    layers: list[Any] = list(model.layers)
    for layer in layers if wanted is None else layers[:-1]:
        hidden = _layer(layer, hidden, rotary, bias)
    if wanted is not None:
        hidden = _last_layer(layers[-1], hidden, rotary, bias, wanted)
    return model.final_norm(hidden)


def layer_states(model: ModernBertModel, ids: torch.Tensor) -> list[torch.Tensor]:
    """Hidden states (rows, length, hidden) after every layer, the last one through the final norm."""
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    hidden = model.embeddings(input_ids=ids)
    rotary = model.rotary_emb(hidden, positions, "full_attention")
    states = []
    for layer in model.layers:
        hidden = _layer(layer, hidden, rotary, None)
        states.append(hidden)
    return [*states[:-1], model.final_norm(hidden)]


def _layer(
    layer: Any, hidden: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor], bias: torch.Tensor | None
) -> torch.Tensor:
    """A layer's output at every position."""
    attended, _ = layer.attn(layer.attn_norm(hidden), position_embeddings=rotary, attention_mask=bias)
    hidden = hidden + attended
    return hidden + layer.mlp(layer.mlp_norm(hidden))


def _last_layer(
    layer: Any,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    bias: torch.Tensor | None,
    wanted: torch.Tensor,
) -> torch.Tensor:
    """A layer's output at ``wanted`` only: keys and values come from everywhere, all else is computed there."""
    attn = layer.attn
    rows, length, d = hidden.shape
    chosen = take(hidden, wanted)
    normed = layer.attn_norm(hidden)
    weight = attn.Wqkv.weight

    def heads(states: torch.Tensor) -> torch.Tensor:
        return states.view(rows, -1, d // attn.head_dim, attn.head_dim).transpose(1, 2)

    query = heads(F.linear(take(normed, wanted), weight[:d]))
    key, value = (heads(states) for states in F.linear(normed, weight[d:]).chunk(2, dim=-1))
    cos, sin = rotary
    query = _rotate(query, *(take(part.expand(rows, length, -1), wanted) for part in rotary))
    key = _rotate(key, cos, sin)
    if bias is not None:  # the same rule for every row, so that its rows can be taken for the batch as a whole
        index = wanted[:, None, :, None].expand(-1, -1, -1, length)
        bias = bias.expand(rows, 1, -1, -1).gather(2, index).to(query.dtype)
    if attn.config._attn_implementation == "eager":
        scores = query @ key.transpose(2, 3) * attn.head_dim**-0.5
        attended = (scores if bias is None else scores + bias).softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    else:
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    hidden = chosen + attn.Wo(attended.transpose(1, 2).reshape(rows, -1, d))
    return hidden + layer.mlp(layer.mlp_norm(hidden))


def body_flops(length: int, layers: int, d: int, inner: int, wanted: int | None = None) -> float:
    """FLOPs of `run_layers` for one sequence, forward; the last layer runs at ``wanted`` positions only."""
    return (layers - 1) * _layer_flops(length, length, d, inner) + _layer_flops(wanted or length, length, d, inner)


def _layer_flops(queries: int, keys: int, d: int, inner: int) -> float:
    """FLOPs of one transformer layer for one sequence; keys and values are made everywhere."""
    projections = 2 * (queries * d * d + 2 * keys * d * d + queries * d * d)
    attention = 2 * 2 * queries * keys * d
    return projections + attention + 2 * queries * 3 * d * inner


def _rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """(rows, heads, length, head_dim) states turned by the angles of their positions."""
    return apply_rotary_pos_emb(states, states[:, :, :1], cos, sin)[0]


def take(hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Hidden states of shape (rows, length, d) at ``positions`` of shape (rows, k), as (rows, k, d)."""
    rows, length, d = hidden.shape
    flat = (positions + torch.arange(rows, device=positions.device)[:, None] * length).flatten()
    return hidden.reshape(-1, d).index_select(0, flat).view(rows, -1, d)


class Predictor(nn.Module):
    """A narrow transformer that predicts target states from context states and the targets' positions.

    A target attends to the context and to its own block, the context only to itself, so one pass serves all blocks.
    """

    def __init__(self, config: PretrainConfig):
        super().__init__()
        self.body = ModernBertModel(
            _full_attention(
                config.predictor_layers,
                {},
                vocab_size=1,  # its only embedding is the mask token
                hidden_size=config.predictor_hidden,
                num_attention_heads=config.predictor_heads,
                intermediate_size=2 * config.predictor_hidden,
                max_position_embeddings=config.max_length,
                # Small weights would make every prediction the same, and then no gradient says otherwise for long.
                initializer_range=config.predictor_hidden**-0.5,
            )
        )
        self.into = nn.Linear(config.hidden, config.predictor_hidden)
        self.out = nn.Linear(config.predictor_hidden, config.hidden)
        for linear in (self.into, self.out):
            nn.init.trunc_normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        context: torch.Tensor,
        context_positions: torch.Tensor,
        target_positions: torch.Tensor,
        blocks: Sequence[int],
    ) -> torch.Tensor:
        """Predictions (rows, T, hidden) from context states (rows, C, hidden); T is the sum of the blocks' lengths."""
        rows, targets = target_positions.shape
        narrow = self.into(context)
        mask_token = self.body.embeddings.tok_embeddings.weight[0].to(narrow.dtype)
        states = torch.cat([narrow, mask_token.expand(rows, targets, -1)], dim=1)
        length = states.shape[1]
        hidden = run_layers(
            self.body,
            self.body.embeddings(inputs_embeds=states),
            torch.cat([context_positions, target_positions], dim=1),
            mask=predictor_mask(context.shape[1], blocks, context.device),
            wanted=torch.arange(length - targets, length, device=context.device).expand(rows, -1),
        )
        return self.out(hidden)


def predictor_mask(context: int, blocks: Sequence[int], device: torch.device) -> torch.Tensor:
    """Who may attend to whom, bool of shape (1, 1, L, L) with L = context + the sum of the blocks' lengths."""
    group = torch.cat([torch.full((n,), number, device=device) for number, n in enumerate((context, *blocks))])
    return ((group[:, None] == group) | (group == 0))[None, None]


def build_predictor(config: PretrainConfig) -> Predictor:
    """Predictor, initialised from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        return Predictor(config)


def build_prediction_head(config: PretrainConfig, offset: int = 1) -> nn.Sequential:
    """Shallow head of a student: one hidden layer of twice the width, initialised from seed and offset alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + offset)
        return nn.Sequential(
            nn.Linear(config.hidden, 2 * config.hidden), nn.GELU(), nn.Linear(2 * config.hidden, config.hidden)
        )


def prediction_head_flops(config: PretrainConfig) -> float:
    """FLOPs of the shallow head for one position, forward."""
    return 2 * 2 * config.hidden * 2 * config.hidden
