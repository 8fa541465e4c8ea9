"""What is learned: one file an objective, named after it, with its class as ``OBJECTIVE``; `base` has what they share.

To add one, write its file and its test; lists, checks, batches, FLOPs and checkpoints follow from its class.
"""

from __future__ import annotations

from importlib import import_module

from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.objectives.base import Objective


def objective_class(name: str) -> type[Objective]:
    """Class of an objective, with what it reads and what it costs."""
    return import_module(f"{__name__}.{name}").OBJECTIVE


def build_objective(config: PretrainConfig, corpus: Corpus) -> Objective:
    """Model and losses of a run, initialised from the seed."""
    return objective_class(config.objective)(config, corpus)
