"""The verdict in one sentence, what it covers and what it cannot claim."""

from __future__ import annotations

from typing import Any

from geomprobe.common.text import capitalised, clean, counted, listed
from geomprobe.reports.document.model import Verdict
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.words import in_cells, majority_sign, tally, title


def scope_of(facts: Facts) -> str:
    """The tasks, poolings and layers that a report is about."""
    layers = {row["layer"] for row in facts.rows if row["model"] in facts.own}
    depth = "one layer" if len(layers) == 1 else f"{len(layers)} layers"
    named = listed(facts.tasks) if len(facts.tasks) <= 6 else ", ".join(facts.tasks[:5]) + " …"
    tasks, poolings = counted(len(facts.tasks), "task"), counted(len(facts.poolings), "pooling")
    return f"{tasks} ({named}), {poolings} ({listed(facts.poolings)}), {depth}"


def verdict_of(facts: Facts) -> Verdict:
    """The verdict, its scope, and what it does not claim."""
    scope = f"{scope_of(facts)}; protocol {facts.run.get('protocol') or 'not recorded'}."
    if facts.pair:
        scope += " A cell is one task under one pooling, at the deepest layer."
        code, sentence = _decide(facts, *facts.pair)
        limits = "One checkpoint per side: the verdict is about these two checkpoints, not about their objectives."
    else:
        limits = "No comparison was made, so no difference is claimed."
        if len(facts.own) == 1:
            code, sentence = (
                "description",
                f"Description of {facts.own[0]}: one model, so no comparison and no verdict.",
            )
        else:
            code, sentence = "ranking", f"{len(facts.own)} models; no pair was compared, so there is no verdict."
    if facts.kind == "groups":
        seeds = listed([f"{len(members)} of {group}" for group, members in facts.groups.items()])
        limits = f"Seeds: {seeds}. The claim is about the groups, on these tasks."
    if n := len(facts.failed_cells):
        limits += f" {counted(n, 'cell')} failed and {'are' if n > 1 else 'is'} left out of all numbers."
    if given := facts.run.get("verdict"):
        sentence = clean(given)
    return {"code": code, "sentence": sentence, "scope": scope, "limits": limits}


def _decide(facts: Facts, a: str, b: str) -> tuple[Any, str]:
    """Code and sentence of a comparison from the verdicts of its headline cells."""
    tallies = {number: tally(facts, *number) for number in facts.headline}
    tallies = {number: counts for number, counts in tallies.items() if counts.total()}
    if not tallies and facts.failed:
        return "no verdict", f"{b} and {a} could not be compared: cells of one or both failed."
    if all(counts["none"] == counts.total() for counts in tallies.values()):
        ways = []
        for number in list(tallies)[:4]:
            way, n, total = majority_sign(facts, *number)
            ways.append(f"{way} {title(facts, *number)} in {n} of {total} cells")
        measured = f" As measured, {b} has {listed(ways)}, compared with {a}." if ways else ""
        return "no verdict", f"No verdict: no difference has an interval.{measured}"
    strong, even = [], []
    for number, counts in tallies.items():
        way, name = max(("higher", "lower"), key=counts.__getitem__), title(facts, *number)
        if counts[way] > counts.total() / 2:
            strong.append(f"{way} {name} in {counts[way]} of {counts.total()} cells")
        else:
            even.append(f"{capitalised(name)}: {in_cells(counts)}.")
    if not strong:
        return "no difference", " ".join([f"No clear difference between {b} and {a} in most cells.", *even[:3]])
    return "difference", " ".join([f"{b} has {listed(strong[:4])}, compared with {a}.", *even[:2]])
