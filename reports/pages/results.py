"""The page of a results folder: one model, a comparison of two models or groups, or several models."""

from __future__ import annotations

from itertools import product
from typing import Any

from geomprobe.common.text import amount, clean, count, decimals, interval, listed, number, power, term
from geomprobe.reports.document.blocks import Line, Table, cell, line, table
from geomprobe.reports.document.model import VIEW_VERSION, Card, Document, ModelHeading, Verdict
from geomprobe.reports.sections import sections
from geomprobe.results.summary.facts import Facts, half_width, judgement
from geomprobe.results.summary.findings import SHOWN, findings
from geomprobe.results.summary.model import Summary
from geomprobe.results.summary.summarise import summarise
from geomprobe.results.summary.words import WORDS, budget, in_cells, meaning, quality, signs, tally, title

CARDS = 6


def results_view(facts: Facts) -> dict[str, Any]:
    """View model of a results folder, ready for JSON."""
    found = summarise(facts)
    view: Document = {
        "view_version": VIEW_VERSION,
        "kind": facts.kind,
        "title": _title(facts),
        "subtitle": found.scope,
        "created": clean(facts.run.get("created"), 40)[:10],
        "sides": _sides(facts),
        "verdict": _verdict(facts, found),
        "claims": verdict_table(facts),
        "findings": findings(facts),
        "shown_findings": SHOWN,
        "cards": cards(facts),
        "selectors": {
            name: items for name, items in (("pooling", facts.poolings), ("task", facts.tasks)) if len(items) > 1
        },
        "sections": sections(facts),
    }
    return dict(view)


def _verdict(facts: Facts, found: Summary) -> Verdict:
    scope = f"{found.scope}; protocol {facts.run.get('protocol') or 'not recorded'}."
    if facts.pair:
        scope += " A cell is one task under one pooling, at the deepest layer."
    return {"code": found.code, "sentence": found.sentence, "scope": scope, "limits": found.limits}


def _title(facts: Facts) -> str:
    if facts.pair:
        a, b = facts.pair
        return f"{b} against {a}"
    return facts.own[0] if len(facts.own) == 1 else f"{len(facts.own)} models"


def _sides(facts: Facts) -> list[ModelHeading]:
    pair = facts.pair or ()
    if facts.kind == "groups":
        lines = {group: facts.groups.get(group, []) for group in pair}
        headings = {group: [f"{len(members)} seeds", listed(members)] for group, members in lines.items()}
    else:
        entries = {entry["name"]: entry for entry in facts.model_entries}
        headings = {name: _model_lines(facts, entries[name]) for name in dict.fromkeys([*pair, *facts.models])}
    return [
        {"letter": "AB"[pair.index(name)] if name in pair else "", "name": name, "series": facts.series[name],
         "lines": lines}
        for name, lines in headings.items()
    ]  # fmt: skip


def _model_lines(facts: Facts, entry: dict[str, Any]) -> list[str]:
    """Whether it is a baseline, what kind of model it is, its size, its training, its content."""
    training = entry.get("training") or {}
    kind = [f"{entry['objective']} objective" if entry.get("objective") else "", clean(entry.get("kind"), 40)]
    size = [f"{amount(entry['parameters'])} parameters" if entry.get("parameters") else ""]
    if entry.get("n_layers") and entry.get("dim"):
        size.append(f"{entry['n_layers']} layers × {entry['dim']}")
    lines = [
        "baseline" if entry["name"] in facts.baselines else "",
        ", ".join(filter(None, kind)),
        ", ".join(filter(None, size)),
        ("trained on " if training.get("tokens") else "") + budget(training, {"tokens": amount, "flops": power}),
        f"content {str(entry['hash'])[:12]}" if entry.get("hash") else "",
    ]
    return [line for line in lines if line]


def cards(facts: Facts) -> list[Card]:
    """A card for each of the first headline numbers that some task has under the first pooling."""
    if facts.kind == "many":
        return []
    return [card for metric, view in facts.headline[:CARDS] if (card := _card(facts, metric, view))]


