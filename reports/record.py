"""Sections of record: training, caveats, provenance, data, glossary."""

from __future__ import annotations

import json
from typing import Any

from geomprobe.reports.blocks import Block, Line, Section, cell, figure, line, table, text
from geomprobe.reports.facts import Facts, judgement
from geomprobe.reports.failed import place, why
from geomprobe.reports.formats import NONE, clean, count, duration, finite, listed, number, power, words
from geomprobe.reports.tables import legend, lettered, plain_table
from geomprobe.reports.wording import flat, term

TRAINING_ORDER = ("loss", "mlm_loss", "jepa_loss", "held_out_loss", "lambda", "lr", "tokens_per_s", "grad_norm")


TRAINING_SKIP = ("step", "steps", "tokens", "flops", "eta_s", "time", "wall_seconds", "epoch", "seconds")


TRAINING_POINTS = 120
FAILED_ITEMS = 12
TRAINING_PANELS = 18


def training(facts: Facts) -> Section:
    """Losses, balance, throughput and monitors over training."""
    lead = "What the training of the checkpoints looked like."
    section: Section = {"id": "training", "title": "Training", "lead": lead, "blocks": []}
    logs = {m: [r for r in facts.training.get(m, []) if _is_number(r.get("step"))] for m in facts.models}
    logs = {m: records for m, records in logs.items() if records}
    if not logs:
        section["blocks"].append(text("No model came with a training log, so there is nothing to draw here.", "note"))
        return section
    if absent := [m for m in facts.models if m not in logs]:
        section["blocks"].append(text(f"No training log came with {listed(absent)}.", "note"))
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
    caption = "As logged by the trainer. Losses of different objectives are different quantities."
    data = {"panels": panels, "legend": legend(facts, list(logs)), "x_label": x}
    section["blocks"].append(figure("training-curves", "training", "Training curves", caption, alt, data, side))
    return section


def _is_number(value: Any) -> bool:
    return finite(value) is not None


