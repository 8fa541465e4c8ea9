"""Section: losses, balance, throughput and monitors over training."""

from __future__ import annotations

from typing import Any

from geomprobe.common.text import amount, capitalised, finite, listed, number, power
from geomprobe.common.training_log import in_order, label
from geomprobe.reports.document.blocks import Block, Figure, Line, Section, cell, figure, fold, line, table, text
from geomprobe.reports.sections.parts.sides import legend, lettered
from geomprobe.results.summary.facts import Facts, Row
from geomprobe.results.summary.summarise import over_untrained
from geomprobe.results.summary.words import budget

PLACE = 70
POINTS = 120
PANELS, FRONT = 18, 6
"""Quantities that are drawn, and those open at first."""


def section(facts: Facts) -> Section:
    """Losses, balance, throughput and monitors over training."""
    logs = logs_of(facts)
    without = [model for model in facts.own if model not in logs]
    blocks: list[Block] = []
    if not logs:
        blocks.append(text("No model has a training log.", "note"))
    elif without:
        blocks.append(text(f"Without a training log: {listed(without)}.", "note"))
    if logs:
        quantities, left_out = logged(logs)[:PANELS], logged(logs)[PANELS:]
        blocks.append(curves(facts, logs, quantities[:FRONT]))
        if quantities[FRONT:]:
            further = curves(facts, logs, quantities[FRONT:], "training-further")
            note = (
                [text(f"Not drawn, but in the logs: {listed(list(map(label, left_out)))}.", "note")] if left_out else []
            )
            blocks += fold("training-all", "More of what the trainer logged", [further, *note])
    return {
        "id": "training",
        "title": "What did training do?",
        "answer": _answer(facts, logs),
        "lead": "Losses, throughput and monitored metrics, as the trainer logged them.",
        "blocks": blocks,
    }


def _answer(facts: Facts, logs: dict[str, list[Row]]) -> str:
    """What training gave over random initialisation, how far the first logged quantity came, and what it took."""
    gave = over_untrained(facts)
    if not logs:
        return " ".join(gave) or "Unknown: no model came with a training log."
    key = logged(logs)[:1]
    entries = {entry["name"]: entry.get("training") or {} for entry in facts.model_entries}
    said = []
    for model, records in logs.items():
        values = [r[key[0]] for r in records if _is_number(r.get(key[0]))] if key else []
        took = budget(entries.get(model, {}), {"tokens": amount, "flops": power})
        moved = f" went from {number(values[0])} to {number(values[-1])}" if values else " was not logged"
        said.append(f"{model}{moved}{f' ({took})' if took else ''}")
    head = f"{capitalised(label(key[0]))}: " if key else ""
    return " ".join([*gave, f"{head}{listed(said, most=6)}. Losses of different objectives are not comparable."])


def logs_of(facts: Facts) -> dict[str, list[Row]]:
    """The training log of each model that has one: its records with a step."""
    logs = {m: [r for r in facts.training.get(m, []) if _is_number(r.get("step"))] for m in facts.models}
    return {model: records for model, records in logs.items() if records}


def curves(facts: Facts, logs: dict[str, list[Row]], quantities: list[str], id: str = "training-curves") -> Figure:
    """Quantities along training, a panel each, a line a model."""
    x = "tokens" if all(_is_number(r.get("tokens")) for records in logs.values() for r in records) else "step"
    panels: list[dict[str, Any]] = []
    rows: list[Line] = []
    for key in quantities:
        name = label(key)
        lines = []
        for model, records in logs.items():
            points = [(r[x], r[key]) for r in records if _is_number(r.get(key))]
            if not points:
                continue
            n = len(points)
            even = [points[round(i * (n - 1) / (POINTS - 1))] for i in range(POINTS)] if n > POINTS else points
            ys = [float(f"{y:.6g}") for _, y in even]
            lines.append({"series": facts.series[model], "x": [at for at, _ in even], "y": ys})
            ends = (points[0][1], points[n // 2][1], points[-1][1])
            rows.append(line([cell(name), cell(lettered(facts, model)), *(cell(number(v), v) for v in ends)]))
        panels.append({"title": name, "lines": lines})
    heads = [("quantity", False), ("model", False), ("first", True), ("middle", True), ("last", True)]
    side = table(
        f"{id}-table" if id != "training-curves" else "training-table",
        "First, middle and last record of each quantity.",
        heads,
        rows,
        folded=True,
    )
    alt = f"Training curves of {listed(list(logs))}: {listed([p['title'] for p in panels])}."
    caption = "As logged by the trainer. Losses of different objectives are not comparable."
    data = {"panels": panels, "legend": legend(facts, list(logs)), "x_label": x}
    return figure(id, "training", "Training curves", caption, alt, data, side)


def _is_number(value: Any) -> bool:
    return finite(value) is not None


def logged(logs: dict[str, list[Row]]) -> list[str]:
    """The quantities that any log holds, in printing order."""
    keys = {k for records in logs.values() for r in records for k, v in r.items() if _is_number(v)}
    return in_order(keys)
