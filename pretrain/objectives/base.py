"""What every objective is: an encoder, the losses of a batch, and how they combine into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from transformers import ModernBertModel, PreTrainedModel

from geomprobe.pretrain import continued
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.encoder import Predictor, build_encoder, encode

Losses = dict[str, torch.Tensor]


class Batch(NamedTuple):
    """One micro-batch of int64 tensors; an objective gets the masked and the block fields that it reads, else None.

    ids, masked : (rows, row_length), the text before and after masking; positions : (rows, M) masked positions;
    context : (rows, C); targets : (rows, T), block after block.
    """

    ids: torch.Tensor
    masked: Any = None
    positions: Any = None
    context: Any = None
    targets: Any = None

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Batch with every tensor changed."""
        return Batch(change(self.ids), *(None if part is None else change(part) for part in self[1:]))

    def tensors(self) -> list[torch.Tensor]:
        """The tensors that there are."""
        return [part for part in self if part is not None]


class Objective(nn.Module):
    """Everything that is trained, and the losses of a batch.

    A subclass says what it reads, and gives `parts` and `flops`; where it has several losses, `balance` too.
    """

    about: ClassVar[str]
    """What is learned, in a few words, for lists."""
    trains_head: ClassVar[bool] = False
    """Whether the MLM head is trained and exported."""
    copies: ClassVar[int] = 0
    """Copies of the encoder that are kept without a gradient."""

    done: torch.Tensor
    predictor: Predictor | None
    target: ModernBertModel | None

    def __init__(self, config: PretrainConfig, corpus: Corpus):
        super().__init__()
        self.model: Any
        self.new_head = False  # of a model that is continued
        if config.start_from:
            self.model, self.new_head = continued.load(config, corpus.vocab_size)
        else:
            self.model = build_encoder(config, corpus.vocab_size, corpus.special)
        self.max_length = config.max_length
        self.predictor = None
        self.target = None
        if not self.trains_head:
            self.model.head.requires_grad_(False)
            self.model.decoder.bias.requires_grad_(False)
            if not config.tied_head:
                self.model.decoder.weight.requires_grad_(False)
        # The fraction of training done, as a tensor: a Python number would be compiled in as a constant.
        self.register_buffer("done", torch.zeros(()), persistent=False)

    @classmethod
    def reads_masked(cls, config: PretrainConfig) -> bool:
        """Whether batches have masked tokens."""
        return cls.trains_head

    @classmethod
    def reads_blocks(cls, config: PretrainConfig) -> bool:
        """Whether batches have a context and targets apart from it."""
        return False

    def forward(self, batch: Batch) -> Losses:
        """Losses of a batch by name, and "loss", the one to descend."""
        parts = self.parts(batch)
        return parts | self.balance(parts)

    def parts(self, batch: Batch) -> Losses:
        """Losses of a batch before they are balanced."""
        raise NotImplementedError

    @classmethod
    def flops(cls, config: PretrainConfig, vocab_size: int, block: int | None) -> dict[str, float]:
        """FLOPs of one optimizer step by component; ``block`` is the length of a target block (see `budget`)."""
        raise NotImplementedError

    def balance(self, parts: Losses) -> Losses:
        """The loss to descend as "loss", with what else is logged about it."""
        (loss,) = parts.values()
        return {"loss": loss}

    def before_step(self, step: int, rows: Callable[[int], Batch]) -> None:
        """Called before each optimizer step, under autocast; ``rows(n)`` gives the first n rows of the step."""

    def update_target(self, decay: float | torch.Tensor) -> None:
        """Called after each optimizer step, with the decay of a moving average."""

    def gradient_norms(self, batch: Batch) -> Losses:
        """Norm of each loss's gradient at the encoder, before balancing."""
        parameters = list(self.model.base_model.parameters())
        norms = {}
        for name, loss in self.parts(batch).items():
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
            norms[name] = torch.stack([g.norm() for g in gradients if g is not None]).norm()
        return norms

    def token_states(self, ids: torch.Tensor) -> torch.Tensor:
        """Last hidden states of the encoder, (rows, length, hidden)."""
        if continued.is_ours(self.model.config):
            return encode(self.model.model, ids)
        return self.model.base_model(ids).last_hidden_state

    def exported(self) -> PreTrainedModel:
        """The encoder as it is written to a checkpoint: without the MLM head where that was not trained."""
        return self.model if self.trains_head else self.model.base_model
