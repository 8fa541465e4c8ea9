"""A run before its first step: settings settled, folder and corpus checked, state restored."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from geomprobe.common import hold_folder
from geomprobe.common.training_log import TrainingLog
from geomprobe.pretrain import budget, checkpoint, continued
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus, build_corpus, refuse_damaged
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.device import compile_forward, settle
from geomprobe.pretrain.device_batches import batch_source
from geomprobe.pretrain.distributed import Processes
from geomprobe.pretrain.objectives import build_objective
from geomprobe.pretrain.objectives.base import Objective
from geomprobe.pretrain.optimizer import check_optimizer, initial_share, make_optimizer
from geomprobe.pretrain.progress import Record, SaveRule
from geomprobe.pretrain.runlog import refuse_other_run, refuse_other_texts, start_run
from geomprobe.pretrain.step import Step, find_recorder

MOST_INITIAL_SHARE = 0.05


@dataclass(frozen=True)
class Run:
    """What the training loop works with."""

    config: PretrainConfig
    out: Path
    processes: Processes
    device: torch.device
    data: BatchSource
    objective: Objective
    forward: Any  # the objective, compiled, and shared where there are several processes
    optimizer: torch.optim.Optimizer
    step: int  # done before this start
    steps: int
    step_flops: float
    save: SaveRule
    log: TrainingLog
    tell: Callable[[Record], None]

    def stepper(self) -> Step:
        """What takes the steps; a GPU of its own replays them, where the run is compiled."""
        config, objective, forward, device = self.config, self.objective, self.forward, self.device
        recorder = find_recorder(config, objective, forward, device)
        trained = objective, forward, self.optimizer
        return Step(config, *trained, self.steps, device, recorder, lambda text: self.tell({"warning": text}))

    def held_out(self, rows: int) -> Any:
        """The first held-out rows as a batch on the device."""
        return self.data.held_out(np.arange(min(rows, self.data.n_held_out)), 0, self.device)


def prepare(
    config: PretrainConfig,
    processes: Processes,
    held: contextlib.ExitStack,
    resume: bool,
    tell: Callable[[Record], None],
) -> Run:
    """Run that is ready for its next step; ``held`` keeps its folder until the end."""
    save = SaveRule(config.save_every)
    config = check(config, processes)
    out = Path(config.out)
    resume = resume and (out / "run.json").is_file()
    corpus = admit(config, processes, held, resume, tell)
    device = torch.device("cuda", processes.local) if config.device == "cuda" else torch.device(config.device)
    flops = budget.step_flops(config, corpus.vocab_size)
    data = batch_source(config, corpus, device, lambda text: tell({"note": text}))

    def warn(text: str) -> None:
        tell({"warning": text})

    objective = build_objective(config, corpus).to(device)
    if objective.new_head and objective.trains_head and not resume:
        tell({"note": f"{config.start_from} has no MLM head: it is drawn from the seed."})
    optimizer = make_optimizer(config, objective, device)
    state = checkpoint.load_state(out, objective, optimizer, warn) if resume else None
    step = int(state["step"]) if state else 0
    if processes.first and not resume:
        steps = budget.plan_steps(config, corpus.vocab_size, lambda: time_step(config, data, device))
        facts: dict[str, Any] = {"parameters": sum(p.numel() for p in objective.model.parameters())}
        facts["ranks"] = processes.world
        if objective.copies:
            facts["initial_share"] = share = initial_share(config, steps)
            if share > MOST_INITIAL_SHARE:
                warn(
                    f"{share:.0%} of the target encoder will still be initial weights after {steps} steps: its decay "
                    "is too slow for a run of this length. --set ema_half_life=0.02 (another run) follows it."
                )
        start_run(out, config, corpus, steps, flops, facts)
    processes.barrier()
    steps = int(budget.read_run(out)["steps"])
    forward: Any = compile_forward(config, objective, warn, data.batch(step, 0, device=device))
    if processes.world > 1:
        forward = DistributedDataParallel(forward, device_ids=[processes.local] if device.type == "cuda" else None)
    log = TrainingLog(out / "metrics.jsonl", step, write=processes.first)
    trained = (data, objective, forward, optimizer)
    return Run(config, out, processes, device, *trained, step, steps, flops["total"], save, log, tell)


def check(config: PretrainConfig, processes: Processes) -> PretrainConfig:
    """Settings with nothing left open, after all checks that need no corpus."""
    budget.check_budget(config)
    check_optimizer(config)
    if config.match:
        budget.read_run(config.match)
    config = settle(replace(config, out=str(config.folder)), processes)
    if config.start_from:
        config = continued.settle(config)
    budget.refuse_beyond_device(config, processes.world)
    return config


def admit(
    config: PretrainConfig,
    processes: Processes,
    held: contextlib.ExitStack,
    resume: bool,
    tell: Callable[[Record], None],
) -> Corpus:
    """Corpus of a run whose folder is free or holds this run's earlier part."""
    out = Path(config.out)
    if processes.first:
        refuse_other_run(out, config, resume)
        held.enter_context(hold_folder(out))
    corpus = prepare_corpus(as_started(config, out) if resume else config, tell)
    if processes.first:
        refuse_damaged(corpus)
        if resume:
            refuse_other_texts(out, corpus)
        checkpoint.remove_leftovers(out)
    processes.barrier()
    return corpus


def as_started(config: PretrainConfig, out: Path) -> PretrainConfig:
    """Settings with the commits that a run in ``out`` was started with, for the hub may have moved on."""
    made = budget.read_run(out)["corpus"]
    if "@" in (source := str(made.get("source"))) and not os.path.exists(config.corpus):
        config = replace(config, corpus=source)
    if "@" in (tokenizer := str(made.get("tokenizer"))) and not os.path.exists(config.tokenizer):
        config = replace(config, tokenizer=tokenizer)
    return config


def prepare_corpus(config: PretrainConfig, tell: Callable[[Record], None]) -> Corpus:
    """Corpus of a run, built where it is not yet available."""
    return build_corpus(
        config.corpus,
        config.start_from or config.tokenizer,
        documents=config.documents,
        text=config.text,
        limit_tokens=config.limit_tokens,
        progress=lambda stage, done, total: tell({"stage": stage, "done": done, "total": total}),
        tell=lambda text: tell({"note": text}),
    )


def time_step(config: PretrainConfig, data: BatchSource, device: torch.device, steps: int = 8) -> float:
    """Seconds that one optimizer step takes, measured on a model that is then thrown away."""
    objective = build_objective(config, data.corpus).to(device)
    optimizer = make_optimizer(config, objective, device)
    forward = compile_forward(config, objective, lambda text: None, data.batch(0, 0, device=device))
    recorder = find_recorder(config, objective, forward, device)
    take = Step(config, objective, forward, optimizer, steps, device, recorder)
    part, seen, seconds = config.batch_rows // config.accumulation, Counter[Any](), list[float]()
    for step in itertools.count():
        begun = time.perf_counter()
        parts = [data.batch(step, first, device=device) for first in range(0, config.batch_rows, part)]
        losses = take(step % steps, parts, partial(data.batch, step, 0, device=device))
        float(losses["loss"])
        shapes = tuple(tensor.shape for tensor in parts[0].tensors())
        seen[shapes] += 1
        if seen[shapes] > take.slow_steps:
            seconds.append(time.perf_counter() - begun)
        if len(seconds) == steps:
            break
    return sorted(seconds)[steps // 2]
