"""Encoder and predictor: stock ModernBERT classes of transformers with full attention in every layer."""

from __future__ import annotations

import torch
from torch import nn
from transformers import ModernBertConfig, ModernBertForMaskedLM, ModernBertModel

from pretrain.config import PretrainConfig

# Rows are full, so no position needs a mask; saying so for both kinds spares the model from building them.
NO_MASK = {"full_attention": None, "sliding_attention": None}


def encoder_config(config: PretrainConfig, vocab_size: int, special: dict[str, int]) -> ModernBertConfig:
    """Return the transformers configuration of the encoder, with the tokenizer's own special ids."""
    return ModernBertConfig(
        vocab_size=vocab_size,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.intermediate,
        max_position_embeddings=config.max_length,
        # Sliding windows count indices, not positions: they would change when the context is gathered.
        layer_types=["full_attention"] * config.layers,
        initializer_range=config.init_std,
        tie_word_embeddings=config.tied_head,
        pad_token_id=special["pad"],
        cls_token_id=special["cls"],
        sep_token_id=special["sep"],
        bos_token_id=special["cls"],
        eos_token_id=special["sep"],
    )


def build_encoder(config: PretrainConfig, vocab_size: int, special: dict[str, int]) -> ModernBertForMaskedLM:
    """Return the encoder with its MLM head, initialised from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ModernBertForMaskedLM(encoder_config(config, vocab_size, special))


def encode(encoder: ModernBertModel, ids: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
    """Return the last hidden states, shape (rows, length, hidden); with ``positions`` only those tokens are read."""
    if positions is None:
        return encoder(input_ids=ids, attention_mask=NO_MASK).last_hidden_state
    return encoder(input_ids=ids.gather(1, positions), position_ids=positions, attention_mask=NO_MASK).last_hidden_state


class Predictor(nn.Module):
    """A narrow transformer that predicts target states from context states and the targets' positions.

    A target attends to the context and to its own block, the context only to itself, so one pass serves both blocks.
    """

    def __init__(self, config: PretrainConfig):
        super().__init__()
        self.body = ModernBertModel(
            ModernBertConfig(
                vocab_size=1,  # its only embedding is the mask token
                hidden_size=config.predictor_hidden,
                num_hidden_layers=config.predictor_layers,
                num_attention_heads=config.predictor_heads,
                intermediate_size=2 * config.predictor_hidden,
                max_position_embeddings=config.max_length,
                layer_types=["full_attention"] * config.predictor_layers,
                initializer_range=config.init_std,
                pad_token_id=None,
                cls_token_id=None,
                sep_token_id=None,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.into = nn.Linear(config.hidden, config.predictor_hidden)
        self.out = nn.Linear(config.predictor_hidden, config.hidden)
        for linear in (self.into, self.out):
            nn.init.trunc_normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)

    def forward(
        self, context: torch.Tensor, context_positions: torch.Tensor, target_positions: torch.Tensor
    ) -> torch.Tensor:
        """Return predictions of shape (rows, 2·T, hidden) from context states of shape (rows, C, hidden)."""
        rows, targets = target_positions.shape
        narrow = self.into(context)
        mask_token = self.body.embeddings.tok_embeddings.weight[0].to(narrow.dtype)
        states = torch.cat([narrow, mask_token.expand(rows, targets, -1)], dim=1)
        mask = predictor_mask(context.shape[1], targets // 2, context.device)
        hidden = self.body(
            inputs_embeds=states,
            position_ids=torch.cat([context_positions, target_positions], dim=1),
            attention_mask={"full_attention": mask, "sliding_attention": None},
        ).last_hidden_state
        return self.out(hidden[:, -targets:])


def predictor_mask(context: int, block: int, device: torch.device) -> torch.Tensor:
    """Return who may attend to whom, bool of shape (1, 1, L, L) with L = context + 2·block."""
    group = torch.cat([torch.full((n,), number, device=device) for number, n in enumerate((context, block, block))])
    return ((group[:, None] == group) | (group == 0))[None, None]


def build_predictor(config: PretrainConfig) -> Predictor:
    """Return the predictor, initialised from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        return Predictor(config)
