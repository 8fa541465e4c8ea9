"""Cross-entropy of a linear head over a large vocabulary, some rows at a time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

LARGEST_LOGITS = 1 << 26
"""Logits that are held at once: 256 MB in float32."""


def linear_cross_entropy(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, wanted: torch.Tensor, most: int = LARGEST_LOGITS
) -> torch.Tensor:
    """Mean cross-entropy in nats of ``states @ weight.T + bias``, which is never held as a whole where it is large.

    Parameters
    ----------
    states : tensor of shape (n, d)
    weight : tensor of shape (vocabulary, d)
    bias : tensor of shape (vocabulary,)
    wanted : int64 tensor of shape (n,)
    most : int
        Logits that are held at once.

    Notes
    -----
    Beyond that, the gradients are found with the losses, a chunk of rows at a time, by the same three products as
    without chunks. torch's own `linear_cross_entropy` (2.13) gives the loss of bfloat16 states in bfloat16.
    """
    if len(states) * len(weight) <= most:
        return F.cross_entropy(F.linear(states, weight, bias).float(), wanted)
    return _Chunked.apply(states, weight, bias, wanted, max(1, most // len(weight)), torch.is_grad_enabled())


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        wanted: torch.Tensor,
        rows: int,
        learns: bool,
    ) -> torch.Tensor:
        total = torch.zeros((), device=states.device)
        of_states, of_weight, of_bias = [], torch.zeros_like(weight), torch.zeros_like(bias)
        for some, right in zip(states.split(rows), wanted.split(rows), strict=True):
            logits = F.linear(some, weight, bias).float()
            logarithm = logits.logsumexp(1)
            total = total + (logarithm - logits.gather(1, right[:, None])[:, 0]).sum()
            if not learns:
                continue
            error = (logits - logarithm[:, None]).exp()
            error = error.scatter_add(1, right[:, None], torch.full_like(error[:, :1], -1.0)) / len(states)
            of_bias += error.sum(0)
            narrow = error.to(some.dtype)
            of_states.append((narrow @ weight).to(some.dtype))
            of_weight += narrow.T @ some
        if learns:
            ctx.save_for_backward(torch.cat(of_states), of_weight, of_bias)
        return total / len(states)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return *(part * gradients[0] for part in ctx.saved_tensors), None, None, None
