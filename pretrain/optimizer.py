"""The optimizer, the learning rate and the decay of the target encoder at each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from geomprobe.common import UsageError
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.objectives.base import Objective

EMA_WARMUP = 0.1
"""Half-life of the target encoder at the beginning of a run, as a share of the steps taken."""


def make_optimizer(config: PretrainConfig, objective: Objective, device: torch.device) -> torch.optim.Optimizer:
    """AdamW, or Muon for all matrices but embeddings and the decoder, and AdamW for the rest.

    Matrices and embeddings decay, norms, biases and balance weights do not.
    """
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    matrices = []
    if config.optimizer == "muon":
        matrices = [p for name, p in trained.items() if p.ndim == 2 and not _of_tokens(name)]
    rest = [p for p in trained.values() if not any(p is matrix for matrix in matrices)]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        groups,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        fused=device.type in ("cpu", "cuda"),
        capturable=device.type == "cuda",  # so that a step can be recorded
    )
    return MuonAndAdamW(matrices, adamw, config) if matrices else adamw


def check_optimizer(config: PretrainConfig) -> None:
    """Raise UsageError where the installed torch does not have the optimizer."""
    if config.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        what = f"optimizer=muon needs torch 2.9 or newer; {torch.__version__} is installed."
        raise UsageError(what, "pip install 'torch>=2.9', or leave the setting out")


def _of_tokens(name: str) -> bool:
    """Whether a parameter's rows belong to tokens, of which a step sees few."""
    return "embeddings." in name or "decoder." in name


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for matrices and AdamW for the rest, as one optimizer with one state.

    Muon's update is scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that one learning rate serves
    both.
    """

    def __init__(self, matrices: list[torch.nn.Parameter], adamw: torch.optim.AdamW, config: PretrainConfig):
        muon = torch.optim.Muon(
            matrices, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.parts = (muon, adamw)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let the parts work on the groups and the state of the whole."""
        for part, groups in zip(self.parts, (self.param_groups[:1], self.param_groups[1:]), strict=True):
            part.param_groups, part.state = groups, self.state

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all parameters."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._share()


def learning_rate(config: PretrainConfig, step: int, steps: int) -> float:
    """Learning rate of a step: linear warm-up, then linear or cosine decay to a tenth of the peak."""
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    shape = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * (0.1 + 0.9 * shape)


def ema_decay(config: PretrainConfig, step: int, steps: int) -> float:
    """Target encoder's decay at a step: of a half-life, or linear from ``ema_start`` to ``ema_end``.

    The half-life is ``ema_half_life`` of the run, and until then a tenth of the steps taken, so that the random weights
    of the beginning are soon gone.
    """
    if config.ema_half_life:
        return 0.5 ** (1 / min(config.ema_half_life * steps, EMA_WARMUP * (step + 1)))
    return config.ema_start + (config.ema_end - config.ema_start) * step / max(1, steps - 1)


def initial_share(config: PretrainConfig, steps: int) -> float:
    """Share of the initial weights that is left in the target encoder after a run: the product of its decays."""
    share = 1.0
    for step in range(steps):
        share *= ema_decay(config, step, steps)
        if share < 1e-9:
            return 0.0
    return share
