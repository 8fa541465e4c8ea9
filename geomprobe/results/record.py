"""The record of a number: what it is, and all that is decided by which number it is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from geomprobe.common import UsageError

WIDE = "standard error probably too large"
"""Label of an interval that covers more than it says, in the words of how it was made."""
FAMILIES = {
    "spectrum": "eigenvalues of the cloud: ranks, entropies, slopes",
    "hypersphere": "directions on the sphere: uniformity, alignment, distances of classes",
    "isotropy": "evenness over dimensions: cosines, coordinates, lengths, hubs",
    "dimension": "numbers of dimensions beyond the spectrum",
    "semantic": "labels and scores of the tasks, as far as vectors show them",
    "lexical": "wording, and meaning weighed against it: partial correlations, shares, triplets, balances",
    "similarity": "how alike two encoders or layers are",
    "pooling": "how well a trained pooling serves its task",
}
"""Families of geomprobe's own metrics, in printing order. p-values are adjusted within one."""

SCALES = ("absolute", "relative", "logit")
DOUBLING = 2 / 3
"""The difference of a number and its double, as a share of their mean."""


def own_units(scale: str, value: float) -> float:
    """What a small step of one on a scale is in the metric's own units at a value; 0 for odds outside 0 to 1."""
    if scale == "logit":
        return max(value * (1 - value), 0.0)
    return abs(value) if scale == "relative" else 1.0


@dataclass(frozen=True)
class Margin:
    """How small a difference of two values must be to be called none, the same whichever of them comes first.

    Attributes
    ----------
    size : float
    scale : {"absolute", "relative", "logit"}
        What `size` is measured in: the metric's own units, log ratios or log odds. Own units at the mean m of both
        values follow by the delta method, with the derivatives of log m and of the logit of m: size·|m| and
        size·m(1 − m). With it no ratio, and no odds ratio, beyond (2 + size)/(2 − size) is within the margin (proof in
        docs/reference/inference.md), so a size of DOUBLING or more is refused.
    whole : bool
        Whether values are whole numbers. The margin is then rounded up to one, which lets no further difference in.

    Raises
    ------
    UsageError
        The size is not positive, or a doubling would count as none; there is no such scale.

    Examples
    --------
    >>> import geomprobe as gp
    >>> gp.Margin(0.05, "relative").of(11.0, 13.0)  # 5 % of the mean of both
    0.6000000000000001
    """

    size: float
    scale: str = "absolute"
    whole: bool = False

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"A margin has no scale {self.scale!r}.", f"Take one of {', '.join(SCALES)}.")
        if not isinstance(self.size, int | float) or not 0 < self.size < float("inf"):
            raise UsageError(f"{self.size!r} is not the size of a margin: a positive number is needed.")
        if self.scale != "absolute" and self.size >= DOUBLING:
            raise UsageError(f"A {self.scale} margin of {self.size:g} is too wide: a doubling would count as none.")

    def of(self, a: float, b: float) -> float:
        """Margin of two values in the metric's own units; 0 for shares whose mean is outside 0 to 1."""
        size = self.size * own_units(self.scale, (a + b) / 2)
        return float(math.ceil(size)) if self.whole else size


RATIO, ODDS = Margin(0.05, "relative"), Margin(0.1, "logit")
"""Margins of what has a zero and no sign (5 % of the mean of both values), and of shares (odds within about 10 %)."""


def named_end(direction: str) -> Literal["higher", "lower"] | None:
    """Which values a direction speaks of first ("smaller: directions are spread more evenly"); None where of none.

    Models are ranked from this end, and of a task's score it is the better one.
    """
    ends: dict[str, Literal["higher", "lower"]] = {
        "higher": "higher", "larger": "higher", "lower": "lower", "smaller": "lower",
    }  # fmt: skip
    return ends.get(direction.partition(":")[0])


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a number is.

    Attributes
    ----------
    name, family : str
        p-values are adjusted within a family.
    formula, source : str
        In the notation of the definitions page; paper, year, equation.
    range : str
        Values it can take, in interval notation.
    direction : str
        What a larger value means.
    invariances : tuple of str, or str
        Transformations of the vectors that leave it unchanged.
    margin : Margin or None
        Of equivalence, declared beforehand; None where no equivalence is claimed.
    compared : bool
        Whether models are compared by it.
    reference : bool
        Whether it is what other values are read against, and no claim about a model.
    rank : bool
        Whether it counts the dimensions in use: of n rows of d numbers these are at most min(n − 1, d).
    order : int or None
        Place in tables; those without one follow by name.
    headline : tuple of int and str, or None
        Place among the few numbers that carry a report's argument, and the views in which it does (of a metric without
        these, any).
    phrases : tuple of two str, or None
        What is said of the encoder with the smaller, and with the larger value: "uses fewer directions".
    against : tuple of str and int, or None
        Part of the section on lexical against semantic (wording, meaning or crossed), and place in it.
    stage : str or None
        The stage of a cell it comes from, one of `geomprobe.results.STAGES`, where its family does not say so.
    probe, score : str or None
        The probe whose per-example scores it is computed from, and which of the scores of these it is.
    """

    name: str
    family: str
    formula: str
    range: str
    direction: str
    invariances: tuple[str, ...] | str
    source: str
    margin: Margin | None = None
    compared: bool = True
    reference: bool = False
    rank: bool = False
    order: int | None = None
    headline: tuple[int, tuple[str, ...]] | None = None
    phrases: tuple[str, str] | None = None
    against: tuple[str, int] | None = None
    stage: str | None = None
    probe: str | None = None
    score: str | None = None

    def entry(self) -> dict[str, Any]:
        """JSON-ready description that goes to definitions.json."""
        always = ("name", "family", "formula", "range", "direction", "invariances", "source")
        entry = {name: getattr(self, name) for name in always}
        if not isinstance(self.invariances, str):
            entry["invariances"] = list(self.invariances)
        optional = {
            "margin": self.margin and asdict(self.margin),
            "compared": None if self.compared else False,
            "reference": self.reference or None,
            "rank": self.rank or None,
            "order": self.order,
            "headline": self.headline and {"order": self.headline[0], "views": list(self.headline[1])},
            "phrases": self.phrases and list(self.phrases),
            "against": self.against and {"part": self.against[0], "order": self.against[1]},
            **{name: getattr(self, name) for name in ("stage", "probe", "score")},
        }
        return entry | {name: value for name, value in optional.items() if value is not None}
