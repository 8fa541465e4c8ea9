"""The training loop, readable from top to bottom; what it needs stands in the modules beside it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geomprobe.common import GeomprobeError, InputError, UsageError, read_json, write_json, write_text
from pretrain import checkpoint, masking
from pretrain.batches import row_indices
from pretrain.config import PretrainConfig, as_dict
from pretrain.corpus import Corpus, build_corpus
from pretrain.encoder import build_encoder, build_predictor
from pretrain.objectives import Batch, Objective

_EVAL_SEED = 2**32  # masks of the held-out rows: the same in every run, so that runs can be compared
_BUDGET = re.compile(r"([\d.]+(?:e[+-]?\d+)?)([kKmMgGbB]?)-(tokens|steps|minutes|flops)")
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}


def train(
    config: PretrainConfig,
    *,
    resume: bool = False,
    progress: Callable[[dict[str, Any]], None] | None = None,
    on_monitor: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> Path:
    """Pretrain an encoder and return its checkpoint folder.

    Parameters
    ----------
    config : PretrainConfig
    resume : bool
        Go on from the newest good state in the folder; start afresh where there is none.
    progress : callable, optional
        Gets every record of `metrics.jsonl`, and records with the keys stage, done, total while the corpus is prepared.
    on_monitor : callable, optional
        Called every ``monitor_every`` steps with step, the encoder and the held-out rows; what it returns is logged.

    Raises
    ------
    UsageError
        The folder holds another run, or the settings contradict each other.
    InputError
        The corpus or the state cannot be read.
    GeomprobeError
        A loss that is not finite; the last good state is kept.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the state is saved.
    """
    tell = progress or (lambda record: None)
    warn: Callable[[str], None] = lambda text: tell({"warning": text})  # noqa: E731
    out = Path(config.out or f"runs/pretrain/{config.objective}")
    corpus = prepare_corpus(config, tell)
    config = settle(replace(config, out=str(out)), corpus)
    _refuse_other_run(out, config, resume)
    checkpoint.remove_leftovers(out)
    steps = budget_steps(config)
    device = torch.device(config.device)

    objective = build_objective(config, corpus).to(device)
    optimizer = make_optimizer(config, objective, device)
    record = checkpoint.load_state(out, objective, optimizer, warn) if resume else None
    step = int(record["step"]) if record else 0
    if not record:
        _write_run(out, config, corpus, steps, objective)
    log = MetricsLog(out / "metrics.jsonl", step)
    forward = compiled(config, objective)
    started, seen = time.perf_counter(), 0
    sums: dict[str, torch.Tensor] = {}
    waited = 0.0
    save_steps, save_seconds = parse_save_every(config.save_every)
    last_save = time.perf_counter()

    with interruption() as interrupted:
        while step < steps:
            lr = learning_rate(config, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad(set_to_none=True)
            for part in range(config.accumulation):
                begun = time.perf_counter()
                batch = make_batch(config, corpus, step, part, device)
                waited += time.perf_counter() - begun
                with autocast(config, device):
                    losses = forward(batch, step / steps)
                (losses["loss"] / config.accumulation).backward()
                for name, value in losses.items():
                    value = value.detach() / config.accumulation
                    sums[name] = sums[name] + value if name in sums else value
            norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), config.clip)
            sums["grad_norm"] = sums.get("grad_norm", 0) + norm.detach()
            optimizer.step()
            objective.update_target(ema_decay(config, step, steps))
            step += 1
            seen += 1

            last = step == steps
            if step % config.log_every == 0 or last or interrupted():
                line = {"step": step, "steps": steps, "tokens": step * config.batch_rows * config.row_length, "lr": lr}
                line |= {name: float(value) / seen for name, value in sums.items()}
                _require_finite(line, out)
                seconds = time.perf_counter() - started
                line["tokens_per_s"] = round(seen * config.batch_rows * config.row_length / seconds, 1)
                line["data_wait"] = round(waited / seconds, 4)
                line["eta_s"] = round(seconds / seen * (steps - step), 1)
                if step % config.eval_every == 0 or last:
                    line |= held_out_loss(config, objective, corpus, device)
                log.write(line)
                tell(line)
                sums, seen, waited, started = {}, 0, 0.0, time.perf_counter()
            due = step % save_steps == 0 if save_steps else time.perf_counter() - last_save >= save_seconds
            if due or last or interrupted():
                begun = time.perf_counter()
                if all(math.isfinite(float(value)) for value in sums.values()):
                    checkpoint.save_state(
                        out,
                        step,
                        objective,
                        optimizer,
                        {"tokens": step * config.batch_rows * config.row_length},
                        config.keep,
                    )
                    checkpoint.export(out, objective, corpus)
                last_save = time.perf_counter()
                started += last_save - begun
                if interrupted() and not last:
                    raise KeyboardInterrupt(
                        f"Stopped at step {step} of {steps}; the state is saved. Go on with --resume."
                    )
    _finish_run(out, log)
    return out


# --- the pieces, in the order of their use -----------------------------------------------------------------------------


def prepare_corpus(config: PretrainConfig, tell: Callable[[dict[str, Any]], None]) -> Corpus:
    """Return the corpus of a run and check that it fills a batch."""
    report: Callable[[str, int, int], None] = lambda stage, done, total: tell(
        {"stage": stage, "done": done, "total": total}
    )  # noqa: E731
    corpus = build_corpus(config.corpus, config.tokenizer, limit_tokens=config.limit_tokens, progress=report)
    for split in ("train", "heldout"):
        if corpus.n_rows(split, config.row_length) == 0:
            name = "training" if split == "train" else "held-out"
            raise InputError(
                f"The corpus has too little {name} text to fill one row of {config.row_length} tokens.",
                "Use a larger corpus, or shorter rows: --set row_length=32",
            )
    return corpus


def settle(config: PretrainConfig, corpus: Corpus) -> PretrainConfig:
    """Return the configuration with every "auto" decided, so that run.json says what was done."""
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("No CUDA device is available.", "Use --device cpu")
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if has_bf16_units(device) else "fp32"
    compile_ = config.compile if config.compile != "auto" else "yes" if device.startswith("cuda") else "no"
    return replace(config, device=device, precision=precision, compile=compile_)


def has_bf16_units(device: str) -> bool:
    """Return whether the device multiplies bf16 matrices in hardware; emulation is slower than float32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in names)
    return False


