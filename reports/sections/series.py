"""Section: what changes along a series of checkpoints, where, and which checkpoint is kept."""

from __future__ import annotations

from geomprobe.common.text import count, decimals, interval, number, p_value, slug, words
from geomprobe.reports.document.blocks import (
    Block,
    Line,
    Option,
    Section,
    Table,
    cell,
    choice,
    fold,
    line,
    section_of,
    table,
    text,
)
from geomprobe.reports.sections.parts.trajectories import FRONT, trajectories
from geomprobe.results.schema import KeptEntry
from geomprobe.results.summary.facts import Facts, half_width, judgement
from geomprobe.results.summary.series import anytime, cells_of, changed, course, courses, difference, kept_phrase
from geomprobe.results.summary.words import ALONE, quality, title

PLACE = 9
RULE = (
    "A change point lies between two successive checkpoints whose paired difference is shown to be other than 0, and "
    "not shown to be within its margin, after Holm's adjustment over all steps, cells and views of a family of metrics."
)
STEPS = (
    "Later minus earlier, with its own 95 % interval. At all looks: an interval that holds for all numbers of the "
    f"family at all steps together, however many are still to come; read it while the training runs. {ALONE}"
)


def section(facts: Facts) -> Section | None:
    """Trajectories, changes and the kept checkpoint; None where no series was measured."""
    if facts.kind != "series":
        return None
    blocks: list[Block] = [kept_table(facts)] if any(entry["cells"] for entry in facts.run.get("kept", [])) else []
    options: list[Option] = []
    for task in facts.tasks:
        for pooling in facts.poolings:
            key = slug("trajectories", task, pooling)
            parts = (facts.headline[:FRONT], facts.headline[FRONT:])
            made = [trajectories(facts, f"{key}-{i}", part, (task, pooling)) for i, part in enumerate(parts)]
            drawn: list[Block] = [each for each in made if each]
            if drawn:
                drawn.append(change_table(facts, task, pooling))
                drawn += fold(
                    f"{key}-every",
                    "Every difference of successive checkpoints",
                    [steps(facts, task, pooling, "previous")],
                )
                drawn += fold(
                    f"{key}-first", "Every difference from the first checkpoint", [steps(facts, task, pooling, "first")]
                )
                options.append({"name": f"{task}, {pooling}", "note": "", "blocks": drawn})
    blocks += [choice("metric", options)] if len(options) > 1 else options[0]["blocks"] if options else []
    blocks = blocks or [text("No headline number was measured at two checkpoints.", "note")]
    answer = " ".join(kept_phrase(facts, entry) for entry in facts.run.get("kept", []))
    return section_of("series", "What changes along the series?", RULE, blocks, answer or "Nothing was decided.")


def change_table(facts: Facts, task: str, pooling: str) -> Table:
    """Where each number of a cell changes, and how the last checkpoint differs from the first."""
    rows: list[Line] = []
    for each in courses(facts):
        ends = changed(facts, "first", each.series, task, pooling, each.metric, each.view)[-1:]
        if not ends or (task, pooling) not in cells_of(facts, each.series, each.metric, each.view):
            continue
        mine = course(facts, each.series, each.metric, each.view, (task, pooling))
        code = judgement(ends[0])
        if mine is not None:
            name = cell(title(facts, each.metric, each.view), link=slug("term", each.metric))
            verdict = cell(quality(facts, each.metric, code), code, code)
            apart = cell("none" if mine.apart is None else count(mine.apart), mine.apart)
            cells = [name, cell(each.series), cell(difference(ends[0])), verdict, apart, cell(mine.moves)]
            rows.append(line(cells, task, pooling))
    heads = [("metric", False), ("series", False), ("last − first", True), ("verdict", False)]
    heads += [("apart from the first at", True), ("changes", False)]
    return table(slug("changes", task, pooling), f"Changes on {task}, {pooling} pooling. {ALONE}", heads, rows)


def steps(facts: Facts, task: str, pooling: str, against: str) -> Table:
    """Every difference in a cell of a checkpoint from the previous or the first one."""
    rows: list[Line] = []
    for each in courses(facts):
        for row in changed(facts, against, each.series, task, pooling, each.metric, each.view):
            code = judgement(row)
            cells = [cell(title(facts, each.metric, each.view)), cell(each.series)]
            cells += [cell(f"{count(row['step_a'])} → {count(row['step_b'])}", row["step_a"])]
            cells += [cell(difference(row), row["diff"]), cell(anytime(row))]
            cells += [cell(p_value(row["p_holm"]), row["p_holm"])]
            rows.append(line([*cells, cell(quality(facts, each.metric, code), code, code)], task, pooling))
    heads = [("metric", False), ("series", False), ("steps", False), ("difference", True)]
    heads += [("at all looks", False), ("p, adjusted", True), ("verdict", False)]
    return table(slug("steps", against, task, pooling), STEPS, heads, rows)


def kept_table(facts: Facts) -> Table:
    """The evidence for the kept checkpoint of each training, cell by cell."""
    entries: list[KeptEntry] = facts.run.get("kept", [])
    rows: list[Line] = []
    for entry in entries:
        for found in entry["cells"]:
            half = half_width({**found})
            places = decimals([found["best_value"]], half)
            shown = number(found.get("diff"), places, signed=True)
            shown = f"{shown} {interval(found.get('ci_low'), found.get('ci_high'), places)}".strip()
            cells = [cell(entry["series"]), cell(f"{found['task']}, {found['pooling']}"), cell(words(found["metric"]))]
            cells += [cell(entry["model"] or "none"), cell(number(found.get("value"), places), found.get("value"))]
            cells += [cell(found["best"]), cell(number(found["best_value"], places), found["best_value"])]
            cells += [
                cell(shown if entry["model"] != found["best"] else "the same"),
                cell(count(found["indistinguishable"])),
            ]
            rows.append(line(cells, found["task"], found["pooling"]))
    heads = [("series", False), ("cell", False), ("number", False), ("kept", False), ("value", True), ("best", False)]
    heads += [("its value", True), ("best − kept", True), ("not told apart from the best", True)]
    rule = f"Kept is {entries[0]['rule']}. " if entries else ""
    caption = f"{rule}All pairs of checkpoints were tested together, so the choice of the best is accounted for."
    return table("kept-table", caption, heads, rows)
