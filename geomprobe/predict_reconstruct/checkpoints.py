"""The audit of checkpoints: both protocols and every single choice between them, on the same rows, claim by claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.analysis.grid import GLUE, analyze, prepare
from geomprobe.analysis.protocols import STRICT, Protocol, switched
from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import write_json
from geomprobe.comparison import table as comparison
from geomprobe.comparison.groups import compare_groups
from geomprobe.encoders import load_encoder
from geomprobe.inference import Estimate, intervals
from geomprobe.inference.estimate import MIN_SEEDS, student
from geomprobe.predict_reconstruct import movement
from geomprobe.predict_reconstruct.claims import (
    CLAIMED,
    CLAIMS,
    GAP,
    SILENT,
    SOURCE,
    Claim,
    Number,
    overall,
    sentence,
    status,
)
from geomprobe.predict_reconstruct.paper import DEFINITIONS, published_clusters
from geomprobe.predict_reconstruct.protocol import PAPER
from geomprobe.results import COMPARISON_COLUMNS, Results, table, write_results
from geomprobe.tasks import load_task
from geomprobe.tasks.base import Task

POOLINGS = ("mean", "max")
PROVENANCE = ("created", "geomprobe_version", "versions", "hardware", "command", "seed", "limit", "models", "tasks")
Bars = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class Switch:
    """One choice of the published analysis replaced by that of the strict protocol.

    Attributes
    ----------
    choice, word : str
        As `--set protocol.CHOICE=WORD` takes them.
    parts : tuple of str
        What it can move, and is computed anew.
    meaning : str
        What changes.
    """

    choice: str
    word: str
    parts: tuple[str, ...]
    meaning: str

    @property
    def name(self) -> str:
        return f"{self.choice}={self.word}"


PROBES = ("task", "token")
SWITCHES = (
    Switch("rows", "all", ("geometry", "task"), "all rows in place of the first 2,000 (token probe not redone)"),
    Switch("pairs", "separate", ("geometry", *PROBES), "each sentence of a pair on its own in place of one text"),
    Switch("padding", "hidden", ("geometry", *PROBES), "padding masked, where the encoder saw it"),
    Switch("uniformity_rows", "all", ("geometry",), "all pairs in place of a random 1,000 rows"),
    Switch("centre", "yes", ("geometry",), "the mean vector removed before directions are taken"),
    Switch("token_target", "word", ("token", "task"), "most frequent word in place of most frequent token"),
    Switch("scaling", "folds", PROBES, "features scaled on the fitted rows in place of all rows"),
    Switch("probe_rows", "train", PROBES, "fitted on 2,000 train rows, scored on validation"),
    Switch("score", "skill", (), "skill over guessing in place of accuracy"),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What one analysis gives: the differences of the models, and the numbers behind them with their contributions.

    Attributes
    ----------
    comparisons : DataFrame
    numbers : mapping of `movement.Place` to Estimate
        On the clusters that all analyses of a task share.
    """

    comparisons: pd.DataFrame
    numbers: Mapping[movement.Place, Estimate]


SCHEMA_VERSION = 2
"""Of audit.json; 2 has the interval of what a choice moves."""
OTHER_UNIT = ("score=skill",)  # skills and accuracies are not of one unit, so this choice is shown, and not ranked


def applies(switch: Switch, task: Task, limit: int | None = None) -> bool:
    """Return whether a choice can change anything on a task of which at most `limit` rows are read."""
    every = len(task.validation) if limit is None else min(limit, len(task.validation))
    n = min(every, PAPER.rows or every)
    if switch.choice == "rows":
        return every > n
    if switch.choice == "pairs":
        return task.validation.second is not None
    if switch.choice == "uniformity_rows":
        return n > 1000
    if switch.choice == "probe_rows":
        return task.train is not None
    return True