def _logged(logs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the quantities that any log holds, in printing order."""
    keys = dict.fromkeys(k for records in logs.values() for r in records for k, v in r.items() if _is_number(v))
    place = {key: i for i, key in enumerate(TRAINING_ORDER)}
    return sorted((k for k in keys if k not in TRAINING_SKIP), key=lambda k: (place.get(k, len(place)), k))


def _thin(points: list[Any], most: int) -> list[Any]:
    """Return at most ``most`` of the points, evenly spaced, both ends kept."""
    n = len(points)
    return points if n <= most else [points[round(i * (n - 1) / (most - 1))] for i in range(most)]


def caveats(facts: Facts) -> Section:
    """What the comparison cannot say, from facts."""
    items = []
    if facts.kind == "pair":
        items.append(
            "One checkpoint a side. Another seed of the same objective may differ as much as these two do; a claim "
            "about objectives needs several seeds a group (--group)."
        )
    if facts.by_difference and all(judgement(r) == "none" for r in facts.by_difference.values()):
        items.append("No interval, no verdict: the numbers carry no standard errors, so a difference may be chance.")
    if facts.untrained:
        items.append(
            f"Not trained: {listed(facts.untrained)}. Weighted then equals mean, attention weighs tokens at random."
        )
    sizes = [
        f"{t['name']} {count(t.get('geometry_rows') or t.get('rows'))}"
        for t in facts.task_entries
        if t.get("geometry_rows") or t.get("rows")
    ]
    if sizes:
        items.append(
            f"Rows: {listed(sizes)}. Ranks grow with the number of rows, so they compare models on one task, not tasks."
        )
    for entry in facts.task_entries:
        cut = {m: n for m, n in (entry.get("truncated") or {}).items() if n}
        if cut:
            items.append(
                f"{entry['name']}: " + listed([f"{count(n)} texts were cut for {m}" for m, n in cut.items()]) + "."
            )
        items += [f"{entry['name']}: {clean(n)}" for n in entry.get("notes") or []]
    for entry in facts.model_entries:
        items += [f"{entry['name']}: {clean(n)}" for n in entry.get("notes") or []]
    items += [
        f"Pooling {p['name']}: {clean(p.get('note'))}." for p in facts.run.get("poolings", []) if p["name"] == "model"
    ]
    failed = facts.failed
    items += [f"Not measured: {place(entry)}: {why(entry)}." for entry in failed[:FAILED_ITEMS]]
    if len(failed) > FAILED_ITEMS:
        items.append(f"Not measured: {count(len(failed) - FAILED_ITEMS)} more cells (section Pooling × task).")
    notes = dict.fromkeys((r["metric"], r["note"]) for r in facts.rows if r["note"] and r["status"] != "failed")
    items += [f"{words(m)}: {n}" for m, n in list(notes)[:12]]
    methods = sorted(
        {r["ci_method"] for r in facts.rows if r["ci_method"]}
        | {r["ci_method"] for r in facts.comparisons if r["ci_method"]}
    )
    if methods:
        items.append(f"Intervals: {listed([clean(m, 80) for m in methods[:6]])}.")
    if facts.run.get("protocol"):
        items.append(
            f"Protocol {facts.run['protocol']}. Every number estimates its expected value at this number of rows."
        )
    return {
        "id": "caveats",
        "title": "What this cannot say",
        "lead": "Limits that follow from how the numbers were made.",
        "blocks": [{"type": "items", "items": items}],
    }


def provenance(facts: Facts) -> Section:
    """Hashes, versions, hardware, command."""
    run = facts.run
    blocks: list[Block] = []
    if len(facts.models) > 1:
        blocks.append(text(f"All models saw the same rows: {'yes' if _same_rows(facts) else 'no'} ({_sizes(facts)})."))
    if run.get("command"):
        blocks.append({"type": "code", "label": "Made with", "text": clean(run["command"], 2000)})
    heads: tuple[str, ...] = (
        "model",
        "source",
        "kind",
        "objective",
        "parameters",
        "layers × width",
        "type",
        "training",
        "content hash",
    )
    blocks.append(plain_table("models", "Models.", heads, [_model_row(m) for m in facts.model_entries]))
    heads = ("task", "source", "rows", "unique sentences", "fingerprint", "row ids")
    caption = "Tasks: rows of the split, and the unique sentences on which geometry is measured."
    blocks.append(plain_table("tasks", caption, heads, [_task_row(t) for t in facts.task_entries]))
    rest = {
        "created": run.get("created"),
        "geomprobe": run.get("geomprobe_version"),
        "protocol": run.get("protocol"),
        "seed": run.get("seed"),
        "wall time": duration(run.get("wall_seconds")),
        "versions": run.get("versions"),
        "hardware": run.get("hardware"),
    }
    rows = [[key, flat(value)] for key, value in rest.items() if value not in (None, "", {}, NONE)]
    blocks.append(plain_table("environment", "Where and with what.", ("what", "value"), rows))
    if config := {k: v for k, v in run.items() if k not in SHOWN_ELSEWHERE}:
        shown = json.dumps(config, indent=1, ensure_ascii=False)[:6000]
        blocks.append({"type": "code", "label": "Resolved configuration", "text": shown})
    lead = "Enough to make every number again."
    return {"id": "provenance", "title": "Provenance", "lead": lead, "blocks": blocks}


def _model_row(m: dict[str, Any]) -> list[str]:
    t = m.get("training") or {}
    budget = (
        f"{count(t['tokens'])} tokens" if t.get("tokens") else "",
        f"{count(t['steps'])} steps" if t.get("steps") else "",
        f"{power(t['flops'])} FLOPs" if t.get("flops") else "",
        f"seed {t['seed']}" if t.get("seed") is not None else "",
    )
    return [
        m["name"],
        clean(m.get("source") or NONE, 120),
        clean(m.get("kind") or NONE, 40),
        clean(m.get("objective") or NONE, 40),
        count(m.get("parameters")),
        f"{m.get('n_layers') or NONE} × {m.get('dim') or NONE}",
        clean(m.get("dtype") or NONE, 20),
        ", ".join(b for b in budget if b) or NONE,
        clean(m.get("hash") or NONE)[:16],
    ]


def _task_row(t: dict[str, Any]) -> list[str]:
    hashes = [clean(t.get(key) or NONE)[:16] for key in ("fingerprint", "row_ids_hash")]
    return [
        t["name"],
        clean(t.get("source") or NONE, 120),
        count(t.get("rows")),
        count(t.get("geometry_rows")),
        *hashes,
    ]


def _sizes(facts: Facts) -> str:
    return listed([f"{t['name']} {count(t.get('geometry_rows') or t.get('rows'))}" for t in facts.task_entries])


def _same_rows(facts: Facts) -> bool:
    return all(len(hashes) <= 1 for hashes in facts.task_hashes.values())


SHOWN_ELSEWHERE = (
    "schema_version", "created", "command", "geomprobe_version", "versions", "hardware", "wall_seconds", "models",
    "tasks", "failed_cells", "verdict", "claims", "similarity",
)  # fmt: skip
FILES = {
    "results.parquet": "every number, a row each",
    "results.csv": "the same as text",
    "comparisons.parquet": "every difference, a row each",
    "curves.parquet": "spectra and histograms",
    "examples.parquet": "scores of the probes, example by example",
    "definitions.json": "what each metric is",
    "run.json": "provenance",
    "audit.json": "every number of an audit",
}


def downloads(facts: Facts) -> Section:
    """The files behind the report."""
    items = [{"name": name, "text": what} for name, what in FILES.items() if name != "audit.json"]
    parts = [part for part in (facts, facts.variants) if part]
    numbers, differences = sum(len(p.rows) for p in parts), sum(len(p.comparisons) for p in parts)
    lead = f"{count(numbers)} numbers, {count(differences)} differences."
    return {"id": "downloads", "title": "Data", "lead": lead, "blocks": [{"type": "downloads", "items": items}]}


def glossary(facts: Facts) -> Section:
    """Formula, range, direction and source of every metric that occurs."""
    items = []
    occurring = dict.fromkeys(m for part in (facts, facts.variants) if part for m, _ in part.metrics)
    for name in occurring:
        entry = facts.definitions.get(name, {})
        found = {k: flat(entry.get(k) or "") for k in ("formula", "range", "direction", "source")}
        found["formula"] = found["formula"] or "not recorded"
        items.append({"id": term(name), "name": words(name)} | found)
    return {
        "id": "glossary",
        "title": "Glossary",
        "lead": "One name, one definition.",
        "blocks": [{"type": "terms", "items": items}],
    }
