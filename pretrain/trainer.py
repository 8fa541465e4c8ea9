"""The training loop, readable from top to bottom; what it needs stands below and in the modules beside it."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import math
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from geomprobe.common import GeomprobeError, InputError, Terminated, UsageError, first_line, hold_folder
from geomprobe.pretrain import budget, checkpoint, masking, monitor, paper
from geomprobe.pretrain.batches import row_indices
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus, build_corpus, refuse_damaged
from geomprobe.pretrain.encoder import build_encoder, build_predictor
from geomprobe.pretrain.objectives import Batch, Objective
from geomprobe.pretrain.ranks import Ranks, join
from geomprobe.pretrain.runlog import MetricsLog, finish_run, refuse_other_run, refuse_other_texts, start_run

EVAL_SEED = 2**32  # masks of the held-out rows: the same in every run, so that runs can be compared
MONITOR_ROWS = 64
GEOMETRY_ROWS = 256  # handed to on_monitor
GRADNORM_EVERY, GRADNORM_ROWS = 10, 8

Record = dict[str, Any]


def train(
    config: PretrainConfig,
    *,
    resume: bool = False,
    progress: Callable[[Record], None] | None = None,
    on_monitor: Callable[[Record], Record] | None = None,
) -> Path:
    """Pretrain an encoder and return its checkpoint folder.

    Parameters
    ----------
    config : PretrainConfig
    resume : bool
        Go on from the newest good state in the folder; start afresh where there is none.
    progress : callable, optional
        Gets every record of `metrics.jsonl`, records with the keys stage, done, total while the corpus is prepared, and
        records with the key note or warning.
    on_monitor : callable, optional
        Called every ``monitor_every`` steps with the keys step, model (the encoder) and ids (held-out rows, int64); the
        numbers that it returns are logged.

    Raises
    ------
    UsageError
        The folder holds another run, or the settings contradict each other.
    InputError
        The corpus or the state cannot be read.
    GeomprobeError
        A loss that is not finite, the last good state is kept; or another process of the job ended.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once the state is saved.
    """
    keep_memory()
    with join() as ranks, contextlib.ExitStack() as held:
        tell = progress if progress and ranks.first else lambda record: None
        return _train(config, ranks, held, resume, tell, on_monitor)


def _train(
    config: PretrainConfig,
    ranks: Ranks,
    held: contextlib.ExitStack,
    resume: bool,
    tell: Callable[[Record], None],
    on_monitor: Callable[[Record], Record] | None,
) -> Path:
    out = Path(config.out or f"runs/pretrain/{config.objective}")
    save = SaveRule(config.save_every)
    budget.check_budget(config)
    if config.match:
        budget.read_run(config.match)
    config = settle(replace(config, out=str(out)), ranks)
    budget.refuse_beyond_device(config, ranks.world)
    device = torch.device("cuda", ranks.local) if config.device == "cuda" else torch.device(config.device)
    resume = resume and (out / "run.json").is_file()
    if ranks.first:
        refuse_other_run(out, config, resume)
        held.enter_context(hold_folder(out))
    corpus = prepare_corpus(_as_started(config, out) if resume else config, tell)
    if ranks.first:
        refuse_damaged(corpus)
        if resume:
            refuse_other_texts(out, corpus)
        checkpoint.remove_leftovers(out)
    ranks.barrier()
    tokens_per_step = config.batch_rows * config.row_length
    flops = budget.step_flops(config, corpus.vocab_size)
    data = Rows(config, corpus)

    objective = build_objective(config, corpus).to(device)
    optimizer = make_optimizer(config, objective, device)
    state = checkpoint.load_state(out, objective, optimizer, lambda text: tell({"warning": text})) if resume else None
    step = int(state["step"]) if state else 0
    if ranks.first and not resume:
        steps = budget.plan_steps(config, corpus.vocab_size, lambda: time_step(config, corpus, device))
        facts = {"parameters": sum(p.numel() for p in objective.model.parameters()), "ranks": ranks.world}
        start_run(out, config, corpus, steps, flops, facts)
    ranks.barrier()
    steps = int(budget.read_run(out)["steps"])
    forward: Any = compile_forward(
        config, objective, lambda text: tell({"warning": text}), data.batch(step, 0, device=device)
    )
    if ranks.world > 1:
        forward = DistributedDataParallel(forward, device_ids=[ranks.local] if device.type == "cuda" else None)
    log = MetricsLog(out / "metrics.jsonl", step, write=ranks.first)
    held_out = data.held_out(np.arange(min(MONITOR_ROWS, data.n_held_out)), 0, device)
    held_out_ids = data.held_out(np.arange(min(GEOMETRY_ROWS, data.n_held_out)), 0, device).ids
    mean = Averages()

    with interruption() as interrupted, data.ahead(step, steps, ranks, device) as batches:
        while step < steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, steps)
            objective.done.fill_(step / steps)
            if config.balance == "gradnorm" and config.objective == "hybrid" and step % GRADNORM_EVERY == 0:
                with autocast(config, device):
                    objective.update_gradnorm(data.batch(step, 0, GRADNORM_ROWS, device))
            optimizer.zero_grad(set_to_none=True)
            for part in range(config.accumulation):
                with mean.waiting():
                    batch = next(batches)
                synced = ranks.world == 1 or part == config.accumulation - 1
                with contextlib.nullcontext() if synced else forward.no_sync():
                    with autocast(config, device):
                        losses = forward(batch)
                    (losses["loss"] / config.accumulation).backward()
                mean.add({name: loss.detach() / config.accumulation for name, loss in losses.items()})
            norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), config.clip)
            mean.add({"grad_norm": norm.detach()})
            optimizer.step()
            objective.update_target(ema_decay(config, step, steps))
            step += 1
            mean.steps += 1

            last = step == steps
            # A stop must be agreed on by all ranks, and an exchange at every step would cost time.
            stop = (
                ranks.any(interrupted() is not None, device)
                if ranks.world == 1 or step % config.log_every == 0
                else False
            )
            monitored = step % config.monitor_every == 0
            due = save.due(step, ranks)
            if step % config.log_every == 0 or monitored or due or last or stop:
                line: Record = {
                    "step": step,
                    "steps": steps,
                    "tokens": step * tokens_per_step,
                    "flops": step * flops["total"],
                }
                line |= {"lr": learning_rate(config, step - 1, steps)} | mean.take(ranks, tokens_per_step)
                line["eta_s"] = round((steps - step) * tokens_per_step / line["tokens_per_s"], 1)
                refuse_non_finite(line, out)
                if ranks.first and (step % config.eval_every == 0 or last):
                    line |= held_out_loss(config, objective, data, device)
                    refuse_non_finite(line, out)
                    line["unigram_entropy"] = corpus.info["unigram_entropy"]
                if ranks.first and monitored:
                    with autocast(config, device):
                        line |= monitor.measure(objective, held_out)
                    if on_monitor:
                        line |= on_monitor({"step": step, "model": objective.model.model, "ids": held_out_ids})
                    for text in monitor.collapse_warnings(line):
                        tell({"warning": text})
                if ranks.first:
                    log.write(line)
                    tell(line)
            if due or last or stop:
                if ranks.first:
                    checkpoint.save_state(out, step, objective, optimizer, config.keep)
                    if not last:
                        checkpoint.export(out, objective, corpus)
                ranks.barrier()
                if stop and not last:
                    text = f"Stopped at step {step} of {steps}; the state is saved. Go on with --resume."
                    raise (interrupted() or KeyboardInterrupt)(text)
                mean.restart_clock()
    if ranks.first:  # outside the loop, so that a run killed after its last state ends here too
        checkpoint.export(out, objective, corpus)
        finish_run(out, log.last)
    return out


# --- data ------------------------------------------------------------------------------------------------------------


def _as_started(config: PretrainConfig, out: Path) -> PretrainConfig:
    """Return the settings with the commits that a run in ``out`` was started with, for the hub may have moved on."""
    if not (out / "run.json").is_file():
        return config
    made = budget.read_run(out)["corpus"]
    asked = {"corpus": config.corpus, "tokenizer": config.tokenizer}
    names = {"corpus": str(made.get("source")), "tokenizer": str(made.get("tokenizer"))}
    local = {key for key, name in asked.items() if name and Path(name).exists()}
    kept: dict[str, Any] = {key: name for key, name in names.items() if "@" in name and key not in local}
    return replace(config, **kept)


def prepare_corpus(config: PretrainConfig, tell: Callable[[Record], None]) -> Corpus:
    """Return the corpus of a run, built where it is not at hand."""

    def report(stage: str, done: int, total: int) -> None:
        tell({"stage": stage, "done": done, "total": total})

    return build_corpus(
        config.corpus,
        config.tokenizer,
        documents=config.documents,
        text=config.text,
        limit_tokens=config.limit_tokens,
        progress=report,
        tell=lambda text: tell({"note": text}),
    )


class Rows:
    """The rows of a corpus as batches: a pure function of (seed, step, row)."""

    def __init__(self, config: PretrainConfig, corpus: Corpus):
        self.config, self.corpus = config, corpus
        self.padded: dict[str, paper.PaddedRows] = {}
        if config.rows == "padded":
            least = 2 * masking.masked_count(config.row_length, config.mask_fraction)
            self.padded = {s: paper.PaddedRows(corpus, s, config.row_length, least) for s in ("train", "heldout")}
        self.n_train, self.n_held_out = (self._count(split) for split in ("train", "heldout"))
        for name, n in (("training", self.n_train), ("held-out", self.n_held_out)):
            if n == 0:
                raise InputError(
                    f"The corpus has too little {name} text to fill one row of {config.row_length} tokens.",
                    "Use a larger corpus, or shorter rows: --set row_length=32",
                )

    def _count(self, split: str) -> int:
        return len(self.padded[split]) if self.padded else self.corpus.n_rows(split, self.config.row_length)

    def _read(self, split: str, indices: np.ndarray) -> np.ndarray:
        if self.padded:
            return self.padded[split].rows(indices)
        return self.corpus.rows(split, indices, self.config.row_length)

    def batch(self, step: int, first: int, rows: int | None = None, device: torch.device | str = "cpu") -> Batch:
        """Return ``rows`` rows of a step from number ``first`` on; by default one micro-batch of a lone process."""
        config = self.config
        rows = rows or config.batch_rows // config.accumulation
        indices = row_indices(config.seed, step, config.batch_rows, self.n_train)[first : first + rows]
        return self._mask(self._read("train", indices), config.seed, step, first, device)

    def held_out(self, indices: np.ndarray, first: int, device: torch.device | str = "cpu") -> Batch:
        """Return held-out rows with masks that are the same in every run."""
        return self._mask(self._read("heldout", indices), EVAL_SEED, 0, first, device)

    def _mask(self, ids: np.ndarray, seed: int, step: int, first: int, device: torch.device | str) -> Batch:
        config, corpus = self.config, self.corpus
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
                unused=corpus.unused_ids,
            )
        if config.objective != "mlm":
            n, length, where = len(ids), config.row_length, {"seed": seed, "step": step, "first_row": first}
            if config.masks == "paper":
                blocks = paper.draw_blocks(n, length, **where)
            else:
                size = masking.draw_block_size(length, seed=seed, step=step)
                blocks = masking.draw_blocks(n, length, size, context_fraction=config.context_fraction, **where)
            context, targets = blocks.context, blocks.targets
        arrays = (ids, masked, positions, context, targets)
        batch = Batch(*(None if array is None else torch.from_numpy(array) for array in arrays))  # type: ignore[arg-type]
        return batch.map(lambda tensor: _move(tensor, torch.device(device)))

    @contextlib.contextmanager
    def ahead(self, step: int, steps: int, ranks: Ranks, device: torch.device) -> Iterator[Iterator[Batch]]:
        """Yield the micro-batches of this rank from a step on, each made while the one before is being used."""
        parts = self.config.accumulation
        rows = self.config.batch_rows // (parts * ranks.world)
        wanted = ((s, (part * ranks.world + ranks.rank) * rows) for s in range(step, steps) for part in range(parts))
        with ThreadPoolExecutor(1) as pool:
            queue = [pool.submit(self.batch, s, first, rows, device) for s, first in itertools.islice(wanted, 2)]

            def batches() -> Iterator[Batch]:
                while queue:
                    batch = queue.pop(0).result()
                    for s, first in itertools.islice(wanted, 1):
                        queue.append(pool.submit(self.batch, s, first, rows, device))
                    yield batch

            yield batches()


def _move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move to the device; to a GPU without waiting for it."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


# --- model and optimizer ---------------------------------------------------------------------------------------------


def settle(config: PretrainConfig, ranks: Ranks) -> PretrainConfig:
    """Return the configuration with every "auto" decided, so that run.json says what was done."""
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    ):
        raise UsageError(f"This machine has no {device} device.", "Use --device cpu")
    if config.batch_rows % (config.accumulation * ranks.world):
        raise UsageError(
            f"batch_rows={config.batch_rows} cannot be shared by {ranks.world} processes.", "Use a multiple."
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if bf16_is_faster(device) else "fp32"
    compile_ = config.compile if config.compile != "auto" else "yes" if device == "cuda" else "no"
    return replace(config, device=device, precision=precision, compile=compile_)


def keep_memory() -> None:
    """Make glibc keep freed blocks: each large tensor is otherwise mapped and zeroed anew, a quarter of a step."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-4, 0)  # M_MMAP_MAX
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def bf16_is_faster(device: str) -> bool:
    """Return whether the device multiplies bf16 matrices faster than float32 ones; told by its kind, not by a clock.

    AMD's processors run the AVX-512 instruction at twice the rate of float32, Intel's at half of it (measured, see
    docs/explanation/benchmarks.md); Intel's gain comes from AMX. A rule, so that all ranks and a resumed run agree.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    has = {name: getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("amx_tile", "avx512_bf16")}
    return has["amx_tile"] or (has["avx512_bf16"] and "AuthenticAMD" in processor_description())


def processor_description() -> str:
    """Return Linux's description of the first processors, "" elsewhere."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        return file.read(4096)
    return ""


