"""Running a model: in silence, without dropout, and so that it stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from geomprobe.common import InputError
from geomprobe.common.silence import quiet

_TABLES = ("_modules", "_parameters", "_buffers")


def forward(model: nn.Module, inputs: dict[str, Any]) -> tuple[Any, bool]:
    """A model's output, and whether the pass changed the model, which is undone, or drew random numbers.

    Some models change themselves for good: BigBird exchanges its attention layers on a text that is short for them, and
    rotary positions grow with the longest text. Without this, the states of a text would depend on the texts before it.

    Raises
    ------
    InputError
        The model draws random numbers and gives other states each time it runs.
    """
    before = [(module, _snapshot(module)) for module in model.modules()]
    generator = _generator(inputs["input_ids"].device)
    drawn = generator.get_state()
    try:
        with torch.inference_mode(), quiet():  # BigBird warns of every short text
            output = model(**inputs)
            random = not torch.equal(generator.get_state(), drawn)
            if random:
                again = model(**inputs)
                generator.set_state(drawn)
                if not torch.allclose(output.last_hidden_state, again.last_hidden_state, rtol=1e-3, atol=1e-4):
                    raise InputError(
                        f"{type(model).__name__} draws random numbers: its states differ from run to run.",
                        "Fix its seed in config.json, such as hash_seed of Reformer.",
                    )
    finally:
        changed = [_restore(module, snapshot) for module, snapshot in before]
    return output, random or any(changed)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block, and restore each module's mode after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _generator(device: torch.device) -> torch.Generator:
    """Source of random numbers that a model on a device draws from."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


def _snapshot(module: nn.Module) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """A module's public attributes and its tables: where they are kept, and what is kept there.

    Names with an underscore are bookkeeping, such as hooks, and so is `forward`, which transformers 5.1 wraps for the
    time of a pass.
    """
    public = {name: value for name, value in module.__dict__.items() if name[0] != "_" and name != "forward"}
    tables = [module.__dict__[name] for name in _TABLES]
    return [(module.__dict__, public), *((table, dict(table)) for table in tables)]


def _restore(module: nn.Module, snapshot: list[tuple[dict[str, Any], dict[str, Any]]]) -> bool:
    """Give a module its attributes and tables back; return whether one of them had become another object."""
    changed = False
    for (_, old), (place, new) in zip(snapshot, _snapshot(module), strict=True):
        if old.keys() != new.keys() or any(new[name] is not value for name, value in old.items()):
            for name in new.keys() - old.keys():
                del place[name]
            place.update(old)
            changed = True
    return changed
