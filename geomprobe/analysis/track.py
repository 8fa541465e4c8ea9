"""A training followed over its checkpoints, each analysed on the same rows, one at a time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import pandas as pd

from geomprobe.analysis.analyze import analyze
from geomprobe.analysis.definitions import records
from geomprobe.analysis.plan import GLUE, check_request
from geomprobe.analysis.protocols import STRICT, Protocol
from geomprobe.analysis.variants import numbered
from geomprobe.common import UsageError, hold_folder, model_name
from geomprobe.common.progress import Progress, shown
from geomprobe.comparison.series import KeepRule, add_series
from geomprobe.encoders import load_encoder
from geomprobe.encoders.checkpoints import TrainingSeries, find_series
from geomprobe.results import TABLES, Results, check_folder, provenance, table, write_results
from geomprobe.results.record import Margin
from geomprobe.results.schema import SeriesEntry
from geomprobe.results.summary.model import Summary
from geomprobe.tasks import TASKS, load_task
from geomprobe.tasks.base import Task

MEASURED = ("results", "curves", "examples", "influences")


@dataclass(frozen=True)
class Track:
    """What was found along one or more trainings.

    Attributes
    ----------
    results : Results
        Everything that was measured, as a results folder holds it; `write_report` takes it.
    """

    results: Results

    @property
    def rows(self) -> pd.DataFrame:
        """A headline number of a checkpoint a row, or the mean of a group: `results.trajectories`."""
        return self.results.trajectories

    @property
    def changes(self) -> pd.DataFrame:
        """A paired difference of two checkpoints a row: `results.changes`."""
        return self.results.changes

    @property
    def kept(self) -> dict[str, str | None]:
        """The checkpoint that the rule keeps, for each training; None where there is none."""
        return {entry["series"]: entry["model"] for entry in self.results.run["kept"]}

    def summary(self) -> Summary:
        """What changed along the series and what is kept, in a few lines."""
        return self.results.summary()


def track(
    checkpoints: Sequence[Any],
    tasks: Sequence[str | Task] = GLUE,
    *,
    revisions: str | None = None,
    groups: Mapping[str, Sequence[str | Path]] | None = None,
    keep: str | None = None,
    poolings: Sequence[str] | None = None,
    layers: Sequence[int] | str = (-1,),
    out: str | Path | None = None,
    prompt: str | None = None,
    query_prompt: str | None = None,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    long: str = "cut",
    device: str = "auto",
    protocol: Protocol = STRICT,
    seed: int = 0,
    margins: Mapping[str, Margin] | None = None,
    progress: Progress | str | None = "auto",
) -> Track:
    """Measure the checkpoints of one or more trainings on the same rows, and what changes along them.

    Every choice is an argument here; all but the checkpoints have a default. They are read one at a time, so memory
    holds one model.

    Parameters
    ----------
    checkpoints : sequence of str or Path
        A folder with models named by their step (``checkpoint-500``) is a training, and so is a hub id with
        `revisions`. Models that are given by themselves are one training together.
    tasks : sequence of str or Task
    revisions : str, optional
        Which branches and tags of hub ids are checkpoints, such as ``step*``.
    groups : mapping of name to trainings, optional
        Trainings that differ by their seed: their mean along the steps is given, with an interval over the trainings.
    keep : str, optional
        ``max METRIC`` or ``min METRIC``, perhaps with a view: which number says what checkpoint is best. Default: the
        headline score of each task's probe. The earliest checkpoint that cannot be told apart from the best is kept.
    poolings, layers, prompt, query_prompt, data_dir, limit, long, device, protocol, seed, margins, progress
        As in `analyze`.
    out : path, optional
        Results folder. Finished cells are kept there and found again.

    Returns
    -------
    Track

    Raises
    ------
    UsageError
        A step cannot be told from a name, two checkpoints have the same step, or there are fewer than two.
    InputError
        A model or a task cannot be read.

    Examples
    --------
    >>> import geomprobe as gp
    >>> from geomprobe.tasks import load_file
    >>> found = gp.track(["my-training"], [load_file("reviews.csv")])  # checkpoint-10, checkpoint-20
    >>> found.rows.query("metric == 'effective_rank'")["step"].tolist()
    [10.0, 20.0]
    >>> found.kept
    {'my-training': 'checkpoint-10'}
    """
    rule = KeepRule.parsed(keep, records()) if keep is not None else KeepRule()
    if out is not None:
        check_folder(Path(out), [*checkpoints, *(t for t in tasks if isinstance(t, str))])
    found, bands = found_series(checkpoints, revisions, groups or {})
    how: dict[str, Any] = {"prompt": prompt, "query_prompt": query_prompt, "data_dir": data_dir, "limit": limit}
    how |= {"long": long, "device": device, "protocol": protocol, "seed": seed}
    with shown(progress, "measuring") as show:
        return Track(measure_series(found, bands, tasks, rule, poolings, layers, out, margins, show, **how))


def measure_series(
    found: Sequence[TrainingSeries],
    bands: Mapping[str, Sequence[str]],
    tasks: Sequence[str | Task],
    rule: KeepRule,
    poolings: Sequence[str] | None,
    layers: Sequence[int] | str,
    out: str | Path | None,
    margins: Mapping[str, Margin] | None = None,
    progress: Progress | None = None,
    *,
    device: str = "auto",
    data_dir: str | Path | None = None,
    limit: int | None = None,
    long: str = "cut",
    **how: Any,
) -> Results:
    """Results of every checkpoint, with what changes along each training (see `track`)."""
    started = time.perf_counter()
    check_request(tasks, poolings, (), limit, device, long, layers=layers)
    read = [task if isinstance(task, Task) else load_task(task, data_dir=data_dir) for task in tasks]
    cells = None if out is None else Path(out) / "cells"
    named = [each for series in found for each in _named(series, alone=len(found) == 1)]
    how |= {"cells": cells, "device": device, "data_dir": data_dir, "limit": limit, "long": long, "maps": False}
    with hold_folder(out) if out is not None else contextlib.nullcontext():
        parts: list[Results] = []
        for i, (source, name) in enumerate(named):
            encoder = load_encoder(source, device=device)
            encoder.name = name

            def advance(done: int, total: int, i: int = i) -> None:
                if progress:
                    progress(i * total + done, len(named) * total)

            parts.append(analyze([encoder], read, poolings, layers, progress=advance, **how))
        results = _joined(parts)
        if plugins := TASKS.added(task for task in tasks if isinstance(task, str)):
            results.run["plugins"] = [*results.run.get("plugins", ()), *plugins]
        add_series(results, _entries(found, parts), rule, bands, margins)
        results.run["wall_seconds"] = round(time.perf_counter() - started, 1)
        if out is not None:
            write_results(out, results)
    return results


def found_series(
    checkpoints: Sequence[Any], revisions: str | None, groups: Mapping[str, Sequence[str | Path]]
) -> tuple[list[TrainingSeries], dict[str, list[str]]]:
    """The trainings under names of their own, and the names of those in each group."""
    found = find_series(checkpoints, revisions) if checkpoints or not groups else []
    members: dict[str, list[int]] = {}
    for group, sources in groups.items():
        own = find_series(sources, revisions)
        if len(own) < 2:
            hint = "Give each of its trainings: --group NAME=RUN,RUN,RUN"
            raise UsageError(f"The group {group} has one training, and a band is over two or more.", hint)
        members[group] = list(range(len(found), len(found) + len(own)))
        found += own
    short = [each.name for each in found]
    names: list[str] = []
    for each in found:
        longer = model_name(each.source, 2) if short.count(each.name) > 1 else each.name
        names.append(numbered(longer, [*names, *members]))
    if repeated := next((each.source for each in found if [o.source for o in found].count(each.source) > 1), None):
        raise UsageError(f"A training is given twice: {repeated}.", "Name each training once.")
    found = [replace(each, name=name) for each, name in zip(found, names, strict=True)]
    return found, {group: [names[i] for i in places] for group, places in members.items()}


def _named(series: TrainingSeries, *, alone: bool) -> list[tuple[str, str]]:
    """Source and name of each checkpoint; labels differ within a training."""
    return [(each.source, each.label if alone else f"{series.name}/{each.label}") for each in series.checkpoints]


def _entries(found: Sequence[TrainingSeries], parts: Sequence[Results]) -> list[SeriesEntry]:
    """What run.json says of the trainings; `parts` has the results of each checkpoint in this order."""
    names = [part.run["models"][0]["name"] for part in parts]
    ends = list(accumulate(len(each.checkpoints) for each in found))
    return [
        {
            "name": each.name, "source": _place(each), "unit": each.unit, "notes": each.notes,
            "models": names[end - len(each.checkpoints) : end], "steps": [one.step for one in each.checkpoints],
        }
        for each, end in zip(found, ends, strict=True)
    ]  # fmt: skip


def _place(series: TrainingSeries) -> str:
    """Where a training lies, as it may be published; of models given by themselves where each lies."""
    sources = [each.source for each in series.checkpoints]
    if os.path.exists(os.path.expanduser(series.source)) or sources[0].startswith(f"{series.source}@"):
        sources = [series.source]
    known = (os.path.exists(os.path.expanduser(source)) for source in sources)
    return ", ".join(provenance.public_path(s) if path else s for s, path in zip(sources, known, strict=True))


def _joined(parts: Sequence[Results]) -> Results:
    """The results of single models on the same tasks as one."""
    first = parts[0]
    tables = {name: pd.concat([getattr(part, name) for part in parts], ignore_index=True) for name in MEASURED}
    tasks = [dict(entry) for entry in first.run["tasks"]]
    for (i, entry), counted in product(enumerate(tasks), ("truncated", "chunked")):
        if counted in entry:
            entry[counted] = {name: n for part in parts for name, n in part.run["tasks"][i][counted].items()}
    run = first.run | {
        "models": [entry for part in parts for entry in part.run["models"]],
        "tasks": tasks,
        "failed_cells": sum(part.run["failed_cells"] for part in parts),
    }
    return Results(
        **{name: table(frame, TABLES[name]) for name, frame in tables.items()},
        definitions={name: entry for part in parts for name, entry in part.definitions.items()},
        run=run,
        training={name: log for part in parts for name, log in part.training.items()},
    )