def autocast(config: PretrainConfig, device: torch.device) -> torch.autocast:
    """Return the autocast context of a run; weights and optimizer stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16")


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


def compile_forward(
    config: PretrainConfig, objective: Objective, warn: Callable[[str], None], batch: Batch
) -> torch.nn.Module:
    """Compile the objective in place where that was chosen and works; without a compiler it runs as it is.

    On a CPU attention becomes plain matrix products, which the compiler fuses; the fused kernel's backward is slower.
    """
    if config.compile != "yes":
        return objective
    if config.device == "cpu":
        bodies = [objective.model, objective.target, objective.predictor and objective.predictor.body]
        for body in bodies:
            if body is not None:
                body.config._attn_implementation = "eager"
    objective.compile(fullgraph=True, dynamic=False)
    try:
        with autocast(config, batch.ids.device):
            objective(batch)["loss"].backward()
    except Exception as error:  # what a compiler can raise has no common class
        warn(f"compilation failed, running uncompiled: {first_line(error)}")
        objective._compiled_call_impl = None
    objective.zero_grad(set_to_none=True)
    return objective


def time_step(config: PretrainConfig, corpus: Corpus, device: torch.device, steps: int = 8) -> float:
    """Return the seconds that one optimizer step takes, measured on a model that is then thrown away."""
    objective = build_objective(config, corpus).to(device)
    optimizer = make_optimizer(config, objective, device)
    data = Rows(config, corpus)
    forward = compile_forward(config, objective, lambda text: None, data.batch(0, 0, device=device))
    seconds = []
    for step in range(steps):
        begun = time.perf_counter()
        for part in range(config.accumulation):
            rows = config.batch_rows // config.accumulation
            with autocast(config, device):
                loss = forward(data.batch(step, part * rows, rows, device))["loss"]
            loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.update_target(0.99)
        float(loss.detach())
        seconds.append(time.perf_counter() - begun)
    return sorted(seconds)[len(seconds) // 2]


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


# --- watching and saving ---------------------------------------------------------------------------------------------


@torch.no_grad()
def held_out_loss(config: PretrainConfig, objective: Objective, data: Rows, device: torch.device) -> dict[str, float]:
    """Return the losses on held-out rows with fixed masks, as held_out_mlm and held_out_jepa."""
    n = min(config.eval_rows, data.n_held_out)
    size = max(1, config.batch_rows // config.accumulation)
    sums: dict[str, float] = {}
    for first in range(0, n, size):
        indices = np.arange(first, min(n, first + size))
        with autocast(config, device):
            parts = objective.parts(data.held_out(indices, first, device))
        for name, loss in parts.items():
            sums[name] = sums.get(name, 0.0) + float(loss) * len(indices)
    return {f"held_out_{name}": value / n for name, value in sums.items()}


class Averages:
    """Means of what is logged since the last line, kept on the device, so that no step waits for it."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.steps = 0
        self.waited = 0.0
        self.started = time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting for data."""
        begun = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begun

    def add(self, values: dict[str, torch.Tensor]) -> None:
        """Add scalars to their sums."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def take(self, ranks: Ranks, tokens_per_step: int) -> Record:
        """Return the means over steps and ranks with the speed, and start anew."""
        values = ranks.mean(list(self.sums.values()))
        seconds = time.perf_counter() - self.started
        record: Record = {name: value / self.steps for name, value in zip(self.sums, values, strict=True)}
        record["tokens_per_s"] = round(self.steps * tokens_per_step / seconds, 1)
        record["data_wait"] = round(self.waited / seconds, 4)
        peak = peak_memory()
        record["peak_memory_gb"] = None if peak is None else round(peak / 1e9, 3)
        self.__init__()  # type: ignore[misc]
        return record

    def restart_clock(self) -> None:
        """Forget the time spent on saving, where no step is pending."""
        if not self.steps:
            self.started = time.perf_counter()