def audit_checkpoints(
    sides: Mapping[str, Sequence[Any]],
    tasks: Sequence[str | Task] = GLUE,
    *,
    grouped: bool,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    seed: int = 0,
    out: str | Path,
    cells: str | Path | None = None,
    bars: Bars,
) -> dict[str, Any]:
    """Measure two checkpoints, or two groups of seeds, by both protocols and by every single choice between them.

    Parameters
    ----------
    sides : mapping of two names to models
        A, which stands for the published MLM encoder, and B, which stands for the hybrid one.
    grouped : bool
        Whether the sides are groups of seeds; else each holds one checkpoint, and its name is replaced by the model's.
    out : path
        Folder of audit.json, of the results folders strict/ and paper/, and of the cells of the switches.
    cells : path, optional
        As `analyze` takes it.
    bars : callable
        Gives a context manager of ``progress(done, total)`` for a description.

    Returns
    -------
    dict
        The content of audit.json.
    """
    out = Path(out)
    loaded = [t if isinstance(t, Task) else load_task(t, data_dir=data_dir) for t in tasks]
    encoders = [load_encoder(model, device=device) for models in sides.values() for model in models]
    common: dict[str, Any] = {"data_dir": data_dir, "limit": limit, "seed": seed}
    paper = switched(PAPER, "score", "skill")  # adds numbers, and changes none but the balance's second form

    def run(protocol: Protocol, some: Sequence[Task], poolings: Sequence[str], folder: Path) -> Results:
        with bars(f"measuring: {protocol.name}") as bar:
            return analyze(encoders, some, poolings, protocol=protocol, out=folder, cells=cells, progress=bar, **common)

    strict_results = run(STRICT, loaded, POOLINGS, out / "strict")
    paper_results = run(replace(paper, name="paper"), loaded, POOLINGS, out / "paper")
    names = iter([entry["name"] for entry in strict_results.run["models"]])
    groups = {name: [next(names) for _ in models] for name, models in sides.items()}
    if not grouped:
        groups = {members[0]: members for members in groups.values()}
    aligned = {task.name: clusters_of(task, limit, seed) for task in loaded}

    def measured(protocol: Protocol, *parts: Results) -> Measured:
        frames, numbers = [], {}
        for part in parts:
            frames.append(compared(part, groups, grouped))
            for place, number in movement.numbers_of(part).items():
                home = aligned[place[1]][protocol.rows, protocol.pairs]
                numbers[place] = number.summed(home.common, home.size)
        return Measured(pd.concat(frames), numbers)

    strict_results.definitions[GAP[0]] = DEFINITIONS[GAP[0]]
    strict_results.comparisons = with_gap(compared(strict_results, groups, grouped), strict_results.definitions)
    strict = Measured(strict_results.comparisons, {})
    published = measured(paper, paper_results)
    for folder, results in (("strict", strict_results), ("paper", paper_results)):
        write_results(out / folder, results)

    moved: dict[str, Measured] = {}
    failed = strict_results.run["failed_cells"] + paper_results.run["failed_cells"]
    for switch in SWITCHES:
        some = [task for task in loaded if applies(switch, task, limit)]
        if not switch.parts or not some:
            continue
        parts = []
        for part, poolings in ((("geometry",), POOLINGS), (PROBES, ("mean",))):
            wanted = tuple(p for p in part if p in switch.parts)
            if wanted:
                protocol = switched(paper, switch.choice, switch.word)
                assert protocol.published is not None
                protocol = replace(
                    protocol, name=f"paper, {switch.name}", published=protocol.published.replaced(parts=wanted)
                )
                parts.append(run(protocol, some, poolings, out / "switches" / f"{switch.choice}-{wanted[0]}"))
                failed += parts[-1].run["failed_cells"]
        moved[switch.choice] = measured(protocol, *parts)
    seeds = min(len(members) for members in groups.values())
    level = "objective" if grouped and seeds >= MIN_SEEDS else "checkpoint"
    sources = {"strict": strict, "paper": published, **moved}
    document = {
        "kind": "audit",
        "schema_version": SCHEMA_VERSION,
        "sides": {name: list(members) for name, members in groups.items()},
        "grouped": grouped,
        "level": level,
        "published": {"source": SOURCE, "a": "MLM", "b": "hybrid"},
        "tasks": names_of(loaded),
        "claims": [one_claim(claim, names_of(loaded), sources, groups, level, grouped) for claim in CLAIMS],
        "choices": [
            {"choice": s.choice, "paper": paper_word(s.choice), "strict": s.word, "meaning": s.meaning}
            for s in SWITCHES
        ],
        "failed_cells": failed,
        "run": {key: strict_results.run[key] for key in PROVENANCE},
    }  # fmt: skip
    write_json(out / "audit.json", document)
    return document


def clusters_of(task: Task, limit: int | None, seed: int) -> dict[tuple[int | None, str], movement.Clusters]:
    """Return the clusters that the published analysis of a task shares with those that read its rows another way.

    They are found by `rows` and `pairs` of a protocol.
    """
    homes = {}
    for protocol in (PAPER, switched(PAPER, "rows", "all"), switched(PAPER, "pairs", "separate")):
        texts = TaskTexts.of(prepare(task, protocol, limit, seed))
        clusters, of_rows = published_clusters(texts)
        numbered = np.searchsorted(np.unique(clusters), of_rows)
        homes[protocol.rows, protocol.pairs] = texts.task.validation.row_ids, numbered
    return movement.common_clusters(homes)


