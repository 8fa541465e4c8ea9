"""What a run costs and how long it lasts: FLOPs counted by component, budgets, and runs matched to other runs.

A FLOP is one multiplication or one addition in a matrix product, attention included; element-wise work is left out, as
in torch's FlopCounterMode. The backward pass of a trained component costs twice its forward pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from geomprobe.common import InputError, UsageError, read_json, refuse_beyond_memory
from geomprobe.pretrain.config import MATCHED, PretrainConfig
from geomprobe.pretrain.masking import block_sizes
from geomprobe.pretrain.objectives import objective_class

_BUDGET = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)([kKmMgGbB]?)-(tokens|steps|minutes|flops)")
_MOST = {"tokens": 1e16, "steps": 1e10, "minutes": 1e7, "flops": 1e28}  # beyond what any run was given
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}


def step_flops(config: PretrainConfig, vocab_size: int, block: int | None = None) -> dict[str, float]:
    """FLOPs of one optimizer step by component of the objective (`Objective.flops`), and their total.

    Parameters
    ----------
    block : int, optional
        Length T of a target block; by default the mean over the four lengths that are drawn.
    """
    objective = objective_class(config.objective)
    drawn = objective.reads_blocks(config) and config.masks != "paper" and not config.span_length
    if drawn and block is None:
        each = [step_flops(config, vocab_size, size) for size in block_sizes(config.row_length)]
        return {name: sum(flops[name] for flops in each) / len(each) for name in each[0]}
    parts = objective.flops(config, vocab_size, block)
    return parts | {"total": sum(parts.values())}


def check_budget(config: PretrainConfig) -> tuple[float, str]:
    """A budget as (amount, unit), unit one of tokens, steps, minutes, flops.

    Raises
    ------
    UsageError
        The text is no budget.
    """
    match = _BUDGET.fullmatch(config.budget)
    if not match or not 0 < (amount := float(match[1]) * _UNITS[match[2].lower()]) < math.inf:
        hint = "Write for example 50M-tokens, 2000-steps, 30-minutes or 1e17-flops"
        raise UsageError(f"{config.budget!r} is no budget.", hint)
    if amount > _MOST[match[3]]:
        raise UsageError(f"The budget {config.budget} is over {_MOST[match[3]]:g} {match[3]}.", "Give a smaller one.")
    return amount, match[3]


def plan_steps(config: PretrainConfig, vocab_size: int, seconds_per_step: Callable[[], float]) -> int:
    """Number of optimizer steps that the budget, or the run to match, comes to.

    Parameters
    ----------
    seconds_per_step : callable
        Measures the speed; called for a budget in minutes only, and from then on the run is an ordinary run of N steps.

    Raises
    ------
    UsageError
        The budget does not pay for one step.
    InputError
        The run to match has no run.json.
    """
    tokens = config.step_tokens
    amount, unit = check_budget(config)
    if config.match:
        run = read_run(config.match)
        amount, unit = run[config.match_by], config.match_by
    if unit == "minutes":
        steps = 60 * amount / seconds_per_step()
    else:
        steps = amount / {"tokens": tokens, "steps": 1, "flops": step_flops(config, vocab_size)["total"]}[unit]
    if config.match and steps >= 0.5:
        return max(1, round(steps))
    if steps < 1:
        raise UsageError(f"The budget of {amount:g} {unit} is less than one step of {tokens:,} tokens.")
    return math.ceil(steps)


def refuse_beyond_device(config: PretrainConfig, world: int) -> None:
    """Raise InputError where a run needs more memory than its device has, counted from below: embeddings left out.

    A weight needs 16 bytes (itself, its gradient and two moments), one of a copy without a gradient 4; of each layer's
    states only the output is counted, in 2 bytes.
    """
    d = config.hidden
    weights = config.layers * (4 * d * d + 3 * d * config.intermediate)
    rows = config.batch_rows // config.accumulation // world
    states = 2 * rows * config.row_length * d * config.layers
    needed = (16 + 4 * objective_class(config.objective).copies) * weights + states
    there = torch.cuda.get_device_properties(0).total_memory if config.device == "cuda" else None
    hint = "Lower --set layers, hidden or intermediate; for the rows, raise accumulation."
    refuse_beyond_memory(needed, "The weights, the optimizer and a batch", hint, there)


def read_run(folder: str | Path) -> dict[str, Any]:
    """The run.json of a checkpoint folder.

    Raises
    ------
    InputError
        There is none, it is of another command, or its numbers contradict each other.
    """
    path = Path(folder) / "run.json"
    run = read_json(path, finite=True) if path.is_file() else {}
    # the folders of other commands have a run.json of their own
    parts = ("flops_per_step", "corpus", "config")
    if not isinstance(run, dict) or not all(isinstance(run.get(key), dict) for key in parts):
        raise InputError(
            f"{folder} holds no run of geomprobe pretrain.", "Give a checkpoint folder that has a run.json."
        )
    try:
        sound = (
            all(type(run[key]) in (int, float) for key in MATCHED)
            and run["steps"] >= 1
            and run["tokens"] == run["steps"] * run["config"]["batch_rows"] * run["config"]["row_length"]
            and math.isclose(run["flops"], run["steps"] * run["flops_per_step"]["total"], rel_tol=1e-6)
            and 0 < run["flops"] < math.inf
            and isinstance(run["corpus"]["fingerprint"], str)
            and {"layers", "hidden", "heads", "intermediate"} <= run["config"].keys()
            and "seed" in run
        )
    except (KeyError, TypeError, OverflowError):
        sound = False
    if not sound:
        raise InputError(f"{path} is damaged: its steps, tokens and FLOPs do not fit its settings.", "Train anew.")
    return run
