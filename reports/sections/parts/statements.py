"""What metrics say over all cells: a section's answer in one sentence, its short table, a line of the first screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from geomprobe.common.text import decimals, listed, number, term, words
from geomprobe.reports.document.blocks import Cell, Table, cell, line, table
from geomprobe.reports.document.model import Stated
from geomprobe.results.summary.facts import PLACE, Facts, half_width
from geomprobe.results.summary.model import Cell as Measured
from geomprobe.results.summary.model import Statement
from geomprobe.results.summary.ranking import Ranking, ranking
from geomprobe.results.summary.series import Course
from geomprobe.results.summary.summarise import statement
from geomprobe.results.summary.words import ALONE, WORDS, quality

MOST, NAMED = 8, 2
"""Lines of a short table; metrics of many models that an answer names."""
ON_A_SPHERE = ("uniformity", "uniformity_reference")
"""A metric, and what it is read against."""
FLOORS = ("majority", "bow", "tfidf")
"""Controls that come first."""
OTHERS = 4
"""Baselines and controls that a value is set against."""
CELL = (*PLACE, "metric", "view")
Metrics = Sequence[tuple[str, str]]


def statements(facts: Facts, metrics: Metrics) -> list[Statement]:
    """What each metric says, of those that say something."""
    return [found for metric, view in metrics if (found := statement(facts, metric, view))]


def leading(facts: Facts, metrics: Metrics) -> list[tuple[str, str]]:
    """The metrics of a short table: headline numbers first, then others that are compared, as far as there is room."""
    first = [each for each in facts.headline if each in metrics]
    others = [each for each in metrics if each not in first and not facts.entry(each[0]).get("reference")]
    return [*first, *others][:MOST]


# ---- sentences -------------------------------------------------------------------------------------------------------


def answer(facts: Facts, metrics: Metrics) -> str:
    """What the headline numbers among some metrics say, in one sentence with its scope; "" where none was measured."""
    chosen = [each for each in facts.headline if each in metrics] or leading(facts, metrics)[:2]
    if facts.kind == "many":
        return in_order(facts, chosen)
    found = statements(facts, chosen)
    if not found:
        return ""
    if not facts.pair:
        return f"{facts.own[0]}: {listed([valued(facts, each) for each in found])}."
    return f"{opening(found)}{told(facts, found)}."


def in_order(facts: Facts, metrics: Metrics) -> str:
    """Which models come first under the first metrics; "" where two models share none."""
    found = [made for metric, view in metrics if (made := ranking(facts, metric, view))]
    return ". ".join(each.phrase for each in found[:NAMED]) + "." if found else ""


def opening(found: Sequence[Statement]) -> str:
    """Yes, in part, no, or cannot be told: whether a difference was found."""
    if any(each.judgement in ("higher", "lower") and each.share == 1 for each in found):
        return "Yes: "
    if any(each.judgement in ("higher", "lower", "mixed") for each in found):
        return "In part: "
    if all(each.judgement == "equivalent" for each in found):
        return "No: "
    return "No verdict: " if all(each.judgement == "none" for each in found) else "Not shown: "


def told(facts: Facts, found: Sequence[Statement]) -> str:
    """What the statements say, those that differ first; without a full stop."""
    order = ("higher", "lower", "mixed", "equivalent", "unclear", "none")
    return "; ".join(clause(facts, each) for each in sorted(found, key=lambda each: order.index(each.judgement)))


def clause(facts: Facts, each: Statement) -> str:
    """What one metric says of a pair, with its figure and its cells."""
    differs = each.judgement in ("higher", "lower")
    where = (each.where if differs else each.where.partition(";")[0]) or place(each.typical)
    shown = ", ".join(filter(None, (each.typical.text(signed=True), each.seen, where)))
    if differs:
        return f"{facts.pair[1] if facts.pair else ''} {each.says} ({each.title} {shown})".strip()
    verb = {
        "mixed": "is higher in some cells and lower in others",
        "equivalent": "is shown equal",
        "unclear": "cannot be told",
        "none": "has no verdict",
    }[each.judgement]
    return f"{each.title} {verb} ({shown})"


def valued(facts: Facts, each: Statement) -> str:
    """The number of a single model, where it was measured, and the first of what it stands against."""
    beside = against(facts, each.metric, each.view, each.typical, most=1)
    compared = f"; {beside}" if beside else ""
    return f"{each.title} {each.typical.text(signed=False)} ({place(each.typical)}{compared})"


def place(at: Measured) -> str:
    """The task and pooling of a cell."""
    return f"{at.task}, {at.pooling} pooling"


def against(facts: Facts, metric: str, view: str, at: Measured, most: int = OTHERS) -> str:
    """What a value stands against in its cell, in words: the first few."""
    half = (at.high - at.low) / 2 if at.low is not None and at.high is not None else None
    places = decimals([at.value], half)
    others = list(standing(facts, metric, view, at).items())[:most]
    return ", ".join(f"{name} {number(value, places)}" for name, value in others)


def standing(facts: Facts, metric: str, view: str, at: Measured) -> dict[str, float]:
    """Baselines, the uniform distribution and controls, whichever a metric has in a cell, the first few."""
    found = {name: facts.cell(name, at.task, at.pooling, metric, view) for name in facts.baselines}
    if metric == ON_A_SPHERE[0]:
        found["uniform on the sphere"] = next(
            (row for key, row in facts.by_cell.items() if key[4] == ON_A_SPHERE[1]), None
        )
    mine = facts.cell(facts.own[0], at.task, at.pooling, metric, view)
    controls = [row for row in facts.rows if row["control"] and mine and all(row[key] == mine[key] for key in CELL)]
    for row in sorted(controls, key=lambda row: row["control"] not in FLOORS):
        found.setdefault(words(row["control"]), row)
    known = {name: row["value"] for name, row in found.items() if row and row["value"] is not None}
    return dict(list(known.items())[:OTHERS])


# ---- tables and lines ------------------------------------------------------------------------------------------------


def stated(facts: Facts, each: Statement | Ranking | Course) -> Stated:
    """A statement, the order of many models, or a course along a series, as the first screen prints it."""
    if isinstance(each, Course):
        shown = {"title": each.title, "term": term(each.metric), "says": each.moves, "figure": each.span}
        shown["place"] = f"{each.task}, {each.pooling} pooling"
        return cast(Stated, dict.fromkeys(Stated.__annotations__, "") | shown)
    if isinstance(each, Ranking):
        shown = {"title": each.title, "term": term(each.metric), "says": each.phrase, "figure": each.span}
        shown["place"] = f"{each.task}, {each.pooling} pooling"
        return cast(Stated, dict.fromkeys(Stated.__annotations__, "") | shown)
    at, code = each.typical, each.judgement if facts.pair else ""
    row = facts.difference(at.task, at.pooling, each.metric, each.view) if facts.pair else None
    where, values_of = each.where, ""
    if row:
        places = decimals([row["value_a"], row["value_b"]], half_width(row))
        values_of = f"{number(row['value_a'], places)} → {number(row['value_b'], places)}"
    elif len(each.cells) > 1:
        values = [c.value for c in each.cells]
        places = decimals(values)
        where = f"{number(min(values), places)} to {number(max(values), places)} over {len(values)} cells"
    note = "not once the mean vector is removed" if each.only_mean else ""
    return {
        "title": each.title,
        "term": term(each.metric),
        "judgement": code,
        "glyph": "" if not code else "◆" if code == "mixed" else WORDS[code][0],
        "word": "" if not code else "depends" if code == "mixed" else quality(facts, each.metric, code),
        "says": each.says,
        "figure": at.text(signed=bool(facts.pair)),
        "where": where,
        "place": place(at),
        "values": values_of,
        "margin": _size(at.margin, "±") if facts.pair else "",
        "detectable": _size(at.detectable) if facts.pair else "",
        "needed": each.needed,
        "seeds": _size((row or {}).get("seed_spread")),
        "note": note if facts.pair else against(facts, each.metric, each.view, at),
    }


def _size(value: float | None, sign: str = "") -> str:
    return f"{sign}{number(value, decimals([value], value))}" if value else ""


def statement_table(facts: Facts, id: str, metrics: Metrics) -> list[Table]:
    """The short table of a section: a line a metric over all cells, its typical cell in numbers."""
    found = statements(facts, leading(facts, metrics))
    if facts.kind == "many" or not found:
        return []
    lines = [stated(facts, each) for each in found]
    if facts.pair:
        heads = [("metric", False), ("B − A", True), ("margin", True), ("detectable", True)]
        heads += [("another seed", True)] if any(each["seeds"] for each in lines) else []
        heads += [("verdict", False), ("where", False), ("typical cell", False), ("A → B", True)]
        caption = (
            "B − A in the typical cell, the median of those with the verdict, with its 95 % interval. Margin: the "
            "largest difference that counts as none. Detectable: the smallest that would have been found. " + ALONE
        )
        if any(each["seeds"] for each in lines):
            caption += " Another seed: by how much it alone moves the difference, at most."
    else:
        heads = [
            ("metric", False),
            ("value", True),
            ("over all cells", False),
            ("typical cell", False),
            ("against", False),
        ]
        caption = "Value in the typical cell (the median), with its 95 % interval, and what it stands against."
    rows = [
        line(_cells(facts, told_of, each, bool(facts.pair), ("another seed", True) in heads))
        for told_of, each in zip(lines, found, strict=True)
    ]
    return [table(id, caption, heads, rows)]


def _cells(facts: Facts, told_of: Stated, each: Statement, pair: bool, seeds: bool) -> list[Cell]:
    at = each.typical
    first = [cell(told_of["title"], link=told_of["term"]), cell(told_of["figure"], at.value)]
    if not pair:
        return [*first, *(cell(told_of[key]) for key in ("where", "place", "note"))]
    first += [cell(told_of["margin"] or "none", at.margin), cell(told_of["detectable"] or "–", at.detectable)]
    first += [cell(told_of["seeds"] or "–")] if seeds else []
    verdict = cell(f"{told_of['glyph']} {told_of['word']}", each.judgement, each.judgement)
    return [*first, verdict, cell(told_of["where"] or "the one cell"), cell(told_of["place"]), cell(told_of["values"])]