def _card(facts: Facts, metric: str, view: str) -> Card | None:
    """The difference of the pair, or the model's value, on the first task that has it."""
    key = "diff" if facts.pair else "value"
    for task in facts.tasks:
        if facts.pair:
            row = facts.difference(task, facts.pooling, metric, view)
        else:
            row = facts.cell(facts.models[0], task, facts.pooling, metric, view)
        if not row or row[key] is None:
            continue
        values = [row["value_a"], row["value_b"]] if facts.pair else [row["value"]]
        places = decimals(values, half_width(row))
        code = judgement(row) if facts.pair else ""
        shown = " → ".join(number(value, places) for value in values) if facts.pair else facts.models[0]
        return {
            "title": title(facts, metric, view),
            "term": term(metric),
            "glyph": WORDS[code][0] if code else "",
            "judgement": quality(facts, metric, code) if code else "",
            "meaning": meaning(facts, metric),
            "main": number(row[key], places, signed=bool(facts.pair)),
            "interval": interval(row["ci_low"], row["ci_high"], places) or "no interval",
            "detail": f"{shown} on {task}, {facts.pooling} pooling, n\u00a0=\u00a0{count(row['n'])}",
            "cells": _cells(facts, metric, view) if facts.pair else "",
        }
    return None


def _cells(facts: Facts, metric: str, view: str) -> str:
    """In how many cells each verdict holds; without verdicts, how many differences are positive and negative."""
    up, down, total = signs(facts, metric, view)
    verdicts = tally(facts, metric, view)
    without = verdicts["none"] == total
    return f"higher in {up} of {total} cells, lower in {down}" if without else in_cells(verdicts)


def verdict_table(facts: Facts) -> Table | None:
    """The table of verdicts (a pair), or the order of the models (many)."""
    if facts.kind == "many":
        return ranking(facts)
    if not facts.pair:
        return None
    rows: list[Line] = []
    for metric, view in facts.headline:
        found = tally(facts, metric, view)
        if total := found.total():
            cells = [cell(title(facts, metric, view), link=term(metric))]
            cells += [cell(count(found[k]) if found[k] else "·", found[k], k if found[k] else "none") for k in WORDS]
            rows.append(line([*cells, cell(count(total), total)]))
    heads = [("B against A", False), *((" ".join(label), True) for label in WORDS.values()), ("cells", True)]
    caption = "Number of task × pooling cells with each verdict, at the deepest layer."
    return table("claims", caption, heads, rows)


def ranking(facts: Facts) -> Table | None:
    """The models in the order of their values, for each headline metric and task, under the first pooling."""
    rows: list[Line] = []
    for (metric, view), task in product(facts.headline, facts.tasks):
        found = {name: facts.cell(name, task, facts.pooling, metric, view) for name in facts.models}
        known = [(name, row) for name, row in found.items() if row and row["value"] is not None]
        if not known:
            continue
        known.sort(key=lambda entry: -entry[1]["value"])
        half = next(filter(None, (half_width(row) for _, row in known)), None)
        places = decimals([row["value"] for _, row in known], half)
        cells = [cell(title(facts, metric, view), link=term(metric)), cell(task)]
        for name, row in known:
            shown = interval(row["ci_low"], row["ci_high"], places)
            cells.append(cell(f"{name} {number(row['value'], places)} {shown}".strip()))
        broken = [n for n, row in found.items() if not row and facts.missing(n, task, facts.pooling, metric, view)]
        cells += [cell(f"{name} failed", tone="failed") for name in broken]
        cells += [cell("–")] * (len(facts.models) - len(known) - len(broken))
        rows.append(line(cells, task))
    heads = [("metric", False), ("task", False), *((f"{i + 1}.", False) for i in range(len(facts.models)))]
    caption = (
        f"Models by value, highest first, {facts.pooling} pooling, with 95 % intervals where available. Intervals "
        "of single models do not test a difference: only a paired comparison does."
    )
    return table("claims", caption, heads, rows) if rows else None
