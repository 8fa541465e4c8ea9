"""What several sections share: series, values beside one another, the table of verdicts, the choice of a pooling."""

from __future__ import annotations

from typing import Any

from geomprobe.reports.blocks import Block, Figure, Line, Option, Table, Text, cell, choice, figure, line, table
from geomprobe.reports.facts import REFERENCES, Facts, Row, judgement
from geomprobe.reports.failed import HATCHED, absent, missing, unmeasured
from geomprobe.reports.formats import count, decimals, interval, listed, number, p_value
from geomprobe.reports.wording import WORDS, slug, tally, term, title

WITH_INTERVALS = ("95 % interval", "p (Holm)", "detectable")  # detectable: the smallest difference this n would find
LONG = 40  # rows past which a table is folded


def sides(facts: Facts) -> list[str]:
    """The names whose values stand side by side: the pair or the two groups, where there are, and the baselines."""
    return [*facts.pair, *facts.baselines] if facts.pair else facts.models


def lettered(facts: Facts, name: str) -> str:
    return f"{'AB'[facts.pair.index(name)]} · {name}" if facts.pair and name in facts.pair else name


def legend(facts: Facts, names: list[str]) -> list[dict[str, Any]]:
    return [{"name": lettered(facts, n), "series": facts.series.get(n, 0)} for n in names]


def measured(facts: Facts, name: str, task: str, pooling: str, metric: str, view: str) -> tuple[float | None, bool]:
    """Return a value at the deepest layer and whether its cell failed; a group's value comes from its comparison."""
    if facts.kind == "groups" and facts.pair and name in facts.pair:
        row = facts.difference(task, pooling, metric, view)
        value = row["value_a" if name == facts.pair[0] else "value_b"] if row else None
        return value, value is None and missing(facts, name, task, pooling, metric, view)
    found = facts.cell(name, task, pooling, metric, view)
    if found is None:
        return None, missing(facts, name, task, pooling, metric, view)
    return found["value"], found["status"] == "failed"


def by_pooling(facts: Facts, make: Any) -> list[Block]:
    """Return the blocks that ``make(pooling)`` gives, as a choice where there are several poolings."""
    options: list[Option] = []
    for pooling in facts.poolings:
        if blocks := make(pooling):
            options.append({"name": pooling, "note": pooling_note(facts, pooling), "blocks": blocks})
    if len(options) > 1 or (options and options[0]["note"]):
        return [choice("pooling", options)]
    return options[0]["blocks"] if options else []


def pooling_note(facts: Facts, pooling: str) -> str:
    if pooling not in facts.untrained:
        return ""
    return "not trained: equals mean" if pooling == "weighted" else "not trained: random softmax weights"


def value_table(
    facts: Facts, id: str, caption: str, metrics: list[tuple[str, str]], pooling: str, folded: bool = False
) -> Table | Text:
    """Return tasks × metrics with the value of each model and, for a pair, difference, interval, verdict and n.

    A paragraph that says why where no cell has a number.
    """
    names = sides(facts)
    heads = [("task", False), ("metric", False), *((lettered(facts, n), True) for n in names)]
    if facts.pair:
        heads += [
            ("B − A", True),
            ("95 % interval", True),
            ("p (Holm)", True),
            ("detectable", True),
            ("verdict", False),
        ]
    heads.append(("n", True))
    rows: list[Line] = []
    for task in facts.tasks:
        for metric, view in metrics:
            if made := _value_line(facts, names, task, metric, view, pooling):
                rows.append(made)
    if not rows:
        return unmeasured(facts, "No number of these was measured.")
    if facts.pair and not any(r["ci_low"] is not None for r in facts.by_difference.values()):
        drop = {heads.index((name, True)) for name in WITH_INTERVALS}
        heads = [h for i, h in enumerate(heads) if i not in drop]
        for made in rows:
            made["cells"] = [c for i, c in enumerate(made["cells"]) if i not in drop]
    if any(c["tone"] == "failed" for made in rows for c in made["cells"]):
        caption += HATCHED
    return table(id, caption, heads, rows, folded or len(rows) > LONG)


