"""The optimizer, the learning rate and the decay of the target encoder at each step."""

from __future__ import annotations

import math

import torch

from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.objectives.base import Objective

EMA_WARMUP = 0.1
"""Half-life of the target encoder at the beginning of a run, as a share of the steps taken."""


def make_optimizer(config: PretrainConfig, objective: Objective, device: torch.device) -> torch.optim.AdamW:
    """AdamW; matrices decay, norms, biases and balance weights do not."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=device.type in ("cpu", "cuda")
    )


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
