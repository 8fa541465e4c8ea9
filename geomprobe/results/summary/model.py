"""The summary: what differs, what is shown equal, what cannot be told, and what to beware of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from geomprobe.common.text import decimals, interval, number, roughly
from geomprobe.results.summary.facts import Judgement, Kind
from geomprobe.results.summary.findings.rules import Finding
from geomprobe.results.summary.ranking import Ranking
from geomprobe.results.summary.series import Course
from geomprobe.results.summary.words import without_brackets

SHORT: dict[Judgement, str] = {
    "higher": "higher",
    "lower": "lower",
    "equivalent": "equal",
    "unclear": "unclear",
    "none": "no interval",
}
"""A judgement of a cell in one or two words."""


def in_all(total: int) -> str:
    """That something holds in all cells; empty for a single one."""
    return "" if total == 1 else "in both cells" if total == 2 else f"in all {total} cells"


class Cell(NamedTuple):
    """A number, or a difference, of one task under one pooling at the deepest layer.

    `margin` is the largest negligible difference, `detectable` the smallest that would have been found in 80 of 100
    samples of so many rows; None where there is none. Where the data cannot tell, `rows_needed` and `seeds_needed` (a
    group) would show a difference as large as the margin.
    """

    task: str
    pooling: str
    value: float
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    detectable: float | None = None
    judgement: Judgement = "none"
    rows_needed: int | None = None
    seeds_needed: int | None = None

    def text(self, signed: bool) -> str:
        """Value with its interval: "−0.395 ± 0.012" where it is symmetric, else "0.91 [0.80, 0.95]"."""
        if self.low is None or self.high is None:
            return number(self.value, signed=signed)
        half = (self.high - self.low) / 2
        if not half:
            return f"{number(self.value, signed=signed)} ± 0"
        places = decimals([self.value], half)
        even = abs((self.high + self.low) / 2 - self.value) < 0.05 * half
        shown = f"± {number(half, places)}" if even else interval(self.low, self.high, places)
        return f"{number(self.value, places, signed=signed)} {shown}"


@dataclass(frozen=True)
class Statement:
    """What one headline metric says of a pair, over all cells, or of one model.

    Attributes
    ----------
    metric, view, title : str
        The title is the name in words.
    judgement : str
        Of B against A over the cells: higher or lower where half of the cells are and none is the other; mixed where
        both occur; equivalent where most are shown to be; unclear else; none where no cell has an interval.
    says : str
        What is said of B, such as "spreads its embeddings more evenly"; of a single model nothing.
    counts : dict
        Judgement -> number of cells, for a comparison.
    cells : tuple of Cell
    typical : Cell
        The cell of the median value: of those with the judgement, where these have the word.
    only_mean : bool
        The difference disappears or reverses once the mean vector is removed.
    beats_control : bool
        False of a difference of two accuracies neither of which beats the most frequent class.
    """

    metric: str
    view: str
    title: str
    judgement: Judgement
    says: str
    counts: dict[Judgement, int]
    cells: tuple[Cell, ...]
    typical: Cell
    only_mean: bool = False
    beats_control: bool = True

    @property
    def size(self) -> float:
        """Typical difference in units of its margin, else of half its interval; 0 where it has neither."""
        cell = self.typical
        unit = cell.margin or (None if cell.low is None or cell.high is None else (cell.high - cell.low) / 2)
        return abs(cell.value) / unit if unit else 0.0

    @property
    def share(self) -> float:
        """Share of the cells in which the judgement holds."""
        return self.counts.get(self.judgement, 0) / len(self.cells)

    @property
    def name(self) -> str:
        """The title for the inside of a sentence."""
        return without_brackets(self.title)

    @property
    def where(self) -> str:
        """In how many cells the judgement holds, and the others; of a single model the typical cell and the range."""
        total = len(self.cells)
        if not self.counts:
            values = [cell.value for cell in self.cells]
            places = decimals([max(values, key=abs)])
            over = f"; {number(min(values), places)} to {number(max(values), places)} {in_all(total)}"
            return f"{self.typical.task}, {self.typical.pooling}{over if total > 1 else ''}"
        if total == 1:
            return ""
        if len(self.counts) == 1:
            return in_all(total)
        others = sorted((-n, code) for code, n in self.counts.items() if code != self.judgement)
        rest = ", ".join(f"{SHORT[code]} in {-n}" for n, code in others)
        if self.judgement not in self.counts:
            return f"{rest} of {total} cells"
        return f"in {self.counts[self.judgement]} of {total} cells; {rest}"

    @property
    def needed(self) -> str:
        """Rows, or seeds, that would show a difference as large as the margin in the cell that needs most of them."""
        rows = max((cell.rows_needed for cell in self.cells if cell.rows_needed), default=None)
        seeds = max((cell.seeds_needed for cell in self.cells if cell.seeds_needed), default=None)
        parts = [f"{roughly(rows)} rows" if rows else "", f"{seeds:,} seeds a group" if seeds else ""]
        found = " or ".join(filter(None, parts))
        return f"the margin from about {found}" if found and self.judgement == "unclear" else ""

    @property
    def seen(self) -> str:
        """What the typical cell could show: the margin of an equivalence, else the smallest difference found."""
        cell = self.typical
        if self.judgement == "equivalent" and cell.margin is not None:
            return f"within ±{number(cell.margin, decimals([cell.margin], cell.margin))}"
        if self.judgement == "unclear" and cell.detectable is not None:
            found = f"detectable from {number(cell.detectable, decimals([cell.detectable], cell.detectable))}"
            return "; ".join(filter(None, (found, self.needed)))
        return "no interval, so no verdict" if self.judgement == "none" and self.counts else ""


@dataclass(frozen=True)
class Summary:
    """The answer: one sentence, three lists, and what to beware of.

    Attributes
    ----------
    kind : {"pair", "groups", "single", "many", "series"}
    code : {"difference", "no difference", "no verdict", "description", "ranking", "series"}
    sides : tuple of str
        A and B of a comparison, whose differences are B − A; else the models.
    sentence : str
        Chosen by fixed rules (see `geomprobe.results.summary.summarise`).
    differs, equal, cannot_tell : list of Statement
        Headline metrics; the strongest difference first.
    values : list of Statement
        Headline numbers of a single model; empty for a comparison.
    rankings : list of Ranking
        The order of many models under each headline number; the one that the sentence is about first.
    courses : list of Course
        How each headline number moves along each training of a series.
    beware : list of Finding
        What changes what may be claimed.
    scope, limits : str
        What was compared, and what is not claimed.
    """

    kind: Kind
    code: Literal["difference", "no difference", "no verdict", "description", "ranking", "series"]
    sides: tuple[str, ...]
    sentence: str
    scope: str
    limits: str
    differs: list[Statement] = field(default_factory=list)
    equal: list[Statement] = field(default_factory=list)
    cannot_tell: list[Statement] = field(default_factory=list)
    values: list[Statement] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    courses: list[Course] = field(default_factory=list)
    beware: list[Finding] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        found = asdict(self)
        for name in ("differs", "equal", "cannot_tell", "values"):
            found[name] = [
                {**asdict(each), "cells": [c._asdict() for c in each.cells], "typical": each.typical._asdict()}
                for each in getattr(self, name)
            ]
        return found
