"""Which rows of the corpus make up a step: a pure function of (seed, step), so the data position is one integer.

The rows of each pass over the corpus come in an order given by a keyed permutation (a Feistel network with cycle
walking; Black and Rogaway 2002, "Ciphers with arbitrary finite domains"), which needs no memory and no state.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 6


def _mix(x: np.ndarray) -> np.ndarray:
    """Return the splitmix64 finaliser of uint64 values."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def permute(index: np.ndarray, n: int, key: int) -> np.ndarray:
    """Return where a keyed permutation of 0 … n−1 sends ``index`` (int64 array, same shape)."""
    if n == 1:
        return np.zeros_like(index, dtype=np.int64)
    half = np.uint64((max(n - 1, 1).bit_length() + 1) // 2)
    low = (np.uint64(1) << half) - np.uint64(1)
    keys = _mix(np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key % 2**64))
    out = np.asarray(index).astype(np.uint64)
    outside = np.ones(out.shape, dtype=bool)
    while outside.any():  # the network permutes a power of four ≥ n; values past n walk on until they are inside
        left, right = out[outside] >> half, out[outside] & low
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & low)
        out[outside] = (left << half) | right
        outside[outside] = out[outside] >= np.uint64(n)
    return out.astype(np.int64)


def row_indices(seed: int, step: int, batch_rows: int, n_rows: int) -> np.ndarray:
    """Return the corpus rows of one step, int64 (batch_rows,); every pass over the corpus visits each row once."""
    position = step * batch_rows + np.arange(batch_rows, dtype=np.int64)
    passes = position // n_rows
    out = np.empty(batch_rows, dtype=np.int64)
    for number in np.unique(passes):
        chosen = passes == number
        key = int(_mix(np.array([(seed * 1_000_003 + int(number) + 1) % 2**64], dtype=np.uint64))[0])
        out[chosen] = permute(position[chosen] % n_rows, n_rows, key)
    return out
