"""The verdict in one sentence, what it covers and what it cannot claim."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.formats import capitalised, clean, count, listed
from geomprobe.reports.document.model import Verdict
from geomprobe.reports.wording.words import in_cells, signs, tally, title


def scope_of(facts: Facts) -> str:
    layers = {r["layer"] for r in facts.rows if r["model"] in facts.own}
    depth = "one layer" if len(layers) == 1 else f"{len(layers)} layers"
    named = listed(facts.tasks) if len(facts.tasks) <= 6 else ", ".join(facts.tasks[:5]) + " …"
    tasks = f"{len(facts.tasks)} task{'s' * (len(facts.tasks) > 1)} ({named})"
    poolings = f"{len(facts.poolings)} pooling{'s' * (len(facts.poolings) > 1)} ({listed(facts.poolings)})"
    return f"{tasks}, {poolings}, {depth}"


def verdict_of(facts: Facts) -> Verdict:
    scope = f"{scope_of(facts)}; protocol {facts.run.get('protocol') or 'not recorded'}."
    if facts.pair:
        scope += " A cell is one task under one pooling, at the deepest layer."
    if facts.kind == "groups":
        seeds = {g: len(m) for g, m in facts.groups.items()}
        named = listed([f"{n} of {g}" for g, n in seeds.items()])
        limits = f"Seeds: {named}. The claim is about the groups, on these tasks."
    elif facts.pair:
        limits = "One checkpoint per side: the verdict is about these two checkpoints, not about their objectives."
    else:
        limits = "No comparison was made, so no difference is claimed."
    if facts.failed_cells:
        n = len(facts.failed_cells)
        limits += f" {count(n)} cell{'s' * (n > 1)} failed and {'are' if n > 1 else 'is'} left out of all numbers."
    if not facts.pair:
        code: Any = "description" if len(facts.own) == 1 else "ranking"
        sentence = (
            f"Description of {facts.own[0]}: one model, so no comparison and no verdict."
            if len(facts.own) == 1
            else f"{len(facts.own)} models; no pair was compared, so there is no verdict."
        )
    else:
        code, sentence = _decide(facts)
    if given := facts.run.get("verdict"):
        sentence = clean(given)
    return {"code": code, "sentence": sentence, "scope": scope, "limits": limits}


def _decide(facts: Facts) -> tuple[Any, str]:
    """Code and sentence of a comparison from the verdicts of its headline cells."""
    assert facts.pair
    a, b = facts.pair
    counts = {mv: tally(facts, *mv) for mv in facts.headline}
    counts = {mv: c for mv, c in counts.items() if sum(c.values())}
    if not counts and facts.failed:
        return "no verdict", f"{b} and {a} could not be compared: cells of one or both failed."
    if not counts or all(c["none"] == sum(c.values()) for c in counts.values()):
        ways = []
        for metric, view in list(counts)[:4]:
            up, down, total = signs(facts, metric, view)
            way, n = ("higher", up) if up >= down else ("lower", down)
            ways.append(f"{way} {title(facts, metric, view)} in {n} of {total} cells")
        measured = f" As measured, {b} has {listed(ways)}, compared with {a}." if ways else ""
        return "no verdict", f"No verdict: no difference has an interval.{measured}"
    strong, even = [], []
    for (metric, view), c in counts.items():
        total = sum(c.values())
        way = max(("higher", "lower"), key=lambda w: c[w])
        name = title(facts, metric, view)
        if c[way] > total / 2:
            strong.append(f"{way} {name} in {c[way]} of {total} cells")
        else:
            even.append(f"{capitalised(name)}: {in_cells(c)}.")
    if not strong:
        return "no difference", " ".join([f"No clear difference between {b} and {a} in most cells.", *even[:3]])
    return "difference", " ".join([f"{b} has {listed(strong[:4])}, compared with {a}.", *even[:2]])
