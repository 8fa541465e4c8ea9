"""Figures of points with intervals: forest plot, scores with their controls, uniformity raw and centred."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from geomprobe.common.text import capitalised, listed, number, slug, words
from geomprobe.reports.document.blocks import Cell, Figure, Line, cell, figure, line, table
from geomprobe.reports.sections.parts.sides import by_task, legend, lettered, measured, sides
from geomprobe.results.summary.facts import Facts, Row, judgement
from geomprobe.results.summary.model import Statement, Summary
from geomprobe.results.summary.words import ALONE, absent, title

PANELS = 6
DECOMPOSITION = {
    "raw": ("uniformity", "raw"),
    "centred": ("uniformity", "centred"),
    "raw_bound": ("uniformity_jensen", "raw"),
    "centred_bound": ("uniformity_jensen", "centred"),
    "mean_cosine": ("mean_cosine", "raw"),
}
REFERENCE = "uniformity_reference"
CAPTION = (
    "Filled: uniformity of the raw vectors. Hollow: after centring. Tick: the Jensen bound, which the mean vector "
    "alone sets. Dashed line: the uniform distribution on the sphere. Where the filled points of two models differ "
    "and the hollow points do not, the models differ in their mean vectors."
)


def overview(facts: Facts, summary: Summary) -> Figure | None:
    """Each headline metric's difference in units of its margin, and where it lies in each cell; None without any."""
    if not facts.pair:
        return None
    lists = {"differs": summary.differs, "shown equal": summary.equal, "cannot tell": summary.cannot_tell}
    rows, without = [], []
    for name, found in lists.items():
        for each in found:
            if each.typical.margin:
                rows.append({"name": each.title, "list": name, "judgement": each.judgement} | _in_margins(each))
            else:
                without.append(each.title)
    if not rows:
        return None
    a, b = facts.pair
    caption = (
        "The difference of each headline metric, in units of the largest that counts as none (grey band). Point: the "
        "typical cell, with its 95 % interval; hollow where no difference is shown. Faint: each task and pooling. "
        + ALONE
    )
    caption += f" Not drawn, for want of a margin: {listed(without)}." if without else ""
    said = listed([f"{row['name']} {number(row['value'], 1, signed=True)}" for row in rows])
    alt = f"{b} minus {a} in units of the margin, from minus one to one negligible: {said}."
    data = {"rows": rows, "x_label": "B − A, in units of the margin", "without": without}
    return figure("overview", "overview", f"{b} − {a}", caption, alt, data)


def _in_margins(each: Statement) -> dict[str, Any]:
    """The typical cell with its interval, and all cells, each in units of its own margin."""
    typical, unit = each.typical, each.typical.margin or 1
    found = {"value": typical.value, "low": typical.low, "high": typical.high}
    marks = [cell.value / cell.margin for cell in each.cells if cell.margin]
    return {name: None if value is None else value / unit for name, value in found.items()} | {"marks": marks}


def forest(facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str) -> Figure | None:
    """The differences of the pair, a panel a metric (the first six), a line a task; of many models their ranking."""
    if not facts.pair:
        return ranking(facts, id, metrics, pooling) if facts.kind == "many" else None
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        found = {task: facts.difference(task, pooling, metric, view) or {} for task in facts.tasks}
        lines = [bar(task, row) for task, row in found.items()]
        if any(entry["diff"] is not None for entry in lines):
            margin = next(filter(None, (row.get("margin") for row in found.values())), None)
            panels.append({"title": title(facts, metric, view), "rows": lines, "margin": margin})
    panels = panels[:PANELS]
    if not panels:
        return None
    caption = "B − A for each task"
    if any(entry["low"] is not None for panel in panels for entry in panel["rows"]):
        caption += f" with its 95 % interval; the grey band is the equivalence margin. {ALONE}"
    else:
        caption += "; hollow points have no interval, so any of these differences may be chance."
    a, b = facts.pair
    what = listed([panel["title"] for panel in panels])
    alt = f"Forest plot, {pooling} pooling: {b} minus {a}, {what} on {listed(facts.tasks)}."
    data = {"panels": panels, "x_label": "B − A"}
    key = slug("forest", id, pooling)
    return figure(key, "forest", "Differences by task", caption + absent(facts, pooling), alt, data)


def ranking(facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str) -> Figure | None:
    """The models in their order, a panel a metric (the first six), on the first task that has it."""
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        for task in facts.tasks:
            if rows := ranks(facts, task, pooling, metric, view):
                panels.append({"title": title(facts, metric, view), "task": task, "rows": rows})
                break
    panels = panels[:PANELS]
    if not panels:
        return None
    what = listed([f"{panel['title']} on {panel['task']}" for panel in panels])
    alt = f"{what}, of {listed(facts.models)}, {pooling} pooling, in the order of their values; see the table."
    key = slug("ranking", id, pooling)
    on = f"on {panels[0]['task']}, " if len({panel["task"] for panel in panels}) == 1 else ""
    caption = f"{capitalised(on)}{pooling} pooling. {letters_say(panels, facts.baselines)}{absent(facts, pooling)}"
    return figure(key, "ranking", "Models in their order", caption, alt, {"panels": panels})


def ranks(facts: Facts, task: str, pooling: str, metric: str, view: str) -> list[dict[str, Any]]:
    """A line for each model in the order of a number, then for each baseline; nothing where one model has it."""
    found = facts.ranked(task, pooling, metric, view)
    others = [facts.cell(name, task, pooling, metric, view) for name in facts.baselines]
    rows = [*found, *(row for row in others if row and row["value"] is not None)]
    tested = any(row.get("letters") for row in found)
    return [
        {"name": row["model"], "series": facts.series[row["model"]], "value": row["value"], "low": row["ci_low"],
         "high": row["ci_high"], "letters": row.get("letters") or ("–" if tested and row in found else ""),
         "baseline": row["model"] in facts.baselines}
        for row in rows
    ]  # fmt: skip