def names_of(tasks: Sequence[Task]) -> list[str]:
    """Return the names of tasks."""
    return [task.name for task in tasks]


def paper_word(choice: str) -> str:
    """Return the published value of a choice, as `--set` takes it."""
    value = getattr(PAPER, choice) if hasattr(PAPER, choice) else getattr(PAPER.published, choice)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def compared(results: Results, groups: Mapping[str, Sequence[str]], grouped: bool) -> pd.DataFrame:
    """Add the differences of the seeds in their order, and of the groups, to the results; return them."""
    a, b = groups.values()
    frames = []
    for first, second in zip(a, b, strict=False):
        frames.append(comparison.add_comparisons(results, first, second).comparisons)
    results.comparisons = table(pd.concat(frames), COMPARISON_COLUMNS)
    if grouped:
        compare_groups(results, groups)
    return results.comparisons


def with_gap(frame: pd.DataFrame, definitions: Mapping[str, Any]) -> pd.DataFrame:
    """Add the difference of the skills of the task probe and of the lexical probe to a table of comparisons.

    The influences of the two probes are not kept on the same rows, so the standard error is bounded by the sum of both
    (Cauchy-Schwarz): the interval is conservative. It joins the family of its record, whose p-values of "no
    difference" are adjusted anew; it has no margin, so those of equivalence stay.
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
    """Return the comparison of (task probe − lexical probe) from those of its parts."""
    line = {key: task_probe[key] for key in ("a", "b", "level", "task", "layer", "pooling")}
    line |= {"definition": f"{task_probe['metric']} − {lexical['metric']}"}
    line |= {"view": GAP[1], "metric": GAP[0], "n": min(task_probe["n"], lexical["n"])}
    line |= {key: task_probe[key] - lexical[key] for key in ("value_a", "value_b", "diff")}
    if task_probe["se"] is None or lexical["se"] is None:
        whose = task_probe if task_probe["se"] is None else lexical
        return line | {"p": np.nan, "ci_method": whose["ci_method"]}
    se = task_probe["se"] + lexical["se"]
    dof = min((part["dof"] for part in (task_probe, lexical) if part["se"] > 0), default=1.0)
    found = student(line["diff"], se, dof, "sum of the standard errors of both probes, conservative")
    return line | found.to_row() | {"p": found.p, "dof": found.dof}


def one_claim(
    claim: Claim,
    tasks: Sequence[str],
    sources: Mapping[str, Measured],
    groups: Mapping[str, Sequence[str]],
    level: str,
    grouped: bool,
) -> dict[str, Any]:
    """Return what was published, measured and corrected for a claim, task by task, and its verdicts."""
    strict, published = sources["strict"].comparisons, sources["paper"].comparisons
    pairs = list(zip(*groups.values(), strict=False))
    objective = tuple(groups)
    ends = pairs[0] if level == "checkpoint" else objective
    by_seed = [([a], [b]) for a, b in pairs]
    at_level = by_seed[0] if level == "checkpoint" else tuple(groups.values())
    lines: list[dict[str, Any]] = []
    for task in tasks:
        paper = found(published, level, ends, task, claim.pooling, claim.paper)
        moved: dict[str, movement.Sides] = {}
        switches = []
        for switch in SWITCHES:
            one = one_switch(switch, claim, task, sources, level, ends)
            if paper and one:
                moved[switch.name] = shifted(switch, paper, one, task, claim.pooling, sources, at_level)
                line = one | {"name": switch.name} | movement.moved_by(movement.difference(moved[switch.name], level))
                if grouped:
                    line["moved_checkpoints"] = [
                        movement.moved_by(movement.difference(each, "checkpoint"))
                        for pair in by_seed
                        for each in [shifted(switch, paper, one, task, claim.pooling, sources, pair)]
                    ]
                switches.append(line)
        ranked = {name: sides for name, sides in moved.items() if name not in OTHER_UNIT}
        lines.append(
            {
                "task": task,
                "published": _published(claim, task),
                "paper": paper,
                "checkpoint": found(strict, "checkpoint", pairs[0], task, claim.pooling, claim.strict),
                "checkpoints": [
                    None if one is None else one["verdict"]
                    for pair in pairs
                    for one in [found(strict, "checkpoint", pair, task, claim.pooling, claim.strict)]
                ],
                "objective": found(strict, "objective", objective, task, claim.pooling, claim.strict)
                if grouped
                else None,
                "beside": found(strict, level, ends, task, claim.pooling, (claim.beside,)) if claim.beside else None,
                "switches": switches,
                "largest": movement.most(ranked, level),
            }
        )
    verdicts: dict[str, dict[str, Any]] = {}
    for at in ("checkpoint", "objective") if grouped else ("checkpoint",):
        said = [status(line[at]["verdict"], claim.expected) if line[at] else SILENT for line in lines]
        verdicts[at] = {"overall": overall(said), "statuses": said, "sentence": sentence(claim, said, at)}
        if claim.beside and at == level:
            beside = [status(line["beside"]["verdict"], claim.expected) if line["beside"] else SILENT for line in lines]
            verdicts[at]["sentence"] += f" With the mean vector removed: {overall(beside)}"
            verdicts[at]["sentence"] += f" (as claimed in {beside.count(CLAIMED)} of {len(beside)})."
        if at == "checkpoint" and len(pairs) > 1:
            every = [status(v, claim.expected) for line in lines for v in line["checkpoints"] if v]
            verdicts[at]["sentence"] += (
                f" That is the first pair of seeds; over all {len(pairs)}: as claimed in {every.count(CLAIMED)}"
            )
            verdicts[at]["sentence"] += f" of {len(every)}."
    return {
        "name": claim.name,
        "statement": claim.statement,
        "expected": claim.expected,
        "pooling": claim.pooling,
        "note": claim.note,
        "tasks": lines,
        "verdicts": verdicts,
    }


def source_of(switch: Switch) -> str:
    """Return which analysis has the numbers of a switch: that of the paper has its own and the skills besides."""
    return "paper" if switch.choice == "score" else switch.choice


def one_switch(
    switch: Switch, claim: Claim, task: str, sources: Mapping[str, Measured], level: str, ends: Sequence[str]
) -> dict[str, Any] | None:
    """Return the claim's number with one choice replaced, None where that choice cannot move it."""
    numbers = claim.paper
    if switch.choice == "score":
        skills = {"lexical": "lexical_top_token_skill", "balance": GAP[0], "probes": "semantic_skill"}
        if claim.name not in skills:
            return None
        numbers = ((skills[claim.name], "raw"),)
    elif switch.choice in ("uniformity_rows", "centre") and claim.name != "uniformity":
        return None  # of these claims only uniformity is a function of directions
    elif switch.choice == "token_target":
        if claim.name not in ("lexical", "balance"):
            return None
        numbers = (("lexical_top_word_accuracy", "raw"),) if claim.name == "lexical" else numbers
    elif switch.choice == "centre":
        numbers = (("uniformity", "centred"),)
    source = sources.get(source_of(switch))
    return None if source is None else found(source.comparisons, level, ends, task, claim.pooling, numbers)


