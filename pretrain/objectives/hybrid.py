"""MLM and JEPA together, under a rule that balances the two losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.encoder import encode
from geomprobe.pretrain.objectives.base import Batch, Losses
from geomprobe.pretrain.objectives.jepa import JEPA
from geomprobe.pretrain.objectives.mlm import MLM, head_loss, mlm_loss

GRADNORM_EVERY, GRADNORM_ROWS = 10, 8


class Hybrid(JEPA):
    """λ·JEPA + (1 − λ)·MLM, or the sum that `balance` names."""

    about = "predict masked tokens and the target encoder's states, with a balance rule"
    trains_head = True
    weights: torch.Tensor
    first_losses: torch.Tensor

    def __init__(self, config: PretrainConfig, corpus: Corpus):
        super().__init__(config, corpus)
        self.rule = config.balance
        self.jepa_weight = config.jepa_weight
        if self.rule == "learned":
            self.w = nn.Parameter(torch.zeros(()))
        if self.rule == "uncertainty":
            self.log_variance = nn.Parameter(torch.zeros(2))
        if self.rule == "gradnorm":
            self.register_buffer("weights", torch.ones(2))
            self.register_buffer("first_losses", torch.zeros(2))

    def parts(self, batch: Batch) -> Losses:
        """The losses "mlm" and "jepa"; one pass of the student serves both."""
        if self.config.structure == "student":
            states = encode(self.model.model, batch.masked, wanted=batch.positions)
            return {"mlm": head_loss(self.model, states, batch), "jepa": self.student_loss(batch, states)}
        return {"mlm": mlm_loss(self.model, batch), **super().parts(batch)}

    @classmethod
    def flops(cls, config: PretrainConfig, vocab_size: int, block: int | None) -> dict[str, float]:
        """FLOPs of one optimizer step, by the components of both."""
        own = {name: flops for name, flops in super().flops(config, vocab_size, block).items() if name != "student"}
        return MLM.flops(config, vocab_size, block) | own

    def balance(self, parts: Losses) -> Losses:
        """The balanced loss, and the share "lambda" (λ) of the JEPA loss.

        learned: λ = sigmoid(w) (the paper); fixed: λ constant; ramp: λ from 0 to ``jepa_weight`` over the first half of
        training; uncertainty: exp(−s)·L + s for each loss (Kendall et al. 2018); gradnorm: `update_gradnorm`.
        """
        mlm, jepa = parts["mlm"], parts["jepa"]
        if self.rule == "uncertainty":
            scale = torch.exp(-self.log_variance)
            loss = scale[0] * mlm + scale[1] * jepa + self.log_variance.sum()
            return {"loss": loss, "lambda": (scale[1] / scale.sum()).detach()}
        if self.rule == "learned":
            weight = torch.sigmoid(self.w)
        elif self.rule == "gradnorm":
            weight = self.weights[1] / self.weights.sum()
        elif self.rule == "ramp":
            weight = self.jepa_weight * (2 * self.done).clamp(max=1.0)
        else:
            weight = torch.full_like(mlm, self.jepa_weight)
        return {"loss": weight * jepa + (1 - weight) * mlm, "lambda": weight.detach()}

    def before_step(self, step: int, rows: Callable[[int], Batch]) -> None:
        """Update the weights of GradNorm, every few steps."""
        if self.rule == "gradnorm" and step % GRADNORM_EVERY == 0:
            self.update_gradnorm(rows(GRADNORM_ROWS))

    def update_gradnorm(self, batch: Batch) -> None:
        """Move the two weights so that the weighted gradient norms follow the losses' training rates.

        GradNorm (Chen et al. 2018), eq. 1–2: the wanted norm of loss i is the mean norm times (relative inverse
        training rate)^α, α = 0.5. The weights go there by a damped fixed-point step instead of a gradient step, which
        needs no learning rate, and keep the sum 2.
        """
        norms = self.gradient_norms(batch)
        with torch.no_grad():
            losses = torch.stack([value.detach().float() for value in self.parts(batch).values()])
            self.first_losses.copy_(torch.where(self.first_losses.any(), self.first_losses, losses))
            weighted = self.weights * torch.stack([norms["mlm"], norms["jepa"]])
            rate = losses / self.first_losses
            wanted = weighted.mean() * (rate / rate.mean()) ** 0.5
            weights = self.weights * (wanted / weighted.clamp(min=1e-12)) ** 0.25
            self.weights.copy_(2 * weights / weights.sum())


OBJECTIVE = Hybrid
