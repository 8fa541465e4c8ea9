"""The audit of checkpoints: both protocols and every single choice between them, on the same rows, claim by claim."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from geomprobe.analysis.analyze import analyze
from geomprobe.analysis.plan import GLUE, prepare
from geomprobe.analysis.protocols import STRICT, Protocol, switched
from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import write_json
from geomprobe.comparison import table as comparison
from geomprobe.comparison.groups import compare_groups
from geomprobe.encoders import load_encoder
from geomprobe.inference import intervals
from geomprobe.inference.estimate import student
from geomprobe.predict_reconstruct import choice_effects
from geomprobe.predict_reconstruct.claim_table import Audited, Measured, one_claim
from geomprobe.predict_reconstruct.claims import CLAIMS, GAP, POOLINGS, SOURCE
from geomprobe.predict_reconstruct.formulas import RECORDS
from geomprobe.predict_reconstruct.measurement import Published, published_clusters
from geomprobe.predict_reconstruct.protocol import PAPER, PROBES, SWITCHES, Switch, paper_word
from geomprobe.results import COMPARISON_COLUMNS, Results, table, write_results
from geomprobe.results.record import WIDE
from geomprobe.tasks import load_task
from geomprobe.tasks.base import Task

SCHEMA_VERSION = 2
"""Of audit.json; 2 has the interval of what a choice moves."""
PROVENANCE = ("created", "geomprobe_version", "versions", "hardware", "command", "seed", "limit", "models", "tasks")
Bars = Callable[[str], AbstractContextManager[Callable[[int, int], None] | None]]
Run = tuple[Protocol, Sequence[Task], Sequence[str], str]
"""Protocol, tasks, poolings, and the folder of their results within the folder of the audit."""
SKILLS = switched(PAPER, "score", "skill")  # adds numbers, and changes none but the balance's second form


def audit_checkpoints(
    sides: Mapping[str, Sequence[Any]],
    tasks: Sequence[str | Task] = GLUE,
    *,
    grouped: bool,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    seed: int = 0,
    jobs: int = 1,
    out: str | Path,
    cells: str | Path | None = None,
    bars: Bars,
) -> dict[str, Any]:
    """Audit of two checkpoints, or two groups of seeds, by both protocols and every single choice between them.

    It is long and has many parameters because it passes the options of `analyze` on.

    Parameters
    ----------
    sides : mapping of two names to models
        A, which stands for the published MLM encoder, and B, which stands for the hybrid one.
    grouped : bool
        Whether the sides are groups of seeds; else each holds one checkpoint, and its name is replaced by the model's.
    out : path
        Folder of audit.json, of the results folders strict/ and paper/, and of the cells of the replaced choices.
    cells : path, optional
        As `analyze` takes it.
    bars : callable
        Gives a context manager of ``progress(done, total)``, or of None, for a description.

    Returns
    -------
    dict
        The content of audit.json.
    """
    out = Path(out)
    loaded = [t if isinstance(t, Task) else load_task(t, data_dir=data_dir) for t in tasks]
    encoders = [load_encoder(model, device=device) for models in sides.values() for model in models]
    common: dict[str, Any] = {"data_dir": data_dir, "limit": limit, "seed": seed, "cells": cells, "maps": False}
    common |= {"jobs": jobs, "device": device}
    # each process opens the models itself; a model is not sent
    opened = [model for models in sides.values() for model in models] if jobs > 1 else encoders
    common["complete"] = lambda results: None  # the sides are compared below; models are not ranked

    switches = [(switch, switch_runs(switch, loaded, limit)) for switch in SWITCHES]
    number, total = itertools.count(1), 2 + sum(len(runs) for _, runs in switches)

    def run(protocol: Protocol, some: Sequence[Task], poolings: Sequence[str], folder: str) -> Results:
        with bars(f"measuring by protocol {next(number)} of {total} ({protocol.name})") as bar:
            return analyze(opened, some, poolings, protocol=protocol, out=out / folder, progress=bar, **common)

    strict = run(STRICT, loaded, POOLINGS, "strict")
    paper = run(replace(SKILLS, name="paper"), loaded, POOLINGS, "paper")
    names = iter([entry["name"] for entry in strict.run["models"]])
    groups = {name: [next(names) for _ in models] for name, models in sides.items()}
    if not grouped:
        groups = {members[0]: members for members in groups.values()}
    aligned = {task.name: clusters_of(task, limit, seed) for task in loaded}

    strict.definitions[GAP[0]] = RECORDS[GAP[0]].entry()
    strict.comparisons = with_gap(compared(strict, groups, grouped), strict.definitions)
    sources = {"strict": Measured(strict.comparisons, {})}
    sources["paper"] = measured(SKILLS, [paper], groups, grouped, aligned)
    for folder, results in (("strict", strict), ("paper", paper)):
        write_results(out / folder, results)
    failed = strict.run["failed_cells"] + paper.run["failed_cells"]
    for switch, runs in switches:
        if parts := [run(*each) for each in runs]:
            protocol = switched(SKILLS, switch.choice, switch.word)
            sources[switch.choice] = measured(protocol, parts, groups, grouped, aligned)
            failed += sum(part.run["failed_cells"] for part in parts)
    document = summary(Audited(groups, grouped, sources, SWITCHES), [task.name for task in loaded])
    document |= {"failed_cells": failed, "run": {key: strict.run[key] for key in PROVENANCE}}
    write_json(out / "audit.json", document)
    return document


def switch_runs(switch: Switch, tasks: Sequence[Task], limit: int | None) -> list[Run]:
    """Runs of the published analysis with one choice replaced: what it can move, where it can."""
    some = [task for task in tasks if switch.applies(task, limit)]
    if not some:
        return []
    protocol = switched(SKILLS, switch.choice, switch.word)
    found: list[Run] = []
    for part, poolings in ((("geometry",), POOLINGS), (PROBES, ("mean",))):
        wanted = tuple(p for p in part if p in switch.parts)
        if wanted:
            published = replace(cast(Published, protocol.published), parts=wanted)
            only = replace(protocol, name=f"paper, {switch.name}", published=published)
            found.append((only, some, poolings, f"switches/{switch.choice}-{wanted[0]}"))
    return found


def measured(
    protocol: Protocol,
    parts: Sequence[Results],
    groups: Mapping[str, Sequence[str]],
    grouped: bool,
    aligned: Mapping[str, Mapping[tuple[int | None, str], choice_effects.Clusters]],
) -> Measured:
    """Differences of both sides under an analysis, and its numbers on the clusters that all analyses share.

    Parameters
    ----------
    aligned : mapping of task to mapping of (rows, pairs) to Clusters
        What `clusters_of` returns.
    """
    frames, numbers = [], {}
    for part in parts:
        frames.append(compared(part, groups, grouped))
        for place, number in choice_effects.numbers_of(part).items():
            home = aligned[place[1]][protocol.rows, protocol.pairs]
            numbers[place] = number.summed(home.common, home.size)
    return Measured(pd.concat(frames), numbers)


def summary(audited: Audited, tasks: Sequence[str]) -> dict[str, Any]:
    """What was audited and what is said of each claim, JSON-ready."""
    return {
        "kind": "audit",
        "schema_version": SCHEMA_VERSION,
        "sides": {name: list(members) for name, members in audited.groups.items()},
        "grouped": audited.grouped,
        "level": audited.level,
        "published": {"source": SOURCE, "a": "MLM", "b": "hybrid"},
        "tasks": list(tasks),
        "claims": [one_claim(claim, tasks, audited) for claim in CLAIMS],
        "choices": [
            {"choice": s.choice, "paper": paper_word(s.choice), "strict": s.word, "meaning": s.meaning}
            for s in audited.switches
        ],
    }  # fmt: skip


def clusters_of(task: Task, limit: int | None, seed: int) -> dict[tuple[int | None, str], choice_effects.Clusters]:
    """Clusters that the analyses of a task share, whether they read its first rows or all, pairs joined or separate.

    Returns
    -------
    dict of (rows, pairs) of a protocol to Clusters
    """
    homes = {}
    for protocol in (PAPER, switched(PAPER, "rows", "all"), switched(PAPER, "pairs", "separate")):
        texts = TaskTexts.of(prepare(task, protocol, limit, seed))
        clusters, of_rows = published_clusters(texts)
        numbered = np.searchsorted(np.unique(clusters), of_rows)
        homes[protocol.rows, protocol.pairs] = texts.task.validation.row_ids, numbered
    return choice_effects.common_clusters(homes)


def compared(results: Results, groups: Mapping[str, Sequence[str]], grouped: bool) -> pd.DataFrame:
    """Differences of the seeds in their order, and of the groups; they are added to the results."""
    a, b = groups.values()
    frames = []
    for first, second in zip(a, b, strict=False):
        frames.append(comparison.add_comparisons(results, first, second).comparisons)
    results.comparisons = table(pd.concat(frames), COMPARISON_COLUMNS)
    if grouped:
        compare_groups(results, groups)
    return results.comparisons


def with_gap(frame: pd.DataFrame, definitions: Mapping[str, Any]) -> pd.DataFrame:
    """Comparisons with the difference of the skills of the task probe and of the lexical probe added.

    The influences of the two probes are not on the same rows, so the standard error is bounded by the sum of both
    (Cauchy-Schwarz): the interval is conservative. The difference joins the family of its record, and the p-values of
    "no difference" in it are adjusted anew. It has no margin, so the p-values of equivalence stay.
    """
    frames = []
    for _, part in frame.groupby(["a", "b", "level"], sort=False):
        lines = []
        for task in dict.fromkeys(part["task"]):
            for pooling in POOLINGS:
                here = part[(part["task"] == task) & (part["pooling"] == pooling)]
                task_probe = _first(here, ("semantic_skill", "sts_probe_spearman"))
                lexical = _first(here, ("lexical_word_content_skill", "lexical_top_word_skill"))
                if task_probe is not None and lexical is not None:
                    lines.append(_gap(task_probe, lexical))
        both = table(pd.concat([part, table(lines, COMPARISON_COLUMNS)]), COMPARISON_COLUMNS)
        few = part["verdict"].eq(intervals.FEW_SEEDS).any()
        frames.append(comparison.adjusted(both, definitions, seeds=0 if few else None, equivalence=False))
    return table(pd.concat(frames), COMPARISON_COLUMNS) if frames else frame


def _first(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Any] | None:
    for name in names:
        rows = frame[frame["metric"] == name]
        if len(rows):
            first = rows.astype(object).where(rows.notna(), None).iloc[0]
            return {str(column): value for column, value in first.items()}
    return None


def _gap(task_probe: dict[str, Any], lexical: dict[str, Any]) -> dict[str, Any]:
    """Comparison of (task probe − lexical probe) from the comparisons of its parts."""
    line = {key: task_probe[key] for key in ("a", "b", "level", "task", "layer", "pooling")}
    line |= {"definition": f"{task_probe['metric']} − {lexical['metric']}"}
    line |= {"view": GAP[1], "metric": GAP[0], "n": min(task_probe["n"], lexical["n"])}
    line |= {key: task_probe[key] - lexical[key] for key in ("value_a", "value_b", "diff")}
    if task_probe["se"] is None or lexical["se"] is None:
        whose = task_probe if task_probe["se"] is None else lexical
        return line | {"p": np.nan, "ci_method": whose["ci_method"]}
    se = task_probe["se"] + lexical["se"]
    dof = min((part["dof"] for part in (task_probe, lexical) if part["se"] > 0), default=1.0)
    found = student(line["diff"], se, dof, f"sum of the standard errors of both probes, {WIDE}")
    return line | found.to_row() | {"p": found.p, "dof": found.dof}
