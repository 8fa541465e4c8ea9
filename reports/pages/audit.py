"""The page of an audit: audit.json → the view model. Selecting and formatting only: no number is computed here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from geomprobe.common import InputError, read_json
from geomprobe.common.text import NAME_LIMIT, NONE, clean, decimals, interval, listed, number
from geomprobe.reports.data.files import AUDIT_FILE
from geomprobe.reports.document.blocks import (
    Block,
    Cell,
    Line,
    Section,
    Table,
    cell,
    code,
    figure,
    line,
    section_of,
    table,
    text,
)
from geomprobe.reports.document.model import VIEW_VERSION
from geomprobe.reports.sections.parts.points import bar
from geomprobe.reports.sections.parts.tables import plain_table
from geomprobe.results.summary.facts import half_width, judgement
from geomprobe.results.summary.findings.rules import Finding
from geomprobe.results.summary.words import ALONE

SCHEMA_VERSION = 2
SEVERITY = {"holds": "passed", "holds in part": "tip", "mixed": "issue", "contradicted": "issue"}
Audited = dict[str, Any]  # a part of audit.json


def audit_view(folder: Path) -> dict[str, Any]:
    """The view model of an audit's folder, ready for JSON.

    Raises
    ------
    InputError
        audit.json is damaged, or of another version.
    """
    audit = read_json(folder / AUDIT_FILE)
    if isinstance(audit, dict) and audit.get("kind") == "audit" and audit.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{folder / AUDIT_FILE} was written by another version of geomprobe.",
            "Run the audit again with the same folder; finished cells are kept.",
        )
    try:
        return _view(audit)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / AUDIT_FILE} is no audit: {type(error).__name__}: {error}") from None


def _view(audit: Audited) -> dict[str, Any]:
    a, b = (clean(name, NAME_LIMIT) for name in audit["sides"])
    claims, tasks = audit["claims"], listed(audit["tasks"])
    limits = (
        "Groups of seeds: the claims are about the objectives, on these tasks."
        if audit["level"] == "objective"
        else "One checkpoint per side, or too few seeds: the verdicts are about these checkpoints, not about "
        "objectives."
    )
    return {
        "view_version": VIEW_VERSION,
        "kind": "audit",
        "title": f"{b} against {a}: an audit of five claims",
        "subtitle": f"{tasks}; poolings mean and max; last layer",
        "created": clean(audit["run"].get("created"), 40)[:10],
        "sides": [
            {"letter": letter, "name": name, "series": i, "lines": _lines(audit, i)}
            for i, (letter, name) in enumerate(zip("AB", (a, b), strict=True))
        ],
        "answer": {
            "code": "no verdict" if all(_best(c)["overall"] == "no verdict" for c in claims) else "difference",
            "sentence": " ".join(f"{c['statement']}: {_best(c)['overall']}." for c in claims),
            "picture": None,
            "lists": [],
            "table": _claims(claims),
            "beware": [],
            "scope": f"{tasks}; corrected numbers: protocol strict, verdicts by the rules of compare.",
            "limits": limits,
        },
        "findings": [_finding(claim) for claim in claims],
        "selectors": {"task": [clean(task, NAME_LIMIT) for task in audit["tasks"]]} if len(audit["tasks"]) > 1 else {},
        "sections": [_found(), *(_section(claim, audit["level"]) for claim in claims), _choices(audit), _record(audit)],
    }


def _found() -> Section:
    lead = "Each claim with its verdict: what holds, what is contradicted, what cannot be told."
    return section_of("findings-of-claims", "What the audit found", lead, [{"type": "findings"}])


def _lines(audit: Audited, side: int) -> list[str]:
    members = list(audit["sides"].values())[side]
    stands = f"stands for the published {audit['published']['ab'[side]]} encoder"
    entries = {entry["name"]: entry for entry in audit["run"]["models"]}
    known = [entries[name] for name in members if name in entries]
    return [stands, *(f"{clean(entry['name'], NAME_LIMIT)}, content {str(entry['hash'])[:12]}" for entry in known)]


def _best(claim: Audited) -> Audited:
    """The verdict on objectives where there is one, else the verdict on checkpoints."""
    verdicts = claim["verdicts"]
    objective = verdicts.get("objective")
    return objective if objective and objective["overall"] != "no verdict" else verdicts["checkpoint"]


def _id(claim: Audited) -> str:
    return f"claim-{claim['name']}"


def _finding(claim: Audited) -> Finding:
    best, id = _best(claim), _id(claim)
    severity: Any = SEVERITY.get(best["overall"], "tip")
    return {"code": id, "severity": severity, "sentence": best["sentence"], "number": "", "link": id}


# ---- tables ----------------------------------------------------------------------------------------------------------


def _rows(claims: list[Audited], cells_of: Callable[[Audited], list[Cell]]) -> list[Line]:
    """A row for each claim and task: the claim, the task, what ``cells_of`` gives of it."""
    rows = []
    for claim in claims:
        for task in claim["tasks"]:
            name = clean(task["task"], NAME_LIMIT)
            rows.append(line([cell(claim["name"], link=_id(claim)), cell(name), *cells_of(task)], name))
    return rows


def _claims(claims: list[Audited]) -> Table:
    grouped = any("objective" in claim["verdicts"] for claim in claims)

    def cells(task: Audited) -> list[Cell]:
        published, paper, corrected, objective = (task[k] for k in ("published", "paper", "checkpoint", "objective"))
        places = _places(published, paper, corrected, objective)
        found = [_difference(published, _places(published))]  # without an interval, digits as printed
        found += [_difference(paper, places), _difference(corrected, places), _verdict(corrected)]
        return found + ([_difference(objective, places), _verdict(objective)] if grouped else [])

    heads = [("claim", False), ("task", False), ("published", True), ("by its protocol", True), ("corrected", True)]
    heads += [("checkpoints", False)]
    heads += [("objectives, corrected", True), ("objectives", False)] if grouped else []
    caption = (
        "B − A for each claim: as published, by the published protocol on these checkpoints, corrected, with 95 % "
        "intervals of the paired difference and the verdict. " + ALONE
    )
    return table("claims", caption, heads, _rows(claims, cells))


def _largest(claims: list[Audited]) -> Table:
    """The table of the choice that moves each claim most."""

    def cells(task: Audited) -> list[Cell]:
        most = task["largest"]
        named = most and (most["label"] if "label" in most else most["said"])  # said: by an earlier version
        return [cell(clean(named) if named else NONE), _change(most, _places(task["paper"]))]

    caption = (
        "The choice of the published analysis that changes B − A most: by how much, with its 95 % interval, and "
        "whether the change is distinguishable from 0 and from the changes by the other choices."
    )
    heads = [("claim", False), ("task", False), ("largest change by", False), ("change", True)]
    return table("largest-table", caption, heads, _rows(claims, cells))


def _places(*numbers: Audited | None) -> int:
    known = [n for n in numbers if n and n["diff"] is not None]
    return decimals([n["diff"] for n in known], next(filter(None, map(half_width, known)), None))


def _difference(one: Audited | None, places: int) -> Cell:
    if one is None or one["diff"] is None:
        return cell(NONE)
    shown = interval(one.get("ci_low"), one.get("ci_high"), places)
    return cell(f"{number(one['diff'], places, signed=True)} {shown}".strip(), one["diff"])


def _change(one: Audited | None, places: int) -> Cell:
    """Change of B − A by a choice, with its interval and at least the decimals that this interval needs."""
    if one is None:
        return cell("")
    change = {"diff": one["moved"], "ci_low": one["moved_low"], "ci_high": one["moved_high"]}
    return _difference(change, max(places, _places(change)))


def _verdict(one: Audited | None) -> Cell:
    if one is None:
        return cell("not measured")
    judged = judgement(one)
    return cell(clean(one["verdict"]), judged, judged)


# ---- sections --------------------------------------------------------------------------------------------------------


def _section(claim: Audited, level: str) -> Section:
    id = _id(claim)
    sentences = [clean(verdict["sentence"], 1200) for verdict in claim["verdicts"].values()]
    blocks: list[Block] = [text(clean(claim["note"], 1200), "note"), *map(text, sentences)]
    if centred := [(task, task["beside"]) for task in claim["tasks"] if task["beside"]]:
        shown = [
            f"{clean(task['task'], NAME_LIMIT)} {_difference(n, _places(n))['text']} ({clean(n['verdict'])})"
            for task, n in centred
        ]
        blocks.append(text(f"After centring, corrected: {'; '.join(shown)}."))
    panels: list[dict[str, Any]] = []
    rows: list[Line] = []
    names = list(dict.fromkeys(s["name"] for task in claim["tasks"] for s in task["switches"]))
    for task in claim["tasks"]:
        name, switches = clean(task["task"], NAME_LIMIT), {s["name"]: s for s in task["switches"]}
        stages = {"published": task["published"], "its protocol": task["paper"]}
        stages |= {switch: switches.get(switch) for switch in names}
        stages["corrected"] = task["objective" if level == "objective" else "checkpoint"]
        bars = [bar(stage, n if n and n["diff"] is not None else {}) for stage, n in stages.items()]
        panels.append({"title": name, "margin": None, "rows": bars})
        shared = _places(*stages.values())
        for stage, n in stages.items():
            cells = _stage_cells(n, _places(n) if stage == "published" else shared, stage in switches)
            rows.append(line([cell(name), cell(stage), *cells], name))
    heads = [("task", False), ("analysis", False), ("A", True), ("B", True), ("B − A", True), ("change", True)]
    heads.append(("interval", False))
    steps = table(f"{id}-steps", "B − A with each choice replaced alone.", heads, rows, folded=True)
    caption = (
        "B − A with its 95 % interval: as published, by the published protocol, with one choice of it replaced, and by "
        "the strict protocol. Hollow points have no interval, or no clear difference."
    )
    alt = f"{claim['statement']}: the difference B − A under each analysis, a panel a task."
    data = {"panels": panels, "x_label": "B − A"}
    if any(row["diff"] is not None for panel in panels for row in panel["rows"]):
        blocks.append(figure(f"{id}-forest", "forest", "One choice at a time", caption, alt, data, steps))
    else:
        blocks.append(steps)
    lead = f"Expected of B: {claim['expected']}. {claim['pooling'].capitalize()} pooling, last layer."
    best = clean(_best(claim)["sentence"], 1200)
    return section_of(id, claim["statement"], lead, blocks, best)


def _stage_cells(one: Audited | None, places: int, replaced: bool) -> list[Cell]:
    """A and B under an analysis, B − A, its change where one choice is replaced, how the interval is made."""
    if one is None:
        return [*map(cell, (NONE, NONE, NONE, "", "no effect on it, or not measured"))]
    method = clean(one.get("method", ""), 160)
    if replaced and one["moved_low"] is None:
        method += f"; of the change: {clean(one['moved_method'], 160)}"
    values = [cell(number(one[key], places)) for key in ("value_a", "value_b")]
    return [*values, _difference(one, places), _change(one if replaced else None, places), cell(method)]


def _choices(audit: Audited) -> Section:
    rows = [[c["choice"], c["paper"], c["strict"], c["meaning"]] for c in audit["choices"]]
    heads = ("choice", "published", "replaced by", "what changes")
    block = plain_table("choices-table", "Each is replaced alone, on the same checkpoints and rows.", heads, rows)
    lead = "The choices of the published analysis, and what the audit replaces them by."
    return section_of("choices", "Choices", lead, [_largest(audit["claims"]), block])


def _record(audit: Audited) -> Section:
    run = audit["run"]
    models = [[clean(m["name"], NAME_LIMIT), clean(m["source"]), str(m["hash"])[:12]] for m in run["models"]]
    versions = [[clean(name), clean(version)] for name, version in run["versions"].items()]
    blocks: list[Block] = [
        code("command", clean(run["command"], 2000)),
        plain_table("models-table", "Checkpoints.", ("name", "source", "content"), models),
        plain_table("versions-table", "Versions.", ("package", "version"), versions, folded=True),
        text(f"Published values: {clean(audit['published']['source'])}.", "note"),
        {"type": "downloads", "items": [{"name": AUDIT_FILE, "text": "every number of this report"}]},
    ]
    lead = "Where the numbers come from. strict/ and paper/ in the same folder are results folders."
    return section_of("record", "Record", lead, blocks)
