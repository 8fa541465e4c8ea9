"""What is said of each claim: as published, as measured by both protocols, and what replacing a choice moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from geomprobe.inference.estimate import MIN_SEEDS, Estimate
from geomprobe.predict_reconstruct import movement
from geomprobe.predict_reconstruct.claims import CLAIMED, GAP, SILENT, Claim, Number, overall, sentence, status
from geomprobe.predict_reconstruct.switches import OTHER_UNIT, Switch


@dataclass(frozen=True)
class Measured:
    """Differences of the models under one analysis, and the numbers behind them with their contributions.

    Attributes
    ----------
    comparisons : DataFrame
    numbers : mapping of `movement.Place` to Estimate
        On the clusters that all analyses of a task share.
    """

    comparisons: pd.DataFrame
    numbers: Mapping[movement.Place, Estimate]


@dataclass(frozen=True)
class Audited:
    """Both sides of an audit, under every analysis.

    Attributes
    ----------
    groups : mapping of the names of A and B to the names of their models
    grouped : bool
        Whether the sides are groups of seeds.
    sources : mapping of str to Measured
        "strict", "paper", and the published analysis with one choice replaced, by the name of the choice.
    switches : tuple of Switch
        The choices that are replaced.
    """

    groups: Mapping[str, Sequence[str]]
    grouped: bool
    sources: Mapping[str, Measured]
    switches: tuple[Switch, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The models of A and B with the same seed."""
        a, b = self.groups.values()
        return list(zip(a, b, strict=False))

    @property
    def level(self) -> str:
        """Level of the comparison that the claims are read at: "objective" for groups of enough seeds."""
        seeds = min(len(members) for members in self.groups.values())
        return "objective" if self.grouped and seeds >= MIN_SEEDS else "checkpoint"

    @property
    def ends(self) -> tuple[str, str]:
        """What is compared at that level: the first models, or the groups."""
        a, b = self.groups
        return self.pairs[0] if self.level == "checkpoint" else (a, b)

    def found(self, source: str, claim: Claim, task: str, numbers: Sequence[Number]) -> dict[str, Any] | None:
        """The first of some numbers of a claim that an analysis compared, at the level of the claims."""
        return found(self.sources[source].comparisons, self.level, self.ends, task, claim.pooling, numbers)


def one_claim(claim: Claim, tasks: Sequence[str], audited: Audited) -> dict[str, Any]:
    """Published, measured and corrected numbers of a claim, task by task, and its verdicts."""
    lines = [_line(claim, task, audited) for task in tasks]
    return {
        "name": claim.name,
        "statement": claim.statement,
        "expected": claim.expected,
        "pooling": claim.pooling,
        "note": claim.note,
        "tasks": lines,
        "verdicts": _verdicts(claim, lines, audited),
    }


def _line(claim: Claim, task: str, audited: Audited) -> dict[str, Any]:
    """Numbers of a claim on one task."""
    strict, objective = audited.sources["strict"].comparisons, tuple(audited.groups)
    paper = audited.found("paper", claim, task, claim.paper)
    switches, moved = _replaced(claim, task, paper, audited) if paper else ([], {})
    ranked = {name: sides for name, sides in moved.items() if name not in OTHER_UNIT}
    of_seeds = [found(strict, "checkpoint", pair, task, claim.pooling, claim.strict) for pair in audited.pairs]
    return {
        "task": task,
        "published": _published(claim, task),
        "paper": paper,
        "checkpoint": of_seeds[0],
        "checkpoints": [None if one is None else one["verdict"] for one in of_seeds],
        "objective": found(strict, "objective", objective, task, claim.pooling, claim.strict)
        if audited.grouped
        else None,
        "beside": audited.found("strict", claim, task, (claim.beside,)) if claim.beside else None,
        "switches": switches,
        "largest": movement.most(ranked, audited.level),
    }


def _replaced(
    claim: Claim, task: str, paper: Mapping[str, Any], audited: Audited
) -> tuple[list[dict[str, Any]], dict[str, movement.Sides]]:
    """Number of a claim with each choice replaced, and the movement of each model, by the choice."""
    by_seed = [([a], [b]) for a, b in audited.pairs]
    a, b = audited.groups.values()
    at_level = by_seed[0] if audited.level == "checkpoint" else (a, b)
    switches: list[dict[str, Any]] = []
    moved: dict[str, movement.Sides] = {}
    for switch in audited.switches:
        one = one_switch(switch, claim, task, audited)
        if one is None:
            continue
        moved[switch.name] = shifted(switch, paper, one, task, claim.pooling, audited.sources, at_level)
        line = one | {"name": switch.name} | movement.moved_by(movement.difference(moved[switch.name], audited.level))
        if audited.grouped:
            line["moved_checkpoints"] = [
                movement.moved_by(movement.difference(each, "checkpoint"))
                for pair in by_seed
                for each in [shifted(switch, paper, one, task, claim.pooling, audited.sources, pair)]
            ]
        switches.append(line)
    return switches, moved


def _verdicts(claim: Claim, lines: Sequence[Mapping[str, Any]], audited: Audited) -> dict[str, dict[str, Any]]:
    """Verdict on a claim at the level of checkpoints and, for groups of seeds, of objectives."""
    verdicts: dict[str, dict[str, Any]] = {}
    for at in ("checkpoint", "objective") if audited.grouped else ("checkpoint",):
        said = [status(line[at]["verdict"], claim.expected) if line[at] else SILENT for line in lines]
        verdicts[at] = {"overall": overall(said), "statuses": said, "sentence": sentence(claim, said, at)}
        if claim.beside and at == audited.level:
            beside = [status(line["beside"]["verdict"], claim.expected) if line["beside"] else SILENT for line in lines]
            verdicts[at]["sentence"] += f" With the mean vector removed: {overall(beside)}"
            verdicts[at]["sentence"] += f" (as claimed in {beside.count(CLAIMED)} of {len(beside)})."
        if at == "checkpoint" and len(audited.pairs) > 1:
            every = [status(v, claim.expected) for line in lines for v in line["checkpoints"] if v]
            verdicts[at]["sentence"] += (
                f" That is the first pair of seeds; over all {len(audited.pairs)}: as claimed in {every.count(CLAIMED)}"
            )
            verdicts[at]["sentence"] += f" of {len(every)}."
    return verdicts


def source_of(switch: Switch) -> str:
    """Analysis that has the numbers of a switch; the published one has the skills, too."""
    return "paper" if switch.choice == "score" else switch.choice


def one_switch(switch: Switch, claim: Claim, task: str, audited: Audited) -> dict[str, Any] | None:
    """Number of a claim with one choice replaced; None where that choice cannot move it."""
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
    source = source_of(switch)
    return audited.found(source, claim, task, numbers) if source in audited.sources else None


def shifted(
    switch: Switch,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    task: str,
    pooling: str,
    sources: Mapping[str, Measured],
    sides: Sequence[Sequence[str]],
) -> movement.Sides:
    """How far a choice moves a number of each model of both sides.

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
    """The first of some numbers that was compared, JSON-ready; None where none was."""
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