def _value_line(facts: Facts, names: list[str], task: str, metric: str, view: str, pooling: str) -> Line | None:
    found = [measured(facts, n, task, pooling, metric, view) for n in names]
    if all(value is None and not failed for value, failed in found):
        return None
    row = facts.difference(task, pooling, metric, view) if facts.pair else None
    own = [facts.cell(n, task, pooling, metric, view) for n in names]
    half = half_width(row) if row else next((h for h in map(half_width, own) if h), None)
    places = decimals([v for v, _ in found], half)
    cells = [cell(task), cell(title(facts, metric, view), link=term(metric))]
    for (value, failed), at in zip(found, own, strict=True):
        shown = "failed" if failed else number(value, places)
        if not facts.pair and at and at["ci_low"] is not None:
            shown += " " + interval(at["ci_low"], at["ci_high"], places)
        cells.append(cell(shown, value, "failed" if failed else ""))
    n = next((m["n"] for m in own if m and m["n"]), row["n"] if row else None)
    if facts.pair:
        if row is None:
            broken = any(failed for _, failed in found)
            why = "failed" if broken else "reference" if metric in REFERENCES else "not compared"
            cells += [cell("–"), cell(""), cell("–"), cell("–"), cell(why, tone="failed" if broken else "")]
        else:
            code = judgement(row)
            cells += [
                cell(number(row["diff"], places, signed=True), row["diff"]),
                cell(interval(row["ci_low"], row["ci_high"], places) or "none", row["ci_low"]),
                cell(p_value(row["p_holm"] if row["p_holm"] is not None else row["p"]), row["p_holm"]),
                cell(number(row["mdd"], places), row["mdd"]),
                cell(WORDS[code], code, code),
            ]
    cells.append(cell(count(n), n))
    return line(cells, task, pooling)


def half_width(row: Row | None) -> float | None:
    if not row or row["ci_low"] is None or row["ci_high"] is None:
        return None
    return (row["ci_high"] - row["ci_low"]) / 2 or None


def plain_table(id: str, caption: str, heads: tuple[str, ...], rows: list[list[str]]) -> Table:
    return table(id, caption, [(h, False) for h in heads], [line([cell(c) for c in r]) for r in rows])


def forest(facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str) -> Figure | None:
    """Return the forest plot of the differences of the pair, a panel a metric (the first six), a line a task."""
    assert facts.pair
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        rows = [(t, facts.difference(t, pooling, metric, view)) for t in facts.tasks]
        lines: list[dict[str, Any]] = [
            {"name": t, "diff": r["diff"], "low": r["ci_low"], "high": r["ci_high"], "judgement": judgement(r)} if r
            else {"name": t, "diff": None, "low": None, "high": None, "judgement": "none"}
            for t, r in rows
        ]  # fmt: skip
        if any(entry["diff"] is not None for entry in lines):
            margin = next((r["margin"] for _, r in rows if r and r["margin"]), None)
            panels.append({"title": title(facts, metric, view), "rows": lines, "margin": margin})
    if not panels:
        return None
    panels = panels[:6]
    with_interval = any(entry["low"] is not None for p in panels for entry in p["rows"])
    caption = "B − A for each task" + (
        " with its 95 % interval; the grey band is the margin of equivalence." if with_interval
        else "; hollow points have no interval, so their distance from zero says nothing of certainty."
    )  # fmt: skip
    caption += absent(facts, pooling)
    what = listed([p["title"] for p in panels])
    alt = f"Forest plot, {pooling} pooling: {facts.pair[1]} minus {facts.pair[0]}, {what} on {listed(facts.tasks)}."
    data = {"panels": panels, "x_label": "B − A"}
    return figure(slug("forest", id, pooling), "forest", "Differences, task by task", caption, alt, data)


def claims(facts: Facts) -> Table | None:
    """Return the table of verdicts (a pair), or the order of the models (many)."""
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
    caption = "In how many task × pooling cells of the deepest layer each verdict holds."
    return table("claims", caption, heads, rows)


def ranking(facts: Facts) -> Table | None:
    """Return the models in the order of their values, for each headline metric and task, under the first pooling."""
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
        f"Models by value, highest first, {facts.pooling} pooling, with 95 % intervals where there are any. Intervals "
        "of single models do not test a difference: only a paired comparison does."
    )
    return table("claims", caption, heads, rows) if rows else None
