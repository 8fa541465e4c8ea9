"""The optimizer, the learning rate and the decay of the target encoder at each step."""

from __future__ import annotations

import math

import torch

from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.objectives.base import Objective


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
    """Target encoder's decay: linear from ``ema_start`` to ``ema_end``."""
    return config.ema_start + (config.ema_end - config.ema_start) * step / max(1, steps - 1)
