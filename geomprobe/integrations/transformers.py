"""Geometry during a training by `transformers.Trainer`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from geomprobe.common import InputError, first_line
from geomprobe.integrations.collapse import KEY
from geomprobe.integrations.monitor import METRICS, GeometryMonitor, logger


class GeometryCallback(TrainerCallback):
    """Measures the geometry of fixed texts during a training, for `Trainer` and its kin.

    The values stand as `geometry/METRIC` in ``trainer.state.log_history`` and in the trainer's trackers, and after an
    evaluation as `eval_geometry/METRIC` in its metrics, for ``metric_for_best_model``. Weights and random numbers are
    as without the callback.

    Parameters
    ----------
    texts : sequence of str, or the name of a task of the controlled suite
    tokenizer, every, layers, poolings, metrics, max_share, on_collapse, out
        See `GeometryMonitor`. The tokenizer is the trainer's unless given, the folder its ``output_dir``.

    Raises
    ------
    UsageError
        For texts, names or numbers that cannot be used.

    Examples
    --------
    >>> from geomprobe.integrations.transformers import GeometryCallback
    >>> callback = GeometryCallback(["the cat sat on the mat", "a dog saw a bird"], every=100)
    >>> # Trainer(model, args, train_dataset=…, processing_class=tokenizer, callbacks=[callback]).train()
    """

    def __init__(
        self,
        texts: Sequence[str] | str,
        *,
        tokenizer: Any = None,
        every: int | None = None,
        layers: Sequence[int] = (-1,),
        poolings: Sequence[str] | None = None,
        metrics: Sequence[str] = METRICS,
        max_share: float = 0.02,
        on_collapse: str = "warn",
        out: str | Path | None = None,
    ):
        self.monitor = GeometryMonitor(texts, tokenizer, every, layers, poolings, metrics, max_share, on_collapse, out)
        self.summary = ""
        """What the training did to the geometry and what that cost, in a few lines; filled at its end."""
        self._handler: CallbackHandler | None = None
        self._training = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any):
        """Start the log."""
        self._training, self._first = True, True
        self._handler = _handler_of(self)
        if state.is_world_process_zero:
            self.monitor.begin(args.output_dir, state.global_step)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any):
        """Measure before the first step, when all callbacks have begun."""
        if self._first and state.is_world_process_zero and not self.monitor.measured(state.global_step):
            self._observe(args, state, control, given)
        self._first = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any):
        """Measure where it is due, and at the last step."""
        last = control.should_training_stop or state.global_step >= state.max_steps
        if state.is_world_process_zero and (self.monitor.due(state.global_step) or self._missing(state, last)):
            self._observe(args, state, control, given)
        # Processes stop together: they agree where all of them know that they do.
        every = self.monitor.every
        known = control.should_log or control.should_evaluate or (every and state.global_step % every == 0)
        if self.monitor.on_collapse == "stop" and (args.world_size == 1 or known):
            self._stop(control)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any):
        """Measure at the end of a training that another callback ended."""
        if state.is_world_process_zero and self._missing(state, control.should_training_stop):
            self._observe(args, state, control, given)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **given: Any,
    ):
        """Add the geometry to the metrics of an evaluation."""
        values: dict[str, float] = {}
        if state.is_world_process_zero:
            values = self._evaluated(args, state, control, given)
        found = {f"eval_{key}": value for key, value in _shared(values).items()}
        if metrics is not None:
            metrics.update(found)
        for line in reversed(state.log_history):  # the evaluation's own line
            if line.get("step") != state.global_step:
                break
            if any(name.startswith("eval_") for name in line):
                line.update({key: value for key, value in found.items() if math.isfinite(value)})
                break
        if self._training and self.monitor.on_collapse == "stop":
            self._stop(control)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any):
        """Write the report."""
        self._training = False
        if state.is_world_process_zero:
            self.summary = self.monitor.finish()

    def _missing(self, state: TrainerState, last: bool) -> bool:
        return last and not self.monitor.measured(state.global_step)

    def _evaluated(self, args: Any, state: Any, control: Any, given: dict[str, Any]) -> dict[str, float]:
        """Geometry at an evaluation: measured before at this step, or now where it is needed or due."""
        if not self._training:
            try:
                return self.monitor.geometry(given["model"], given.get("processing_class"))[0]
            except InputError as error:  # the evaluation's own numbers are still to be returned
                logger.warning("geomprobe: the geometry could not be measured: %s.", first_line(error))
                return {}
        if self.monitor.measured(state.global_step):
            return self.monitor.latest
        needed = KEY in (args.metric_for_best_model or "") or not self.monitor.lines
        if needed or self.monitor.due(state.global_step, evaluating=True):
            self._observe(args, state, control, given)
            return self.monitor.latest
        return {}

    def _observe(self, args: Any, state: Any, control: Any, given: dict[str, Any]) -> None:
        """Measure, and log as the trainer does: into its history, and to whoever hears its logs."""
        values = self.monitor.observe(given["model"], state.global_step, state.epoch, given.get("processing_class"))
        logs = values | ({} if state.epoch is None else {"epoch": state.epoch})
        if values:
            state.log_history.append({**logs, "step": state.global_step})
        if values and self._handler is not None:
            asked = control.should_log  # which a log resets, although the trainer's own is still to come
            self._handler.on_log(args, state, control, logs)
            control.should_log = asked

    def _stop(self, control: TrainerControl) -> None:
        if _shared(self.monitor.stop):
            control.should_training_stop = True


def _handler_of(callback: TrainerCallback) -> CallbackHandler | None:
    """The handler that calls a callback.

    A callback is given neither its trainer nor the other callbacks, and trackers among these come before it. So what it
    adds to logs would reach none of them.
    """
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, CallbackHandler) and any(each is callback for each in owner.callbacks):
            return owner
        frame = frame.f_back
    return None


def _shared(value: Any) -> Any:
    """The first process's value in every process; all of them call this."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
