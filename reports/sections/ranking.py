"""Section: the order of many models under each headline number, and which of them cannot be told apart."""

from __future__ import annotations

from geomprobe.common.text import capitalised, count, decimals, listed, number, slug
from geomprobe.reports.document.blocks import (
    Block,
    Figure,
    Option,
    Section,
    cell,
    choice,
    figure,
    line,
    section_of,
    table,
    text,
)
from geomprobe.reports.sections.parts.points import letters_say, ranks
from geomprobe.results.summary.facts import Facts, Row, half_width
from geomprobe.results.summary.ranking import Ranking, rankings
from geomprobe.results.summary.words import absent, meaning, sentence

PLACE = 8
LINES = 36
"""Lines of a figure, about: as many tasks as fit are drawn."""


def section(facts: Facts) -> Section | None:
    """A ranked forest plot of each headline number; None where models are not ranked."""
    found = rankings(facts) if facts.kind == "many" else []
    if not found:
        return None
    options: list[Option] = [{"name": found[0].title, "note": "", "blocks": [forest(facts, found[0])]}]
    options += [
        {"name": each.title, "note": "", "blocks": [text(f"{each.phrase}."), forest(facts, each)]} for each in found[1:]
    ]
    blocks: list[Block] = [choice("metric", options)] if len(options) > 1 else options[0]["blocks"]
    lead = "The models in the order of each headline number, and which of them cannot be told apart."
    return section_of("ranking", "Which models come first?", lead, blocks, f"{found[0].phrase}.")


def forest(facts: Facts, found: Ranking) -> Figure:
    """The models of each task in their order under the first pooling that has the number."""
    number_of = (found.metric, found.view)
    ranked = {(t, p): rows for t in facts.tasks for p in facts.poolings if (rows := facts.ranked(t, p, *number_of))}
    tasks = [task for task, pooling in ranked if pooling == found.pooling]
    drawn = tasks[: max(1, LINES // len(facts.models))]
    panels = [{"title": task, "task": "", "rows": ranks(facts, task, found.pooling, *number_of)} for task in drawn]
    caption = f"{sentence(meaning(facts, found.metric))}{capitalised(found.pooling)} pooling, "
    caption += letters_say(panels, facts.baselines)
    if tests := ranked[tasks[0], found.pooling][0].get("tests"):
        caption += f" P-values were adjusted over {count(tests)} tests (Holm)."
    if len(drawn) < len(tasks):
        caption += f" Drawn: {listed(drawn)}; the table has every task."
    heads = [("task", False), ("pooling", False), ("models in order, with their letters", False)]
    lines = [line([cell(t), cell(p), cell(_in_order(rows))], t, p) for (t, p), rows in ranked.items()]
    name, key = capitalised(found.title), slug("ranking", *number_of)
    alt = f"{name} of {listed(facts.own)} on {listed(drawn)}, {found.pooling} pooling; see the table."
    numbers = table(f"{key}-table", f"{name}: values and letters.", heads, lines, folded=True)
    return figure(key, "ranking", name, caption + absent(facts, found.pooling), alt, {"panels": panels}, numbers)


def _in_order(rows: list[Row]) -> str:
    places = decimals([row["value"] for row in rows], next(filter(None, map(half_width, rows)), None))
    tested = any(row["letters"] for row in rows)
    return ", ".join(
        f"{row['model']} {number(row['value'], places)} {row['letters'] or '–' * tested}".rstrip() for row in rows
    )
