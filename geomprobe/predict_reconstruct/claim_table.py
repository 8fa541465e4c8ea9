"""What is said of each claim: as published, as measured by both protocols, and what replacing a choice moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

import geomprobe.predict_reconstruct.choice_effects as effects
from geomprobe.inference.estimate import MIN_SEEDS, Estimate
from geomprobe.predict_reconstruct.claims import CLAIMED, SILENT, Claim, Number, overall, sentence, status
from geomprobe.predict_reconstruct.protocol import Switch

Ends = tuple[str, str]
"""Names of what is compared: two models, or two groups."""
Where = tuple[str, str, str, str]  # task, pooling, metric, view


@dataclass(frozen=True)
class Measured:
    """Differences of the models under one analysis, and the numbers behind them with their contributions.

    Attributes
    ----------
    comparisons : DataFrame
    numbers : mapping of `choice_effects.Place` to Estimate
        On the clusters that all analyses of a task share.
    """

    comparisons: pd.DataFrame
    numbers: Mapping[effects.Place, Estimate]


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
    def ends(self) -> Ends:
        """What is compared at that level: the first models, or the groups."""
        a, b = self.groups
        return self.pairs[0] if self.level == "checkpoint" else (a, b)

    def found(
        self, source: str, claim: Claim, task: str, numbers: Sequence[Number], level: str = "", ends: Ends | None = None
    ) -> dict[str, Any] | None:
        """The first of some numbers of a claim that an analysis compared, JSON-ready; None where it compared none.

        At the level of the claims, unless another is given with the names that are compared there.
        """
        frame, (a, b) = self.sources[source].comparisons, ends or self.ends
        here = frame[
            (frame["level"] == (level or self.level)) & (frame["a"] == a) & (frame["b"] == b)
            & (frame["task"] == task) & (frame["pooling"] == claim.pooling)
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

    def moved(self, source: str, model: str, before: Where, after: Where) -> Estimate:
        """How far an analysis moves a number of a model from what the published one says.

        Parameters
        ----------
        before, after : tuple
            The number in the published analysis, and in the other.
        """
        replaced, published = self.sources[source].numbers, self.sources["paper"].numbers
        new, old = (
            replaced.get((model, *after), effects.MISSING),
            published.get((model, *before), effects.MISSING),
        )
        return effects.moved(new, old)


def one_claim(claim: Claim, tasks: Sequence[str], audited: Audited) -> dict[str, Any]:
    """Published, measured and corrected numbers of a claim, task by task, and its verdicts."""
    lines = [_line(claim, task, audited) for task in tasks]
    return {
        **{key: getattr(claim, key) for key in ("name", "statement", "expected", "pooling", "note")},
        "tasks": lines,
        "verdicts": _verdicts(claim, lines, audited),
    }


def _line(claim: Claim, task: str, audited: Audited) -> dict[str, Any]:
    """Numbers of a claim on one task."""
    paper = audited.found("paper", claim, task, claim.paper)
    switches, moved = _replaced(claim, task, paper, audited) if paper else ([], {})
    published = None
    if task in claim.published:
        hybrid, mlm = claim.published[task]
        published = {"value_a": mlm, "value_b": hybrid, "diff": hybrid - mlm}
    of_seeds = [audited.found("strict", claim, task, claim.strict, "checkpoint", pair) for pair in audited.pairs]
    objective = None
    if audited.grouped:
        a, b = audited.groups
        objective = audited.found("strict", claim, task, claim.strict, "objective", (a, b))
    return {
        "task": task,
        "published": published,
        "paper": paper,
        "checkpoint": of_seeds[0],
        "checkpoints": [None if one is None else one["verdict"] for one in of_seeds],
        "objective": objective,
        "beside": audited.found("strict", claim, task, (claim.beside,)) if claim.beside else None,
        "switches": switches,
        "largest": effects.most(moved, audited.level),
    }


def _replaced(
    claim: Claim, task: str, paper: Mapping[str, Any], audited: Audited
) -> tuple[list[dict[str, Any]], dict[str, effects.Sides]]:
    """Number of a claim with each choice replaced, and the movements of the models by the choices that are ranked."""
    a, b = audited.groups.values()
    switches: list[dict[str, Any]] = []
    ranked: dict[str, effects.Sides] = {}
    for switch in audited.switches:
        one = one_switch(switch, claim, task, audited)
        if one is None:
            continue
        before, after = ((task, claim.pooling, number["metric"], number["view"]) for number in (paper, one))
        moved = {model: audited.moved(switch.source, model, before, after) for model in (*a, *b)}
        by_seed = [([moved[first]], [moved[second]]) for first, second in audited.pairs]
        sides = by_seed[0] if audited.level == "checkpoint" else ([moved[m] for m in a], [moved[m] for m in b])
        line = one | {"name": switch.name} | effects.moved_by(effects.difference(sides, audited.level))
        if audited.grouped:
            line["moved_checkpoints"] = [effects.moved_by(effects.difference(s, "checkpoint")) for s in by_seed]
        switches.append(line)
        if switch.ranked:
            ranked[switch.name] = sides
    return switches, ranked


def _verdicts(claim: Claim, lines: Sequence[Mapping[str, Any]], audited: Audited) -> dict[str, dict[str, Any]]:
    """Verdict on a claim at the level of checkpoints and, for groups of seeds, of objectives."""
    verdicts: dict[str, dict[str, Any]] = {}
    for at in ("checkpoint", "objective") if audited.grouped else ("checkpoint",):
        statuses = [status(line[at]["verdict"], claim.expected) if line[at] else SILENT for line in lines]
        verdicts[at] = {"overall": overall(statuses), "statuses": statuses, "sentence": sentence(claim, statuses, at)}
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


def one_switch(switch: Switch, claim: Claim, task: str, audited: Audited) -> dict[str, Any] | None:
    """Number of a claim with one choice replaced; None where that choice cannot move it."""
    if switch.source not in audited.sources or (switch.moves is not None and claim.name not in switch.moves):
        return None
    numbers = claim.paper if switch.moves is None else (switch.moves[claim.name],)
    return audited.found(switch.source, claim, task, numbers)
