"""The page of a results folder: one model, a comparison of two models or groups, or several models."""

from __future__ import annotations

from itertools import product
from typing import Any

from geomprobe.common.text import amount, clean, decimals, interval, listed, number, power, term
from geomprobe.reports.document.blocks import Line, Table, cell, line, table
from geomprobe.reports.document.model import VIEW_VERSION, Answer, Document, ModelHeading, Told
from geomprobe.reports.sections import sections
from geomprobe.reports.sections.parts.picture import picture
from geomprobe.reports.sections.parts.statements import stated
from geomprobe.results.summary.facts import Facts, half_width
from geomprobe.results.summary.findings import findings
from geomprobe.results.summary.model import Summary
from geomprobe.results.summary.summarise import summarise
from geomprobe.results.summary.words import budget, title

LISTS: tuple[tuple[Any, str], ...] = (
    ("differs", "Differs"),
    ("equal", "Shown equal"),
    ("cannot_tell", "Cannot tell"),
    ("values", "Measured"),
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
    """The summary as the first screen shows it; models that were not compared have a ranking in place of lists."""
    lists: list[Told] = []
    if facts.kind != "many":
        for name, heading in LISTS:
            if statements := getattr(found, name):
                items = [stated(facts, each) for each in statements]
                lists.append({"name": name, "heading": heading, "items": items})
    scope = f"{found.scope}; protocol {facts.run.get('protocol') or 'not recorded'}."
    if facts.pair:
        scope += " A cell is one task under one pooling, at the deepest layer."
    return {
        "code": found.code,
        "sentence": found.sentence,
        "picture": picture(facts, found),
        "lists": lists,
        "table": ranking(facts) if facts.kind == "many" else None,
        "beware": found.beware,
        "scope": scope,
        "limits": found.limits,
    }


def _title(facts: Facts) -> str:
    if facts.pair:
        a, b = facts.pair
        return f"{b} against {a}"
    return facts.own[0] if len(facts.own) == 1 else f"{len(facts.own)} models"


def _sides(facts: Facts) -> list[ModelHeading]:
    pair = facts.pair or ()
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


def ranking(facts: Facts) -> Table | None:
    """The models in the order of their values, for each headline metric and task, under the first pooling."""
    rows: list[Line] = []
    for (metric, view), task in product(facts.headline, facts.tasks):
        found = {name: facts.cell(name, task, facts.pooling, metric, view) for name in facts.models}
        known = [(name, row) for name, row in found.items() if row and row["value"] is not None]
        if not known:
            continue
        known.sort(key=lambda entry: -entry[1]["value"])
        half = next(filter(None, (half_width(row) for _, row in known)), None)
        places = decimals([row["value"] for _, row in known], half)
        cells = [cell(title(facts, metric, view), link=term(metric)), cell(task)]
        for name, row in known:
            shown = interval(row["ci_low"], row["ci_high"], places)
            cells.append(cell(f"{name} {number(row['value'], places)} {shown}".strip()))
        broken = [n for n, row in found.items() if not row and facts.missing(n, task, facts.pooling, metric, view)]
        cells += [cell(f"{name} failed", tone="failed") for name in broken]
        cells += [cell("–")] * (len(facts.models) - len(known) - len(broken))
        rows.append(line(cells, task))
    heads = [("metric", False), ("task", False), *((f"{i + 1}.", False) for i in range(len(facts.models)))]
    caption = (
        f"Models by value, highest first, {facts.pooling} pooling, with 95 % intervals where available. Intervals "
        "of single models do not test a difference: only a paired comparison does."
    )
    return table("claims", caption, heads, rows, folded=True) if rows else None
