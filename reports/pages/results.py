"""The page of a results folder: one model, a comparison of two models or groups, or several models."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.formats import amount, clean, listed, power
from geomprobe.reports.document.model import VIEW_VERSION, Document, ModelHeading
from geomprobe.reports.pages.cards import cards
from geomprobe.reports.pages.verdict_table import verdict_table
from geomprobe.reports.sections import sections
from geomprobe.reports.wording.findings import SHOWN, findings
from geomprobe.reports.wording.verdict import scope_of, verdict_of


def results_view(facts: Facts) -> dict[str, Any]:
    """View model of a results folder, ready for JSON."""
    view: Document = {
        "view_version": VIEW_VERSION,
        "kind": facts.kind,
        "title": _title(facts),
        "subtitle": scope_of(facts),
        "created": clean(facts.run.get("created"), 40)[:10],
        "sides": _sides(facts),
        "verdict": verdict_of(facts),
        "claims": verdict_table(facts),
        "findings": findings(facts),
        "shown_findings": SHOWN,
        "cards": cards(facts),
        "selectors": {
            name: items for name, items in (("pooling", facts.poolings), ("task", facts.tasks)) if len(items) > 1
        },
        "sections": sections(facts),
    }
    return dict(view)


def _title(facts: Facts) -> str:
    if facts.pair:
        a, b = facts.pair
        return f"{b} against {a}"
    return facts.own[0] if len(facts.own) == 1 else f"{len(facts.own)} models"


def _sides(facts: Facts) -> list[ModelHeading]:
    if facts.kind == "groups" and facts.pair:
        return [
            {"letter": letter, "name": group, "series": facts.series[group],
             "lines": [f"{len(facts.groups.get(group, []))} seeds", listed(facts.groups.get(group, []))]}
            for letter, group in zip("AB", facts.pair, strict=True)
        ]  # fmt: skip
    entries = {m["name"]: m for m in facts.model_entries}
    names = list(dict.fromkeys([*(facts.pair or ()), *facts.models])) if facts.pair else facts.models
    sides: list[ModelHeading] = []
    for i, name in enumerate(names):
        letter = "AB"[i] if facts.pair and i < 2 else ""
        sides.append(
            {
                "letter": letter,
                "name": name,
                "series": facts.series[name],
                "lines": ["baseline"] * (name in facts.baselines) + _model_lines(entries[name]),
            }
        )
    return sides


def _model_lines(entry: dict[str, Any]) -> list[str]:
    training = entry.get("training") or {}
    lines = []
    what = [f"{entry['objective']} objective" if entry.get("objective") else "", clean(entry.get("kind"), 40)]
    lines.append(", ".join(w for w in what if w))
    size = [f"{amount(entry['parameters'])} parameters" if entry.get("parameters") else ""]
    if entry.get("n_layers") and entry.get("dim"):
        size.append(f"{entry['n_layers']} layers × {entry['dim']}")
    lines.append(", ".join(s for s in size if s))
    budget = [f"{amount(training['tokens'])} tokens" if training.get("tokens") else ""]
    budget.append(f"{power(training['flops'])} FLOPs" if training.get("flops") else "")
    budget.append(f"seed {training['seed']}" if training.get("seed") is not None else "")
    if any(budget):
        lines.append(
            "trained on " + ", ".join(b for b in budget if b) if budget[0] else ", ".join(b for b in budget if b)
        )
    if entry.get("hash"):
        lines.append(f"content {str(entry['hash'])[:12]}")
    return [line for line in lines if line]
