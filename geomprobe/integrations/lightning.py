"""Geometry during a training by Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

try:
    from lightning.pytorch import Callback
except ImportError:  # the same under its other name
    from pytorch_lightning import Callback

from geomprobe.common import UsageError
from geomprobe.integrations.monitor import METRICS, GeometryMonitor, bare


class GeometryCallback(Callback):
    """Measures the geometry of fixed texts during a training by Lightning.

    The values reach the trainer's loggers as `geometry/METRIC`, and from each validation on
    ``trainer.callback_metrics``, for `ModelCheckpoint` and `EarlyStopping`. Weights and random numbers are as without
    the callback.

    Parameters
    ----------
    texts : sequence of str, or the name of a task of the controlled suite
    encoder : callable, optional
        From the LightningModule to the transformers or sentence-transformers model in it. Default: the only one.
    tokenizer, every, layers, poolings, metrics, max_share, on_collapse, out
        See `GeometryMonitor`. The folder is the trainer's ``default_root_dir`` unless given.

    Raises
    ------
    UsageError
        For texts, names or numbers that cannot be used; where the module has no encoder, or several.
    """

    def __init__(
        self,
        texts: Sequence[str] | str,
        *,
        encoder: Callable[[Any], nn.Module] | None = None,
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
        self.encoder = encoder or only_encoder
        self.summary = ""
        """What the training did to the geometry and what that cost, in a few lines; filled at its end."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the log, and measure before the first step."""
        if trainer.is_global_zero:
            self.monitor.begin(trainer.default_root_dir, trainer.global_step)
            if not self.monitor.measured(trainer.global_step):
                self._observe(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Measure where it is due."""
        if trainer.is_global_zero and self.monitor.due(trainer.global_step):
            self._observe(trainer, pl_module)
        every = self.monitor.every
        if trainer.world_size == 1 or (every and trainer.global_step % every == 0):  # all processes are here
            self._stop(trainer)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure where it is due; hand the latest geometry to whoever reads the trainer's metrics."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if trainer.is_global_zero and self.monitor.due(trainer.global_step, evaluating=True):
            self._observe(trainer, pl_module)
        latest = self.monitor.latest if trainer.is_global_zero else {}
        pl_module.log_dict(trainer.strategy.broadcast(latest), logger=False)
        self._stop(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure after the last step, and write the report."""
        if trainer.is_global_zero:
            if not self.monitor.measured(trainer.global_step):
                self._observe(trainer, pl_module)
            self.summary = self.monitor.finish()

    def _observe(self, trainer: Any, pl_module: Any) -> None:
        model, step = self.encoder(bare(pl_module)), trainer.global_step
        values = self.monitor.observe(model, step, trainer.current_epoch)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)

    def _stop(self, trainer: Any) -> None:
        if self.monitor.on_collapse == "stop" and trainer.strategy.broadcast(self.monitor.stop):
            trainer.should_stop = True


def only_encoder(module: nn.Module) -> nn.Module:
    """The one transformers or sentence-transformers model in a module.

    Raises
    ------
    UsageError
        There is none, or more than one.
    """
    found: dict[str, nn.Module] = {}
    for name, part in module.named_modules():
        sentence = any(kind.__name__ == "SentenceTransformer" for kind in type(part).__mro__)
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if not inside and (sentence or isinstance(part, PreTrainedModel)):
            found[name] = part
    if len(found) != 1:
        names = f" ({', '.join(sorted(found))})" if found else ""
        what = f"{type(module).__name__} holds {len(found)} encoders{names}, not one."
        raise UsageError(what, "Say which: GeometryCallback(…, encoder=lambda module: module.encoder).")
    return next(iter(found.values()))
