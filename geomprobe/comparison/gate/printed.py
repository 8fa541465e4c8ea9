"""The outcome of a gate as lines of a terminal, as Markdown, as JUnit XML and as a document of JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from rich.cells import cell_len, set_cell_size

from geomprobe.common.text import clean, count, counted, decimals, interval, markdown, markdown_table, number, words
from geomprobe.comparison.gate.decide import CANNOT_TELL, FAILED, PASSED, SKIPPED, Check, Gate

ORDER = (FAILED, CANNOT_TELL, PASSED, SKIPPED)
SHOWN = {FAILED: 5, CANNOT_TELL: 4, PASSED: 3, SKIPPED: 1}
"""Most checks of each outcome that a terminal shows; 20 lines in all with headings and files."""
ROWS = 60
"""Most checks in the table of the Markdown: GitHub cuts a comment at 65,536 characters."""
WIDTH = 120


@dataclass(frozen=True)
class About:
    """What a gate was about.

    Attributes
    ----------
    baseline, candidate : mapping
        Of run.json: name, source, hash.
    tasks : sequence of mapping
        Of run.json: name, rows, fingerprint.
    policy : str
        The file, or "default".
    policy_hash : str
        SHA-256 of the file.
    notes : sequence of str
        What was left out of the comparison.
    """

    baseline: Mapping[str, Any]
    candidate: Mapping[str, Any]
    tasks: Sequence[Mapping[str, Any]]
    policy: str
    policy_hash: str
    notes: Sequence[str] = ()


def sentence(gate: Gate, about: About) -> str:
    """The outcome in one sentence."""
    counts = Counter(check.outcome for check in gate.checks)
    parts = [f"{count(counts[outcome])} {outcome}" for outcome in ORDER if counts[outcome]]
    cells = f"; {counted(gate.failed_cells, 'cell')} could not be measured" if gate.failed_cells else ""
    none = "; nothing could be decided" if not counts[PASSED] + counts[FAILED] + counts[CANNOT_TELL] else ""
    who = f"{clean(about.candidate['name'], 48)} against {clean(about.baseline['name'], 48)}"
    look = "" if gate.look is None else f", look {count(gate.look)}"
    return f"{gate.outcome}: {who}{look}, {counted(len(gate.checks), 'check')}: {', '.join(parts)}{cells}{none}"


def title(check: Check, checks: Sequence[Check]) -> str:
    """A check's metric, with its view where the metric is checked in several or in another than raw."""
    views = {each.view for each in checks if each.rule.metric == check.rule.metric} - {""}
    shown = check.view and (len(views) > 1 or check.view != "raw")
    return words(check.rule.metric) + (f" ({clean(check.view, 30)})" if shown else "")


def place(check: Check) -> str:
    """The cell of a check."""
    if check.layer is None:
        return ""
    return f"{clean(check.task, 48)}, {clean(check.pooling, 30)}, layer {check.layer}"


def places(check: Check) -> int:
    """Decimals of a check's estimate: two digits of the half-width, but no more than two beyond the bound's."""
    if check.low is None or check.high is None:
        return decimals([check.estimate, check.baseline, check.candidate])
    bound = min((abs(each) for each in (check.least, check.most) if math.isfinite(each) and each), default=1.0)
    return min(decimals([check.estimate], (check.high - check.low) / 2), decimals([bound], bound) + 2)


def figure(check: Check) -> str:
    """Estimate and interval: a difference with its sign."""
    signed = check.rule.kind != "not_below"
    text = number(check.estimate, places(check), signed=signed)
    return f"{text} {interval(check.low, check.high, places(check))}".strip()


def tolerated(check: Check) -> str:
    """Where the estimate must lie."""
    least, most = (math.isfinite(each) for each in (check.least, check.most))
    if not (least or most):
        return ""
    bound = check.most if most else check.least
    text = number(bound, decimals([bound], abs(bound)), signed=check.rule.kind == "no_worse_than")
    return f"within ±{text}" if least and most else f"not below {text}" if least else f"not above {text}"


def reason(check: Check) -> str:
    """Why a check that did not pass did not."""
    if check.why or check.outcome == PASSED or check.low is None or check.high is None:
        return clean(check.why)
    if check.outcome == FAILED:
        return "outside what is tolerated"
    if check.low > check.most or check.high < check.least:
        few = "too few rows tell them apart" if check.p is None else "it may be chance over all checks"
        return f"outside what is tolerated, but {few}"
    return "the interval reaches outside what is tolerated"


