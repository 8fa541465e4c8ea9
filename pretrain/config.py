"""One typed description of a pretraining run: presets, overrides, and refusal of whatever is unknown."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomprobe.common import UsageError, first_line, unknown_name

PRESETS = Path(__file__).parent / "presets"
OBJECTIVES = Path(__file__).parent / "objectives"
CHOICES = {
    "documents": ("auto", "lines", "paragraphs", "files"),
    "balance": ("learned", "fixed", "ramp", "uncertainty", "gradnorm"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("auto", "bf16", "fp32"),
    "compile": ("auto", "yes", "no"),
    "schedule": ("linear", "cosine"),
    "masks": ("disjoint", "paper"),
    "rows": ("full", "padded"),
    "match_by": ("flops", "tokens", "steps"),
}
SIZES = ("layers", "hidden", "heads", "intermediate", "predictor_layers", "predictor_hidden", "predictor_heads")
EVERY = ("keep", "log_every", "eval_every", "eval_rows", "monitor_every")
POSITIVE = (*SIZES, "batch_rows", "accumulation", "lr", "clip", "init_std", *EVERY)
# Beyond what any machine trains; a slip of the finger is refused before any work.
MOST = dict.fromkeys(("hidden", "intermediate", "predictor_hidden"), 1 << 17)
MOST |= dict.fromkeys(("layers", "heads", "predictor_layers", "predictor_heads"), 1 << 12)
MOST["seed"] = 1 << 62  # what is derived from it fits into 64 bits, too
MOST |= dict.fromkeys(("max_length", "row_length", "batch_rows", "accumulation", "eval_rows"), 1 << 22)


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome of a run, and where it is written.

    Sizes are in tokens unless said otherwise. A preset sets the model and its optimisation; flags and ``--set``
    override it.
    """

    preset: str = "small"
    objective: str = "hybrid"
    corpus: str = "wikimedia/wikipedia"
    tokenizer: str = ""  # "" takes train:8192 for docstrings and bert-base-uncased for all else
    documents: str = "auto"  # what a document of a .txt file is: lines | paragraphs | files | auto
    text: str = "text"  # column or key of the texts
    limit_tokens: int = 0  # tokens of the corpus to prepare; 0 takes all of it
    out: str = ""  # "" is runs/pretrain/<objective>
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"  # auto | bf16 | fp32
    compile: str = "auto"  # auto | yes | no

    # encoder
    layers: int = 4
    hidden: int = 256
    heads: int = 4
    intermediate: int = 512  # width of each half of the gated MLP
    max_length: int = 512
    tied_head: bool = True
    init_std: float = 0.02
    # predictor
    predictor_layers: int = 2
    predictor_hidden: int = 128
    predictor_heads: int = 4

    # data
    row_length: int = 128
    batch_rows: int = 32  # rows in one optimizer step, over all ranks and accumulation steps
    accumulation: int = 1

    # objective
    mask_fraction: float = 0.15
    context_fraction: float = 0.75
    masks: str = "disjoint"  # disjoint | paper
    rows: str = "full"  # full | padded (one document each, as in the paper)
    balance: str = "learned"
    jepa_weight: float = 0.5  # λ of `fixed`, and where `ramp` ends
    ema_start: float = 0.996
    ema_end: float = 1.0

    # optimisation
    budget: str = "2000-steps"  # tokens, steps, minutes or flops
    match: str = ""  # a checkpoint folder whose budget is taken over instead
    match_by: str = "flops"  # flops | tokens | steps
    lr: float = 1e-3
    warmup_steps: int = 100
    schedule: str = "linear"  # linear | cosine, both to 10 % of the peak
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.98
    clip: float = 1.0

    # habits
    save_every: str = "500"  # steps, or minutes as in 10m
    keep: int = 2
    log_every: int = 20
    eval_every: int = 500
    eval_rows: int = 256
    monitor_every: int = 100

    @property
    def step_tokens(self) -> int:
        """Tokens of one optimizer step."""
        return self.batch_rows * self.row_length


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def objective_names() -> list[str]:
    """Names of the objectives: the files of `objectives/`."""
    return sorted(path.stem for path in OBJECTIVES.glob("*.py") if path.stem not in ("__init__", "base"))


