"""What a run writes next to its weights: run.json and metrics.jsonl."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from geomprobe.common import (
    InputError,
    UsageError,
    check_output_folder,
    processor_name,
    read_json,
    write_json,
)
from geomprobe.pretrain.budget import read_run
from geomprobe.pretrain.config import PretrainConfig, unread_settings
from geomprobe.pretrain.corpus import Corpus

# These may differ between a run and its resumption: they change no weight.
_FREE = {
    "out",
    "save_every",
    "keep",
    "checkpoint_every",
    "log_every",
    "eval_every",
    "eval_rows",
    "monitor_every",
    "device",
}
# Defaults of earlier versions: what a run was trained with whose run.json does not name them.
EARLIER = {
    "structure": "context", "span_length": 0, "target_layers": 1, "target_norm": "layer", "jepa_loss": "cosine",
    "sentence_weight": 0.0, "variance_weight": 0.0, "ema_half_life": 0.0, "balance": "learned", "optimizer": "adamw",
}  # fmt: skip


def refuse_other_run(out: Path, config: PretrainConfig, resume: bool) -> None:
    """Raise UsageError where ``out`` holds a run that this one would overwrite or contradict."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Choose a folder with --out")
    check_output_folder(out)
    if not (out / "run.json").is_file():
        if out.is_dir() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty.", "Choose another folder with --out")
        return
    if not resume:
        hint = "Go on with it by --resume, or choose another folder with --out"
        raise UsageError(f"{out} already holds a run.", hint)
    parts = ("*.*", "1_Pooling/*.*", "ema/*.*", "ema/1_Pooling/*.*")
    for path in sorted(path for part in parts for path in out.glob(part)):
        if path.is_dir() and not path.name.startswith("."):
            what = f"{path} is a folder; a run writes a file of this name."
            raise InputError(what, "Move it away, then repeat the command.")
    if changed := other_settings(out, config):
        what = f"{out} was started with other settings: {', '.join(f'{key}={was}' for key, was in changed.items())}."
        raise UsageError(what, "Resume with the same settings, or choose another --out")


def other_settings(out: Path, config: PretrainConfig) -> dict[str, Any]:
    """Settings of the run in ``out`` by which it is another run than that of ``config``."""
    before, now = EARLIER | read_run(out)["config"], asdict(config)
    free = _FREE | unread_settings(now).keys()
    return {key: before[key] for key, value in now.items() if key not in free and before.get(key, value) != value}


def refuse_other_texts(out: Path, corpus: Corpus) -> None:
    """Raise UsageError where the run in ``out`` was started on other texts than these."""
    before = read_run(out)["corpus"]
    if before["fingerprint"] != corpus.info["fingerprint"]:
        what = f"{out} was started on other texts: {before.get('source')} has changed since."
        raise UsageError(what, "Bring the texts back to what they were, or choose another --out")


def start_run(
    out: Path, config: PretrainConfig, corpus: Corpus, steps: int, flops: dict[str, float], facts: dict[str, Any]
) -> None:
    """Write run.json before the first step."""
    run = {
        "config": asdict(config),
        "seed": config.seed,
        "steps": steps,
        "tokens": steps * config.step_tokens,
        "flops": steps * flops["total"],
        "flops_per_step": flops,
        **facts,
        "corpus": {key: value for key, value in corpus.info.items() if key != "chunks"},
        "versions": versions(),
        "hardware": hardware(config.device),
        "git_revision": git_revision(),
        "finished": False,
    }
    if config.match:
        run["match"] = {"run": config.match, "by": config.match_by} | shared(run, read_run(config.match))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "run.json", run)


def finish_run(out: Path, last: dict[str, Any]) -> None:
    """Mark a run as finished and keep its last record."""
    write_json(out / "run.json", read_json(out / "run.json") | {"finished": True, "final": last})


def shared(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """What two runs share: steps, tokens and FLOPs (within 1 %), the corpus, the seed, the encoder."""
    model = ("layers", "hidden", "heads", "intermediate", "row_length")
    equal = {key: abs(a[key] - b[key]) <= 0.01 * max(a[key], b[key]) for key in ("steps", "tokens", "flops")}
    return equal | {
        "flops_ratio": a["flops"] / b["flops"],
        "corpus": a["corpus"]["fingerprint"] == b["corpus"]["fingerprint"],
        "seed": a["seed"] == b["seed"],
        "encoder": all(a["config"][key] == b["config"][key] for key in model),
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("geomprobe", "torch", "transformers", "tokenizers", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def hardware(device: str) -> dict[str, Any]:
    """Device in words."""
    return {
        "device": device,
        "name": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": sys.platform,
    }


def git_revision() -> str | None:
    """Commit of the checkout that this code runs from, with "-dirty" where its files were changed.

    None for an installed package, also one inside a repository of the user's.
    """
    here = Path(__file__)
    git = partial(subprocess.run, capture_output=True, text=True, check=True, timeout=5, cwd=here.parent)
    try:
        git(["git", "ls-files", "--error-unmatch", here.name])  # only where this very file is tracked
        described = git(["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
