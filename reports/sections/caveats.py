"""Section: what the comparison cannot say, from facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from geomprobe.common.text import clean, count, listed, words
from geomprobe.reports.document.blocks import Block, Section
from geomprobe.results.summary.facts import Facts, judgement, rows_of
from geomprobe.results.summary.findings import findings
from geomprobe.results.summary.words import about_probe_intervals, place, why

PLACE = 80
FAILED_ITEMS, NOTES, METHODS = 12, 12, 6


def section(facts: Facts) -> Section:
    """What the comparison cannot say, from facts."""
    items = [*_of_comparison(facts), *_of_inputs(facts)]
    failed = facts.failed
    items += [f"Not measured: {place(entry)}: {why(entry)}." for entry in failed[:FAILED_ITEMS]]
    if len(failed) > FAILED_ITEMS:
        items.append(f"Not measured: {count(len(failed) - FAILED_ITEMS)} more cells, in the table of failed cells.")
    notes = dict.fromkeys((r["metric"], r["note"]) for r in facts.rows if r["note"] and r["status"] != "failed")
    items += [f"{words(metric)}: {note}" for metric, note in list(notes)[:NOTES]]
    methods = sorted({r["ci_method"] for r in (*facts.rows, *facts.comparisons, *facts.changes) if r["ci_method"]})
    if methods:
        items.append(f"Intervals: {listed([clean(method, 80) for method in methods[:METHODS]])}.")
    if said := about_probe_intervals(facts):
        items.append(said)
    if protocol := facts.run.get("protocol"):
        items.append(f"Protocol {protocol}. Every number estimates its expected value at this number of rows.")
    blocks: list[Block] = [{"type": "findings"}, {"type": "items", "items": items}]
    return {
        "id": "caveats",
        "title": "How sure is this?",
        "answer": _answer(facts),
        "lead": "What was checked, what it found, and what these numbers do not support.",
        "blocks": blocks,
    }


def _answer(facts: Facts) -> str:
    """What the claim is about, how many differences have intervals, how many checks found something."""
    found = Counter(finding["severity"] for finding in findings(facts))
    done = sum(found.values()) - found["not applicable"]
    checks = f"{found['issue']} of {done} checks found something that limits the claim"
    if facts.kind == "series":
        return f"The claim is about these trainings, not about their recipes; {checks}."
    if not facts.pair:
        return f"No difference is claimed; {checks}."
    rows = list(facts.by_difference.values())
    told = sum(judgement(row) != "none" for row in rows)
    about = (
        f"the claim is about {listed([f'{len(m)} seeds of {g}' for g, m in facts.groups.items()])}"
        if facts.kind == "groups"
        else "the claim is about two checkpoints, and another seed may differ as much"
    )
    return f"{count(told)} of {count(len(rows))} differences have an interval; {about}; {checks}."


def _of_comparison(facts: Facts) -> Iterator[str]:
    if facts.kind == "pair":
        yield (
            "One checkpoint per side. Two seeds of one objective may differ as much; a claim about objectives needs "
            "several seeds per group (--group)."
        )
    if facts.by_difference and all(judgement(r) == "none" for r in facts.by_difference.values()):
        yield "No verdict: the differences have no intervals, so any of them may be chance."
    if facts.untrained:
        yield (
            f"Not trained: {listed(facts.untrained)}. Untrained, weighted equals mean, and attention weighs tokens at "
            "random."
        )


def _of_inputs(facts: Facts) -> Iterator[str]:
    """Rows, truncation and notes of tasks, models and poolings."""
    if sizes := [f"{task['name']} {count(rows_of(task))}" for task in facts.task_entries if rows_of(task)]:
        advice = "Ranks grow with the number of rows: compare them between models, not between tasks."
        yield f"Rows: {listed(sizes)}. {advice}"
    for entry in [*facts.task_entries, *facts.model_entries]:
        cut = {model: n for model, n in (entry.get("truncated") or {}).items() if n}
        if cut:
            shown = listed([f"{count(n)} texts were truncated for {model}" for model, n in cut.items()])
            yield f"{entry['name']}: {shown}."
        divided = {model: n for model, n in (entry.get("chunked") or {}).items() if n}
        if divided:
            shown = listed([f"{count(n)} texts were read in windows by {model}" for model, n in divided.items()])
            yield f"{entry['name']}: {shown}."
        yield from (f"{entry['name']}: {clean(note)}" for note in entry.get("notes") or [])
    for pooling in facts.run.get("poolings", []):
        if pooling["name"] == "model":
            yield f"Pooling model: {clean(pooling.get('note'))}."
