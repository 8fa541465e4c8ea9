"""Seconds to a held-out MLM loss: this package's loop with AdamW and with Muon, and transformers.Trainer.

    OMP_NUM_THREADS=1 python tests/benchmarks/time_to_loss.py --corpus SOURCE --out time-to-loss.csv

All train the same model, drawn from the same seed, on the same rows, with the same learning rates. The Trainer masks
with its own collator, runs the head at every position, and gets this package's AdamW and schedule. The clock runs
during steps only: it stops while the held-out loss is measured, on the same masked rows for all. Run it alone.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DataCollatorForLanguageModeling, Trainer, TrainerCallback, TrainingArguments

from geomprobe.common import write_text
from geomprobe.pretrain.config import PretrainConfig, load_config
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.corpus.tokenizer import load_tokenizer
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.distributed import Processes
from geomprobe.pretrain.loop import waited
from geomprobe.pretrain.monitor import held_out_loss
from geomprobe.pretrain.objectives import build_objective
from geomprobe.pretrain.optimizer import learning_rate, make_optimizer
from geomprobe.pretrain.prepare import Run, prepare
from geomprobe.pretrain.progress import Averages

Curve = list[tuple[int, float, float]]  # steps, seconds, held-out loss
POINTS = 30  # of a curve
CPU = torch.device("cpu")


class Clock:
    """Seconds of steps alone, and the curve measured between them."""

    def __init__(self, steps: int, loss: Callable[[], float]):
        self.steps, self.loss, self.seconds, self.curve = steps, loss, 0.0, Curve()
        self.every = max(1, steps // POINTS)

    def start(self) -> None:
        self.begun = time.perf_counter()

    def stop(self, step: int) -> None:
        """After so many steps."""
        self.seconds += time.perf_counter() - self.begun
        if step % self.every == 0 or step == self.steps:
            self.curve.append((step, self.seconds, self.loss()))


def own_loop(config: PretrainConfig) -> Curve:
    """The curve of this package's steps."""
    with tempfile.TemporaryDirectory() as out, contextlib.ExitStack() as held:
        run = prepared(config, out, held)
        clock = Clock(run.steps, lambda: held_out_loss(config, run.objective, run.data, CPU)["held_out_mlm"])
        take, mean = run.stepper(), Averages()
        with run.data.ahead(0, run.steps, run.processes, CPU) as batches:
            for step in range(run.steps):
                clock.start()
                take(
                    step,
                    waited(batches, config.accumulation, mean),
                    lambda rows, step=step: run.data.batch(step, 0, rows),
                )
                clock.stop(step + 1)
    return clock.curve


def prepared(config: PretrainConfig, out: str, held: contextlib.ExitStack) -> Run:
    """A run before its first step."""
    return prepare(replace(config, out=f"{out}/run"), Processes(), held, False, lambda record: None)


class Rows(torch.utils.data.Dataset):
    """The training rows, unmasked."""

    def __init__(self, corpus: Corpus, length: int):
        self.corpus, self.length = corpus, length

    def __len__(self) -> int:
        return self.corpus.n_rows("train", self.length)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": torch.from_numpy(self.corpus.rows("train", np.array([index]), self.length)[0])}


def trainer(config: PretrainConfig) -> Curve:
    """The curve of `transformers.Trainer`."""
    with tempfile.TemporaryDirectory() as out, contextlib.ExitStack() as held:
        run = prepared(config, out, held)
        config, corpus, steps = run.config, run.data.corpus, run.steps
        objective = build_objective(config, corpus)
        data = BatchSource(config, corpus)
        clock = Clock(steps, lambda: held_out_loss(config, objective, data, CPU)["held_out_mlm"])

        class Pace(TrainerCallback):
            def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
                clock.start()

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                clock.stop(state.global_step)
                clock.start()

        arguments = TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=config.batch_rows,
            max_steps=steps,
            max_grad_norm=config.clip,
            bf16=config.precision == "bf16",
            use_cpu=True,
            seed=config.seed,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        optimizer = make_optimizer(config, objective, CPU)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate(config, step, steps) / config.lr
        )
        collator = DataCollatorForLanguageModeling(
            load_tokenizer(str(corpus.path)), mlm_probability=config.mask_fraction
        )
        rows = Rows(corpus, config.row_length)
        Trainer(
            objective.model,
            arguments,
            data_collator=collator,
            train_dataset=rows,
            callbacks=[Pace()],
            optimizers=(optimizer, schedule),
        ).train()
    return clock.curve


def seconds_to(curve: Curve, target: float) -> float:
    """Seconds at which a curve first reaches a loss, between two points by a line; infinite where it does not."""
    before: tuple[float, float] | None = None
    for _, seconds, loss in curve:
        if loss <= target:
            if before is None:
                return seconds
            share = (before[1] - target) / (before[1] - loss)
            return before[0] + share * (seconds - before[0])
        before = seconds, loss
    return float("inf")


def main() -> None:
    """Train, and write a table of all curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="+", default=["adamw", "muon", "trainer"])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["case", "seed", "step", "seconds", "held_out_mlm"])
    curves: dict[tuple[str, int], Curve] = {}
    for seed in args.seeds:
        for case in args.cases:
            flags = {"objective": "mlm", "corpus": args.corpus, "seed": seed, "device": "cpu", "compile": "no"}
            flags["optimizer"] = "muon" if case == "muon" else "adamw"
            config = load_config(args.preset, flags, args.set)
            curves[case, seed] = trainer(config) if case == "trainer" else own_loop(config)
            for step, seconds, loss in curves[case, seed]:
                table.writerow([case, seed, step, f"{seconds:.2f}", f"{loss:.4f}"])
            write_text(args.out, text.getvalue())
            print(f"{case} seed {seed}: {curves[case, seed][-1]}", flush=True)
    for seed in args.seeds:  # the loss that all of a seed's runs reach
        target = max(curve[-1][2] for (_, of), curve in curves.items() if of == seed)
        found = {case: seconds_to(curves[case, seed], target) for case in args.cases}
        print(f"seed {seed}, to {target:.3f} nat: " + ", ".join(f"{case} {s:.0f} s" for case, s in found.items()))


if __name__ == "__main__":
    main()
