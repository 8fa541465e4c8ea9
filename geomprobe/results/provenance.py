"""What a results folder says of where its numbers come from: versions, hardware, command, training, public paths."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import geomprobe
from geomprobe.common import InputError, processor_name, read_json
from geomprobe.results.schema import check_run

PACKAGES = ("torch", "transformers", "tokenizers", "sentence-transformers", "numpy", "scipy", "scikit-learn", "pandas")


def environment() -> dict[str, Any]:
    """Creation time (UTC, ISO 8601), package versions and hardware."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "geomprobe_version": geomprobe.__version__,
        "versions": versions,
        "hardware": hardware(),
    }


def hardware() -> dict[str, Any]:
    """Processor, core count and accelerators."""
    import torch

    parts: dict[str, Any] = {"processor": processor_name(), "cores": os.cpu_count(), "system": platform.system()}
    if torch.cuda.is_available():
        parts["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return parts


def public_path(path: str | Path, data_dir: str | Path | None = None) -> str:
    """A path as it may be published: relative to --data or to the working folder, else its name alone."""
    path = Path(path).expanduser().resolve()
    if data_dir is not None and path.is_relative_to(root := Path(data_dir).resolve()):
        return str(Path("$GEOMPROBE_DATA") / path.relative_to(root))
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return path.name


def command_line(data_dir: str | Path | None = None) -> str:
    """Command that is running, with paths made public."""
    words = ["geomprobe" if Path(sys.argv[0]).name.startswith(("geomprobe", "__main__")) else Path(sys.argv[0]).name]
    for word in sys.argv[1:]:
        parts = re.split("([=,])", word)  # NAME=MODEL,MODEL and --option=VALUE hold paths, too
        words.append("".join(public_path(p, data_dir) if p.startswith(("/", "~", "../")) else p for p in parts))
    if data_dir is not None and "--data" not in (word.partition("=")[0] for word in words):
        words += ["--data", "$GEOMPROBE_DATA"]  # given by the environment
    # the variable stays one: in double quotes the shell fills it in
    return " ".join(f'"{word}"' if "$GEOMPROBE_DATA" in word else shlex.quote(word) for word in words)


@dataclass(frozen=True)
class TrainingRun:
    """What run.json and the log of a checkpoint folder say of its training.

    Attributes
    ----------
    entry : dict
        The keys "objective" and "training" of a `ModelEntry`; None where nothing is known.
    log : list of dict
        The records of metrics.jsonl.
    notes : list of str
        What a reader of the results has to know.
    """

    entry: dict[str, Any]
    log: list[dict[str, Any]]
    notes: list[str]


def training_run(folder: str | Path | None) -> TrainingRun:
    """What a checkpoint folder says of its training; None stands for a model without a folder.

    A file of another program, or a damaged one, is said in a note: its weights are measured all the same.
    """
    unknown: dict[str, Any] = {"objective": None, "training": None}
    if folder is None or not (Path(folder) / "run.json").is_file():
        return TrainingRun(unknown, [], [])
    try:
        run, log = read_json(Path(folder) / "run.json"), list(_records(Path(folder) / "metrics.jsonl"))
        last = log[-1] if log else {}
        training = {"steps": last.get("step"), "tokens": last.get("tokens"), "flops": last.get("flops")}
        training |= {"seed": run.get("seed"), "finished": run.get("finished")}
        training |= {f"corpus_{key}": run["corpus"].get(key) for key in ("fingerprint", "unigram_entropy")}
        entry = {"objective": run["config"].get("objective"), "training": training}
        check_run({"models": [{"name": "", **entry}]})
    except (InputError, OSError, KeyError, TypeError, AttributeError):
        note = "what its run.json and log say of its training is not understood"
        return TrainingRun(unknown, [], [note])
    return TrainingRun(entry, log, [] if run.get("finished") else ["training had not finished"])


def _records(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a training log; a line that a killed process left half written is passed over."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
