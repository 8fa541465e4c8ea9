"""Masked language modelling: predict masked tokens (Devlin et al. 2019)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from geomprobe.pretrain import continued
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.cross_entropy import linear_cross_entropy
from geomprobe.pretrain.encoder import body_flops, encode, take
from geomprobe.pretrain.masking import masked_in_row
from geomprobe.pretrain.objectives.base import Batch, Losses, Objective


class MLM(Objective):
    """Cross-entropy at the masked positions."""

    about = "predict masked tokens"
    trains_head = True

    def parts(self, batch: Batch) -> Losses:
        """The loss "mlm"."""
        return {"mlm": mlm_loss(self.model, batch)}

    @classmethod
    def flops(cls, config: PretrainConfig, vocab_size: int, block: int | None) -> dict[str, float]:
        """FLOPs of one optimizer step: mlm (the encoder) and head; together where a model is continued from."""
        if config.start_from:
            return {"mlm": 3 * config.batch_rows * continued.row_flops(config.start_from, config.row_length)}
        rows, masked = config.batch_rows, masked_in_row(config)
        body = body_flops(config.row_length, config.layers, config.hidden, config.intermediate, wanted=masked)
        head = 3 * rows * masked * 2 * config.hidden * (config.hidden + vocab_size)
        return {"mlm": 3 * rows * body, "head": head}


def mlm_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy in nats at the masked positions; the head of our architecture runs at those only."""
    if continued.is_ours(model.config):
        return head_loss(model, encode(model.model, batch.masked, wanted=batch.positions), batch)
    logits = take(model(input_ids=batch.masked).logits, batch.positions).flatten(0, 1)
    return F.cross_entropy(logits.float(), batch.ids.gather(1, batch.positions).flatten())


def head_loss(model: Any, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy in nats of our architecture's head on its states at the masked positions."""
    wanted = batch.ids.gather(1, batch.positions).flatten()
    return linear_cross_entropy(model.head(states.flatten(0, 1)), model.decoder.weight, model.decoder.bias, wanted)


OBJECTIVE = MLM
