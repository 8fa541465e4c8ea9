"""One optimizer step; on a GPU recorded once for each shape of batch as a CUDA graph, and replayed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from geomprobe.common import first_line
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.device import autocast
from geomprobe.pretrain.objectives.base import Batch, Losses, Objective
from geomprobe.pretrain.optimizer import ema_decay, learning_rate

EAGER_STEPS = 3
"""Steps of a shape before it is recorded: libraries choose kernels and take memory in the first ones."""


class Step:
    """The steps of a run: forward, backward, clipping, update of the weights and of the target encoder.

    Parameters
    ----------
    config : PretrainConfig
    objective : Objective
    forward : callable
        The objective, compiled or shared between processes.
    optimizer : torch.optim.Optimizer
    steps : int
        Of the whole run.
    device : torch.device
    recorder : CudaGraphs, optional
        Where steps are recorded; without one every step is taken anew.
    warn : callable
        Gets a sentence where recording fails; steps are then taken anew.
    """

    def __init__(
        self,
        config: PretrainConfig,
        objective: Objective,
        forward: Callable[[Batch], Losses],
        optimizer: torch.optim.Optimizer,
        steps: int,
        device: torch.device,
        recorder: CudaGraphs | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ):
        self.config, self.objective, self.forward, self.optimizer = config, objective, forward, optimizer
        self.steps, self.device, self.recorder, self.warn = steps, device, recorder, warn
        self.replays: dict[tuple[torch.Size, ...], Replay] = {}
        self.taken: dict[tuple[torch.Size, ...], int] = {}
        # of each shape, which compile or are taken before it is recorded
        self.slow_steps = EAGER_STEPS + 1 if recorder is not None else int(config.compile == "yes")
        self.decay: float | torch.Tensor = 0.0
        if recorder is not None:  # values that change from step to step are read from the device
            self.decay = torch.zeros((), device=device)
            for group in optimizer.param_groups:
                group["lr"] = torch.zeros((), device=device)

    def __call__(self, step: int, batches: Iterable[Batch], rows: Callable[[int], Batch]) -> Losses:
        """Means of losses, and the norm of the gradient, of one step.

        Parameters
        ----------
        step : int
        batches : iterable of Batch
            As many as the accumulation has parts.
        rows : callable
            Gives the first n rows of the step (see `Objective.before_step`).
        """
        self._set(step)
        with autocast(self.config, self.device):
            self.objective.before_step(step, rows)
        if self.recorder is None:
            return self._take(batches)
        held, recorder = list(batches), self.recorder
        shapes = tuple(part.shape for batch in held for part in batch.tensors())
        self.taken[shapes] = self.taken.get(shapes, 0) + 1
        if shapes not in self.replays and self.taken[shapes] > EAGER_STEPS:
            try:
                self.replays[shapes] = Replay(self, held, recorder)
            except Exception as error:  # what a device can raise has no common class
                self.warn(f"steps cannot be recorded as CUDA graphs, and are taken one by one: {first_line(error)}")
                self.recorder = None
                self.replays.clear()  # they hold memory
        if shapes not in self.replays:
            with recorder.unrecorded():
                return self._take(held)
        return self.replays[shapes](held)

    def _set(self, step: int) -> None:
        """Learning rate, decay and the share of training done."""
        rate, decay = learning_rate(self.config, step, self.steps), ema_decay(self.config, step, self.steps)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self.decay = self.decay.fill_(decay) if isinstance(self.decay, torch.Tensor) else decay
        self.objective.done.fill_(step / self.steps)

    def _take(self, batches: Iterable[Batch]) -> Losses:
        """Do all of a step on the device."""
        parts, sums = self.config.accumulation, Losses()
        self.optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches, 1):
            with self._unshared() if number < parts else contextlib.nullcontext():
                with autocast(self.config, self.device):
                    losses = self.forward(batch)
                (losses["loss"] / parts).backward()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + loss.detach() / parts
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.clip)
        self.optimizer.step()
        self.objective.update_target(self.decay)
        return sums | {"grad_norm": norm.detach()}

    def _unshared(self) -> contextlib.AbstractContextManager[None]:
        """Where processes share the gradient, they do so after the last part."""
        return getattr(self.forward, "no_sync", contextlib.nullcontext)()


def find_recorder(
    config: PretrainConfig, objective: Objective, forward: Callable[[Batch], Losses], device: torch.device
) -> CudaGraphs | None:
    """What records steps where a lone GPU trains a compiled objective by AdamW; None elsewhere."""
    alone = forward is objective
    recorded = alone and device.type == "cuda" and config.compile == "yes" and config.optimizer == "adamw"
    return CudaGraphs() if recorded else None


class Replay:
    """A step that was recorded with batches of its own, into which those of each step are copied."""

    def __init__(self, step: Step, batches: Sequence[Batch], recorder: CudaGraphs):
        self.held = [batch.map(torch.clone) for batch in batches]
        self.losses: Losses = {}

        def work() -> None:
            self.losses = step._take(self.held)

        self.again = recorder.record(work)

    def __call__(self, batches: Sequence[Batch]) -> Losses:
        """Losses of a step with these batches."""
        for held, batch in zip(self.held, batches, strict=True):
            for old, new in zip(held.tensors(), batch.tensors(), strict=True):
                old.copy_(new)
        self.again()
        return {name: value.clone() for name, value in self.losses.items()}


class CudaGraphs:
    """Records steps as CUDA graphs that share their memory, all on one stream beside the default one."""

    def __init__(self) -> None:
        self.pool, self.stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    @contextlib.contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Work on the stream that is recorded on: autograd remembers where a gradient was first added up."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` does on the device, without doing it; give what does it."""
        graph = torch.cuda.CUDAGraph()
        # other threads, which prepare batches, may work on
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            work()
        return graph.replay
