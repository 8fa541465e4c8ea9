"""The layers of an encoder, and the poolings that each of them has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from numbers import Integral
from typing import Any

from geomprobe.common import InputError, UsageError
from geomprobe.embedding.pooling import Pooler, make_pooler
from geomprobe.encoders import Encoder
from geomprobe.encoders.weights import MEASURE

Cell = tuple[int, str]  # layer, pooling
OTHERS = "Other poolings (--pool mean) measure the token states of its transformer."


def check_layers(layers: Any) -> None:
    """Raise UsageError for what is neither "all" nor numbers of layers."""
    if isinstance(layers, str) and layers == "all":
        return
    numbers = list(layers) if isinstance(layers, Iterable) else []
    if not numbers or not all(isinstance(layer, Integral) for layer in numbers):
        raise UsageError(f'layers takes "all" or a list of numbers, not {layers!r}.', "[-1] is the last layer.")


def resolve_layers(encoder: Encoder, layers: Sequence[int] | str) -> list[int]:
    """Layer numbers between 0 and n_layers, without repeats; negative ones count from the last, "all" are all.

    Raises
    ------
    UsageError
        For a layer that the encoder does not have, and for what is no layer.
    """
    if isinstance(layers, list | tuple) and not layers:
        return []  # of a process that has none of the layers
    check_layers(layers)
    if isinstance(layers, str):
        return list(range(encoder.n_layers + 1))
    found = []
    for layer in layers:
        number = layer + encoder.n_layers + 1 if layer < 0 else layer
        if not 0 <= number <= encoder.n_layers:
            raise UsageError(
                f"{encoder.name} has no layer {layer}.",
                f"Layers are 0 (embedding output) to {encoder.n_layers}; -1 is the last.",
            )
        found.append(number)
    return list(dict.fromkeys(found))


def layer_widths(encoder: Encoder) -> list[int]:
    """Width of every layer's states; a few architectures have narrower embeddings."""
    with encoder.evaluating():
        states, _ = encoder.states([encoder.tokenize(["a"])[0][0]])
    return [int(layer.shape[-1]) for layer in states]


def has_cell(encoder: Encoder, layer: int, pooling: str) -> bool:
    """Whether a pooling exists at a layer (0 to n_layers): the model's own one does at the last layer only."""
    return pooling != "model" or layer == encoder.n_layers


def own_pooler(encoder: Encoder) -> Pooler:
    """Pooling of the model's own `encode`, for the prompt that the encoder puts before each text.

    Raises
    ------
    InputError
        It has a module that cannot be applied.
    """
    if encoder.refusal:
        reason = f"{encoder.name}: pooling 'model' cannot be applied: {encoder.refusal}."
        raise InputError(reason, f"{MEASURE}\n{OTHERS}")
    head = encoder.head
    if head is None:
        return Pooler("model")
    skip = 0 if head.include_prompt else encoder.prompt_length(encoder.prompt_under("model"))
    return Pooler("model", head=None if head.plain and not skip else head, skip=skip)


def make_cells(
    encoder: Encoder,
    poolings: Sequence[str],
    layers: Sequence[int],
    *,
    poolers: Mapping[Cell, Pooler] | None = None,
    seed: int = 0,
) -> dict[Cell, Pooler]:
    """Pooling of every (layer, pooling): the given one, else one at initialisation.

    Parameters
    ----------
    poolers : mapping of (layer, pooling) to Pooler, optional
        Trained poolings.
    seed : int
        Draws the attention pooling at initialisation.
    """
    widths = layer_widths(encoder)
    cells = {}
    wanted = resolve_layers(encoder, layers)
    for layer, name in product(wanted, dict.fromkeys(poolings)):
        given = (poolers or {}).get((layer, name))
        if has_cell(encoder, layer, name):
            own = own_pooler(encoder) if name == "model" else None
            cells[layer, name] = own or given or make_pooler(name, widths[layer], seed=seed)
        elif encoder.n_layers not in wanted:
            raise UsageError(
                f"The pooling 'model' belongs to the last layer; layer {layer} of {encoder.name} has none.",
                "Add the last layer (-1), or take another pooling.",
            )
    return cells
