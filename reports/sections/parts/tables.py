"""Tables that sections share: values of each model with the difference, its interval and verdict; plain text."""

from __future__ import annotations

from geomprobe.reports.data.differences import half_width, judgement
from geomprobe.reports.data.facts import Facts
from geomprobe.reports.document.blocks import Line, Table, Text, cell, line, table
from geomprobe.reports.document.formats import count, decimals, interval, number, p_value
from geomprobe.reports.document.ids import term
from geomprobe.reports.sections.parts.failed import unmeasured
from geomprobe.reports.sections.parts.sides import lettered, measured, sides
from geomprobe.reports.wording.failed import HATCHED
from geomprobe.reports.wording.words import WORDS, title

WITH_INTERVALS = ("95 % interval", "p (Holm)", "detectable")  # detectable: the smallest difference this n would find
LONG = 40  # rows past which a table is folded


def value_table(
    facts: Facts, id: str, caption: str, metrics: list[tuple[str, str]], pooling: str, folded: bool = False
) -> Table | Text:
    """Tasks × metrics with the value of each model and, for a pair, difference, interval, verdict and n.

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
        return unmeasured(facts, "None of these metrics was measured.")
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
            why = "failed" if broken else "reference" if facts.entry(metric).get("reference") else "not compared"
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


def plain_table(id: str, caption: str, heads: tuple[str, ...], rows: list[list[str]]) -> Table:
    return table(id, caption, [(h, False) for h in heads], [line([cell(c) for c in r]) for r in rows])
