"""The page of an audit: audit.json → the view model. Selecting and formatting only: no number is computed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomprobe.common import InputError, read_json
from geomprobe.reports.data.differences import judgement
from geomprobe.reports.data.files import AUDIT_FILE
from geomprobe.reports.document.blocks import Block, Section, cell, figure, line, table, text
from geomprobe.reports.document.formats import NONE, clean, decimals, interval, listed, number
from geomprobe.reports.document.model import VIEW_VERSION, Finding
from geomprobe.reports.wording.findings import SHOWN

SCHEMA_VERSION = 2
SEVERITY = {"holds": "passed", "holds in part": "tip", "mixed": "issue", "contradicted": "issue"}


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


def _view(audit: dict[str, Any]) -> dict[str, Any]:
    a, b = (clean(name, 48) for name in audit["sides"])
    claims = audit["claims"]
    level = audit["level"]
    return {
        "view_version": VIEW_VERSION,
        "kind": "audit",
        "title": f"{b} against {a}: an audit of five claims",
        "subtitle": f"{listed(audit['tasks'])}; poolings mean and max; last layer",
        "created": clean(audit["run"].get("created"), 40)[:10],
        "sides": [
            {"letter": letter, "name": name, "series": i, "lines": _lines(audit, i)}
            for i, (letter, name) in enumerate(zip("AB", (a, b), strict=True))
        ],
        "verdict": {
            "code": "no verdict" if all(_best(c)["overall"] == "no verdict" for c in claims) else "difference",
            "sentence": " ".join(f"{c['statement']}: {_best(c)['overall']}." for c in claims),
            "scope": f"{listed(audit['tasks'])}; corrected numbers: protocol strict, verdicts by the rules of compare.",
            "limits": "Groups of seeds: the claims are about the objectives, on these tasks."
            if level == "objective"
            else "One checkpoint per side, or too few seeds: the verdicts are about these checkpoints, not about "
            "objectives.",
        },
        "claims": _claims(claims),
        "findings": [_finding(claim) for claim in claims],
        "shown_findings": SHOWN,
        "cards": [],
        "selectors": {"task": [clean(task, 48) for task in audit["tasks"]]} if len(audit["tasks"]) > 1 else {},
        "sections": [*(_section(claim, level) for claim in claims), _choices(audit), _record(audit)],
    }


def _lines(audit: dict[str, Any], side: int) -> list[str]:
    members = list(audit["sides"].values())[side]
    stands = f"stands for the published {audit['published']['ab'[side]]} encoder"
    entries = {entry["name"]: entry for entry in audit["run"]["models"]}
    shown = [f"{clean(name, 48)}, content {str(entries[name]['hash'])[:12]}" for name in members if name in entries]
    return [stands, *shown]


def _best(claim: dict[str, Any]) -> dict[str, Any]:
    """The verdict on objectives where there is one, else the verdict on checkpoints."""
    verdicts = claim["verdicts"]
    objective = verdicts.get("objective")
    return objective if objective and objective["overall"] != "no verdict" else verdicts["checkpoint"]


def _claims(claims: list[dict[str, Any]]) -> dict[str, Any]:
    grouped = any("objective" in claim["verdicts"] for claim in claims)
    heads = [("claim", False), ("task", False), ("published", True), ("by its protocol", True), ("corrected", True)]
    heads += [("checkpoints", False)]
    heads += [("objectives, corrected", True), ("objectives", False)] if grouped else []
    rows = []
    for claim in claims:
        for one in claim["tasks"]:
            numbers = [one["published"], one["paper"], one["checkpoint"], one["objective"]]
            places = _places(numbers)
            cells = [cell(claim["name"], link=_id(claim)), cell(clean(one["task"], 48))]
            cells += [_difference(numbers[0], _places(numbers[:1]))]  # without an interval, digits as printed
            cells += [_difference(n, places) for n in numbers[1:3]]
            cells += [_verdict(one["checkpoint"])]
            if grouped:
                cells += [_difference(one["objective"], places), _verdict(one["objective"])]
            rows.append(line(cells, clean(one["task"], 48)))
    caption = (
        "B − A for each claim: as published, by the published protocol on these checkpoints, corrected, with 95 % "
        "intervals of the paired difference and the verdict."
    )
    return dict(table("claims", caption, heads, rows))


def _largest(claims: list[dict[str, Any]]) -> Block:
    """The table of the choice that moves each claim most."""
    rows = []
    for claim in claims:
        for one in claim["tasks"]:
            most = one["largest"]
            named = most and (most["label"] if "label" in most else most["said"])  # said: by an earlier version
            cells = [cell(claim["name"], link=_id(claim)), cell(clean(one["task"], 48))]
            cells += [cell(clean(named) if named else NONE), _moved(most, _places([one["paper"]]))]
            rows.append(line(cells, clean(one["task"], 48)))
    caption = (
        "The choice of the published analysis that changes B − A most: by how much, with its 95 % interval, and "
        "whether the change is distinguishable from 0 and from the changes by the other choices."
    )
    heads = [("claim", False), ("task", False), ("largest change by", False), ("change", True)]
    return table("largest-table", caption, heads, rows)


def _places(numbers: list[dict[str, Any] | None]) -> int:
    known = [n for n in numbers if n and n["diff"] is not None]
    half = next((_half(n) for n in known if _half(n)), None)
    return decimals([n["diff"] for n in known], half)


def _half(one: dict[str, Any]) -> float | None:
    return None if one.get("ci_low") is None else (one["ci_high"] - one["ci_low"]) / 2 or None


def _difference(one: dict[str, Any] | None, places: int) -> Any:
    if one is None or one["diff"] is None:
        return cell(NONE)
    shown = interval(one.get("ci_low"), one.get("ci_high"), places)
    return cell(f"{number(one['diff'], places, signed=True)} {shown}".strip(), one["diff"])


def _moved(one: dict[str, Any] | None, places: int) -> Any:
    """Change of B − A by a choice, with its interval and at least the decimals that this interval needs."""
    if one is None:
        return cell("")
    shown = {"diff": one["moved"], "ci_low": one["moved_low"], "ci_high": one["moved_high"]}
    return _difference(shown, max(places, _places([shown])))


def _verdict(one: dict[str, Any] | None) -> Any:
    if one is None:
        return cell("not measured")
    code = judgement({"verdict": one["verdict"], "diff": one["diff"]})
    return cell(clean(one["verdict"]), code, code)


def _id(claim: dict[str, Any]) -> str:
    return f"claim-{claim['name']}"


def _finding(claim: dict[str, Any]) -> Finding:
    best = _best(claim)
    severity: Any = SEVERITY.get(best["overall"], "tip")
    return {
        "code": _id(claim),
        "severity": severity,
        "sentence": best["sentence"],
        "number": "",
        "link": _id(claim),
    }


def _section(claim: dict[str, Any], level: str) -> Section:
    sentences = [clean(verdict["sentence"], 1200) for verdict in claim["verdicts"].values()]
    blocks: list[Block] = [text(clean(claim["note"], 1200), "note"), *(text(s) for s in sentences)]
    if any(one["beside"] for one in claim["tasks"]):
        centred = [
            f"{clean(one['task'], 48)} {_difference(one['beside'], _places([one['beside']]))['text']} "
            f"({clean(one['beside']['verdict'])})"
            for one in claim["tasks"]
            if one["beside"]
        ]
        blocks.append(text(f"After centring, corrected: {'; '.join(centred)}."))
    panels: list[dict[str, Any]] = []
    rows = []
    names = list(dict.fromkeys(s["name"] for one in claim["tasks"] for s in one["switches"]))
    for one in claim["tasks"]:
        task = clean(one["task"], 48)
        switches = {s["name"]: s for s in one["switches"]}
        corrected = one["objective"] if level == "objective" else one["checkpoint"]
        stages = [("published", one["published"]), ("its protocol", one["paper"])]
        stages += [(name, switches.get(name)) for name in names] + [("corrected", corrected)]
        panels.append({"title": task, "margin": None, "rows": [_bar(name, n) for name, n in stages]})
        shared = _places([n for _, n in stages])
        for name, n in stages:
            places = _places([n]) if name == "published" else shared
            values = [number(n[key], places) if n else NONE for key in ("value_a", "value_b")]
            moved = n if name in switches else None
            method = clean(n.get("method", ""), 160) if n else "no effect on it, or not measured"
            if moved and moved["moved_low"] is None:
                method += f"; of the change: {clean(moved['moved_method'], 160)}"
            cells = [cell(task), cell(name), *map(cell, values), _difference(n, places)]
            cells += [_moved(moved, places), cell(method)]
            rows.append(line(cells, task))
    heads = [("task", False), ("analysis", False), ("A", True), ("B", True), ("B − A", True), ("change", True)]
    steps = table(
        f"{_id(claim)}-steps",
        "B − A with each choice replaced alone.",
        [*heads, ("interval", False)],
        rows,
        folded=True,
    )
    caption = (
        "B − A with its 95 % interval: as published, by the published protocol, with one choice of it replaced, and by "
        "the strict protocol. Hollow points have no interval, or no clear difference."
    )
    alt = f"{claim['statement']}: the difference B − A under each analysis, a panel a task."
    title = "One choice at a time"
    data = {"panels": panels, "x_label": "B − A"}
    if any(row["diff"] is not None for panel in panels for row in panel["rows"]):
        blocks.append(figure(f"{_id(claim)}-forest", "forest", title, caption, alt, data, steps))
    else:
        blocks.append(steps)
    return {"id": _id(claim), "title": claim["statement"], "lead": _lead(claim), "blocks": blocks}


def _lead(claim: dict[str, Any]) -> str:
    return f"Expected of B: {claim['expected']}. {claim['pooling'].capitalize()} pooling, last layer."


def _bar(name: str, one: dict[str, Any] | None) -> dict[str, Any]:
    if one is None or one["diff"] is None:
        return {"name": name, "diff": None, "low": None, "high": None, "judgement": "none"}
    code = judgement({"verdict": one.get("verdict", ""), "diff": one["diff"]})
    return {"name": name, "diff": one["diff"], "low": one.get("ci_low"), "high": one.get("ci_high"), "judgement": code}


def _choices(audit: dict[str, Any]) -> Section:
    rows = [
        line([cell(c["choice"]), cell(c["paper"]), cell(c["strict"]), cell(c["meaning"])]) for c in audit["choices"]
    ]
    heads = [("choice", False), ("published", False), ("replaced by", False), ("what changes", False)]
    block = table("choices-table", "Each is replaced alone, on the same checkpoints and rows.", heads, rows)
    lead = "The choices of the published analysis, and what the audit replaces them by."
    return {"id": "choices", "title": "Choices", "lead": lead, "blocks": [_largest(audit["claims"]), block]}


def _record(audit: dict[str, Any]) -> Section:
    run = audit["run"]
    models = [
        line([cell(clean(m["name"], 48)), cell(clean(m["source"])), cell(str(m["hash"])[:12])]) for m in run["models"]
    ]
    versions = [line([cell(clean(name)), cell(clean(v))]) for name, v in run["versions"].items()]
    blocks: list[Block] = [
        {"type": "code", "label": "command", "text": clean(run["command"], 2000)},
        table("models-table", "Checkpoints.", [("name", False), ("source", False), ("content", False)], models),
        table("versions-table", "Versions.", [("package", False), ("version", False)], versions, folded=True),
        text(f"Published values: {clean(audit['published']['source'])}.", "note"),
        {"type": "downloads", "items": [{"name": AUDIT_FILE, "text": "every number of this report"}]},
    ]
    lead = "Where the numbers come from. strict/ and paper/ in the same folder are results folders."
    return {"id": "record", "title": "Record", "lead": lead, "blocks": blocks}
