"""Joint-embedding prediction: predict the states that a slowly moving copy of the encoder gives to hidden text."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import ModernBertModel

from geomprobe.pretrain import paper
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.encoder import (
    body_flops,
    build_prediction_head,
    build_predictor,
    encode,
    layer_states,
    prediction_head_flops,
    take,
)
from geomprobe.pretrain.masking import context_length, masked_in_row, target_lengths
from geomprobe.pretrain.objectives.base import Batch, Losses, Objective

SENTENCE_TEMPERATURE = 0.1


class JEPA(Objective):
    """Distance of predicted and target states.

    The target encoder is a copy of the encoder that follows it as an exponential moving average and gets no gradient.
    Under ``structure=context`` the encoder reads the context alone and a predictor fills in the targets; under
    ``student`` it reads the whole row with mask tokens at the targets, and a shallow head turns its states there into
    predictions (Baevski et al. 2022, data2vec).
    """

    about = "predict the states that the target encoder gives to hidden text"
    copies = 1
    target: ModernBertModel

    def __init__(self, config: PretrainConfig, corpus: Corpus):
        super().__init__(config, corpus)
        self.config, self.mask_id = config, corpus.special["mask"]
        self.lengths = target_lengths(config)
        if config.structure == "context":
            self.predictor = build_predictor(config)
        else:
            self.prediction_head = build_prediction_head(config)
            if config.sentence_weight:
                self.sentence_head = build_prediction_head(config, offset=2)
        self.target = copy.deepcopy(self.model.model).requires_grad_(False)

    @classmethod
    def reads_blocks(cls, config: PretrainConfig) -> bool:
        """Whether batches have a context and targets."""
        return config.structure == "context"

    @classmethod
    def reads_masked(cls, config: PretrainConfig) -> bool:
        """Whether batches have masked tokens."""
        return config.structure == "student" or super().reads_masked(config)

    def parts(self, batch: Batch) -> Losses:
        """The loss "jepa"."""
        if self.config.structure == "student":
            states = encode(self.model.model, batch.masked, wanted=batch.positions)
            return {"jepa": self.student_loss(batch, states)}
        text = batch.ids if batch.masked is None else batch.masked  # `hybrid` reads the masked one, as in the paper
        predicted = self.predict(text, batch.context, batch.targets, self.lengths)
        return {"jepa": self.distance(predicted, self.target_states(batch.ids, batch.targets))}

    def student_loss(self, batch: Batch, states: torch.Tensor) -> torch.Tensor:
        """Loss of the student's states at the masked positions, (rows, M, hidden)."""
        predicted, sentence = self.prediction_head(states), self.config.sentence_weight
        if sentence:  # one pass of the target encoder serves both
            with torch.no_grad():
                layers = layer_states(self.target, batch.ids)
            loss = self.distance(predicted, self.mean_of_layers(layers, batch.positions))
            loss = loss + sentence * self.sentence_loss(states, layers[-1])
        else:
            loss = self.distance(predicted, self.target_states(batch.ids, batch.positions))
        if self.config.variance_weight:
            loss = loss + self.config.variance_weight * variance_loss(states.flatten(0, 1).float())
        return loss

    def sentence_loss(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of finding a row's own mean target state among those of the micro-batch (van den Oord 2018).

        ``targets`` are the target encoder's last states at every position, (rows, length, hidden).

        The query is predicted from the mean state of a row's masked positions: InfoNCE with in-batch negatives.
        """
        query = self.sentence_head(states.mean(1)).float()
        key = targets.float().mean(1)
        key = key - key.mean(0)
        with torch.autocast(query.device.type, enabled=False):
            scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).T / SENTENCE_TEMPERATURE
        return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))

    def predict(
        self, text: torch.Tensor, context: torch.Tensor, targets: torch.Tensor, lengths: Sequence[int] = ()
    ) -> torch.Tensor:
        """Predicted target states, (rows, targets, hidden), from the context alone.

        ``lengths`` are those of the blocks that the targets are made of; by default two of the same length.
        """
        assert self.predictor is not None  # under structure=context
        blocks = lengths or [targets.shape[1] // 2] * 2
        return self.predictor(encode(self.model.model, text, context), context, targets, blocks)

    def predict_spans(self, text: torch.Tensor, blocks: Batch, lengths: Sequence[int]) -> torch.Tensor:
        """Predicted states at target spans of these lengths, whichever the structure; ``text`` is not masked."""
        if self.config.structure == "context":
            return self.predict(text, blocks.context, blocks.targets, lengths)
        masked = text.scatter(1, blocks.targets, self.mask_id)
        return self.prediction_head(encode(self.model.model, masked, wanted=blocks.targets))

    @torch.no_grad()
    def target_states(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """States of the target encoder on the whole unmasked text, at the target positions, normalised.

        They are the mean of the last ``target_layers`` layers, each normalised by itself: over its dimensions
        (``layer``; Ba et al. 2016), or each dimension over the tokens of a row (``instance``; Ulyanov et al. 2016),
        which takes away what all of these tokens share.
        """
        if self.config.target_norm == "layer" and self.config.target_layers == 1:  # the last layer runs there alone
            hidden = encode(self.target, ids, wanted=targets)
            return F.layer_norm(hidden.float(), hidden.shape[-1:])
        return self.mean_of_layers(layer_states(self.target, ids), targets)

    def mean_of_layers(self, layers: Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """Mean of the last ``target_layers`` of these states (rows, length, hidden), normalised, at ``targets``."""
        norm, chosen = self.config.target_norm, layers[-self.config.target_layers :]
        return torch.stack([take(normalise(states.float(), norm), targets) for states in chosen]).mean(0)

    def distance(self, predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The loss of predictions: 1 − cosine or smooth absolute difference, averaged over all targets."""
        if self.config.jepa_loss == "smooth-l1":
            return F.smooth_l1_loss(predicted.float(), wanted)
        return cosine_loss(predicted, wanted)

    @torch.no_grad()
    def update_target(self, decay: float | torch.Tensor) -> None:
        """Move the target encoder towards the encoder: target = decay · target + (1 − decay) · encoder."""
        target, encoder = list(self.target.parameters()), list(self.model.model.parameters())
        if isinstance(decay, torch.Tensor):  # lerp would read it
            way = torch._foreach_sub(encoder, target)
            torch._foreach_mul_(way, 1 - decay)
            torch._foreach_add_(target, way)
        else:
            torch._foreach_lerp_(target, encoder, 1 - decay)

    @classmethod
    def flops(cls, config: PretrainConfig, vocab_size: int, block: int | None) -> dict[str, float]:
        """FLOPs of one optimizer step: context (or student), target and predictor."""
        length, rows = config.row_length, config.batch_rows
        shape = (config.layers, config.hidden, config.intermediate)
        # then the last layer of the target encoder runs everywhere
        whole = config.target_layers > 1 or config.target_norm != "layer" or bool(config.sentence_weight)
        if config.structure == "student":
            targets = masked_in_row(config)
            target = body_flops(length, *shape, wanted=None if whole else targets)
            parts = {"student": 3 * rows * body_flops(length, *shape, wanted=targets)}
            if config.sentence_weight:
                scores = 2 * config.hidden * (rows // config.accumulation)
                parts["sentence"] = 3 * rows * (prediction_head_flops(config) + scores)
            head = 3 * rows * targets * prediction_head_flops(config)
            return parts | {"target": rows * target, "predictor": head}
        if config.masks == "paper":
            context, targets = paper.slots(length)
        elif config.span_length:
            targets = sum(target_lengths(config))
            context = length - 2 - targets
        else:
            assert block is not None
            context, targets = context_length(length, block, config.context_fraction), 2 * block
        narrow = config.predictor_hidden
        predictor = body_flops(context + targets, config.predictor_layers, narrow, 2 * narrow, wanted=targets)
        ends = 2 * config.hidden * narrow * (context + targets)
        return {
            "context": 3 * rows * body_flops(context, *shape),
            "target": rows * body_flops(length, *shape, wanted=None if whole else targets),
            "predictor": 3 * rows * (predictor + ends),
        }


def normalise(states: torch.Tensor, norm: str) -> torch.Tensor:
    """States (rows, length, d) with mean 0 and variance 1 over d (``layer``) or over the length (``instance``)."""
    dim = {"layer": 2, "instance": 1}[norm]
    variance, mean = torch.var_mean(states, dim, correction=0, keepdim=True)
    return (states - mean) * (variance + 1e-5).rsqrt()


def cosine_loss(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """1 − cosine, averaged over all targets."""
    return 1 - F.cosine_similarity(predicted.float(), wanted, dim=-1).mean()


def variance_loss(states: torch.Tensor) -> torch.Tensor:
    """VICReg's variance and covariance terms of states (n, d) (Bardes et al. 2022, eq. 1 and 3, weights 25 and 1)."""
    centred = states - states.mean(0)
    with torch.autocast(states.device.type, enabled=False):
        covariance = centred.T @ centred / (len(states) - 1)
    variance = covariance.diagonal()
    hinge = F.relu(1 - (variance + 1e-4).sqrt()).mean()
    return hinge + ((covariance**2).sum() - (variance**2).sum()) / (25 * len(variance))


OBJECTIVE = JEPA
