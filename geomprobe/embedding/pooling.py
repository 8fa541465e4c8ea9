"""Token states to sentence vectors: mean, max, weighted, attention, cls, last, the model's own. No padding counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geomprobe.common import hash_bytes
from geomprobe.common.plugins import Extensible, Owner, guarded

if TYPE_CHECKING:
    from geomprobe.encoders.head import Head

Weights = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
Vectors = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Pooling:
    """What a pooling is: a weighted mean of the token states, or any function of them.

    Attributes
    ----------
    about : str
    weights : callable or None
        (states (batch, tokens, dim), mask (batch, tokens), parameter or None) -> weight of each token (batch, tokens)
        up to a factor per row, 0 at padding. All weighted means are made by one product.
    vectors : callable or None
        (states, mask) -> vectors (batch, width); where there are no weights.
    """

    about: str
    weights: Weights | None = None
    vectors: Vectors | None = None


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Position of each token counted from the first real one, (batch, tokens) int64; 0 at padding."""
    return (mask.long().cumsum(1) - 1).clamp_min(0)


def masked_softmax(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Exp(logits - max) at real tokens and 0 at padding, not normalised: `pool` divides by the sum."""
    logits = logits.masked_fill(~mask, -torch.inf)
    return (logits - logits.amax(1, keepdim=True)).exp()


def _by_position(states: torch.Tensor, mask: torch.Tensor, parameter: Any) -> torch.Tensor:
    return masked_softmax(parameter[positions(mask).clamp_max(len(parameter) - 1)], mask)


def _max(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (states if bool(mask.all()) else states.masked_fill(~mask[..., None], -torch.inf)).amax(1)


def _accepted(name: str, found: Any, owner: Owner) -> Pooling:
    def wrong(made: Any, states: torch.Tensor, mask: torch.Tensor) -> str:
        shape = tuple(getattr(made, "shape", ()))
        fits = isinstance(made, torch.Tensor) and len(shape) == 2 and shape[0] == len(states)
        return "" if fits else f"{type(made).__name__} {shape}, not a Tensor of shape ({len(states)}, width)"

    made_by = guarded(found, f"pooling {name!r} of {owner}", wrong)
    about = next(iter((found.__doc__ or "").strip().splitlines()), "")
    # of its own, so that what it writes there reaches no other pooling
    return Pooling(about, vectors=lambda states, mask: made_by(states.clone(), mask.clone()))


def passes(names: Iterable[str]) -> list[list[str]]:
    """Poolings that are embedded together: the built-in ones, and each other alone, so that its failure is its own."""
    names = list(dict.fromkeys(names))
    built_in = [name for name in names if name in POOLINGS.built_in]
    return ([built_in] if built_in else []) + [[name] for name in names if name not in POOLINGS.built_in]


_BUILT_IN = {
    "mean": Pooling("mean of the token states", lambda states, mask, _: mask.float()),
    "max": Pooling("largest value of each dimension over the tokens", vectors=_max),
    "weighted": Pooling("mean with one weight per position; untrained it equals mean", _by_position),
    "attention": Pooling(
        "mean with softmax weights from one query and key; untrained the query is random",
        lambda states, mask, key: masked_softmax(states @ key, mask),
    ),
    "cls": Pooling("state of the first token", lambda states, mask, _: (mask & (positions(mask) == 0)).float()),
    "last": Pooling(
        "state of the last token",
        lambda states, mask, _: (mask & (positions(mask) == mask.sum(1, keepdim=True) - 1)).float(),
    ),
    "model": Pooling(
        "what the model's own `encode` gives, at the last layer only; the mean for a plain transformer",
        lambda states, mask, _: mask.float(),
    ),
}
POOLINGS = Extensible("pooling", _BUILT_IN, _accepted)
OF_STATES = tuple(name for name in POOLINGS.built_in if name != "model")
"""Built-in poolings of the token states of any layer."""
TRAINABLE = ("weighted", "attention")


@dataclass(frozen=True)
class Pooler:
    """One pooling with its parameters.

    Attributes
    ----------
    name : str
        One of `POOLINGS`.
    parameter : float32 ndarray or None
        ``weighted``: logits of shape (n_positions,), counted from the first real token; a later position takes the
        last one. ``attention``: the query and key projection folded into one vector k of shape (dim,), so that the
        logit of a token with state s is k·s. None for the poolings without parameters.
    trained : bool or None
        None for poolings without parameters; False for values at initialisation.
    seed : int or None
        The seed that drew or trained the parameter.
    head : Head or None
        ``model``: what the model does after its transformer; None is the mean.
    skip : int
        ``model``: tokens of the prompt, which the head may leave out.
    """

    name: str
    parameter: np.ndarray | None = None
    trained: bool | None = None
    seed: int | None = None
    head: Head | None = None
    skip: int = 0

    @cached_property
    def fingerprint(self) -> str:
        """What vectors on disk are keyed by: the name and the SHA-256 of parameters or head, or a plug-in's version."""
        if self.head is not None:
            return f"{self.name}-{hash_bytes(self.head.fingerprint, str(self.skip))}"
        if self.parameter is None:
            return "-".join([self.name, *POOLINGS.versions([self.name])])
        return f"{self.name}-{hash_bytes(np.ascontiguousarray(self.parameter, np.float32).tobytes())}"

    def width(self, dim: int) -> int:
        """Width of the vectors of token states of width `dim`."""
        if self.head is not None:
            return self.head.width(dim)
        made = POOLINGS[self.name].vectors
        return dim if made is None else made(torch.zeros(1, 1, dim), torch.ones(1, 1, dtype=torch.bool)).shape[1]

    @property
    def note(self) -> str:
        """What a row measured with this pooling has to say about it."""
        if self.trained is None:
            return ""
        if self.trained:
            return f"trained pooling, seed {self.seed}"
        return "untrained pooling" + (", equal to mean" if self.name == "weighted" else f", seed {self.seed}")


def make_pooler(name: str, dim: int, *, seed: int = 0) -> Pooler:
    """A pooling, with parameters at initialisation where it has any.

    Parameters
    ----------
    name : str
        One of `POOLINGS`.
    dim : int
        Width of the token states.
    seed : int
        Draws the attention query and key.

    Notes
    -----
    ``weighted`` starts with equal logits and is then the mean, bit for bit. ``attention`` starts with a query
    q ~ N(0, 1) and a Xavier-uniform key projection K; the logit of a state s is q·(K s)/sqrt(dim) = (Kᵀq/sqrt(dim))·s.

    Raises
    ------
    UsageError
        For an unknown name, or one of a plug-in that cannot be used.
    """
    POOLINGS.choose(name)
    if name == "weighted":
        return Pooler(name, np.zeros(1, np.float32), False)
    if name == "attention":
        generator = torch.Generator().manual_seed(seed)
        query = torch.randn(dim, generator=generator, dtype=torch.float64)
        bound = (6 / (dim + dim)) ** 0.5
        key = (2 * torch.rand(dim, dim, generator=generator, dtype=torch.float64) - 1) * bound
        return Pooler(name, (key.T @ query / dim**0.5).float().numpy(), False, seed)
    return Pooler(name)


def token_weights(pooler: Pooler, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Weight of each token, (batch, tokens) float32, up to a factor per row; padding weighs 0.

    A pooling without such weights (``max``) is refused with ValueError.
    """
    weights = POOLINGS[pooler.name].weights
    if weights is None:
        raise ValueError(f"{pooler.name} pooling has no token weights")
    known = None if pooler.parameter is None else torch.as_tensor(pooler.parameter, dtype=torch.float32)
    return weights(states, mask, None if known is None else known.to(states.device))


def pool(states: torch.Tensor, mask: torch.Tensor, poolers: Sequence[Pooler]) -> list[torch.Tensor]:
    """Pool one layer's token states in every requested way at once.

    Parameters
    ----------
    states : Tensor of shape (batch, tokens, dim), any float type
        What stands at padded positions is never read.
    mask : bool Tensor of shape (batch, tokens)
        True at real tokens; every row has at least one.
    poolers : sequence of Pooler

    Returns
    -------
    list of Tensor of shape (batch, dim), float32; under a head of its width
        In the order of ``poolers``.
    """
    vectors = {i: p.head(states, mask, p.skip) for i, p in enumerate(poolers) if p.head is not None}
    states = states.float()
    if not bool(mask.all()):
        states = states.masked_fill(~mask[..., None], 0.0)
    kinds = [POOLINGS[pooler.name] for pooler in poolers]
    linear = [i for i, kind in enumerate(kinds) if kind.weights is not None and i not in vectors]
    if linear:
        weights = torch.stack([token_weights(poolers[i], states, mask) for i in linear], 1)
        sums = torch.bmm(weights, states) / weights.sum(2, keepdim=True)
        vectors |= zip(linear, sums.unbind(1), strict=True)
    for i, kind in enumerate(kinds):
        if kind.vectors is not None:
            vectors[i] = kind.vectors(states, mask).float()
    return [vectors[i] for i in range(len(poolers))]
