"""Section: hashes, versions, hardware, command."""

from __future__ import annotations

import json

from geomprobe.common.text import NONE, clean, count, duration, flat, listed, power
from geomprobe.reports.document.blocks import Block, Section, code, section_of, text
from geomprobe.reports.sections.parts.tables import plain_table
from geomprobe.results.summary.facts import Facts, Row, rows_of
from geomprobe.results.summary.words import budget

PLACE = 90


SHOWN_ELSEWHERE = (
    "schema_version", "created", "command", "geomprobe_version", "versions", "hardware", "wall_seconds", "models",
    "tasks", "failed_cells", "verdict", "similarity",
)  # fmt: skip
MODEL_HEADS = (
    "model", "source", "kind", "objective", "parameters", "layers × width", "type", "training", "content hash",
)  # fmt: skip
TASK_HEADS = ("task", "source", "rows", "unique sentences", "fingerprint", "row ids")


def section(facts: Facts) -> Section:
    """Hashes, versions, hardware, command."""
    run = facts.run
    blocks: list[Block] = []
    if len(facts.models) > 1:
        same = "yes" if all(len(hashes) == 1 for hashes in facts.task_hashes.values()) else "no"
        sizes = listed([f"{task['name']} {count(rows_of(task))}" for task in facts.task_entries])
        blocks.append(text(f"All models saw the same rows: {same} ({sizes})."))
    if run.get("command"):
        blocks.append(code("Command", clean(run["command"], 2000)))
    caption = "Tasks: rows of the split, and the unique sentences on which geometry is measured."
    software = {
        "created": run.get("created"),
        "geomprobe": run.get("geomprobe_version"),
        "protocol": run.get("protocol"),
        "seed": run.get("seed"),
        "wall time": duration(run.get("wall_seconds")),
        "versions": run.get("versions"),
        "hardware": run.get("hardware"),
    }
    rows = [[key, flat(value)] for key, value in software.items() if value not in (None, "", {}, NONE)]
    blocks += [
        plain_table("models", "Models.", MODEL_HEADS, [_model_row(m) for m in facts.model_entries]),
        plain_table("tasks", caption, TASK_HEADS, [_task_row(t) for t in facts.task_entries]),
        plain_table("environment", "Software and hardware.", ("what", "value"), rows),
    ]
    if config := {k: v for k, v in run.items() if k not in SHOWN_ELSEWHERE}:
        blocks.append(code("Resolved configuration", json.dumps(config, indent=1, ensure_ascii=False)[:6000]))
    lead = "Everything needed to reproduce these numbers."
    return section_of("provenance", "Provenance", lead, blocks)


def _model_row(m: Row) -> list[str]:
    return [
        m["name"],
        clean(m.get("source") or NONE, 120),
        clean(m.get("kind") or NONE, 40),
        clean(m.get("objective") or NONE, 40),
        count(m.get("parameters")),
        f"{m.get('n_layers') or NONE} × {m.get('dim') or NONE}",
        clean(m.get("dtype") or NONE, 20),
        budget(m.get("training") or {}, {"tokens": count, "steps": count, "flops": power}) or NONE,
        clean(m.get("hash") or NONE)[:16],
    ]


def _task_row(t: Row) -> list[str]:
    return [
        t["name"],
        clean(t.get("source") or NONE, 120),
        count(t.get("rows")),
        count(t.get("geometry_rows")),
        *(clean(t.get(key) or NONE)[:16] for key in ("fingerprint", "row_ids_hash")),
    ]