def load_config(
    preset: str = "small", flags: Mapping[str, Any] | None = None, overrides: Sequence[str] = ()
) -> PretrainConfig:
    """Configuration of a preset, overridden by flags and then by ``key=value`` strings.

    Parameters
    ----------
    preset : str
        Name of a preset, or the path of a TOML file with the same keys.
    flags : mapping, optional
        Field values; None means "not given".
    overrides : sequence of str
        ``key=value``; the value is parsed as the field's type.

    Raises
    ------
    UsageError
        Unknown preset, unknown key, a value of the wrong type or outside its range.
    """
    path = Path(preset) if preset.endswith(".toml") else PRESETS / f"{preset}.toml"
    if not os.path.isfile(path):  # False for a name that is too long
        raise unknown_name("preset", preset, preset_names())
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or nested too deeply
        raise UsageError(f"{path} is not valid TOML: {first_line(error)}") from None
    values |= {"preset": path.stem} | {key: value for key, value in (flags or {}).items() if value is not None}
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item!r} has no value.", "Write --set key=value, for example --set lr=0.002")
        values[key.strip()] = text.strip()
    return make_config(values)


def make_config(values: dict[str, Any]) -> PretrainConfig:
    """A checked configuration from plain values; text is parsed as the field's type."""
    kinds = typing.get_type_hints(PretrainConfig)
    for key in values:
        if key not in kinds:
            raise unknown_name("setting", key, list(kinds))
    config = PretrainConfig(**{key: _coerce(key, value, kinds[key]) for key, value in values.items()})
    _check(config)
    return config


def as_dict(config: PretrainConfig) -> dict[str, Any]:
    """Configuration as JSON-ready values."""
    return dataclasses.asdict(config)


def _coerce(key: str, value: Any, kind: type | types.UnionType) -> Any:
    """``value`` as ``kind``; an int passes for a float, nothing else is converted silently."""
    if isinstance(value, str) and kind is not str:
        try:
            value = json.loads(value.lower() if kind is bool else value.replace("_", ""))
        except (ValueError, RecursionError):
            value = None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= sys.float_info.max else math.inf  # refused below
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind is str and isinstance(value, int | float | Path) and not isinstance(value, bool):
        value = str(value)
    if type(value) is not kind or (isinstance(value, float) and math.isinf(value)):
        raise UsageError(
            f"{key} must be {getattr(kind, '__name__', kind)}.", f"For example --set {key}={_example(key)}"
        )
    return value


def _example(key: str) -> str:
    return str(getattr(PretrainConfig(), key)).lower() or "name"


def _check(config: PretrainConfig) -> None:
    """Raise UsageError for values that no run can have."""
    for key, known in {"objective": objective_names(), **CHOICES}.items():
        if getattr(config, key) not in known:
            raise unknown_name(key, getattr(config, key), list(known))
    for key in POSITIVE:
        if not getattr(config, key) > 0:
            raise UsageError(f"{key} must be above 0, not {getattr(config, key)}.")
    for key, kind in typing.get_type_hints(PretrainConfig).items():
        most = MOST.get(key, 2**63 - 1)
        if kind is int and getattr(config, key) > most:
            raise UsageError(f"{key} must be at most {most}, not {str(getattr(config, key))[:20]}.")
    rules = {
        "hidden must be a multiple of heads": config.hidden % config.heads == 0,
        "predictor_hidden must be a multiple of predictor_heads": config.predictor_hidden % config.predictor_heads == 0,
        "hidden / heads must be even": config.hidden // config.heads % 2 == 0,
        "predictor_hidden / predictor_heads must be even": config.predictor_hidden // config.predictor_heads % 2 == 0,
        "row_length must be at least 16": config.row_length >= 16,
        "row_length must not exceed max_length": config.row_length <= config.max_length,
        "batch_rows must be a multiple of accumulation": config.batch_rows % config.accumulation == 0,
        "mask_fraction must lie between 0 and 0.5": 0 < config.mask_fraction <= 0.5,
        "context_fraction must lie between 0 and 1": 0 < config.context_fraction <= 1,
        "jepa_weight must lie between 0 and 1": 0 <= config.jepa_weight <= 1,
        "ema_start and ema_end must lie between 0 and 1": 0 <= config.ema_start <= 1 and 0 <= config.ema_end <= 1,
        "seed must not be negative": config.seed >= 0,
        "limit_tokens must not be negative": config.limit_tokens >= 0,
        "warmup_steps must not be negative": config.warmup_steps >= 0,
        "weight_decay must not be negative": config.weight_decay >= 0,
        "beta1 and beta2 must lie between 0 and 1, without 1": 0 <= config.beta1 < 1 and 0 <= config.beta2 < 1,
    }
    for rule, holds in rules.items():
        if not holds:
            raise UsageError(f"{rule}.")