def autocast(config: PretrainConfig, device: torch.device) -> torch.autocast:
    """Return the autocast context of a run; weights and optimizer stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16")


def budget_steps(config: PretrainConfig) -> int:
    """Return the number of optimizer steps that a budget such as 50M-tokens or 2000-steps buys."""
    match = _BUDGET.fullmatch(config.budget)
    if not match:
        raise UsageError(f"{config.budget!r} is no budget.", "Write for example 50M-tokens or 2000-steps")
    amount = float(match[1]) * _UNITS[match[2].lower()]
    if match[3] == "tokens":
        amount /= config.batch_rows * config.row_length
    elif match[3] != "steps":
        raise UsageError(f"A budget in {match[3]} is not known yet.", "Write for example 50M-tokens or 2000-steps")
    if amount < 1:
        raise UsageError(
            f"The budget {config.budget} is less than one step of {config.batch_rows * config.row_length} tokens."
        )
    return math.ceil(amount)


def build_objective(config: PretrainConfig, corpus: Corpus) -> Objective:
    """Return the model and its losses, initialised from the seed."""
    model = build_encoder(config, corpus.vocab_size, corpus.special)
    return Objective(config, model, None if config.objective == "mlm" else build_predictor(config))


def make_optimizer(config: PretrainConfig, objective: Objective, device: torch.device) -> torch.optim.AdamW:
    """Return AdamW; matrices decay, norms, biases and balance weights do not."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=device.type in ("cpu", "cuda")
    )


def compiled(config: PretrainConfig, objective: Objective) -> Callable[[Batch, float], dict[str, torch.Tensor]]:
    """Return the objective's forward, compiled where that was chosen."""
    return torch.compile(objective, dynamic=False) if config.compile == "yes" else objective


def make_batch(config: PretrainConfig, corpus: Corpus, step: int, part: int, device: torch.device) -> Batch:
    """Return micro-batch ``part`` of a step: a pure function of (seed, step, row)."""
    rows = config.batch_rows // config.accumulation
    first = part * rows
    indices = row_indices(config.seed, step, config.batch_rows, corpus.n_rows("train", config.row_length))[
        first : first + rows
    ]
    ids = corpus.rows("train", indices, config.row_length)
    return mask_batch(config, corpus, ids, config.seed, step, first, device)


def mask_batch(
    config: PretrainConfig, corpus: Corpus, ids: np.ndarray, seed: int, step: int, first: int, device: torch.device
) -> Batch:
    """Return rows with the masks and blocks that the objective needs."""
    masked = positions = context = targets = None
    if config.objective != "jepa":
        masked, positions = masking.mask_tokens(
            ids,
            count=masking.masked_count(config.row_length, config.mask_fraction),
            special=corpus.special,
            vocab_size=corpus.vocab_size,
            seed=seed,
            step=step,
            first_row=first,
        )
    if config.objective != "mlm":
        size = masking.draw_block_size(config.row_length, seed=seed, step=step)
        blocks = masking.draw_blocks(
            len(ids),
            config.row_length,
            size,
            context_fraction=config.context_fraction,
            seed=seed,
            step=step,
            first_row=first,
        )
        context, targets = blocks.context, blocks.targets
    return Batch(
        *(
            None if a is None else torch.from_numpy(a).to(device, non_blocking=True)
            for a in (ids, masked, positions, context, targets)
        )
    )


