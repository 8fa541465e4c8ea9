"""Section: quantised and truncated vectors, and how far each headline metric is from the full vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from geomprobe.reports.data.differences import half_width, judgement
from geomprobe.reports.data.facts import Facts, Row
from geomprobe.reports.document.blocks import Block, Cell, Line, Section, cell, line, table, text
from geomprobe.reports.document.formats import clean, count, decimals, interval, listed, number, p_value
from geomprobe.reports.document.ids import term
from geomprobe.reports.sections.parts.tables import LONG
from geomprobe.reports.wording.words import WORDS, title

PLACE = 60
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
    differences = _Differences(facts, stored)
    several = len({entry["of"] for entry in stored.model_entries}) > 1
    lines = list(differences.lines(several))
    shown = lines[:MOST_LINES]
    caption = (
        f"Headline metrics of the full and of the stored vectors at the deepest layer, {facts.pooling} pooling; p is "
        "adjusted over all variants of a model."
    )
    heads = [*([("model", False)] if several else []), *HEADS]
    blocks: list[Block] = [table("variants-table", caption, heads, shown, len(shown) > LONG)]
    if len(facts.poolings) > 1 or len(lines) > len(shown):
        blocks.append(text(f"{len(shown)} lines are shown; comparisons.parquet has all.", "note"))
    return {
        "id": "variants",
        "title": "Quantised and truncated vectors",
        "lead": "What fewer bits or dimensions change. All other sections are about the full vectors.",
        "blocks": [*blocks, *_notes(stored)],
    }


@dataclass(frozen=True)
class _Differences:
    """The lines of the table, and what they are found by."""

    facts: Facts
    stored: Facts

    @cached_property
    def by_place(self) -> dict[tuple, Row]:
        """(variant, task, layer, pooling, metric, view) -> the variant's difference from its full vectors."""
        keys = ("b", "task", "layer", "pooling", "metric", "view")
        return {tuple(row[key] for key in keys): row for row in reversed(self.stored.comparisons)}

    @cached_property
    def without_vectors(self) -> dict[tuple, Row]:
        """(variant, task, layer, pooling) -> the row that says why there are no numbers."""
        keys = ("model", "task", "layer", "pooling")
        gone = (row for row in self.stored.rows if row["metric"] == "embedding" and row["status"] != "ok")
        return {tuple(row[key] for key in keys): row for row in gone}

    def lines(self, several: bool) -> Iterator[Line]:
        """Yield a line for each variant, task and headline metric; with the model's name where there are several."""
        metrics = [*self.facts.headline, DUPLICATES]
        for entry, task in product(self.stored.model_entries, self.stored.tasks):
            for cells in filter(None, (self.line(entry, task, *metric) for metric in metrics)):
                head = [cell(entry["of"])] if several else []
                yield line([*head, cell(clean(entry.get("variant"))), cell(task), *cells], task, self.facts.pooling)

    def line(self, entry: Row, task: str, metric: str, view: str) -> list[Cell] | None:
        """The cells from the metric on, None where neither side has a value."""
        name, pooling, layer = entry["name"], self.facts.pooling, self.stored.last_layer.get(entry["name"], 0)
        own = self.stored.cell(name, task, pooling, metric, view)
        full = self.facts.cell(entry["of"], task, pooling, metric, view, layer)
        gone = self.without_vectors.get((name, task, layer, pooling))
        value, before = (row["value"] if row else None for row in (own, full))
        if value is None and before is None:
            return None
        row = self.by_place.get((name, task, layer, pooling, metric, view))
        missing = "" if value is not None else (own or gone or {}).get("status", "not measured")
        places = decimals([value, before], half_width(row))
        cells = [
            cell(title(self.facts, metric, view), link=term(metric)),
            cell(number(before, places), before),
            cell(missing or number(value, places), value, "failed" if missing == "failed" else ""),
        ]
        if row is None:
            cells += [
                cell("–"),
                cell(""),
                cell("–"),
                cell("–" if missing or metric == DUPLICATES[0] else "not compared"),
            ]
        else:
            code = judgement(row)
            cells += [
                cell(number(row["diff"], places, signed=True), row["diff"]),
                cell(interval(row["ci_low"], row["ci_high"], places) or "none", row["ci_low"]),
                cell(p_value(row["p_holm"] if row["p_holm"] is not None else row["p"]), row["p_holm"]),
                cell(WORDS[code], code, code),
            ]
        n = own["n"] if own else None
        return [*cells, cell(count(n), n)]


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