def shifted(
    switch: Switch,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    task: str,
    pooling: str,
    sources: Mapping[str, Measured],
    sides: Sequence[Sequence[str]],
) -> movement.Sides:
    """Return how far a choice moves a number of each model of both sides.

    Parameters
    ----------
    before, after : dict
        Metric and view under the published analysis and with the choice replaced.
    """

    def shift(model: str) -> Estimate:
        old, new = ((model, task, pooling, str(one["metric"]), str(one["view"])) for one in (before, after))
        replaced, published = sources[source_of(switch)].numbers, sources["paper"].numbers
        return movement.moved(replaced.get(new, movement.MISSING), published.get(old, movement.MISSING))

    a, b = sides
    return [shift(model) for model in a], [shift(model) for model in b]


def found(
    frame: pd.DataFrame, level: str, ends: Sequence[str], task: str, pooling: str, numbers: Sequence[Number]
) -> dict[str, Any] | None:
    """Return the first of some numbers that was compared, JSON-ready; None where none was."""
    here = frame[
        (frame["level"] == level) & (frame["a"] == ends[0]) & (frame["b"] == ends[1])
        & (frame["task"] == task) & (frame["pooling"] == pooling)
    ]  # fmt: skip
    if len(here):
        here = here[here["layer"] == here["layer"].max()]
    for metric, view in numbers:
        rows = here[(here["metric"] == metric) & (here["view"].fillna("raw").replace("", "raw") == view)]
        if len(rows):
            row = rows.iloc[0]
            line: dict[str, Any] = {"metric": metric, "view": view, "verdict": str(row["verdict"])}
            line["method"] = str(row["ci_method"])
            for key in ("value_a", "value_b", "diff", "ci_low", "ci_high", "n"):
                line[key] = None if pd.isna(row[key]) else float(row[key])
            return line
    return None


def _published(claim: Claim, task: str) -> dict[str, float] | None:
    if task not in claim.published:
        return None
    b, a = claim.published[task]
    return {"value_a": a, "value_b": b, "diff": b - a}
