"""The record of a number: what it is, and all that is decided by which number it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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


@dataclass(frozen=True)
class Margin:
    """How small a difference must be to be called none.

    Attributes
    ----------
    size : float
    relative : bool
        Whether `size` is a share of the value of A.
    least : float
        What a relative margin is at least, in the metric's own units.

    Examples
    --------
    >>> import geomprobe as gp
    >>> gp.Margin(0.05, relative=True).of(12.0)  # 5 % of the value
    0.6000000000000001
    """

    size: float
    relative: bool = False
    least: float = 0.0

    def of(self, value: float) -> float:
        """Margin in the metric's own units, for the value of A."""
        return max(self.size * abs(value), self.least) if self.relative else self.size


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
            "order": self.order,
            "headline": self.headline and {"order": self.headline[0], "views": list(self.headline[1])},
            "phrases": self.phrases and list(self.phrases),
            "against": self.against and {"part": self.against[0], "order": self.against[1]},
            **{name: getattr(self, name) for name in ("stage", "probe", "score")},
        }
        return entry | {name: value for name, value in optional.items() if value is not None}
