"""The verdict in one sentence, what it covers and what it cannot claim."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.view.formats import clean, count, listed
from geomprobe.reports.view.model import Verdict
from geomprobe.reports.wording.words import signs, tally, title


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
        limits = "One checkpoint a side: this is about these two checkpoints, not about their objectives."
    else:
        limits = "Nothing is compared here, so nothing is claimed beyond the numbers."
    if facts.failed_cells:
        n = len(facts.failed_cells)
        limits += f" {count(n)} cell{'s' * (n > 1)} failed and {'are' if n > 1 else 'is'} in no number here."
    if not facts.pair:
        code: Any = "description" if len(facts.own) == 1 else "ranking"
        sentence = (
            f"A description of {facts.own[0]}: one model, no comparison, no verdict."
            if len(facts.own) == 1
            else f"{len(facts.own)} models side by side; no pair of them was compared, so there is no verdict."
        )
    else:
        code, sentence = _decide(facts)
    if given := facts.run.get("verdict"):
        sentence = clean(given)
    return {"code": code, "sentence": sentence, "scope": scope, "limits": limits}


def _decide(facts: Facts) -> tuple[Any, str]:
    """Return code and sentence of a comparison from the verdicts of its headline cells."""
    assert facts.pair
    a, b = facts.pair
    counts = {mv: tally(facts, *mv) for mv in facts.headline}
    counts = {mv: c for mv, c in counts.items() if sum(c.values())}
    if not counts and facts.failed:
        return "no verdict", f"Nothing of {a} and {b} could be compared: cells of one or both failed."
    if not counts or all(c["none"] == sum(c.values()) for c in counts.values()):
        measured_signs = []
        for metric, view in list(counts)[:4]:
            up, down, total = signs(facts, metric, view)
            way, n = ("higher", up) if up >= down else ("lower", down)
            measured_signs.append(f"{title(facts, metric, view)} is {way} in {n} of {total} cells")
        measured = f" As measured, for {b} {listed(measured_signs)}." if measured_signs else ""
        return "no verdict", f"No interval, no verdict.{measured}"
    strong, even = [], []
    for (metric, view), c in counts.items():
        total = sum(c.values())
        way = max(("higher", "lower"), key=lambda w: c[w])
        name = title(facts, metric, view)
        if c[way] > total / 2:
            strong.append(f"{way} {name} in {c[way]} of {total} cells")
        elif c["equivalent"] == total:
            even.append(f"{name} (equivalent)")
        else:
            even.append(
                f"{name} ({c['higher']} higher, {c['lower']} lower, {total - c['higher'] - c['lower']} neither)"
            )
    if not strong:
        return "no difference", f"No clear difference between {b} and {a} in most cells: {listed(even[:3])}."
    tail = f" No consistent difference in {listed(even[:2])}." if even else ""
    return "difference", f"{b} has {listed(strong[:4])}, compared with {a}.{tail}"
