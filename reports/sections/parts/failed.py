"""What a report shows in place of numbers that failed: a paragraph, and the table of all failed cells."""

from __future__ import annotations

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Block, Text, cell, line, table, text
from geomprobe.reports.document.formats import NONE, count
from geomprobe.reports.document.ids import slug
from geomprobe.reports.wording.failed import how_many, whose, why

LISTED = 500


def unmeasured(facts: Facts, what: str) -> Text:
    """The paragraph of a section without numbers; `what` is a sentence for where no cell failed."""
    if facts.failed_cells:
        return text(f"No numbers: {how_many(facts)} failed (section Pooling × task).", "warning")
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