def peak_memory() -> float | None:
    """Return the largest memory of the process so far in bytes, the GPU's where there is one; None where unknown."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def refuse_non_finite(line: Record, out: Path) -> None:
    """Raise GeomprobeError where a loss or the gradient is not finite."""
    names = ("loss", "mlm", "jepa", "grad_norm", "held_out_mlm", "held_out_jepa")
    bad = [name for name in names if name in line and not math.isfinite(line[name])]
    if bad:
        raise GeomprobeError(
            f"{bad[0]} is not finite by step {line['step']}; the last good state in {out} is kept.",
            f"Try a lower learning rate, as in --set lr={line['lr'] / 2:.2g}, more warm-up, or --set precision=fp32",
        )


class SaveRule:
    """When a state is due: every N steps, or every N minutes on the first rank's clock."""

    def __init__(self, text: str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
        if not match or float(match[1]) <= 0 or (not match[2] and "." in match[1]):
            hint = "Write --save-every 500 (steps) or --save-every 10m (minutes)"
            raise UsageError(f"{text!r} is no interval.", hint)
        self.steps = 0 if match[2] else int(match[1])
        self.seconds = 60 * float(match[1])
        self.last = time.perf_counter()

    def due(self, step: int, ranks: Ranks) -> bool:
        """Return whether to save after this step."""
        if self.steps:
            return step % self.steps == 0
        due = time.perf_counter() - self.last >= self.seconds
        if ranks.any(due and ranks.first, torch.device("cuda" if torch.cuda.is_available() else "cpu")):
            self.last = time.perf_counter()
            return True
        return False


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], type[KeyboardInterrupt] | None]]:
    """Yield a question: was the process asked to stop, and by what? A second Ctrl-C stops it at once."""
    asked: type[KeyboardInterrupt] | None = None

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        asked = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]  # nohup
        previous = {number: signal.signal(number, ask) for number in heard}
    except ValueError:  # not in the main thread: whoever owns it decides
        previous = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
