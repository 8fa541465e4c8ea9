"""Products of rows in the required precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

GRAM_ROWS = 8192
TILE = 1024
"""Rows, and columns, of a tile of pairs."""


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32 (no TF32, no bfloat16) within the block, whatever the program chose."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def unit_rows(x: torch.Tensor) -> torch.Tensor:
    """X/‖x‖ row by row, x float64; rows must not be zero. Rows whose squares would vanish are scaled first."""
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if bool((norms < 1e-140).any()):  # the moments refuse what would overflow
        x = x / x.abs().amax(1, keepdim=True)
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / norms


def gram(block: torch.Tensor) -> torch.Tensor:
    """Blockᵀ·block as float64 of shape (d, d), multiplied in the block's precision.

    Pieces of at most GRAM_ROWS rows are added up in float64, so that rounding does not grow with the block.
    """
    d = block.shape[1]
    total = torch.zeros(d, d, dtype=torch.float64, device=block.device)
    width = max(64, -(-d // 4))
    for piece in block.split(GRAM_ROWS):
        if block.device.type == "cpu" and torch.get_num_threads() == 1:
            a = piece.numpy()  # numpy sees A.T @ A and calls syrk: half the work of a general product
            total += torch.from_numpy(a.T @ a)
            continue
        # syrk gains little or loses from several threads; a quarter of the rows at a time, from the diagonal on, is 5/8
        for i in range(0, d, width):
            total[i : i + width, i:] += piece[:, i : i + width].T @ piece[:, i:]
    return total.triu() + total.triu(1).T
