"""The numbers of `masking.generator` for many rows at once, as tensors on any device: the same bits, no waiting.

numpy draws from counter-based words (Philox4x64-10; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")
and turns them into integers by multiplication with rejection (Lemire 2019, "Fast random integer generation in an
interval"). Torch has no unsigned arithmetic of 64 bits: int64 holds the bits, products and sums wrap.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch

LOW = 2**32 - 1
_FACTORS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10
_OVERRUN = math.log(1e-30)  # chance that a row has more rejections than spare draws, which ends the run with an error

Words = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def signed(number: int) -> int:
    """The int64 with the bits of a uint64."""
    return (number + 2**63) % 2**64 - 2**63


def shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
    """``x >> bits`` of uint64 values."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _product(x: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Upper and lower 64 bits of ``x · factor``, from products of 32-bit halves."""
    a, b, c, d = shifted(x, 32), x & LOW, factor >> 32, factor & LOW
    middle = b * c + shifted(b * d, 32)
    upper = a * c + shifted(middle, 32) + shifted(a * d + (middle & LOW), 32)
    return upper, x * signed(factor)


def philox(key: torch.Tensor, counter: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Four words of each counter, (…, 4).

    Parameters
    ----------
    key : int64 tensor of shape (2,)
    counter : int64 tensor of shape (3,) + a shape that broadcasts against ``block``
        The three upper words of the counters.
    block : int64 tensor
        The lowest word of the counters.
    """
    a, k, m = block, key[0], key[1]
    b, c, d = counter
    for _ in range(_ROUNDS):
        (upper, lower), (upper2, lower2) = _product(a, _FACTORS[0]), _product(c, _FACTORS[1])
        a, b, c, d = upper2 ^ b ^ k, lower2, upper ^ d ^ m, lower
        k, m = k + signed(_KEY_STEPS[0]), m + signed(_KEY_STEPS[1])
    return torch.stack([a, b, c, d], -1)


class Generators:
    """A generator for each of many rows, which draw together; each draws what `masking.generator` of its row draws.

    As in numpy, integers below 2³² take half a word, the lower half first; an upper half that is left over waits for
    the next integer. No method waits for the device. ``words`` are made at once, more where they are asked for.
    """

    def __init__(
        self,
        seed: int,
        step: int,
        first_row: int,
        rows: int,
        purpose: int,
        device: torch.device | str,
        *,
        words: int = 16,
        philox: Words = philox,
    ):
        def full(value: int, *shape: int) -> torch.Tensor:
            return torch.full(shape, value, dtype=torch.int64, device=device)

        self.philox, self.device = philox, device
        self.key = torch.cat([full(seed, 1), full(step, 1)])
        row = torch.arange(first_row, first_row + rows, device=device).unsqueeze(1)
        self.counter = torch.stack([row, torch.full_like(row, purpose), torch.zeros_like(row)])
        self.words = full(0, rows, 0)
        self.taken, self.most = full(0, rows, 1), 0  # words taken by each row, and the most that a row can have taken
        self.left, self.half = full(0, rows, 1), full(0, rows, 1)  # whether an upper half is left over, and which
        self._provide(words)

    def _provide(self, words: int) -> None:
        """Make words until each row has as many."""
        made = self.words.shape[1] // 4
        block = torch.arange(made + 1, -(-words // 4) + 1, device=self.device)  # numpy counts before it draws
        self.words = torch.cat([self.words, self.philox(self.key, self.counter, block).flatten(1)], 1)

    def _next(self, words: int) -> torch.Tensor:
        """The next words of each row, (rows, words), which stay where they are."""
        self.most += words
        if self.most > self.words.shape[1]:
            self._provide(self.most)
        return self.words.gather(1, self.taken + torch.arange(words, device=self.device))

    def random(self, n: int) -> torch.Tensor:
        """Uniform float64 numbers in [0, 1), (rows, n)."""
        words = self._next(n)
        self.taken = self.taken + n
        return shifted(words, 11).double() * 2.0**-53

    def integers(self, high: int, n: int) -> torch.Tensor:
        """Uniform integers from 0 to ``high`` − 1, int64 of shape (rows, n); ``high`` is at most 2³¹."""
        if high == 1:  # numpy draws nothing
            return torch.zeros(len(self.words), n, dtype=torch.int64, device=self.device)
        refused = 2**32 % high
        tries = n + spare_draws(refused / 2**32, n)
        words = self._next(tries // 2 + 1)
        halves = torch.stack([words & LOW, shifted(words, 32)], -1).flatten(1)
        place = torch.arange(tries, device=self.device)
        product = torch.cat([self.half, halves], 1).gather(1, place + 1 - self.left) * high
        accepted = place.expand_as(product).masked_fill((product & LOW) < refused, tries).sort(1).values[:, :n]
        used = accepted[:, -1:] + 1 - self.left  # halves of the new words
        self.taken = self.taken + (used + 1) // 2
        self.left, self.half = used % 2, halves.gather(1, used)
        return product.gather(1, accepted) >> 32

    def choice(self, n: int, size: int) -> torch.Tensor:
        """``size`` different integers from 0 to ``n`` − 1, (rows, size).

        By Floyd's method, as numpy does where ``n`` is at most 10,000 or fifty times ``size`` is at most ``n``.
        """
        chosen = torch.empty(len(self.words), 0, dtype=torch.int64, device=self.device)
        for last in range(n - size, n):
            drawn = self.integers(last + 1, 1)
            again = (chosen == drawn).any(1, keepdim=True)
            chosen = torch.cat([chosen, drawn.masked_fill(again, last)], 1)
        place = torch.arange(size, device=self.device)
        for last in range(size - 1, 0, -1):
            other = self.integers(last + 1, 1)
            chosen = chosen.gather(1, torch.where(place == last, other, place).masked_fill(place == other, last))
        return chosen


@functools.cache
def spare_draws(refused: float, n: int) -> int:
    """Draws beyond ``n`` that are enough for ``n`` accepted ones, each refused with this chance; see `_OVERRUN`."""
    spare = 0
    while refused:
        # Too few if spare + 1 of them are refused: at most (ways to choose these) · chanceˢ⁺¹.
        ways = math.lgamma(n + spare + 1) - math.lgamma(spare + 2) - math.lgamma(n)
        if ways + (spare + 1) * math.log(refused) < _OVERRUN:
            break
        spare += 1
    return spare
