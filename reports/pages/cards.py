"""Cards: up to six differences, or numbers of a single model."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.differences import judgement
from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.formats import count, decimals, interval, number
from geomprobe.reports.document.ids import term
from geomprobe.reports.document.model import Card
from geomprobe.reports.wording.words import WORDS, in_cells, meaning, quality, signs, tally, title


def cards(facts: Facts) -> list[Card]:
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
    up, down, total = signs(facts, metric, view)
    counts = tally(facts, metric, view)
    without = counts["none"] == total
    cells = f"higher in {up} of {total} cells, lower in {down}" if without else in_cells(counts)
    shown = interval(row["ci_low"], row["ci_high"], places)
    return {
        "title": title(facts, metric, view),
        "term": term(metric),
        "glyph": WORDS[code][0],
        "judgement": quality(facts, metric, code),
        "meaning": meaning(facts, metric),
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
                "title": title(facts, metric, view),
                "term": term(metric),
                "glyph": "",
                "judgement": "",
                "meaning": meaning(facts, metric),
                "main": number(row["value"], places),
                "interval": interval(row["ci_low"], row["ci_high"], places) or "no interval",
                "detail": f"{model} {_place(facts, task, row)}",
                "cells": "",
            }
    return None
