"""The page of a results folder: one model, a comparison of two models or groups, or several models."""

from __future__ import annotations

from typing import Any

from geomprobe.common.text import amount, clean, count, counted, listed, power
from geomprobe.reports.document.model import VIEW_VERSION, Answer, Document, ModelHeading, Told
from geomprobe.reports.sections import sections
from geomprobe.reports.sections.parts.picture import picture
from geomprobe.reports.sections.parts.statements import stated
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.findings import findings
from geomprobe.results.summary.model import Summary
from geomprobe.results.summary.summarise import summarise
from geomprobe.results.summary.words import budget

LISTS: tuple[tuple[Any, str], ...] = (
    ("differs", "Differs"),
    ("equal", "Shown equal"),
    ("cannot_tell", "Cannot tell"),
    ("values", "Measured"),
    ("rankings", "Which come first"),
    ("courses", "Along the series"),
)
"""The lists of a summary with their headings, in printing order."""


def results_view(facts: Facts) -> dict[str, Any]:
    """View model of a results folder, ready for JSON."""
    found = summarise(facts)
    view: Document = {
        "view_version": VIEW_VERSION,
        "kind": facts.kind,
        "title": _title(facts),
        "subtitle": found.scope,
        "created": clean(facts.run.get("created"), 40)[:10],
        "sides": _sides(facts),
        "answer": _answer(facts, found),
        "findings": findings(facts),
        "selectors": {
            name: items for name, items in (("pooling", facts.poolings), ("task", facts.tasks)) if len(items) > 1
        },
        "sections": sections(facts),
    }
    return dict(view)


def _answer(facts: Facts, found: Summary) -> Answer:
    """The summary as the first screen shows it."""
    lists: list[Told] = [
        {"name": name, "heading": heading, "items": [stated(facts, each) for each in statements]}
        for name, heading in LISTS
        if (statements := getattr(found, name))
    ]
    scope = f"{found.scope}; protocol {facts.run.get('protocol') or 'not recorded'}."
    if facts.pair:
        scope += " A cell is one task under one pooling, at the deepest layer."
    return {
        "code": found.code,
        "sentence": found.sentence,
        "picture": picture(facts, found),
        "lists": lists,
        "table": None,
        "beware": found.beware,
        "scope": scope,
        "limits": found.limits,
    }


def _title(facts: Facts) -> str:
    if facts.pair:
        a, b = facts.pair
        return f"{b} against {a}"
    if runs := facts.run.get("series"):
        return f"{runs[0]['name']} along its steps" if len(runs) == 1 else f"{len(runs)} trainings along their steps"
    return facts.own[0] if len(facts.own) == 1 else f"{len(facts.own)} models"


def _sides(facts: Facts) -> list[ModelHeading]:
    pair = facts.pair or ()
    if facts.kind == "series":
        runs = [*facts.run.get("bands", {}), *(entry["name"] for entry in facts.run.get("series", []))]
        headings = {name: _series_lines(facts, name) for name in runs}
        return [{"letter": "", "name": n, "series": facts.series[n], "lines": own} for n, own in headings.items()]
    if facts.kind == "groups":
        lines = {group: facts.groups.get(group, []) for group in pair}
        headings = {group: [f"{len(members)} seeds", listed(members)] for group, members in lines.items()}
    else:
        entries = {entry["name"]: entry for entry in facts.model_entries}
        headings = {name: _model_lines(facts, entries[name]) for name in dict.fromkeys([*pair, *facts.models])}
    return [
        {"letter": "AB"[pair.index(name)] if name in pair else "", "name": name, "series": facts.series[name],
         "lines": lines}
        for name, lines in headings.items()
    ]  # fmt: skip


def _series_lines(facts: Facts, name: str) -> list[str]:
    """What the checkpoints of a training are, or the trainings of a group."""
    if name in facts.run.get("bands", {}):
        members = facts.run["bands"][name]
        return [f"{counted(len(members), 'training')}: {listed(members)}"]
    entry = next(each for each in facts.run["series"] if each["name"] == name)
    steps = [count(step) for step in entry["steps"]]
    return [clean(entry.get("source"), 120), f"{entry.get('unit') or 'step'}s {listed(steps, most=12)}"]


def _model_lines(facts: Facts, entry: dict[str, Any]) -> list[str]:
    """Whether it is a baseline, what kind of model it is, its size, its training, its content."""
    training = entry.get("training") or {}
    kind = [f"{entry['objective']} objective" if entry.get("objective") else "", clean(entry.get("kind"), 40)]
    size = [f"{amount(entry['parameters'])} parameters" if entry.get("parameters") else ""]
    if entry.get("n_layers") and entry.get("dim"):
        size.append(f"{entry['n_layers']} layers × {entry['dim']}")
    lines = [
        "baseline" if entry["name"] in facts.baselines else "",
        ", ".join(filter(None, kind)),
        ", ".join(filter(None, size)),
        ("trained on " if training.get("tokens") else "") + budget(training, {"tokens": amount, "flops": power}),
        f"content {str(entry['hash'])[:12]}" if entry.get("hash") else "",
    ]
    return [line for line in lines if line]