def letters_say(panels: list[dict[str, Any]], baselines: list[str]) -> str:
    """What the order, the letters and the intervals of a ranking say."""
    caption = "95 % intervals; baselines are hollow, and last." if baselines else "95 % intervals."
    if not any(row["letters"] for panel in panels for row in panel["rows"]):
        return f"{caption} No pair of models was tested: intervals of single models do not test a difference."
    return (
        f"{caption} Models with a letter in common are not told apart: their paired difference may be chance, or is "
        "shown to be within the margin. It is often known better than the intervals of single models suggest."
        + (
            " –: no valid interval, so not tested."
            if any(row["letters"] == "–" for p in panels for row in p["rows"])
            else ""
        )
    )


def bar(name: str, row: Row) -> dict[str, Any]:
    """A line of a forest plot: a difference with its interval; an empty row has neither."""
    ends = {"low": row.get("ci_low"), "high": row.get("ci_high")}
    return {"name": name, "diff": row.get("diff")} | ends | {"judgement": judgement(row)}


def controls(
    facts: Facts, id: str, metrics: list[tuple[str, str]], pooling: str, heading: str = "Scores"
) -> Figure | None:
    """The scores of all models with the controls, a panel a metric (the first six), a line a task."""
    levels: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for row in facts.rows:
        shared = row["control"] and row["control"] != "control_task" and row["model"] in facts.own
        if shared and row["pooling"] == pooling and row["value"] is not None:  # the control task is each encoder's own
            levels[row["task"], row["metric"], row["view"]][words(row["control"])] = row["value"]
    panels: list[dict[str, Any]] = []
    for metric, view in metrics:
        scores: list[dict[str, Any]] = []
        for task in facts.tasks:
            found = {name: facts.cell(name, task, pooling, metric, view) for name in facts.models}
            points = [
                {"series": facts.series[name], "value": row["value"], "low": row["ci_low"], "high": row["ci_high"]}
                for name, row in found.items()
                if row and row["value"] is not None
            ]
            levels_here = [{"name": c, "value": v} for c, v in levels[task, metric, view].items()]
            if points:
                scores.append({"name": task, "points": points, "controls": levels_here})
        if any(score["controls"] for score in scores):
            panels.append({"title": title(facts, metric, view), "rows": scores})
    panels = panels[:PANELS]
    if not panels:
        return None
    rows: list[Line] = []
    names: dict[str, None] = {}
    for panel in panels:
        for score in panel["rows"]:
            for control in score["controls"]:
                names[control["name"]] = None
                cells = map(cell, (score["name"], panel["title"], control["name"]))
                value = cell(number(control["value"]), control["value"])
                rows.append(line([*cells, value], score["name"]))
    key = slug("controls", id, pooling)
    heads = [("task", False), ("metric", False), ("control", False), ("value", True)]
    side = table(f"{key}-table", "Values of the controls.", heads, rows, folded=True)
    where = listed([score["name"] for score in panels[0]["rows"]])
    shown = listed([*names])
    alt = f"Scores of {listed(facts.models)} on {where} with the controls {shown}, {pooling} pooling."
    caption = f"Scores with their controls ({shown}): only a score beyond the controls is attributed to the encoder."
    data = {"panels": panels, "legend": legend(facts, facts.models), "controls": [*names]}
    name = f"{heading}, with controls that need no encoder"
    return figure(key, "controls", name, caption + absent(facts, pooling), alt, data, side)


def decomposition(facts: Facts, pooling: str) -> Figure | None:
    """Raw and centred uniformity of each model with their bounds, a group of rows a task; None without any."""
    names = sides(facts)

    def made(task: str, name: str) -> tuple[dict[str, Any], list[Cell]] | None:
        found = {key: measured(facts, name, task, pooling, *number)[0] for key, number in DECOMPOSITION.items()}
        if found["raw"] is None and found["centred"] is None:
            return None
        return {"name": lettered(facts, name)} | found, [cell(number(value, 3), value) for value in found.values()]

    panels, rows = by_task(facts, names, made, "")
    groups = [{"name": panel["title"], "rows": panel["lines"]} for panel in panels]
    if not groups:
        return None
    key = slug("decomposition", pooling)
    # the first cell that has it: the uniform distribution is the same for all
    of_pooling = (row for (_, _, _, p, metric, _), row in facts.by_cell.items() if (p, metric) == (pooling, REFERENCE))
    reference = next((row["value"] for row in of_pooling if row["value"] is not None), None)
    summary = "Uniformity, its Jensen bounds and the mean cosine."
    if reference is not None:
        summary += f" The uniform distribution on the sphere has uniformity {number(reference, 3)}."
    columns = ("raw", "centred", "Jensen bound, raw", "Jensen bound, centred", "mean cosine")
    heads = [("task", False), ("model", False), *((column, True) for column in columns)]
    side = table(f"{key}-table", summary, heads, rows, folded=True)
    where = listed([group["name"] for group in groups])
    alt = f"Dumbbell plot, {pooling} pooling: raw and centred uniformity of {listed(names)} on {where}; see the table."
    entries = [{**entry, "line": "none"} for entry in legend(facts, names)]
    data = {"groups": groups, "reference": reference, "legend": entries}
    caption = CAPTION + absent(facts, pooling)
    return figure(key, "decomposition", "Uniformity, raw and centred", caption, alt, data, side)
