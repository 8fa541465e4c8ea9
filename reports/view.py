"""Results folder → the view model: one plain typed structure, every number formatted once, drawn as HTML and PDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict

import geomprobe.reports.audit as audit
import geomprobe.reports.sections as sections
import geomprobe.reports.tables as tables
import geomprobe.reports.wording as wording
from geomprobe.reports.blocks import Block, Section, Table
from geomprobe.reports.facts import Facts, judgement, load
from geomprobe.reports.findings import SHOWN, Finding, findings
from geomprobe.reports.formats import amount, clean, count, decimals, interval, listed, number, power, words
from geomprobe.results import Results

VIEW_VERSION = 1


class Side(TypedDict):
    """A model, or a group of seeds, as the header names it."""

    letter: str
    name: str
    series: int
    lines: list[str]


class Verdict(TypedDict):
    """The answer in one sentence, and what it covers."""

    code: Literal["difference", "no difference", "no verdict", "description", "ranking"]
    sentence: str
    scope: str
    limits: str


class Card(TypedDict):
    """One difference, or one number of a single model."""

    title: str
    term: str
    glyph: str
    judgement: str
    meaning: str
    main: str
    interval: str
    detail: str
    cells: str


class View(TypedDict):
    """The whole report."""

    view_version: int
    kind: str
    title: str
    subtitle: str
    created: str
    sides: list[Side]
    verdict: Verdict
    claims: Table | None
    findings: list[Finding]
    shown_findings: int
    cards: list[Card]
    selectors: dict[str, list[str]]
    sections: list[Section]


GLYPHS = {
    "higher": ("▲", "higher"),
    "lower": ("▼", "lower"),
    "equivalent": ("≈", "equivalent"),
    "unclear": ("○", "no clear difference"),
    "none": ("–", "no verdict"),
}


def build_view(source: str | Path | Results) -> dict[str, Any]:
    """Return the view model of a results folder, ready for JSON.

    Parameters
    ----------
    source : path or Results
        A results folder, the folder of an audit, or results in memory.

    Raises
    ------
    InputError
        The folder is missing, incomplete or damaged.
    """
    if not isinstance(source, Results) and (Path(source) / audit.FILE).is_file():
        return audit.build_view(Path(source), VIEW_VERSION)
    facts = load(source)
    found = findings(facts)
    view: View = {
        "view_version": VIEW_VERSION,
        "kind": facts.kind,
        "title": _title(facts),
        "subtitle": _scope(facts),
        "created": clean(facts.run.get("created"), 40)[:10],
        "sides": _sides(facts),
        "verdict": _verdict(facts),
        "claims": tables.claims(facts),
        "findings": found,
        "shown_findings": SHOWN,
        "cards": _cards(facts),
        "selectors": {
            name: items for name, items in (("pooling", facts.poolings), ("task", facts.tasks)) if len(items) > 1
        },
        "sections": sections.build(facts),
    }
    return dict(view)


def _title(facts: Facts) -> str:
    if facts.pair:
        a, b = facts.pair
        return f"{b} against {a}"
    return facts.own[0] if len(facts.own) == 1 else f"{len(facts.own)} models"


def _scope(facts: Facts) -> str:
    layers = {r["layer"] for r in facts.rows if r["model"] in facts.own}
    depth = "one layer" if len(layers) == 1 else f"{len(layers)} layers"
    named = listed(facts.tasks) if len(facts.tasks) <= 6 else ", ".join(facts.tasks[:5]) + " …"
    tasks = f"{len(facts.tasks)} task{'s' * (len(facts.tasks) > 1)} ({named})"
    poolings = f"{len(facts.poolings)} pooling{'s' * (len(facts.poolings) > 1)} ({listed(facts.poolings)})"
    return f"{tasks}, {poolings}, {depth}"


def _sides(facts: Facts) -> list[Side]:
    if facts.kind == "groups" and facts.pair:
        return [
            {"letter": letter, "name": group, "series": facts.series[group],
             "lines": [f"{len(facts.groups.get(group, []))} seeds", listed(facts.groups.get(group, []))]}
            for letter, group in zip("AB", facts.pair, strict=True)
        ]  # fmt: skip
    entries = {m["name"]: m for m in facts.model_entries}
    names = list(dict.fromkeys([*(facts.pair or ()), *facts.models])) if facts.pair else facts.models
    sides: list[Side] = []
    for i, name in enumerate(names):
        letter = "AB"[i] if facts.pair and i < 2 else ""
        sides.append(
            {
                "letter": letter,
                "name": name,
                "series": facts.series[name],
                "lines": ["baseline"] * (name in facts.baselines) + _model_lines(entries[name]),
            }
        )
    return sides


def _model_lines(entry: dict[str, Any]) -> list[str]:
    training = entry.get("training") or {}
    lines = []
    what = [f"{entry['objective']} objective" if entry.get("objective") else "", clean(entry.get("kind"), 40)]
    lines.append(", ".join(w for w in what if w))
    size = [f"{amount(entry['parameters'])} parameters" if entry.get("parameters") else ""]
    if entry.get("n_layers") and entry.get("dim"):
        size.append(f"{entry['n_layers']} layers × {entry['dim']}")
    lines.append(", ".join(s for s in size if s))
    budget = [f"{amount(training['tokens'])} tokens" if training.get("tokens") else ""]
    budget.append(f"{power(training['flops'])} FLOPs" if training.get("flops") else "")
    budget.append(f"seed {training['seed']}" if training.get("seed") is not None else "")
    if any(budget):
        lines.append(
            "trained on " + ", ".join(b for b in budget if b) if budget[0] else ", ".join(b for b in budget if b)
        )
    if entry.get("hash"):
        lines.append(f"content {str(entry['hash'])[:12]}")
    return [line for line in lines if line]


def _verdict(facts: Facts) -> Verdict:
    scope = f"{_scope(facts)}; protocol {facts.run.get('protocol') or 'not recorded'}."
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
    counts = {mv: wording.tally(facts, *mv) for mv in facts.headline}
    counts = {mv: c for mv, c in counts.items() if sum(c.values())}
    if not counts and facts.failed:
        return "no verdict", f"Nothing of {a} and {b} could be compared: cells of one or both failed."
    if not counts or all(c["none"] == sum(c.values()) for c in counts.values()):
        signs = []
        for metric, view in list(counts)[:4]:
            up, down, total = wording.signs(facts, metric, view)
            way, n = ("higher", up) if up >= down else ("lower", down)
            signs.append(f"{wording.title(facts, metric, view)} is {way} in {n} of {total} cells")
        measured = f" As measured, for {b} {listed(signs)}." if signs else ""
        return "no verdict", f"No interval, no verdict.{measured}"
    strong, even = [], []
    for (metric, view), c in counts.items():
        total = sum(c.values())
        way = max(("higher", "lower"), key=lambda w: c[w])
        name = wording.title(facts, metric, view)
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


def _cards(facts: Facts) -> list[Card]:
    cards: list[Card] = []
    if facts.kind == "many":
        return cards
    for metric, view in facts.headline[:6]:
        card = _difference_card(facts, metric, view) if facts.pair else _value_card(facts, metric, view)
        if card:
            cards.append(card)
    return cards


def _difference_card(facts: Facts, metric: str, view: str) -> Card | None:
    rows = [(t, facts.difference(t, facts.pooling, metric, view)) for t in facts.tasks]
    rows = [(t, r) for t, r in rows if r and r["diff"] is not None]
    if not rows:
        return None
    task, row = rows[0]
    assert row is not None
    half = None if row["ci_low"] is None or row["ci_high"] is None else (row["ci_high"] - row["ci_low"]) / 2
    places = decimals([row["value_a"], row["value_b"]], half)
    code = judgement(row)
    up, down, total = wording.signs(facts, metric, view)
    tally = wording.tally(facts, metric, view)
    if tally["none"] == total:
        cells = f"{up} of {total} cells up, {down} down"
    else:
        named = [f"{wording.WORDS[code][2:]} in {n}" for code, n in tally.items() if n]
        cells = f"{listed(named)} of {total} cells"
    shown = interval(row["ci_low"], row["ci_high"], places)
    return {
        "title": wording.title(facts, metric, view),
        "term": wording.term(metric),
        "glyph": GLYPHS[code][0],
        "judgement": wording.quality(facts, metric, code),
        "meaning": wording.meaning(facts, metric),
        "main": number(row["diff"], places, signed=True),
        "interval": shown or "no interval",
        "detail": f"{number(row['value_a'], places)} → {number(row['value_b'], places)} {_place(facts, task, row)}",
        "cells": cells,
    }


def _place(facts: Facts, task: str, row: dict[str, Any]) -> str:
    return f"on {task}, {facts.pooling} pooling, n\u00a0=\u00a0{count(row['n'])}"


def _value_card(facts: Facts, metric: str, view: str) -> Card | None:
    model = facts.models[0]
    for task in facts.tasks:
        row = facts.cell(model, task, facts.pooling, metric, view)
        if row and row["value"] is not None:
            half = None if row["ci_low"] is None or row["ci_high"] is None else (row["ci_high"] - row["ci_low"]) / 2
            places = decimals([row["value"]], half)
            return {
                "title": wording.title(facts, metric, view),
                "term": wording.term(metric),
                "glyph": "",
                "judgement": "",
                "meaning": wording.meaning(facts, metric),
                "main": number(row["value"], places),
                "interval": interval(row["ci_low"], row["ci_high"], places) or "no interval",
                "detail": f"{model} {_place(facts, task, row)}",
                "cells": "",
            }
    return None


__all__ = ["VIEW_VERSION", "Block", "Section", "View", "build_view", "words"]
