"""What is learned: masked language modelling, joint-embedding prediction, or both under a balance rule."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import ModernBertForMaskedLM

from pretrain.config import PretrainConfig
from pretrain.encoder import Predictor, encode


class Batch(NamedTuple):
    """One micro-batch of int64 tensors; the block fields are None under `mlm`, the masked ones under `jepa`.

    ids, masked : (rows, row_length), the text and the text after masking; positions : (rows, M) masked positions;
    context : (rows, C); targets : (rows, 2·T).
    """

    ids: torch.Tensor
    masked: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    context: torch.Tensor | None = None
    targets: torch.Tensor | None = None


class Objective(nn.Module):
    """Everything that is trained, and the losses of a batch.

    The target encoder is a copy of the encoder that follows it as an exponential moving average and gets no gradient.
    """

    def __init__(self, config: PretrainConfig, model: ModernBertForMaskedLM, predictor: Predictor | None):
        super().__init__()
        self.kind = config.objective
        self.balance = config.balance
        self.jepa_weight = config.jepa_weight
        self.model = model
        if self.kind == "jepa":
            model.head.requires_grad_(False)
            model.decoder.bias.requires_grad_(False)
            if not config.tied_head:
                model.decoder.weight.requires_grad_(False)
        self.predictor = predictor
        self.target = copy.deepcopy(model.model).requires_grad_(False) if predictor is not None else None
        if self.kind == "hybrid" and self.balance == "learned":
            self.w = nn.Parameter(torch.zeros(()))
        if self.kind == "hybrid" and self.balance == "uncertainty":
            self.log_variance = nn.Parameter(torch.zeros(2))
        if self.kind == "hybrid" and self.balance == "gradnorm":
            self.register_buffer("weights", torch.ones(2))
            self.register_buffer("first_losses", torch.zeros(2))

    def forward(self, batch: Batch, progress: float = 0.0) -> dict[str, torch.Tensor]:
        """Return the loss to descend and its parts; ``progress`` is the fraction of training done."""
        parts: dict[str, torch.Tensor] = {}
        if batch.masked is not None and batch.positions is not None:
            parts["mlm"] = self.mlm_loss(batch.masked, batch.ids, batch.positions)
        if batch.context is not None and batch.targets is not None:
            # Under `hybrid` the context is read from the masked text, as in the paper; `jepa` masks nothing.
            text = batch.ids if batch.masked is None else batch.masked
            predicted = self.predict(text, batch.context, batch.targets)
            wanted = self.target_states(batch.ids, batch.targets)
            parts["jepa"] = jepa_loss(predicted, wanted)
        if len(parts) == 2:
            parts["loss"], parts["lambda"] = self.combine(parts["mlm"], parts["jepa"], progress)
        else:
            (parts["loss"],) = parts.values()
        return parts

    def mlm_loss(self, masked: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy in nats at the masked positions; the head runs at those only."""
        hidden = take(encode(self.model.model, masked), positions).flatten(0, 1)
        logits = self.model.decoder(self.model.head(hidden))
        return F.cross_entropy(logits.float(), ids.gather(1, positions).flatten())

    def predict(self, text: torch.Tensor, context: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the predicted target states, shape (rows, 2·T, hidden), from the context alone."""
        assert self.predictor is not None
        return self.predictor(encode(self.model.model, text, context), context, targets)

    @torch.no_grad()
    def target_states(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the layer-normed states of the target encoder on the whole unmasked text, at the target positions."""
        hidden = take(encode(self.target, ids), targets)
        return F.layer_norm(hidden.float(), hidden.shape[-1:])

    def combine(self, mlm: torch.Tensor, jepa: torch.Tensor, progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and the share λ of the JEPA loss.

        learned: λ = sigmoid(w) (the paper); fixed: λ constant; ramp: λ from 0 to ``jepa_weight`` over the first half of training;
        uncertainty: Kendall et al. 2018, exp(−s)·L + s for each loss; gradnorm: Chen et al. 2018, weights set by the trainer.
        """
        if self.balance == "uncertainty":
            scale = torch.exp(-self.log_variance)
            loss = scale[0] * mlm + scale[1] * jepa + self.log_variance.sum()
            return loss, (scale[1] / scale.sum()).detach()
        if self.balance == "learned":
            weight = torch.sigmoid(self.w)
        elif self.balance == "gradnorm":
            weight = self.weights[1] / self.weights.sum()
        else:
            ramp = min(1.0, 2 * progress) if self.balance == "ramp" else 1.0
            weight = torch.full_like(mlm, self.jepa_weight * ramp)
        return weight * jepa + (1 - weight) * mlm, weight.detach()

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """Move the target encoder towards the encoder: target = decay · target + (1 − decay) · encoder."""
        if self.target is not None:
            torch._foreach_lerp_(list(self.target.parameters()), list(self.model.model.parameters()), 1 - decay)


def take(hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return hidden states of shape (rows, length, d) at ``positions`` of shape (rows, k), as (rows, k, d)."""
    rows, length, d = hidden.shape
    flat = (positions + torch.arange(rows, device=positions.device)[:, None] * length).flatten()
    return hidden.reshape(-1, d).index_select(0, flat).view(rows, -1, d)


def jepa_loss(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return 1 − cosine, averaged over all targets."""
    return 1 - F.cosine_similarity(predicted.float(), wanted, dim=-1).mean()
