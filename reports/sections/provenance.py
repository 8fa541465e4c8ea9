"""Section: hashes, versions, hardware, command."""

from __future__ import annotations

import json
from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Block, Section, text
from geomprobe.reports.document.formats import NONE, clean, count, duration, flat, listed, power
from geomprobe.reports.sections.parts.tables import plain_table

PLACE = 90


def section(facts: Facts) -> Section:
    """Hashes, versions, hardware, command."""
    run = facts.run
    blocks: list[Block] = []
    if len(facts.models) > 1:
        blocks.append(text(f"All models saw the same rows: {'yes' if _same_rows(facts) else 'no'} ({_sizes(facts)})."))
    if run.get("command"):
        blocks.append({"type": "code", "label": "Command", "text": clean(run["command"], 2000)})
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
    blocks.append(plain_table("environment", "Software and hardware.", ("what", "value"), rows))
    if config := {k: v for k, v in run.items() if k not in SHOWN_ELSEWHERE}:
        shown = json.dumps(config, indent=1, ensure_ascii=False)[:6000]
        blocks.append({"type": "code", "label": "Resolved configuration", "text": shown})
    lead = "Everything needed to reproduce these numbers."
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
