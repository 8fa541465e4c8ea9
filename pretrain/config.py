"""One typed description of a pretraining run: presets, overrides, and refusal of whatever is unknown."""

from __future__ import annotations

import json
import math
import os
import sys
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from geomprobe.common import UsageError, first_line, unknown_name

PRESETS = Path(__file__).parent / "presets"
OBJECTIVES = Path(__file__).parent / "objectives"
CONTINUED_LR = 5e-5
"""Learning rate of a run that continues from a model, where none is given: a preset's would undo its training."""
OF_THE_MODEL = ("layers", "hidden", "heads", "intermediate", "max_length", "tied_head", "init_std", "tokenizer")
"""What such a model brings with it."""
OF_JEPA = (
    "structure", "masks", "context_fraction", "span_length", "target_layers", "target_norm", "jepa_loss",
    "sentence_weight", "variance_weight", "ema_half_life", "ema_start", "ema_end", "balance", "jepa_weight",
)  # fmt: skip
"""What describes a JEPA; MLM reads none of it."""
OF_PREDICTOR = ("predictor_layers", "predictor_hidden", "predictor_heads")
"""What a pass over the context predicts with; a student has a head of fixed form."""
MATCHED = ("flops", "tokens", "steps")
"""What a run can be matched by."""


def among(*names: str) -> Any:
    """A field that has one of these values, by default the first."""
    return field(default=names[0], metadata={"among": names})


def number(default: float, most: float | None = None, *, zero: bool = False) -> Any:
    """A field above 0, or from 0 on; what is above `most` is a slip of the finger, beyond what any machine trains."""
    widest = 2**63 - 1 if isinstance(default, int) else math.inf
    return field(default=default, metadata={"most": most or widest, "zero": zero})


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome of a run, and where it is written.

    Sizes are in tokens unless said otherwise. A preset sets the model and its optimisation; flags and ``--set``
    override it.
    """

    preset: str = "small"
    objective: str = "hybrid"
    corpus: str = "wikimedia/wikipedia"
    start_from: str = ""  # folder or hub id of a masked language model to continue from; "" draws new weights
    tokenizer: str = ""  # "" takes train:8192 for docstrings and bert-base-uncased for all else
    documents: str = among("auto", "lines", "paragraphs", "files")  # what a document of a .txt file is
    text: str = "text"  # column or key of the texts
    limit_tokens: int = number(0, zero=True)  # tokens of the corpus to prepare; 0 takes all of it
    out: str = ""  # "" is runs/pretrain/<objective>
    seed: int = number(0, 1 << 62, zero=True)  # what is derived from it fits into 64 bits, too
    device: str = among("auto", "cpu", "cuda", "mps")
    precision: str = among("auto", "bf16", "fp32")
    compile: str = among("auto", "yes", "no")

    # encoder
    layers: int = number(4, 1 << 12)
    hidden: int = number(256, 1 << 17)
    heads: int = number(4, 1 << 12)
    intermediate: int = number(512, 1 << 17)  # width of each half of the gated MLP
    max_length: int = number(512, 1 << 22)
    tied_head: bool = True
    init_std: float = number(0.02)
    # predictor
    predictor_layers: int = number(2, 1 << 12)
    predictor_hidden: int = number(128, 1 << 17)
    predictor_heads: int = number(4, 1 << 12)

    # data
    row_length: int = number(128, 1 << 22)
    batch_rows: int = number(32, 1 << 22)  # rows in one optimizer step, over all ranks and accumulation steps
    accumulation: int = number(1, 1 << 22)

    # objective
    mask_fraction: float = 0.15
    context_fraction: float = 0.75
    masks: str = among("disjoint", "paper")
    rows: str = among("full", "padded")  # padded: one document each, as in the paper
    balance: str = among("fixed", "learned", "ramp", "uncertainty", "gradnorm")
    jepa_weight: float = 0.5  # λ of `fixed`, and where `ramp` ends
    structure: str = among("student", "context")  # mask tokens and a head; a pass over the context and a predictor
    span_length: int = number(0, 1 << 12, zero=True)  # of scattered targets; 0: single masked tokens, or two blocks
    target_layers: int = number(2, 1 << 12)  # last layers of the target encoder whose mean is the target
    target_norm: str = among("instance", "layer")
    jepa_loss: str = among("smooth-l1", "cosine")
    sentence_weight: float = number(0.0, zero=True)  # of the contrast of whole rows
    variance_weight: float = number(0.0, zero=True)  # of VICReg's variance and covariance terms
    ema_half_life: float = 0.02  # of the target encoder, as a share of the run; 0: from ema_start to ema_end
    ema_start: float = 0.996
    ema_end: float = 1.0

    # optimisation
    budget: str = "2000-steps"  # tokens, steps, minutes or flops
    match: str = ""  # a checkpoint folder whose budget is taken over instead
    match_by: str = among(*MATCHED)
    optimizer: str = among("adamw", "muon")  # muon: for matrices but embeddings and decoder, AdamW for the rest
    lr: float = number(1e-3)
    warmup_steps: int = number(100, zero=True)
    schedule: str = among("linear", "cosine")  # both to 10 % of the peak
    weight_decay: float = number(0.05, zero=True)
    beta1: float = 0.9
    beta2: float = 0.98
    clip: float = number(1.0)

    # habits
    save_every: str = "500"  # steps, or minutes as in 10m
    keep: int = number(2)
    checkpoint_every: int = number(0, zero=True)  # steps; the encoder as checkpoint-N, for `geomprobe track`; 0: none
    log_every: int = number(20)
    eval_every: int = number(500)
    eval_rows: int = number(256, 1 << 22)
    monitor_every: int = number(100)

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return Path(self.out or f"runs/pretrain/{self.objective}")

    @property
    def step_tokens(self) -> int:
        """Tokens of one optimizer step."""
        return self.batch_rows * self.row_length


def unread_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Settings that a run of this configuration does not read, each with the setting that makes it so."""
    if config["objective"] == "mlm":
        return dict.fromkeys((*OF_JEPA, *OF_PREDICTOR), "objective=mlm")

    def where(key: str, *unread: str) -> dict[str, str]:
        return dict.fromkeys(unread, f"{key}={config[key]}")

    found = where("ema_half_life", "ema_start", "ema_end") if config["ema_half_life"] else {}
    if config["structure"] == "student":
        found |= where("structure", "masks", "context_fraction", *OF_PREDICTOR)
    elif config["masks"] == "paper":
        found |= where("masks", "context_fraction")
    elif config["span_length"]:
        found |= where("span_length", "context_fraction")
    if config["objective"] == "jepa":
        found |= where("objective", "balance", "jepa_weight")
        found |= where("structure", "mask_fraction") if config["structure"] == "context" else {}
    elif config["balance"] not in ("fixed", "ramp"):
        found |= where("balance", "jepa_weight")
    return found


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
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    if given.get("start_from"):
        values["lr"] = CONTINUED_LR
    values |= {"preset": path.stem} | given
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item!r} has no value.", "Write --set key=value, for example --set lr=0.002")
        values[key.strip()] = given[key.strip()] = text.strip()
    if values.get("start_from") and (own := [key for key in OF_THE_MODEL if given.get(key)]):
        raise UsageError(f"--from brings its own {own[0]}.", f"Leave {own[0]} out.")
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


