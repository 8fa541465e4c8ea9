"""In how many cells each verdict holds (a pair), or the order of the models (many)."""

from __future__ import annotations

from geomprobe.reports.data.differences import half_width
from geomprobe.reports.data.facts import Facts
from geomprobe.reports.data.failed import missing
from geomprobe.reports.document.blocks import Line, Table, cell, line, table
from geomprobe.reports.document.formats import count, decimals, interval, number
from geomprobe.reports.document.ids import term
from geomprobe.reports.wording.words import WORDS, tally, title


def verdict_table(facts: Facts) -> Table | None:
    """The table of verdicts (a pair), or the order of the models (many)."""
    if facts.kind == "many":
        return ranking(facts)
    if not facts.pair:
        return None
    rows: list[Line] = []
    for metric, view in facts.headline:
        found = tally(facts, metric, view)
        total = sum(found.values())
        if not total:
            continue
        cells = [cell(title(facts, metric, view), link=term(metric))]
        cells += [cell(count(found[k]) if found[k] else "·", found[k], k if found[k] else "none") for k in WORDS]
        rows.append(line([*cells, cell(count(total), total)]))
    heads = [("B against A", False), *((label, True) for label in WORDS.values()), ("cells", True)]
    caption = "Number of task × pooling cells with each verdict, at the deepest layer."
    return table("claims", caption, heads, rows)


def ranking(facts: Facts) -> Table | None:
    """The models in the order of their values, for each headline metric and task, under the first pooling."""
    rows: list[Line] = []
    for metric, view in facts.headline:
        for task in facts.tasks:
            found = [(n, facts.cell(n, task, facts.pooling, metric, view)) for n in facts.models]
            known = [(n, r) for n, r in found if r and r["value"] is not None]
            known.sort(key=lambda nr: -nr[1]["value"])
            if not known:
                continue
            places = decimals(
                [r["value"] for _, r in known], next((h for h in (half_width(r) for _, r in known) if h), None)
            )
            cells = [cell(title(facts, metric, view), link=term(metric)), cell(task)]
            for name, r in known:
                shown = interval(r["ci_low"], r["ci_high"], places)
                cells.append(cell(f"{name} {number(r['value'], places)} {shown}".strip()))
            broken = [n for n, r in found if not r and missing(facts, n, task, facts.pooling, metric, view)]
            cells += [cell(f"{name} failed", tone="failed") for name in broken]
            cells += [cell("–")] * (len(facts.models) - len(known) - len(broken))
            rows.append(line(cells, task))
    heads = [("metric", False), ("task", False), *((f"{i + 1}.", False) for i in range(len(facts.models)))]
    caption = (
        f"Models by value, highest first, {facts.pooling} pooling, with 95 % intervals where available. Intervals "
        "of single models do not test a difference: only a paired comparison does."
    )
    return table("claims", caption, heads, rows) if rows else None
