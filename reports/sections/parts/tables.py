"""Tables that sections share: values with their differences, failed cells, plain text."""

from __future__ import annotations

from geomprobe.common.text import NONE, count, decimals, interval, number, p_value, slug, term
from geomprobe.reports.document.blocks import Block, Cell, Line, Table, cell, line, table, text
from geomprobe.reports.sections.parts.sides import lettered, measured, sides
from geomprobe.results.summary.facts import Facts, Row, half_width, judgement
from geomprobe.results.summary.words import ALONE, HATCHED, WORDS, how_many, title, whose, why

INTERVALS = [("95 % interval", True), ("p (Holm)", True), ("margin", True), ("detectable", True)]
"""Columns of a table with intervals: the margin, and the smallest difference that this n would find."""
LONG = 40  # rows past which a table is folded


def value_table(facts: Facts, id: str, caption: str, metrics: list[tuple[str, str]], pooling: str) -> Block:
    """Tasks × metrics with the value of each model and, for a pair, difference, interval, verdict and n.

    A paragraph that says why where no cell has a number.
    """
    heads = [("task", False), ("metric", False), *((lettered(facts, name), True) for name in sides(facts))]
    intervals = any(row["ci_low"] is not None for row in facts.by_difference.values())
    if facts.pair:
        heads += [("B − A", True), *(INTERVALS if intervals else ()), ("verdict", False)]
    heads.append(("n", True))
    lines = (_value_line(facts, task, *metric, pooling, intervals) for task in facts.tasks for metric in metrics)
    rows = [made for made in lines if made]
    if not rows:
        return unmeasured(facts, "None of these metrics was measured.")
    caption += f", {pooling} pooling."
    if facts.pair and intervals:
        caption += f" {ALONE}"
    if any(c["tone"] == "failed" for made in rows for c in made["cells"]):
        caption += HATCHED
    return table(slug(id, pooling), caption, heads, rows, len(rows) > LONG)


def _value_line(facts: Facts, task: str, metric: str, view: str, pooling: str, intervals: bool) -> Line | None:
    names = sides(facts)
    found = [measured(facts, name, task, pooling, metric, view) for name in names]
    broken = any(failed for _, failed in found)
    if not broken and all(value is None for value, _ in found):
        return None
    row = facts.difference(task, pooling, metric, view) if facts.pair else None
    own = [facts.cell(name, task, pooling, metric, view) for name in names]
    half = half_width(row) if row else next(filter(None, map(half_width, own)), None)
    places = decimals([value for value, _ in found], half)
    cells = [cell(task), cell(title(facts, metric, view), link=term(metric))]
    for (value, failed), at in zip(found, own, strict=True):
        shown = "failed" if failed else number(value, places)
        if not facts.pair and at and at["ci_low"] is not None:
            shown += " " + interval(at["ci_low"], at["ci_high"], places)
        cells.append(cell(shown, value, "failed" if failed else ""))
    n = next((m["n"] for m in own if m and m["n"]), row["n"] if row else None)
    if facts.pair:
        difference, *rest = difference_cells(row, places)
        sizes = [row[key] if row else None for key in ("margin", "mdd")]
        cells += [difference, *([*rest, *(cell(number(size, places), size) for size in sizes)] if intervals else ())]
        without = "failed" if broken else "reference" if facts.entry(metric).get("reference") else "not compared"
        cells.append(verdict_cell(row) if row else cell(without, tone="failed" if broken else ""))
    return line([*cells, cell(count(n), n)], task, pooling)


def difference_cells(row: Row | None, places: int) -> list[Cell]:
    """A difference, its interval and its p-value; dashes where nothing was compared."""
    if row is None:
        return [cell("–"), cell(""), cell("–")]
    return [
        cell(number(row["diff"], places, signed=True), row["diff"]),
        cell(interval(row["ci_low"], row["ci_high"], places) or "none", row["ci_low"]),
        cell(p_value(row["p_holm"] if row["p_holm"] is not None else row["p"]), row["p_holm"]),
    ]


def verdict_cell(row: Row) -> Cell:
    """The verdict on a difference, sorted by its code."""
    code = judgement(row)
    return cell(" ".join(WORDS[code]), code, code)


def plain_table(id: str, caption: str, heads: tuple[str, ...], rows: list[list[str]], folded: bool = False) -> Table:
    """A table of texts."""
    return table(id, caption, [(head, False) for head in heads], [line([*map(cell, row)]) for row in rows], folded)


LISTED = 500


def unmeasured(facts: Facts, what: str) -> Block:
    """The paragraph of a section without numbers; `what` is a sentence for where no cell failed."""
    if facts.failed_cells:
        return text(
            f"No numbers: {how_many(facts)} failed (they are listed under the question of the pooling).", "warning"
        )
    return text(what, "note")


def failed_table(facts: Facts) -> list[Block]:
    """The table of all failed cells and similarities, with the stage and the reason; nothing without any."""
    entries = facts.failed
    if not entries:
        return []
    rows = [
        line(
            [cell(whose(facts, e["model"]), tone="failed"), cell(e["task"]),
             cell(NONE if e["layer"] is None else str(e["layer"])), cell(e["pooling"]),
             cell(f"{e['stage']}: {why(e)}")],
            e["task"],
            e["pooling"],
        )
        for e in entries[:LISTED]
    ]  # fmt: skip
    heads = [("failed", False), ("task", False), ("layer", False), ("pooling", False), ("why", False)]
    caption = "Cells that could not be measured. They are hatched in the maps and tables of this report."
    blocks: list[Block] = [table(slug("failed-cells", "table"), caption, heads, rows, folded=len(rows) > 20)]
    if len(entries) > LISTED:
        blocks.append(text(f"{count(len(entries) - LISTED)} more are in results.parquet (status: failed).", "note"))
    return blocks
