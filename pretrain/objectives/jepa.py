"""Joint-embedding prediction: predict the states that a slowly moving copy of the encoder gives to hidden blocks."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from transformers import ModernBertModel

from geomprobe.pretrain import paper
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.encoder import Predictor, body_flops, build_predictor, encode
from geomprobe.pretrain.masking import context_length
from geomprobe.pretrain.objectives.base import Batch, Losses, Objective


class JEPA(Objective):
    """1 − cosine of predicted and target states.

    The target encoder is a copy of the encoder that follows it as an exponential moving average and gets no gradient.
    """

    about = "predict the target encoder's states of hidden blocks from the context"
    reads_blocks = True
    copies = 1
    predictor: Predictor
    target: ModernBertModel

    def __init__(self, config: PretrainConfig, corpus: Corpus):
        super().__init__(config, corpus)
        self.predictor = build_predictor(config)
        self.target = copy.deepcopy(self.model.model).requires_grad_(False)

    def parts(self, batch: Batch) -> Losses:
        """The loss "jepa"."""
        predicted = self.predict(self.read_text(batch), batch.context, batch.targets)
        return {"jepa": jepa_loss(predicted, self.target_states(batch.ids, batch.targets))}

    def read_text(self, batch: Batch) -> torch.Tensor:
        """Text that the context is read from: the masked one under `hybrid`, as in the paper; `jepa` masks nothing."""
        return batch.ids if batch.masked is None else batch.masked

    def predict(self, text: torch.Tensor, context: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Predicted target states, (rows, 2·T, hidden), from the context alone."""
        return self.predictor(encode(self.model.model, text, context), context, targets)

    @torch.no_grad()
    def target_states(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Layer-normed states of the target encoder on the whole unmasked text, at the target positions."""
        hidden = encode(self.target, ids, wanted=targets)
        return F.layer_norm(hidden.float(), hidden.shape[-1:])

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """Move the target encoder towards the encoder: target = decay · target + (1 − decay) · encoder."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.model.model.parameters()), 1 - decay)

    @classmethod
    def flops(cls, config: PretrainConfig, vocab_size: int, block: int | None) -> dict[str, float]:
        """FLOPs of one optimizer step: context, target and predictor."""
        length, rows = config.row_length, config.batch_rows
        if config.masks == "paper":
            context, targets = paper.slots(length)
        else:
            assert block is not None
            context, targets = context_length(length, block, config.context_fraction), 2 * block
        shape = (config.layers, config.hidden, config.intermediate)
        narrow = config.predictor_hidden
        predictor = body_flops(context + targets, config.predictor_layers, narrow, 2 * narrow, wanted=targets)
        ends = 2 * config.hidden * narrow * (context + targets)
        return {
            "context": 3 * rows * body_flops(context, *shape),
            "target": rows * body_flops(length, *shape, wanted=targets),
            "predictor": 3 * rows * (predictor + ends),
        }


def jepa_loss(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """1 − cosine, averaged over all targets."""
    return 1 - F.cosine_similarity(predicted.float(), wanted, dim=-1).mean()


OBJECTIVE = JEPA