def learning_rate(config: PretrainConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step: linear warm-up, then linear or cosine decay to a tenth of the peak."""
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    shape = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * (0.1 + 0.9 * shape)


def ema_decay(config: PretrainConfig, step: int, steps: int) -> float:
    """Return the target encoder's decay: linear from ``ema_start`` to ``ema_end``."""
    return config.ema_start + (config.ema_end - config.ema_start) * step / max(1, steps - 1)


@torch.no_grad()
def held_out_loss(
    config: PretrainConfig, objective: Objective, corpus: Corpus, device: torch.device
) -> dict[str, float]:
    """Return the losses on held-out rows with fixed masks, beside the unigram entropy of the corpus."""
    n = min(config.eval_rows, corpus.n_rows("heldout", config.row_length))
    sums: dict[str, float] = {}
    size = max(1, config.batch_rows // config.accumulation)
    for first in range(0, n, size):
        rows = np.arange(first, min(n, first + size))
        ids = corpus.rows("heldout", rows, config.row_length)
        batch = mask_batch(config, corpus, ids, _EVAL_SEED, 0, first, device)
        with autocast(config, device):
            losses = objective(batch, 1.0)
        for name in ("mlm", "jepa"):
            if name in losses:
                sums[name] = sums.get(name, 0.0) + float(losses[name]) * len(rows)
    return {f"held_out_{name}": value / n for name, value in sums.items()} | {
        "unigram_entropy": corpus.info["unigram_entropy"]
    }


def _require_finite(line: dict[str, Any], out: Path) -> None:
    bad = [name for name in ("loss", "mlm", "jepa", "grad_norm") if name in line and not math.isfinite(line[name])]
    if bad:
        raise GeomprobeError(
            f"{bad[0]} is not finite by step {line['step']}; the last good state in {out} is kept.",
            f"Try a lower learning rate, for example --set lr={line['lr'] / 2:.2g}, more warm-up, or --set precision=fp32",
        )


class MetricsLog:
    """`metrics.jsonl`; on resume the lines past the state's step are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        lines = []
        if step and path.is_file():
            for text in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):  # a killed process can leave half a line
                    if json.loads(text)["step"] <= step:
                        lines.append(text)
        write_text(path, "".join(f"{text}\n" for text in lines))
        self.last: dict[str, Any] = json.loads(lines[-1]) if lines else {}

    def write(self, line: dict[str, Any]) -> None:
        self.last = line
        with open(self.path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line, allow_nan=False) + "\n")


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Yield a question: was the process asked to stop? A second Ctrl-C stops it at once."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever owns it decides
        previous = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def parse_save_every(text: str) -> tuple[int, float]:
    """Return the interval as (steps, seconds), one of them 0."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
    if not match or float(match[1]) <= 0 or (not match[2] and "." in match[1]):
        raise UsageError(f"{text!r} is no interval.", "Write --save-every 500 (steps) or --save-every 10m (minutes)")
    return (0, 60 * float(match[1])) if match[2] else (int(match[1]), 0.0)


# --- run.json ----------------------------------------------------------------------------------------------------------

_FREE = {
    "out",
    "save_every",
    "keep",
    "log_every",
    "eval_every",
    "eval_rows",
    "monitor_every",
    "device",
}  # may change on resume


def _refuse_other_run(out: Path, config: PretrainConfig, resume: bool) -> None:
    """Raise UsageError where ``out`` holds a run that this one would overwrite or contradict."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Choose a folder with --out")
    if not (out / "run.json").is_file():
        if out.is_dir() and any(out.iterdir()) and not resume:
            raise UsageError(f"{out} is not empty.", "Choose another folder with --out")
        return
    if not resume:
        raise UsageError(
            f"{out} already holds a run.", "Go on with it by --resume, or choose another folder with --out"
        )
    before = read_json(out / "run.json")["config"]
    changed = [key for key, value in as_dict(config).items() if key not in _FREE and before.get(key) != value]
    if changed:
        was = ", ".join(f"{key}={before.get(key)}" for key in changed)
        raise UsageError(
            f"{out} was started with other settings: {was}.", "Resume with the same settings, or choose another --out"
        )


def _write_run(out: Path, config: PretrainConfig, corpus: Corpus, steps: int, objective: Objective) -> None:
    out.mkdir(parents=True, exist_ok=True)
    corpus_info = {key: value for key, value in corpus.info.items() if key != "chunks"}
    run = {
        "config": as_dict(config),
        "seed": config.seed,
        "steps": steps,
        "tokens": steps * config.batch_rows * config.row_length,
        "parameters": sum(p.numel() for p in objective.model.parameters()),
        "corpus": corpus_info,
        "versions": versions(),
        "hardware": hardware(config.device),
        "git_revision": git_revision(),
        "finished": False,
    }
    write_json(out / "run.json", run)


def _finish_run(out: Path, log: MetricsLog) -> None:
    run = read_json(out / "run.json")
    write_json(out / "run.json", run | {"finished": True, "final": log.last})


def versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("geomprobe", "torch", "transformers", "tokenizers", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def hardware(device: str) -> dict[str, Any]:
    """Return the device in words."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    return {
        "device": device,
        "name": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": sys.platform,
    }


def git_revision() -> str | None:
    """Return the revision of the checkout that the code runs from, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