def lines(gate: Gate, about: About, files: Sequence[str], width: int = WIDTH) -> list[str]:
    """At most 20 lines for a terminal: the sentence, checks by outcome, and the files, which are not cut."""
    found = [sentence(gate, about)]
    difference = (
        f"{clean(about.candidate['name'], 30)} − {clean(about.baseline['name'], 30)}, {percent(gate)} intervals"
    )
    for outcome in ORDER:
        checks = gate.of(outcome)
        if not checks:
            continue
        shown = checks[: SHOWN[outcome]]
        more = f", and {count(len(checks) - len(shown))} more" if len(checks) > len(shown) else ""
        found.append(f"{outcome}{f' ({difference})' if len(found) == 1 else ''}{more}:")
        found += [line_of(check, gate.checks) for check in shown]
    cut = [line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…" for line in found]
    return [*cut, *files]


def percent(gate: Gate) -> str:
    """The level of the intervals, with as many digits as its distance from 100 % needs."""
    if gate.look is None:
        return "95 %"
    left = 100 * (1 - gate.level)
    return f"{100 - left:.{max(1 - math.floor(math.log10(left)), 0)}f} %"


def line_of(check: Check, checks: Sequence[Check]) -> str:
    """One check in one line."""
    name, where = title(check, checks), place(check)
    if check.low is None:
        return f"  {name:<24} {'; '.join(each for each in (where, reason(check)) if each)}"
    return f"  {name:<24} {figure(check):<27} {tolerated(check):<18} {where}"


def as_markdown(gate: Gate, about: About) -> str:
    """Markdown for a pull request: the sentence, the checks that did not pass first, and what the gate was about."""
    checks = [check for outcome in ORDER for check in gate.of(outcome)]
    table = [
        [
            f"**{check.outcome}**" if check.outcome == FAILED else check.outcome,
            *(
                markdown(cell)
                for cell in (
                    title(check, checks),
                    place(check),
                    *(number(value, places(check)) for value in (check.baseline, check.candidate)),
                    "" if check.low is None else figure(check),
                    tolerated(check),
                    reason(check),
                )
            ),
        ]
        for check in checks[:ROWS]
    ]
    heads = ("", "metric", "cell", "baseline", "candidate", f"estimate, {percent(gate)}", "tolerated", "")
    parts = [f"**Gate {markdown(sentence(gate, about), 1000)}**"]
    parts += [markdown_table(heads, table).strip()] if table else []
    parts += [f"And {counted(len(checks) - ROWS, 'check')} more."] if len(checks) > ROWS else []
    parts += [f"- {markdown(note)}" for note in about.notes]
    rows = "; ".join(
        f"{markdown(task['name'], 48)}, {count(task.get('rows'))} rows ({str(task.get('fingerprint', ''))[:12]})"
        for task in about.tasks
    )
    parts.append(f"Rows: {rows}. Policy: {markdown(about.policy)} ({about.policy_hash[:12]}).")
    return "\n\n".join(parts) + "\n"


def as_junit(gate: Gate, about: About) -> str:
    """JUnit XML: a suite for each task, a test case for each check; "cannot tell" is an error."""
    root = ElementTree.Element("testsuites", name=clean(f"geomprobe gate: {about.candidate['name']}"))
    suites: dict[str, list[Check]] = {}
    for check in gate.checks:
        suites.setdefault(check.task, []).append(check)
    for element, checks in [(root, gate.checks), *((None, checks) for checks in suites.values())]:
        if element is None:
            element = ElementTree.SubElement(root, "testsuite", name=clean(checks[0].task) or "no task")
        counts = Counter(check.outcome for check in checks)
        tallies = {"tests": len(checks), "failures": counts[FAILED], "errors": counts[CANNOT_TELL]}
        for key, value in (tallies | ({} if element is root else {"skipped": counts[SKIPPED]})).items():
            element.set(key, str(value))
        for check in () if element is root else checks:
            where = ".".join(each for each in ("gate", place(check)) if each)
            name = f"{title(check, gate.checks)} {words(check.rule.kind)}"
            case = ElementTree.SubElement(element, "testcase", classname=where, name=name)
            tag = {FAILED: "failure", CANNOT_TELL: "error", SKIPPED: "skipped"}.get(check.outcome)
            said = "; ".join(each for each in (reason(check), figure(check), tolerated(check)) if each)
            if tag:
                ElementTree.SubElement(case, tag, message=said)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def as_document(gate: Gate, about: About) -> dict[str, Any]:
    """Everything as plain values of JSON."""
    counts = Counter(check.outcome for check in gate.checks)
    sides = {
        side: {key: entry.get(key) for key in ("name", "source", "revision", "hash")}
        for side, entry in (("baseline", about.baseline), ("candidate", about.candidate))
    }
    return {
        "outcome": gate.outcome,
        **sides,
        "policy": {"file": about.policy, "sha256": about.policy_hash},
        "tasks": [{key: task.get(key) for key in ("name", "rows", "fingerprint")} for task in about.tasks],
        "counts": {outcome: counts[outcome] for outcome in ORDER},
        "failed_cells": gate.failed_cells,
        "look": gate.look,
        "level": gate.level,
        "notes": list(about.notes),
        "checks": [check_document(check) for check in gate.checks],
    }


def check_document(check: Check) -> dict[str, Any]:
    """One check as plain values of JSON."""
    names = ("task", "layer", "pooling", "view", "outcome", "why", "baseline", "candidate", "estimate")
    bounds = {name: value if math.isfinite(value := getattr(check, name)) else None for name in ("least", "most")}
    return {
        "metric": check.rule.metric,
        "rule": check.rule.kind,
        **{name: getattr(check, name) for name in names},
        "why": reason(check),
        "ci_low": check.low,
        "ci_high": check.high,
        **bounds,
        "p_holm": check.p,
        "n": None if check.n is None else int(check.n),
    }
