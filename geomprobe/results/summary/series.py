"""A series of checkpoints in words: how each headline number moves along it, and which checkpoint is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from geomprobe.common.text import count, counted, decimals, interval, listed, number
from geomprobe.results.schema import KeptEntry, SeriesEntry
from geomprobe.results.summary.facts import Facts, Judgement, Row, half_width, judgement
from geomprobe.results.summary.words import title, without_brackets

VERBS = {"higher": "rises", "lower": "falls"}
NAMED = 3
"""Stretches of change that a line names; more are counted."""


@dataclass(frozen=True)
class Stretch:
    """Successive checkpoints between which a number changes in one direction."""

    start: float
    end: float
    judgement: Judgement

    @property
    def text(self) -> str:
        """The change with its steps: "rises 0 → 300"."""
        return f"{VERBS[self.judgement]} {count(self.start)} → {count(self.end)}"


@dataclass(frozen=True)
class Course:
    """How one headline number moves along one training, in its typical cell: the first task and pooling that have it.

    Attributes
    ----------
    metric, view, series, task, pooling : str
    title : str
        The name in words, with the training where there are several.
    span : str
        Its first and its last value.
    overall : str
        Judgement on the last checkpoint against the first.
    diff : str
        Their difference with its interval.
    stretches : tuple of Stretch
        Where successive checkpoints differ.
    settled : float or None
        Step from which on each checkpoint is shown equal to the last one.
    apart : float or None
        First step told apart from the first checkpoint, allowing for repeated looks.
    cells, same : int
        How many cells there are, and in how many of them the judgement on the last checkpoint holds.
    """

    metric: str
    view: str
    title: str
    series: str
    task: str
    pooling: str
    span: str
    overall: Judgement
    diff: str
    stretches: tuple[Stretch, ...]
    settled: float | None
    apart: float | None
    cells: int
    same: int

    @property
    def moves(self) -> str:
        """Where it changes, in words."""
        if not self.stretches:
            shown = "no change shown" + f", but {self.overall} at the end" * (self.overall in VERBS)
        else:
            shown = ", ".join(each.text for each in self.stretches[:NAMED])
            more = len(self.stretches) - NAMED
            shown += f", and {count(more)} more" if more > 0 else ""
        return shown + (f"; equal to the last from {count(self.settled)} on" if self.settled is not None else "")

    @property
    def where(self) -> str:
        """In how many cells the last checkpoint differs from the first in the same way."""
        return f"{self.same}/{self.cells} cells" if self.cells > 1 else ""

    @property
    def phrase(self) -> str:
        """The whole as part of a sentence."""
        return f"{without_brackets(self.title.removesuffix(f', {self.series}'))} of {self.series} {self.moves}"


def courses(facts: Facts) -> list[Course]:
    """How each headline number moves along each training."""
    runs = [entry["name"] for entry in facts.run.get("series", [])]
    made = (course(facts, series, metric, view) for metric, view in facts.headline for series in runs)
    return [each for each in made if each]


def points(facts: Facts, series: str, task: str, pooling: str, metric: str, view: str) -> list[Row]:
    """The values of a number along a training or a group, in the order of the steps."""
    return facts.trajectory_of.get((series, task, pooling, metric, view), [])


def changed(facts: Facts, against: str, series: str, task: str, pooling: str, metric: str, view: str) -> list[Row]:
    """The paired differences of one kind, in the order of the steps."""
    return facts.changes_of.get((against, series, task, pooling, metric, view), [])


def cells_of(facts: Facts, series: str, metric: str, view: str) -> list[tuple[str, str]]:
    """(task, pooling) in which a training has two values of a number or more."""
    every = [(task, pooling) for task in facts.tasks for pooling in facts.poolings]
    return [cell for cell in every if len(points(facts, series, *cell, metric, view)) > 1]


def course(facts: Facts, series: str, metric: str, view: str, typical: tuple[str, str] | None = None) -> Course | None:
    """How one number moves along one training, in its first cell unless another is given; None where no cell has it."""
    cells = cells_of(facts, series, metric, view)
    if not cells:
        return None
    cells.sort(key=lambda each: each != typical)
    place = (series, *cells[0], metric, view)
    values = points(facts, *place)
    ends = [end for each in cells for end in changed(facts, "first", series, *each, metric, view)[-1:]]
    overall: list[Judgement] = [judgement(row) for row in ends]
    return Course(
        metric=metric,
        view=view,
        title=title(facts, metric, view) + (f", {series}" if len(facts.run.get("series", [])) > 1 else ""),
        series=series,
        task=cells[0][0],
        pooling=cells[0][1],
        span=_span(values),
        overall=overall[0] if overall else "none",
        diff=difference(ends[0]) if ends else "",
        stretches=tuple(stretches(changed(facts, "previous", *place))),
        settled=settled(changed(facts, "last", *place), _entry(facts, series)["steps"]),
        apart=next((row["step_b"] for row in changed(facts, "first", *place) if excludes_zero(row)), None),
        cells=len(cells),
        same=sum(each == overall[0] for each in overall) if overall else 0,
    )


def _span(values: Sequence[Row]) -> str:
    first, last = values[0], values[-1]
    places = decimals([first["value"], last["value"]], half_width(last))
    return f"{number(first['value'], places)} → {number(last['value'], places)}"


def difference(row: Row) -> str:
    """A paired difference with its interval."""
    places = decimals([row["diff"]], half_width(row))
    return f"{number(row['diff'], places, signed=True)} {interval(row['ci_low'], row['ci_high'], places)}".rstrip()


def anytime(row: Row) -> str:
    """The interval of a paired difference that holds at all steps together."""
    low, high = row["anytime_low"], row["anytime_high"]
    if low is None or high is None:
        return ""
    return interval(low, high, decimals([row["diff"]], (high - low) / 2))


def excludes_zero(row: Row) -> bool:
    """Whether a difference is other than 0 by the interval that holds at all steps together."""
    low, high = row["anytime_low"], row["anytime_high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def stretches(successive: Sequence[Row]) -> list[Stretch]:
    """Runs of successive differences with one direction; each begins and ends at a change point.

    None runs over a checkpoint without the number: there is no difference across it.
    """
    found: list[Stretch] = []
    for row in successive:
        start, end, code = row["step_a"], row["step_b"], judgement(row)
        if found and (found[-1].end, found[-1].judgement) == (start, code):
            found[-1] = replace(found[-1], end=end)
        elif code in VERBS:
            found.append(Stretch(start, end, code))
    return found


def settled(to_last: Sequence[Row], steps: Sequence[float]) -> float | None:
    """First step from which on every checkpoint is shown equal to the last; None where only the last itself is."""
    shown = {row["step_a"] for row in to_last if judgement(row) == "equivalent"}
    return min(takewhile(shown.__contains__, reversed(steps[:-1])), default=None)


def kept_phrase(facts: Facts, entry: KeptEntry) -> str:
    """Which checkpoint of a training the rule keeps, with the evidence of its first cell, as a sentence."""
    name, cells = entry["series"], entry["cells"]
    if entry["model"] is None:
        best = ", ".join(f"{cell['best']} on {cell['task']}" for cell in cells[:NAMED])
        return f"{name}: none is kept, for {entry['why']}{f' (best: {best})' if best else ''}."
    cell = cells[0]
    what = f"{title(facts, cell['metric'], cell['view'])} on {cell['task']}"
    places = decimals([cell["best_value"]])
    if cell["best"] == entry["model"]:
        against = f"the best in {what}: {number(cell['best_value'], places)}"
    else:
        row = {"diff": cell.get("diff"), "ci_low": cell.get("ci_low"), "ci_high": cell.get("ci_high")}
        against = f"the earliest not told apart from the best, {cell['best']}, in {what}: {difference(row)} to it"
    more = f", nor in {counted(len(cells) - 1, 'more cell')}" if len(cells) > 1 else ""
    every = len(_entry(facts, name)["models"])
    others = f"{cell['indistinguishable']} of {every} checkpoints cannot be told apart from the best"
    if all(each["indistinguishable"] == every for each in cells):
        others = f"none of the {every} checkpoints can be told apart from the best, so these rows decide little"
    return f"{name}: keep {entry['model']}, {against}{more}; {others}."


def _entry(facts: Facts, series: str) -> SeriesEntry:
    return next(entry for entry in facts.run["series"] if entry["name"] == series)


def sentence(facts: Facts, found: Sequence[Course]) -> str:
    """What is kept, and where the first number that moves changes."""
    entries = facts.run.get("kept", [])
    kept = [kept_phrase(facts, entry) for entry in entries]
    if len(entries) > 1:
        named = listed([entry["model"] or "none of " + entry["series"] for entry in entries], most=NAMED + 1)
        kept = [f"Keep {named}: each is {entries[0]['rule']}."]
    moving = next((each for each in found if each.stretches), None)
    moved = [f"{moving.phrase[:1].upper()}{moving.phrase[1:]} ({moving.task}, {moving.pooling})."] if moving else []
    return " ".join([*kept, *moved, *told_apart(found)]) or "No headline number was measured at two checkpoints."


def told_apart(found: Sequence[Course]) -> list[str]:
    """Which number is the first to be told apart from the first checkpoint, as a sentence; one at most."""
    known = [each for each in found if each.apart is not None]
    if not known:
        return []
    first = min(known, key=lambda each: each.apart or 0.0)
    what = f"{without_brackets(first.title.removesuffix(f', {first.series}'))} of {first.series}"
    where = f"step {count(first.apart)}, allowing for repeated looks"
    return [f"{what[:1].upper()}{what[1:]} is told apart from the first checkpoint at {where}."]


def limits(facts: Facts) -> str:
    """What the tests are about, and what is not claimed."""
    runs = facts.run.get("series", [])
    steps = listed([f"{entry['name']}: {counted(len(entry['models']), 'checkpoint')}" for entry in runs])
    return (
        f"{steps}. Differences are paired over the same rows; successive ones, those from the first and those to the "
        "last are each adjusted by Holm within a family of metrics over all steps, cells and views of a training. That "
        "is for one look at a finished training; “allowing for repeated looks” holds after every new checkpoint. No "
        "change shown is not no change. The results are about these trainings, not about their recipes."
    )