def _coerce(key: str, value: Any, kind: type) -> Any:
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
        example = str(getattr(PretrainConfig(), key)).lower() or "name"
        raise UsageError(f"{key} must be {kind.__name__}.", f"For example --set {key}={example}")
    return value


def _check(config: PretrainConfig) -> None:
    """Raise UsageError for values that no run can have."""
    if config.objective not in objective_names():
        raise unknown_name("objective", config.objective, objective_names())
    for each in fields(config):
        key, value, rule = each.name, getattr(config, each.name), each.metadata
        if "among" in rule and value not in rule["among"]:
            raise unknown_name(key, value, list(rule["among"]))
        if "most" in rule and not (value >= 0 if rule["zero"] else value > 0):
            raise UsageError(f"{key} must {'not be negative' if rule['zero'] else 'be above 0'}: {value}.")
        if "most" in rule and value > rule["most"]:
            raise UsageError(f"{key} must be at most {rule['most']}, not {str(value)[:20]}.")
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
        "span_length must fit into a row": config.span_length <= config.row_length // 4,
        "sentence_weight needs two rows or more in a micro-batch": not config.sentence_weight
        or config.batch_rows // config.accumulation > 1,
        "ema_half_life must lie between 0 and 1": 0 <= config.ema_half_life <= 1,
        "sentence_weight and variance_weight need structure=student": config.structure == "student"
        or not (config.sentence_weight or config.variance_weight),
        "masks=paper needs structure=context and span_length=0": config.masks != "paper"
        or config.objective == "mlm"
        or (config.structure == "context" and not config.span_length),
        "ema_start and ema_end must lie between 0 and 1": 0 <= config.ema_start <= 1 and 0 <= config.ema_end <= 1,
        "beta1 and beta2 must lie between 0 and 1, without 1": 0 <= config.beta1 < 1 and 0 <= config.beta2 < 1,
    }
    for requirement, holds in rules.items():
        if not holds:
            raise UsageError(f"{requirement}.")
    if not config.start_from:  # what is continued has layers of its own
        check_target_layers(config, config.layers)


def check_target_layers(config: PretrainConfig, layers: int) -> None:
    """Raise UsageError where a target would be the mean of more layers than there are."""
    if config.objective != "mlm" and config.target_layers > layers:
        what = f"target_layers is {config.target_layers}, and the encoder has {layers} layer{'s' * (layers > 1)}."
        raise UsageError(what, f"--set target_layers={layers}")
