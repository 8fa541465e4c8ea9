"""Many models under one headline number: which come first, which of these are not told apart, which are behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from geomprobe.common.text import decimals, listed, number, words
from geomprobe.results.record import named_end
from geomprobe.results.summary.facts import Facts, Row, half_width
from geomprobe.results.summary.words import title, without_brackets

NAMED = 3
"""Models behind the first that a sentence names; more are counted."""


@dataclass(frozen=True)
class Ranking:
    """The order of the models under one headline number, over the cells of the deepest layer.

    Attributes
    ----------
    metric, view, title : str
        The title is the name in words.
    says : str
        What is said of a model that is ahead of another, such as "uses more directions".
    models : list of str
        All models, by their mean rank over the cells.
    first : list of str
        The first of the tested models, and those that are not told apart from it.
    behind : list of str
        The others: told apart from the first and behind it in half of the cells or more, and ahead of it in none.
    untested : list of str
        Those without a valid interval in any cell, where others were tested.
    together, separate : bool
        No two of the first are told apart; each of the first is told apart from each one behind.
    cells, least : int
        How many cells there are, and in how many of them at least these differences hold.
    tested : bool
        Whether pairs of models were tested.
    task, pooling : str
        Of the cell that `values` are from: the first with the number.
    values : dict of str to str
        Model -> its value there.
    """

    metric: str
    view: str
    title: str
    says: str
    models: list[str]
    first: list[str]
    behind: list[str]
    untested: list[str]
    together: bool
    separate: bool
    cells: int
    least: int
    tested: bool
    task: str
    pooling: str
    values: dict[str, str]

    @property
    def name(self) -> str:
        """The title for the inside of a sentence."""
        return without_brackets(self.title)

    @property
    def where(self) -> str:
        """In how many cells the differences hold."""
        if self.cells == 1 or not self.behind:
            return ""
        every = self.least == self.cells
        return f"in all {self.cells} cells" if every else f"in at least {self.least} of {self.cells} cells"

    @property
    def span(self) -> str:
        """The values of the first and of the last model in one cell, which is named."""
        known = [self.values[name] for name in self.models if name in self.values]
        return f"{known[0]} … {known[-1]} ({self.task})"

    @property
    def order(self) -> str:
        """The models with their values, those behind the first after a bar, then those that were not tested."""
        told = {name: f"{name} {self.values.get(name, '')}".strip() for name in self.models}
        parts = [", ".join(told[name] for name in part) for part in (self.first, self.behind) if part]
        parts += [f"not tested: {', '.join(told[name] for name in self.untested)}"] if self.untested else []
        return " | ".join(parts)

    @property
    def phrase(self) -> str:
        """What is shown of the models, as part of a sentence."""
        return self._shown + (f"; {listed(self.untested)} could not be tested" if self.untested else "")

    @property
    def _shown(self) -> str:
        first, *others = self.first
        if not self.tested:
            return f"By {self.name}, {first} comes first; no pair of models was tested"
        if not self.behind:
            said = "cannot be told apart" if self.together else f"cannot be told apart from {first}"
            return f"{listed(self.first if self.together else others)} {said} by {self.name}"
        named = listed(self.behind) if len(self.behind) <= NAMED else f"the other {len(self.behind)} models"
        claim = f"{self.says} ({self.name}) than {named} {self.where}".rstrip()
        if not others:
            return f"{first} {claim}"
        if self.together and self.separate:
            return f"{listed(self.first)} cannot be told apart; each {claim}"
        return f"{first} {claim}; {listed(others)} cannot be told apart from it"


def rankings(facts: Facts) -> list[Ranking]:
    """The order of the models under each headline number that two of them have; what is clearest stands first.

    First what tells models apart, the same in all views of a metric; then what does so in some; then the others.
    """
    found = [each for metric, view in facts.headline if (each := ranking(facts, metric, view))]
    return sorted(found, key=lambda each: (not each.tested, not each.behind, mixed(each, found)))


def mixed(each: Ranking, among: Sequence[Ranking]) -> bool:
    """Whether other models come first in another view of the metric."""
    return any({*other.first} != {*each.first} for other in among if other.metric == each.metric)


def ranking(facts: Facts, metric: str, view: str) -> Ranking | None:
    """The order of the models under one number; None where no cell has it of two models."""
    cells = {(t, p): facts.ranked(t, p, metric, view) for t in facts.tasks for p in facts.poolings}
    cells = {place: rows for place, rows in cells.items() if len(rows) > 1}
    if not cells:
        return None
    ranks: dict[str, list[int]] = {}
    for row in (row for rows in cells.values() for row in rows):
        ranks.setdefault(row["model"], []).append(row["rank"])
    models = sorted(ranks, key=lambda name: mean(ranks[name]))
    with_letters = {row["model"] for rows in cells.values() for row in rows if row["letters"]}
    tried = [name for name in models if name in with_letters] or models
    found = {(a, b): ahead(a, b, list(cells.values())) for a in tried for b in tried if a != b}
    behind = [name for name in tried[1:] if found[tried[0], name]]
    first = [name for name in tried if name not in behind]
    claimed = [(a, b) for a in first for b in behind if found[a, b]]
    (task, pooling), typical = next(iter(cells.items()))
    places = decimals([row["value"] for row in typical], next(filter(None, map(half_width, typical)), None))
    end = named_end(facts.entry(metric).get("direction", ""))
    plain = [f"has {way} {words(metric)}" for way in ("lower", "higher")]
    phrases = facts.entry(metric).get("phrases", plain)
    return Ranking(
        metric=metric,
        view=view,
        title=title(facts, metric, view),
        says=(phrases if len(phrases) == len(plain) else plain)[end != "lower"],
        models=models,
        first=first,
        behind=behind,
        untested=[name for name in models if name not in tried],
        together=not any(found[a, b] for a in first for b in first if a != b),
        separate=len(claimed) == len(first) * len(behind),
        cells=len(cells),
        least=min((found[pair] for pair in claimed), default=0),
        tested=bool(with_letters),
        task=task,
        pooling=pooling,
        values={row["model"]: number(row["value"], places) for row in typical},
    )


def ahead(a: str, b: str, cells: Sequence[Sequence[Row]]) -> int:
    """In how many cells a is told apart from b and ahead of it; 0 where that is less than half, or where b once is."""
    shared, before, after = 0, 0, 0
    for rows in cells:
        found = {row["model"]: row for row in rows if row["model"] in (a, b) and row["letters"]}
        if len(found) == 2:
            apart = not {*found[a]["letters"]} & {*found[b]["letters"]}
            shared += 1
            before += apart and found[a]["rank"] < found[b]["rank"]
            after += apart and found[a]["rank"] > found[b]["rank"]
    return 0 if after or 2 * before < shared else before
