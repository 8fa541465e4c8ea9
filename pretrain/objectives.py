"""What is learned: masked language modelling, joint-embedding prediction, or both under a balance rule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import ModernBertForMaskedLM

from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.encoder import Predictor, encode


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

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Return the batch with every tensor changed."""
        ids, *others = (None if part is None else change(part) for part in self)
        assert ids is not None
        return Batch(ids, *others)


class Objective(nn.Module):
    """Everything that is trained, and the losses of a batch.

    The target encoder is a copy of the encoder that follows it as an exponential moving average and gets no gradient.
    """

    done: torch.Tensor
    weights: torch.Tensor
    first_losses: torch.Tensor

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
        # The fraction of training done, as a tensor: a Python number would be compiled in as a constant.
        self.register_buffer("done", torch.zeros(()), persistent=False)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the loss to descend, its parts "mlm" and "jepa", and the share "lambda" of the latter."""
        parts = self.parts(batch)
        if len(parts) == 2:
            parts["loss"], parts["lambda"] = self.combine(parts["mlm"], parts["jepa"])
        else:
            (parts["loss"],) = parts.values()
        return parts

    def parts(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the loss or losses before they are balanced."""
        parts: dict[str, torch.Tensor] = {}
        if batch.masked is not None and batch.positions is not None:
            parts["mlm"] = self.mlm_loss(batch.masked, batch.ids, batch.positions)
        if batch.context is not None and batch.targets is not None:
            # Under `hybrid` the context is read from the masked text, as in the paper; `jepa` masks nothing.
            text = batch.ids if batch.masked is None else batch.masked
            predicted = self.predict(text, batch.context, batch.targets)
            wanted = self.target_states(batch.ids, batch.targets)
            parts["jepa"] = jepa_loss(predicted, wanted)
        return parts

    def mlm_loss(self, masked: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy in nats at the masked positions; the head runs at those only."""
        hidden = encode(self.model.model, masked, wanted=positions).flatten(0, 1)
        logits = self.model.decoder(self.model.head(hidden))
        return F.cross_entropy(logits.float(), ids.gather(1, positions).flatten())

    def predict(self, text: torch.Tensor, context: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the predicted target states, shape (rows, 2·T, hidden), from the context alone."""
        assert self.predictor is not None
        return self.predictor(encode(self.model.model, text, context), context, targets)

    @torch.no_grad()
    def target_states(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the layer-normed states of the target encoder on the whole unmasked text, at the target positions."""
        hidden = encode(self.target, ids, wanted=targets)
        return F.layer_norm(hidden.float(), hidden.shape[-1:])

    def combine(self, mlm: torch.Tensor, jepa: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and the share λ of the JEPA loss.

        learned: λ = sigmoid(w) (the paper); fixed: λ constant; ramp: λ from 0 to ``jepa_weight`` over the first half of
        training; uncertainty: exp(−s)·L + s for each loss (Kendall et al. 2018); gradnorm: `update_gradnorm`.
        """
        if self.balance == "uncertainty":
            scale = torch.exp(-self.log_variance)
            loss = scale[0] * mlm + scale[1] * jepa + self.log_variance.sum()
            return loss, (scale[1] / scale.sum()).detach()
        if self.balance == "learned":
            weight = torch.sigmoid(self.w)
        elif self.balance == "gradnorm":
            weight = self.weights[1] / self.weights.sum()
        elif self.balance == "ramp":
            weight = self.jepa_weight * (2 * self.done).clamp(max=1.0)
        else:
            weight = torch.full_like(mlm, self.jepa_weight)
        return weight * jepa + (1 - weight) * mlm, weight.detach()

    def gradient_norms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the norm of each loss's gradient at the encoder, before balancing: "mlm" and "jepa"."""
        parameters = list(self.model.model.parameters())
        norms = {}
        for name, loss in self.parts(batch).items():
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
            norms[name] = torch.stack([g.norm() for g in gradients if g is not None]).norm()
        return norms

    def update_gradnorm(self, batch: Batch) -> None:
        """Move the two weights so that the weighted gradient norms follow the losses' training rates.

        GradNorm (Chen et al. 2018), eq. 1–2: the wanted norm of loss i is the mean norm times (relative inverse
        training rate)^α, α = 0.5. The weights go there by a damped fixed-point step instead of a gradient step, which
        needs no learning rate, and keep the sum 2.
        """
        norms = self.gradient_norms(batch)
        with torch.no_grad():
            losses = torch.stack([value.detach().float() for value in self.parts(batch).values()])
            if not self.first_losses.any():
                self.first_losses.copy_(losses)
            weighted = self.weights * torch.stack([norms["mlm"], norms["jepa"]])
            rate = losses / self.first_losses
            wanted = weighted.mean() * (rate / rate.mean()) ** 0.5
            weights = self.weights * (wanted / weighted.clamp(min=1e-12)) ** 0.25
            self.weights.copy_(2 * weights / weights.sum())

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """Move the target encoder towards the encoder: target = decay · target + (1 − decay) · encoder."""
        if self.target is not None:
            torch._foreach_lerp_(list(self.target.parameters()), list(self.model.model.parameters()), 1 - decay)


def jepa_loss(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return 1 − cosine, averaged over all targets."""
    return 1 - F.cosine_similarity(predicted.float(), wanted, dim=-1).mean()
