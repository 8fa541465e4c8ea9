"""From the facts of a results folder to its summary, by fixed rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from geomprobe.common.text import clean, counted, listed, number, words
from geomprobe.results.summary.facts import Facts, Judgement, judgement
from geomprobe.results.summary.findings import findings
from geomprobe.results.summary.findings.rules import Finding
from geomprobe.results.summary.model import Cell, Statement, Summary, in_all
from geomprobe.results.summary.ranking import rankings
from geomprobe.results.summary.series import courses, sentence
from geomprobe.results.summary.series import limits as limits_of_series
from geomprobe.results.summary.words import title

CENTRED = "centred"
MOST_LED = 2  # differences that the sentence names
MOST_NAMED = 3  # of what cannot be told; more are counted


def summarise(facts: Facts) -> Summary:
    """The summary of a results folder.

    The sentence is made by these rules. A difference is robust where it has one direction in all cells, and the same
    once the mean vector is removed, if that was measured. The robust difference that is largest in units of its margin
    leads; the next one follows. Where none is robust, the one that holds in most cells leads. A difference that
    disappears or reverses after centring is named in the same sentence. Without any difference the sentence says what
    was shown equal and what cannot be told; of more than three of these, how many. Where models were compared with
    their architecture at random initialisation, a second sentence says what training gave each of them: scores of
    tasks before geometry.

    Of a series of checkpoints the sentence says which one is kept and why, and where the first headline number changes.

    Of many models the sentence says which come first, and which of these are not told apart, under the first headline
    number whose first models are the same once the mean vector is removed; of the others the first one leads.
    """
    if facts.kind == "series":
        return _along(facts)
    if facts.kind == "many":
        return _ranked(facts)
    statements = [found for metric, view in facts.headline if (found := statement(facts, metric, view))]
    parts: dict[str, Any] = {"differs": [], "equal": [], "cannot_tell": [], "values": []}
    for each in statements:
        parts[_part(each) if facts.pair else "values"].append(each)
    parts["differs"].sort(key=lambda each: (not robust(each, statements), -each.share, -each.size))
    code, sentence = _lead(facts, statements, parts["differs"])
    sentence = " ".join([sentence, *over_untrained(facts)])
    return Summary(
        kind=facts.kind,
        code=code,
        sides=facts.pair or tuple(facts.own),
        sentence=clean(facts.run.get("verdict")) or sentence,
        scope=scope_of(facts),
        limits=_limits(facts),
        beware=_beware(facts),
        **parts,
    )


def _beware(facts: Facts) -> list[Finding]:
    known = findings(facts)
    return [f for f in known if f["severity"] == "issue" or (f["code"] == "one-seed" and f["severity"] == "tip")]


def _ranked(facts: Facts) -> Summary:
    """The summary of many models."""
    found = rankings(facts)
    sentence = f"{found[0].phrase}." if found else f"{len(facts.own)} models share no headline number."
    centred = [each for each in found if (each.metric, each.view) == (found[0].metric, CENTRED)]
    if centred and {*centred[0].first} != {*found[0].first}:
        first = centred[0].first
        after = f"{listed(first)} come{'s' if len(first) == 1 else ''} first once the mean vector is removed"
        sentence = f"{sentence[:-1]}; {after}."
    return Summary(
        kind=facts.kind,
        code="ranking",
        sides=tuple(facts.own),
        sentence=clean(facts.run.get("verdict")) or sentence,
        scope=scope_of(facts),
        limits=_limits(facts),
        rankings=found,
        beware=_beware(facts),
    )


def _along(facts: Facts) -> Summary:
    """The summary of a series of checkpoints."""
    found = courses(facts)
    return Summary(
        kind=facts.kind,
        code="series",
        sides=tuple(entry["name"] for entry in facts.run.get("series", [])),
        sentence=sentence(facts, found),
        scope=scope_of(facts),
        limits=_limits(facts),
        courses=found,
        beware=_beware(facts),
    )


def statement(facts: Facts, metric: str, view: str) -> Statement | None:
    """What one headline metric says; None where no cell has it."""
    cells = _differences(facts, metric, view) if facts.pair else _values(facts, metric, view)
    if not cells:
        return None
    counts = Counter(cell.judgement for cell in cells)
    overall = _overall(counts) if facts.pair else "none"
    same = [cell for cell in cells if cell.judgement == overall] or list(cells)
    typical = sorted(same, key=lambda cell: cell.value)[(len(same) - 1) // 2]
    only_mean = False
    if overall in ("higher", "lower") and view != CENTRED and (metric, CENTRED) in facts.headline:
        centred = Counter(cell.judgement for cell in _differences(facts, metric, CENTRED))
        # where no interval is valid nothing is known, and of a difference that holds in some cells more is known
        known = centred.total() > centred["none"]
        only_mean = known and _overall(centred) != overall and centred[overall] < centred.total() / 2
    says = ""
    if overall in ("higher", "lower"):
        plain = [f"has {way} {words(metric)}" for way in ("lower", "higher")]
        phrases = facts.entry(metric).get("phrases", plain)
        says = (phrases if len(phrases) == len(plain) else plain)[overall == "higher"]
    found: dict[Judgement, int] = dict(counts) if facts.pair else {}
    read = overall not in ("higher", "lower") or _beats_majority(facts, metric, view, same)
    return Statement(metric, view, title(facts, metric, view), overall, says, found, cells, typical, only_mean, read)


def _beats_majority(facts: Facts, metric: str, view: str, cells: Sequence[Cell]) -> bool:
    """Whether a side beats the most frequent class in each of the cells; True of what has no such control."""
    floor = {
        (row["model"], row["task"], row["pooling"]): row["value"]
        for row in facts.rows
        if row["control"] == "majority" and row["metric"] == metric and row["value"] is not None
    }

    def beats(side: str, cell: Cell) -> bool:
        row, least = facts.cell(side, cell.task, cell.pooling, metric, view), floor.get((side, cell.task, cell.pooling))
        return least is None or row is None or row["value"] is None or row["value"] > least

    return all(any(beats(side, cell) for side in facts.pair or ()) for cell in cells) or not floor


def robust(each: Statement, among: Sequence[Statement]) -> bool:
    """Whether a difference beats its control, and has one direction in all cells and all views that were measured."""
    same = [other for other in among if other.metric == each.metric]
    return each.beats_control and all(
        other.judgement == each.judgement and other.counts.get(other.judgement) == len(other.cells) for other in same
    )


def scope_of(facts: Facts) -> str:
    """The tasks, poolings and layers that were measured."""
    found = [facts.layers.get(name, []) for name in facts.own]
    most = max(map(len, found), default=0)
    same = len({tuple(layers) for layers in found}) == 1
    depth = f"the deepest of {most} layers" if most > 1 else "one layer" if same else "one layer of each model"
    named = listed(facts.tasks) if len(facts.tasks) <= 6 else ", ".join(facts.tasks[:5]) + " …"
    tasks, poolings = counted(len(facts.tasks), "task"), counted(len(facts.poolings), "pooling")
    return f"{tasks} ({named}), {poolings} ({listed(facts.poolings)}), {depth}"


def _limits(facts: Facts) -> str:
    if facts.kind == "series":
        limits = limits_of_series(facts)
    elif facts.kind == "many":
        limits = _tested(facts)
    elif not facts.pair:
        limits = "No comparison was made, so no difference is claimed."
    elif facts.kind == "groups":
        seeds = listed([f"{len(members)} of {group}" for group, members in facts.groups.items()])
        limits = f"Seeds: {seeds}. The claim is about the groups, on these tasks."
    else:
        limits = "One checkpoint per side: the results are about these two checkpoints, not about their objectives."
    if n := len(facts.failed_cells):
        limits += f" {counted(n, 'cell')} failed and {'are' if n > 1 else 'is'} left out of all numbers."
    return limits


def _tested(facts: Facts) -> str:
    """Which pairs of many models were tested, and what the tests are about."""
    pairs = len(facts.own) * (len(facts.own) - 1) // 2
    if not any(row["letters"] for row in facts.rankings):
        return f"None of the {counted(pairs, 'pair')} of models was tested, so no difference is claimed."
    without = sum(row["untested"] or 0 for row in facts.rankings) // 2
    tested = f"All {pairs} pairs of models were" if pairs > 1 else "The pair of models was"
    gone = f" Of {counted(without, 'difference')} there is no valid interval, so no verdict." if without else ""
    return (
        f"{tested} tested on the same rows, p-values adjusted over all pairs, cells and views of a family of metrics."
        f"{gone} One checkpoint a model: the results are about these checkpoints, not about their objectives."
    )


def _differences(facts: Facts, metric: str, view: str) -> tuple[Cell, ...]:
    rows = ((t, p, facts.difference(t, p, metric, view)) for t in facts.tasks for p in facts.poolings)
    found = []
    for t, p, row in rows:
        if row and row["diff"] is not None:
            cell = Cell(t, p, row["diff"], row["ci_low"], row["ci_high"], row["margin"], row["mdd"], judgement(row))
            more = (row["rows_for_margin"] or 0) > (row["n"] or 0)  # else the rows suffice, and it is no news
            found.append(
                cell._replace(
                    rows_needed=row["rows_for_margin"] if more else None, seeds_needed=row["seeds_for_margin"]
                )
            )
    return tuple(found)


def _values(facts: Facts, metric: str, view: str) -> tuple[Cell, ...]:
    """Numbers of the first model."""
    rows = ((t, p, facts.cell(facts.own[0], t, p, metric, view)) for t in facts.tasks for p in facts.poolings)
    return tuple(
        Cell(t, p, row["value"], row["ci_low"], row["ci_high"])
        for t, p, row in rows
        if row and row["value"] is not None
    )


def _overall(counts: Counter[Judgement]) -> Judgement:
    """The judgement over all cells: a direction where half of them have it and none the other."""
    total = counts.total()
    if counts["higher"] and counts["lower"]:
        return "mixed"
    if counts["none"] > total / 2:
        return "none"
    if counts["higher"] >= total / 2 or counts["lower"] >= total / 2:
        return "higher" if counts["higher"] else "lower"
    if counts["equivalent"] > total / 2:
        return "equivalent"
    return "unclear"


def _part(each: Statement) -> str:
    by_code = {"higher": "differs", "lower": "differs", "mixed": "differs", "equivalent": "equal"}
    return by_code.get(each.judgement, "cannot_tell")


def _lead(facts: Facts, statements: list[Statement], differs: list[Statement]):
    """Code and sentence."""
    if not facts.pair:
        return _described(facts, statements)
    a, b = facts.pair
    if not statements and facts.failed:
        return "no verdict", f"{b} and {a} could not be compared: cells of one or both failed."
    if not statements:
        return "no verdict", f"{b} and {a} have no headline number in common, so there is no verdict."
    if all(each.judgement == "none" for each in statements):
        return "no verdict", _without_intervals(a, b, statements)
    told = [each for each in differs if each.judgement != "mixed"]
    strong = _one_a_metric([each for each in told if robust(each, statements)])[:MOST_LED]
    strong = strong or [each for each in told if not each.only_mean and each.beats_control][:1]
    vanished = [each for each in told if each.only_mean]
    equal = [each.title for each in statements if each.judgement == "equivalent"]
    unclear = [each.title for each in statements if _part(each) == "cannot_tell"]
    if strong:
        lead = listed([f"{each.says} ({_figure(each)})" for each in strong])
        sentence = f"{b} {lead}, compared with {a}"
    elif vanished:
        first = vanished[0]
        sentence = f"{b} {first.says} than {a} ({_figure(first)})"
    else:
        where = (
            "" if all(each.share == 1 for each in statements if each.judgement == "equivalent") else " in most cells"
        )
        known = [f"{listed(equal)} {'are' if len(equal) > 1 else 'is'} shown equal{where}"] if equal else []
        if len(unclear) > MOST_NAMED:
            every, other = "all " * (len(unclear) == len(statements)), "other " * bool(known)
            known.append(f"{every}{counted(len(unclear), f'{other}headline number')} cannot be told")
        elif unclear:
            known.append(f"{listed(unclear)} cannot be told")
        mixed = [each.title for each in differs if each.judgement == "mixed"]
        known += (
            [f"{listed(mixed)} {'are' if len(mixed) > 1 else 'is'} higher in some cells and lower in others"]
            if mixed
            else []
        )
        some = any(each.counts.keys() & {"higher", "lower"} for each in statements)
        what = "has one direction in half of the cells" if some else "is established"
        return "no difference", f"No difference between {b} and {a} {what}: {'; '.join(known)}."
    if vanished:
        first = vanished[0]
        centred = next(each for each in statements if (each.metric, each.view) == (first.metric, CENTRED))
        after = "reverses" if centred.judgement in ("higher", "lower") else "is not found"
        what = f"its {first.judgement} {first.name}" if strong else "this"
        sentence += f"; {what} {after} once the mean vector is removed"
    return "difference", f"{sentence}."


def over_untrained(facts: Facts) -> list[str]:
    """What training gave the compared models over their architecture at random initialisation, as a sentence."""
    gave = []
    for model in facts.pair or ():
        kinds = facts.run.get("baselines") or {}
        started = (row["a"] for row in facts.comparisons if row["b"] == model and kinds.get(row["a"]) == "random-init")
        untrained = next((name for name in started if name not in (facts.pair or ())), "")
        if not untrained:
            continue
        over: Any = facts.run | {"compared": [untrained, model], "groups": None}
        alone = replace(facts, run=over)
        found = [each for number in facts.headline if (each := statement(alone, *number)) and each.says]
        found = [each for each in found if each.beats_control and not each.only_mean]
        found.sort(key=lambda each: (facts.part_of(each.metric) != "semantic", not robust(each, found), -each.size))
        gave.append(f"{model} {f'{found[0].says} ({_figure(found[0])})' if found else 'has no established difference'}")
    return [f"Over random initialisation, {listed(gave)}."] if gave else []


def _one_a_metric(found: Sequence[Statement]) -> list[Statement]:
    first: dict[str, Statement] = {}
    for each in found:
        first.setdefault(each.metric, each)
    return list(first.values())


def _figure(each: Statement) -> str:
    n, total = each.counts[each.judgement], len(each.cells)
    where = in_all(total) if n == total else f"in {n} of {total} cells"
    return f"{each.name} {each.typical.text(signed=True)} {where}".rstrip()


def _without_intervals(a: str, b: str, statements: Sequence[Statement]) -> str:
    measured = [f"{each.title} {number(each.typical.value, signed=True)}" for each in statements[:4]]
    return f"No verdict: no difference has an interval. As measured, {b} − {a}: {listed(measured)}."


def _described(facts: Facts, statements: Sequence[Statement]):
    if not facts.own:
        return "description", "Only baselines were measured, so no model is described."
    told, place = [], ""
    for each in _one_a_metric(statements)[:3]:
        first = statements[0].typical
        cell = next((c for c in each.cells if (c.task, c.pooling) == (first.task, first.pooling)), None)
        if cell:
            place = f" ({first.task}, {first.pooling} pooling)"
            told.append(f"{each.title} {cell.text(signed=False)}")
    return "description", f"{facts.own[0]}: {listed(told) or 'no number'}{place}. One model, so no difference."
