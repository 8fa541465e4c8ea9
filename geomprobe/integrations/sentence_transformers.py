"""Geometry during a training by `SentenceTransformerTrainer`, as a callback or as an evaluator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentence_transformers.base.evaluation import BaseEvaluator

from geomprobe.common import InputError, first_line
from geomprobe.common.training_log import TrainingLog
from geomprobe.integrations.collapse import KEY
from geomprobe.integrations.monitor import LOG, METRICS, GeometryMonitor, logger
from geomprobe.integrations.transformers import GeometryCallback

__all__ = ["GeometryCallback", "GeometryEvaluator"]


class GeometryEvaluator(BaseEvaluator):
    """Geometry of fixed texts as an evaluator of sentence-transformers.

    The trainer calls it at each evaluation and adds `eval_geometry/METRIC` to the metrics. For measurements in between,
    signs of collapse and a report, give `GeometryCallback` to the trainer instead.

    Parameters
    ----------
    texts : sequence of str, or the name of a task of the controlled suite
    name : str
        Put before the keys, for more than one evaluator.
    primary_metric : str
        What chooses the best checkpoint: one of the metrics.
    greater_is_better : bool
        Whether it is better the larger it is.
    layers, poolings, metrics
        See `GeometryMonitor`.

    Examples
    --------
    >>> from geomprobe.integrations.sentence_transformers import GeometryEvaluator
    >>> evaluator = GeometryEvaluator(["the cat sat on the mat", "a dog saw a bird"])
    >>> evaluator.primary_metric
    'geometry/effective_rank'
    """

    def __init__(
        self,
        texts: Sequence[str] | str,
        *,
        name: str = "",
        primary_metric: str = "effective_rank",
        greater_is_better: bool = True,
        layers: Sequence[int] = (-1,),
        poolings: Sequence[str] | None = None,
        metrics: Sequence[str] = METRICS,
    ):
        super().__init__()
        names = [*metrics, primary_metric]
        self.monitor = GeometryMonitor(texts, layers=layers, poolings=poolings, metrics=names)
        self.name, self.greater_is_better = name, greater_is_better
        self.primary_metric = KEY + primary_metric

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int | float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Values by key, NaN where there is none; in a training with a folder, also a line of its `geometry.jsonl`."""
        try:
            values, intervals, _ = self.monitor.geometry(model)
        except InputError as error:  # a training that diverged: its trainer still saves and reports
            logger.warning("geomprobe: step %d: the geometry could not be measured: %s.", steps, first_line(error))
            values, intervals = {}, {}
        missing = {KEY + metric: math.nan for metric in self.monitor.metrics if KEY + metric not in values}
        values, missing = (self.prefix_name_to_metrics(each, self.name) for each in (values, missing))
        intervals = {f"{self.name}_{key}" if self.name else key: interval for key, interval in intervals.items()}
        if output_path is not None and steps >= 0:
            log = TrainingLog(Path(output_path) / LOG, steps)
            log.write({"step": steps, "epoch": epoch, **values, "intervals": intervals})
        values |= missing
        self.store_metrics_in_model_card_data(model, values, epoch, steps)
        return values
