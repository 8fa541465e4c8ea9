"""Section: losses, balance, throughput and monitors over training."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Line, Section, cell, figure, line, table, text
from geomprobe.reports.document.formats import clean, finite, listed, number, words
from geomprobe.reports.sections.parts.sides import legend, lettered

PLACE = 70
TRAINING_ORDER = ("loss", "mlm_loss", "jepa_loss", "held_out_loss", "lambda", "lr", "tokens_per_s", "grad_norm")


TRAINING_SKIP = ("step", "steps", "tokens", "flops", "eta_s", "time", "wall_seconds", "epoch", "seconds")


TRAINING_POINTS = 120
TRAINING_PANELS = 18


def section(facts: Facts) -> Section:
    """Losses, balance, throughput and monitors over training."""
    lead = "Losses, throughput and monitored metrics during training."
    section: Section = {"id": "training", "title": "Training", "lead": lead, "blocks": []}
    logs = {m: [r for r in facts.training.get(m, []) if _is_number(r.get("step"))] for m in facts.models}
    logs = {m: records for m, records in logs.items() if records}
    if not logs:
        section["blocks"].append(text("No model has a training log.", "note"))
        return section
    if absent := [m for m in facts.models if m not in logs]:
        section["blocks"].append(text(f"Without a training log: {listed(absent)}.", "note"))
    x = "tokens" if all(_is_number(r.get("tokens")) for records in logs.values() for r in records) else "step"
    panels: list[dict[str, Any]] = []
    rows: list[Line] = []
    for key in _logged(logs)[:TRAINING_PANELS]:
        name = "λ (weight of JEPA)" if key == "lambda" else words(clean(key, 40))
        lines = []
        for model, records in logs.items():
            points = [(r[x], r[key]) for r in records if _is_number(r.get(key))]
            if not points:
                continue
            kept = _thin(points, TRAINING_POINTS)
            ys = [float(f"{v:.6g}") for _, v in kept]
            lines.append({"series": facts.series.get(model, 0), "x": [at for at, _ in kept], "y": ys})
            ends = (points[0][1], points[len(points) // 2][1], points[-1][1])
            rows.append(line([cell(name), cell(lettered(facts, model)), *(cell(number(v), v) for v in ends)]))
        panels.append({"title": name, "lines": lines})
    heads = [("quantity", False), ("model", False), ("first", True), ("middle", True), ("last", True)]
    side = table("training-table", "First, middle and last record of each quantity.", heads, rows, folded=True)
    alt = f"Training curves of {listed(list(logs))}: {listed([p['title'] for p in panels])}."
    caption = "As logged by the trainer. Losses of different objectives are not comparable."
    data = {"panels": panels, "legend": legend(facts, list(logs)), "x_label": x}
    section["blocks"].append(figure("training-curves", "training", "Training curves", caption, alt, data, side))
    return section


def _is_number(value: Any) -> bool:
    return finite(value) is not None


def _logged(logs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The quantities that any log holds, in printing order."""
    keys = dict.fromkeys(k for records in logs.values() for r in records for k, v in r.items() if _is_number(v))
    place = {key: i for i, key in enumerate(TRAINING_ORDER)}
    return sorted((k for k in keys if k not in TRAINING_SKIP), key=lambda k: (place.get(k, len(place)), k))


def _thin(points: list[Any], most: int) -> list[Any]:
    """At most ``most`` of the points, evenly spaced, both ends kept."""
    n = len(points)
    return points if n <= most else [points[round(i * (n - 1) / (most - 1))] for i in range(most)]
