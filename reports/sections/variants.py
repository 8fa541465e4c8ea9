"""Section: quantised and truncated vectors, and how far each headline metric is from the full vectors."""

from __future__ import annotations

from itertools import product
from operator import itemgetter

from geomprobe.common.text import clean, count, decimals, listed, number, term
from geomprobe.reports.document.blocks import Block, Cell, Section, cell, line, table, text
from geomprobe.reports.sections.parts.tables import LONG, difference_cells, verdict_cell
from geomprobe.results.summary.facts import PLACE as CELL
from geomprobe.results.summary.facts import Facts, Row, half_width
from geomprobe.results.summary.words import title

PLACE = 75
DUPLICATES = ("duplicate_share", "raw")
MOST_LINES = 400
HEADS = (
    *(("vectors", False), ("task", False), ("metric", False), ("full", True), ("stored", True)),
    *(("stored − full", True), ("95 % interval", True), ("p (Holm)", True), ("verdict", False), ("n", True)),
)


def section(facts: Facts) -> Section | None:
    """How far the stored vectors are from the full ones, which decide the headline metrics; None without variants."""
    stored = facts.variants
    if stored is None:
        return None
    keys = ("b", *CELL[1:], "metric", "view")
    differences = {itemgetter(*keys)(row): row for row in reversed(stored.comparisons)}
    several = len({entry["of"] for entry in stored.model_entries}) > 1
    lines = []
    for entry, task, metric in product(stored.model_entries, stored.tasks, [*facts.headline, DUPLICATES]):
        if cells := _cells(facts, entry, task, metric, differences):
            named = [*([cell(entry["of"])] if several else []), cell(clean(entry.get("variant"))), cell(task)]
            lines.append(line([*named, *cells], task, facts.pooling))
    shown = lines[:MOST_LINES]
    caption = (
        f"Headline metrics of the full and of the stored vectors at the deepest layer, {facts.pooling} pooling; p is "
        "adjusted over all variants of a model, intervals are of single differences."
    )
    heads = [*([("model", False)] if several else []), *HEADS]
    blocks: list[Block] = [table("variants-table", caption, heads, shown, len(shown) > LONG)]
    if len(facts.poolings) > 1 or len(lines) > len(shown):
        blocks.append(text(f"{len(shown)} lines are shown; comparisons.parquet has all.", "note"))
    return {
        "id": "variants",
        "title": "What do fewer bits or dimensions change?",
        "answer": "",
        "lead": "What fewer bits or dimensions change. All other sections are about the full vectors.",
        "blocks": [*blocks, *_notes(stored)],
    }


def _cells(
    facts: Facts, entry: Row, task: str, metric: tuple[str, str], differences: dict[tuple, Row]
) -> list[Cell] | None:
    """The cells of a variant's metric from its name on, None where neither side has a value."""
    stored, pooling, name = facts.variants, facts.pooling, entry["name"]
    assert stored is not None
    layer = stored.last_layer.get(name, 0)
    own = stored.cell(name, task, pooling, *metric)
    full = facts.cell(entry["of"], task, pooling, *metric, layer)
    value, before = (row["value"] if row else None for row in (own, full))
    if value is None and before is None:
        return None
    # a cell that was not embedded has one row, which says why
    gone = stored.cell(name, task, pooling, "embedding", "")
    missing = "" if value is not None else (own or gone or {}).get("status", "not measured")
    row = differences.get((name, task, layer, pooling, *metric))
    places = decimals([value, before], half_width(row))
    n = own["n"] if own else None
    without = "–" if missing or metric == DUPLICATES else "not compared"
    return [
        cell(title(facts, *metric), link=term(metric[0])),
        cell(number(before, places), before),
        cell(missing or number(value, places), value, "failed" if missing == "failed" else ""),
        *difference_cells(row, places),
        verdict_cell(row) if row else cell(without),
        cell(count(n), n),
    ]


def _notes(stored: Facts) -> list[Block]:
    """What a reader has to know of the variants that occur."""
    entries, notes = stored.model_entries, []
    if calibrated := next((entry["calibration"] for entry in entries if entry.get("calibration")), None):
        rows = listed([f"{clean(rows)} of {task}" for task, rows in calibrated.items()])
        notes.append(
            "int8: codes from −128 to 127, in 255 steps from the smallest to the largest value of each dimension over "
            f"{rows}. The codes shift and stretch each dimension, so directions change by more than rounding."
        )
    if any(entry.get("precision") == "binary" for entry in entries):
        notes.append("binary: the sign of each dimension, +1 or −1. Texts with the same signs have the same vector.")
    if any(entry.get("renormalised") for entry in entries):
        notes.append("Renormalised: scaled to unit length after truncation. Metrics of raw directions are unchanged.")
    narrow = (row for row in stored.rows if row["metric"] == "embedding" and row["status"] == "not applicable")
    notes += dict.fromkeys(f"{row['model']}, layer {row['layer']}: {row['note']}." for row in narrow)
    return [text(note, "note") for note in notes]
