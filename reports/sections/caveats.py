"""Section: what the comparison cannot say, from facts."""

from __future__ import annotations

from geomprobe.reports.data.differences import judgement
from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Section
from geomprobe.reports.document.formats import clean, count, listed, words
from geomprobe.reports.wording.failed import place, why

PLACE = 80
FAILED_ITEMS = 12


def section(facts: Facts) -> Section:
    """What the comparison cannot say, from facts."""
    items = []
    if facts.kind == "pair":
        items.append(
            "One checkpoint per side. Two seeds of one objective may differ as much; a claim about objectives needs "
            "several seeds per group (--group)."
        )
    if facts.by_difference and all(judgement(r) == "none" for r in facts.by_difference.values()):
        items.append("No verdict: the differences have no intervals, so any of them may be chance.")
    if facts.untrained:
        items.append(
            f"Not trained: {listed(facts.untrained)}. Untrained, weighted equals mean, and attention weighs tokens at "
            "random."
        )
    sizes = [
        f"{t['name']} {count(t.get('geometry_rows') or t.get('rows'))}"
        for t in facts.task_entries
        if t.get("geometry_rows") or t.get("rows")
    ]
    if sizes:
        items.append(
            f"Rows: {listed(sizes)}. Ranks grow with the number of rows: compare them between models, not between "
            "tasks."
        )
    for entry in facts.task_entries:
        cut = {m: n for m, n in (entry.get("truncated") or {}).items() if n}
        if cut:
            items.append(
                f"{entry['name']}: "
                + listed([f"{count(n)} texts were truncated for {m}" for m, n in cut.items()])
                + "."
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
        "title": "Limits",
        "lead": "What these numbers do not support.",
        "blocks": [{"type": "items", "items": items}],
    }
