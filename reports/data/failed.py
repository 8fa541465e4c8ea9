"""Which numbers are missing because their cell failed."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts

WHOLE = {"embedding", "published analysis"}
"""Stages without which a cell has no number at all."""


def stage_of(facts: Facts, metric: str) -> str:
    """The stage of a cell that a metric comes from, one of `geomprobe.results.STAGES`."""
    if stage := facts.entry(metric).get("stage"):
        return stage
    return "geometry" if facts.part_of(metric) == "geometry" else "probes"


def missing(facts: Facts, name: str, task: str, pooling: str, metric: str, view: str, layer: int | None = None) -> bool:
    """Whether a number of a model, or of a group of seeds, is missing because its cell failed.

    A number that nothing measured on the task, while other numbers of its stage were, does not exist there: no failure.

    Parameters
    ----------
    layer : int, optional
        The deepest of the model by default.
    """
    stage = stage_of(facts, metric)
    known = facts.measured_stages.get(task, set())
    if known and (metric, view) not in known and any(stage_of(facts, m) == stage for m, _ in known):
        return False
    for model in facts.groups.get(name, [name]):
        at = facts.last_layer.get(model, 0) if layer is None else layer
        if {stage, metric, *WHOLE} & facts.failed_stages.get((model, task, at, pooling), set()):
            return True
    return False
