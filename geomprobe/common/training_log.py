"""A training log and what its lines hold: trainings write them, reports and replications read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geomprobe.common.files import finite_number, write_text
from geomprobe.common.text import clean, words

CLOCKS = ("step", "steps", "tokens", "flops", "eta_s", "time", "wall_seconds", "epoch", "seconds")
"""Keys that say when a line was written, also by other trainers."""
SKILL_SPANS = (1, 2, 4, 8, 16)
"""Lengths in tokens of the spans at which `geomprobe pretrain` measures the skill of JEPA."""
QUANTITIES = {
    "loss": "loss",
    "held_out_mlm": "held-out MLM loss",
    "held_out_jepa": "held-out JEPA loss",
    "mlm": "MLM loss",
    "jepa": "JEPA loss",
    "lambda": "λ (weight of JEPA)",
    "uniformity_raw": "uniformity, raw",
    "uniformity_centred": "uniformity, centred",
    "effective_rank_centred": "effective rank, centred",
    "mean_cosine_raw": "mean cosine, raw",
    "skill_context": "JEPA skill",
    "encoder_rank": "effective rank of token states",
    "encoder_top_share": "share of the first direction",
    "mean_cosine": "mean cosine of texts",
    "target_std": "spread of JEPA targets",
    "prediction_std": "spread of JEPA predictions",
    "lr": "learning rate",
    "tokens_per_s": "tokens per second",
    "grad_norm": "gradient norm",
    "gradient_mlm": "gradient norm, MLM",
    "gradient_jepa": "gradient norm, JEPA",
    "ema_distance": "distance to the target encoder",
    "skill_mean": "JEPA skill over the mean",
    "skill_position": "JEPA skill over the position",
    **{f"skill_span_{n}": f"JEPA skill, spans of {n}" for n in SKILL_SPANS},
    "uniformity_jensen_raw": "Jensen bound, raw",
    "uniformity_jensen_centred": "Jensen bound, centred",
    "effective_rank_raw": "effective rank, raw",
    "mean_cosine_centred": "mean cosine, centred",
    "unigram_entropy": "entropy of the corpus's tokens",
    "data_wait": "share of time waiting for data",
    "peak_memory_gb": "peak memory (GB)",
}
"""Label of each quantity that `geomprobe pretrain` logs, in the order in which they are shown."""


def label(key: str) -> str:
    """A logged quantity in words; of another trainer's, its key as words."""
    return QUANTITIES.get(key) or words(clean(key, 40))


def in_order(keys: set[str]) -> list[str]:
    """Quantities among the keys of a log in the order in which they are shown; others follow by name."""
    place = {key: i for i, key in enumerate(QUANTITIES)}
    return sorted(keys - set(CLOCKS), key=lambda key: (place.get(key, len(place)), key))


class TrainingLog:
    """A JSON object a line, one for each logged step; on resume the lines past the state's step are dropped."""

    def __init__(self, path: Path, step: int, write: bool = True):
        self.path = path if write else None
        self.kept: list[dict[str, Any]] = []
        texts = []
        if step and path.is_file():
            for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
                record = _whole(text)
                if record is not None and record["step"] <= step:
                    texts.append(text)
                    self.kept.append(record)
        self.last = self.kept[-1] if self.kept else {"step": step}
        if write:
            write_text(path, "".join(f"{text}\n" for text in texts))

    def write(self, line: dict[str, Any]) -> None:
        """Append one record."""
        self.last = line
        if self.path:
            with open(self.path, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(line, allow_nan=False) + "\n")


def _whole(text: str) -> dict[str, Any] | None:
    """Record of a line; None of half a line, which a killed process can leave, and of what no log holds.

    Whole ones are objects with a step, whose values are finite numbers, null where unknown, or objects and lists.
    """
    try:
        record = json.loads(text, parse_float=finite_number, parse_constant=finite_number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    return None if any(isinstance(value, str) for value in record.values()) else record
