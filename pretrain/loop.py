"""The training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from geomprobe.pretrain import checkpoint, monitor
from geomprobe.pretrain.budget import read_run
from geomprobe.pretrain.card import write_card
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.device import autocast, keep_memory
from geomprobe.pretrain.distributed import join
from geomprobe.pretrain.objectives.base import Batch
from geomprobe.pretrain.optimizer import learning_rate
from geomprobe.pretrain.prepare import Run, prepare
from geomprobe.pretrain.progress import Averages, Record, interruption, refuse_non_finite
from geomprobe.pretrain.runlog import finish_run

MONITOR_ROWS = 64
SKILL_ROWS = 128  # for skills, which are small
GEOMETRY_ROWS = 256  # handed to on_monitor

OnMonitor = Callable[[Record], Record]


def train(
    config: PretrainConfig,
    *,
    resume: bool = False,
    progress: Callable[[Record], None] | None = None,
    on_monitor: OnMonitor | None = None,
) -> Path:
    """Checkpoint folder of a newly pretrained encoder.

    Parameters
    ----------
    config : PretrainConfig
    resume : bool
        Go on from the newest good state in the folder; start afresh where there is none.
    progress : callable, optional
        Gets every record of `metrics.jsonl`; records with the keys stage, done, total while the corpus is prepared and
        for each step; and records with the key note or warning.
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
    with join() as processes, contextlib.ExitStack() as held:
        tell = progress if progress and processes.first else lambda record: None
        run = prepare(config, processes, held, resume, tell)
        optimise(run, on_monitor)
        if processes.first:  # not in the loop, so that a run killed after its last state ends here too
            checkpoint.export(run.out, run.objective, run.data.corpus)
            ended = read_run(run.out).get("finished")
            finish_run(run.out, run.log.last)
            if not ended or not (run.out / "README.md").exists():  # what was added to it since then stays
                write_card(run.out, run.log.last)
        processes.barrier()  # for all of them the folder is finished
    return run.out


def optimise(run: Run, on_monitor: OnMonitor | None) -> None:
    """Take the steps that are left, log, and save the state."""
    config, processes, step = run.config, run.processes, run.step
    mean, watch = Averages(), Watch(run, on_monitor)
    take = run.stepper()

    def rows_of(step: int, rows: int) -> Batch:
        return run.data.batch(step, 0, rows, run.device)

    def tell_step() -> None:
        run.tell({"stage": f"training {config.objective}", "done": step, "total": run.steps})

    tell_step()
    with interruption() as interrupted, run.data.ahead(step, run.steps, processes, run.device) as batches:
        while step < run.steps:
            mean.add(take(step, waited(batches, config.accumulation, mean), partial(rows_of, step)))
            mean.steps += 1
            step += 1
            tell_step()
            last = step == run.steps
            logged = step % config.log_every == 0
            # A stop must be agreed on by all processes, and an exchange at every step would cost time.
            stop = (processes.world == 1 or logged) and processes.any(interrupted() is not None, run.device)
            saved = run.save.due(step, processes, logged) or last or stop
            if logged or saved or step % config.monitor_every == 0:
                watch.log(step, mean)
            if config.checkpoint_every and step % config.checkpoint_every == 0 and processes.first:
                checkpoint.export_step(run.out, step, run.objective, run.data.corpus)
                write_card(run.out, run.log.last, step)
            if saved:
                if processes.first:
                    checkpoint.save_state(run.out, step, run.objective, run.optimizer, config.keep)
                    if not last:
                        checkpoint.export(run.out, run.objective, run.data.corpus)
                        write_card(run.out, run.log.last)
                processes.barrier()
                if stop and not last:
                    text = f"Stopped at step {step} of {run.steps}; the state is saved. Go on with --resume."
                    raise (interrupted() or KeyboardInterrupt)(text)
                mean.restart_clock()


def waited(batches: Iterator[Batch], parts: int, mean: Averages) -> Iterator[Batch]:
    """The batches of a step; the time until each is there counts as waiting."""
    for _ in range(parts):
        with mean.waiting():
            batch = next(batches)
        yield batch


class Watch:
    """The lines of the log, with what is measured on held-out rows now and then."""

    def __init__(self, run: Run, on_monitor: OnMonitor | None):
        self.run, self.on_monitor = run, on_monitor
        self.rows = run.held_out(MONITOR_ROWS)
        self.spans = run.data.evaluation(SKILL_ROWS, run.device)
        self.ids = run.held_out(GEOMETRY_ROWS).ids

    def log(self, step: int, mean: Averages) -> None:
        """Write the line of a step; the averages start anew."""
        run, config = self.run, self.run.config
        line: Record = {
            "step": step,
            "steps": run.steps,
            "tokens": step * config.step_tokens,
            "flops": step * run.step_flops,
            "lr": learning_rate(config, step - 1, run.steps),
            **mean.take(run.processes, config.step_tokens),
        }
        line["eta_s"] = round((run.steps - step) * config.step_tokens / line["tokens_per_s"], 1)
        refuse_non_finite(line, run.out)
        if not run.processes.first:
            return
        if step % config.eval_every == 0 or step == run.steps:
            line |= monitor.held_out_loss(config, run.objective, run.data, run.device)
            refuse_non_finite(line, run.out)
            line["unigram_entropy"] = run.data.corpus.info["unigram_entropy"]
        if step % config.monitor_every == 0 or step == run.steps:
            with autocast(config, run.device):
                line |= monitor.measure(run.objective, self.rows, self.spans)
            if self.on_monitor:
                line |= self.on_monitor({"step": step, "model": run.objective.model.base_model, "ids": self.ids})
            for text in monitor.collapse_warnings(line):
                run.tell({"warning": text})
        run.log.write(line)
        run.tell(line)
