"""The record of a metric of embeddings, and what the files that hold such records share."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.spectrum_derivatives import OfSpectrum
from geomprobe.metrics.transforms import VIEWS
from geomprobe.metrics.undefined import NotApplicable
from geomprobe.results import STAGES
from geomprobe.results.record import Margin, Record

STANDARD = "standard"
ALL = tuple(VIEWS)
NEEDS = ("moments", "rows", "labels", "positives")
RAW = ("raw",)
BOTH = ("raw", "centred")
# after whitening all eigenvalues are equal, and the eigenvectors arbitrary
SPECTRAL = ("raw", "centred", "standardised", "all-but-top-k")
ROTATION, SCALE, SHIFT, ROW_SCALE = "rotation", "scale", "shift", "row scale"
"""Invariances: x → xR with R orthogonal; x → cx with c > 0; x → x + v; each row by its own positive factor.

Row order never matters and is not listed. They hold in the raw view."""
OF_SPREAD = (ROTATION, SCALE, SHIFT)
OF_DIRECTIONS = (ROTATION, SCALE, ROW_SCALE)


@dataclass(frozen=True)
class Value:
    """A metric's value with what a reader has to know of it.

    Attributes
    ----------
    value : float
    n : int or None
        Rows that it used, where these are not all.
    note : str or None

    Examples
    --------
    >>> import geomprobe as gp
    >>> gp.Value(0.5, n=98, note="2 rows left out")
    Value(value=0.5, n=98, note='2 rows left out')
    """

    value: float
    n: int | None = None
    note: str | None = None


Compute = Callable[[Embeddings], float | Value]
Influence = Callable[[Embeddings], np.ndarray]


class Statistic(NamedTuple):
    """The kind of function of the rows that a metric is, by which its influences are found.

    Attributes
    ----------
    kind : str
        One of those that `geomprobe.inference.influence.KINDS` linearises.
    parameter : float
        Of a mean distance the factor it is multiplied by, of a kernel its t, of a share how many coordinates lead.
    """

    kind: str
    parameter: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Metric(Record):
    """A metric and its contract.

    Attributes
    ----------
    compute : callable
        The standard definition, a function of embeddings.
    others : dict
        Other definitions under the same name, to be asked for as "name:definition" (what other packages print, and
        what papers did) -> its function of embeddings and what differs.
    needs : {"moments", "rows", "labels", "positives"}
        What it is computed from; all but moments read the rows.
    views : tuple of str
        Views in which it makes sense.
    default_views : tuple of str
        Views in which `measure` gives it unless asked otherwise; empty: only where it is asked for by name.
    influence : callable or None
        The derivative of the standard definition in the raw view, a function of embeddings: float64 of shape (n,). The
        value moves by influence[i]/n once row i counts a little more; of a mean over rows it is row i's term less the
        mean. Without one the interval comes from the jackknife.
    of_spectrum : OfSpectrum or None
        Of built-in metrics only: for the interval, where it is a function of eigenvalues.
    statistic : Statistic or None
        Of built-in metrics only: otherwise the kind of statistic that the standard definition is. With neither,
        intervals come from leaving rows out.
    integer : bool
        Whether it is a whole number, so that intervals allow for rounding.
    tail : {"lengths", "steady"} or None
        Under heavy tails of the rows' lengths: whether a few rows far off move it, or whether it varies less than its
        influences say, as counts and slopes of eigenvalues do. None: it does not depend on lengths.
    of_lengths : bool
        Whether it is a function of the lengths alone.
    of_neighbours : bool
        Whether it is a function of which rows are nearest.
    left_out_overstates : bool
        Whether rows left out move it more than other rows would: others get new neighbours, objects fewer dimensions.
    without_interval : str or None
        Why it never has one.

    Examples
    --------
    >>> import geomprobe as gp
    >>> trace = gp.Metric(
    ...     name="total_variance", family="variance", compute=lambda embeddings: embeddings.spectrum.values.sum(),
    ...     formula="tr Σ", range="[0, ∞)", direction="larger: vectors spread further",
    ...     invariances=("rotation", "shift"), source="this example",
    ... )
    >>> passed = gp.check_metric(trace)  # raises AssertionError where it does not do what its record says
    """

    compute: Compute = field(repr=False)
    others: dict[str, tuple[Compute, str]] = field(default_factory=dict, repr=False)
    needs: str = "moments"
    views: tuple[str, ...] = ALL
    default_views: tuple[str, ...] = RAW
    influence: Influence | None = field(default=None, repr=False)
    of_spectrum: OfSpectrum | None = None
    statistic: Statistic | None = None
    integer: bool = False
    tail: str | None = None
    of_lengths: bool = False
    of_neighbours: bool = False
    left_out_overstates: bool = False
    without_interval: str | None = None

    def __post_init__(self) -> None:
        for name, (right, kind) in self._fields().items():
            if not right:
                raise ValueError(f"{self.name}: {name} is {kind}, not {getattr(self, name)!r}")

    def _fields(self) -> dict[str, tuple[bool, str]]:
        """Whether each field is what it has to be, and what that is."""
        invariances = (ROTATION, SCALE, SHIFT, ROW_SCALE)
        texts = ("name", "family", "formula", "range", "direction", "source")
        switches = ("compared", "reference", "rank", "integer", "of_lengths", "of_neighbours", "left_out_overstates")
        raw = _some(self.views, ALL) and "raw" in self.views
        return {
            "views": (bool(self.views) and _some(self.views, ALL), f"a tuple of some of {', '.join(ALL)}"),
            **{name: (isinstance(getattr(self, name), str), "a text") for name in texts},
            **{name: (isinstance(getattr(self, name), bool), "True or False") for name in switches},
            **{
                name: (isinstance(getattr(self, name), str | None), "a text or None")
                for name in ("without_interval", "probe", "score")
            },
            "compute": (callable(self.compute), "a function of embeddings"),
            "influence": (
                self.influence is None or (raw and callable(self.influence)),
                "a function of embeddings in the raw view, which is among its views, or None",
            ),
            "others": (
                isinstance(self.others, dict)
                and all(isinstance(name, str) for name in self.others)
                and all(_of(other, Callable, str) for other in self.others.values()),
                "a dict of name: (function of embeddings, what differs)",
            ),
            "needs": (self.needs in NEEDS, f"one of {', '.join(NEEDS)}"),
            "default_views": (_some(self.default_views, self.views), "a tuple of some of its views"),
            "invariances": (
                _some(self.invariances, invariances if raw else ()),
                f"a tuple of some of {', '.join(invariances)}, empty without the raw view, in which they hold",
            ),
            "margin": (isinstance(self.margin, Margin | None), "a geomprobe.Margin or None"),
            "order": (isinstance(self.order, int | None), "a whole number or None"),
            "headline": (
                self.headline is None or (_of(self.headline, int, tuple) and _some(self.headline[1], ("", *ALL))),
                "(whole number, tuple of views) or None",
            ),
            "phrases": (self.phrases is None or _of(self.phrases, str, str), "(text, text) or None"),
            "against": (self.against is None or _of(self.against, str, int), "(text, whole number) or None"),
            "stage": (self.stage in (None, *STAGES), f"one of {', '.join(STAGES)}, or None"),
            "tail": (self.tail in (None, "lengths", "steady"), "lengths, steady or None"),
        }

    @property
    def variants(self) -> dict[str, Compute]:
        """Definition name -> function of embeddings."""
        return {STANDARD: self.compute} | {name: compute for name, (compute, _) in self.others.items()}

    def value(self, embeddings: Embeddings, definition: str = STANDARD) -> Value:
        """Its value by one of its definitions, where it makes sense for these embeddings."""
        if embeddings.name not in self.views:
            raise NotApplicable(f"{self.name} makes no sense in the view {embeddings.name}")
        if self.needs in ("labels", "positives"):
            if getattr(embeddings, self.needs) is None:
                raise NotApplicable(f"no {self.needs} were given")
            _ = embeddings.source
        found = self.variants[definition](embeddings)
        found = found if isinstance(found, Value) else Value(found)
        if isinstance(found.value, complex | np.complexfloating):  # numpy drops the imaginary part
            raise TypeError(f"the value is complex: {found.value}")
        n = None if found.n is None else operator.index(found.n)
        return Value(float(found.value), n, None if found.note is None else str(found.note))

    @property
    def variant_notes(self) -> dict[str, str]:
        """Definition name -> what differs, for definitions other than the standard one."""
        return {name: note for name, (_, note) in self.others.items()}

    @property
    def of_directions(self) -> bool:
        """Whether it is a function of the directions alone: what no change of the rows' lengths moves."""
        return ROW_SCALE in self.invariances

    def entry(self) -> dict[str, Any]:
        """JSON-ready description that goes to definitions.json."""
        return super().entry() | {
            "needs": self.needs,
            "views": list(self.views),
            "definitions": {STANDARD: self.formula} | self.variant_notes,
        }


def _some(values: Any, known: tuple[str, ...]) -> bool:
    """Whether it is a tuple of known names."""
    return isinstance(values, tuple) and all(isinstance(value, str) and value in known for value in values)


def _of(values: Any, *kinds: Any) -> bool:
    """Whether it is a tuple of one value of each kind."""
    return isinstance(values, tuple) and len(values) == len(kinds) and all(map(isinstance, values, kinds))


def of_directions(embeddings: Embeddings, value: float, note: str | None = None) -> Value:
    """Value of a metric that used the rows that have a direction, with a note of those left out."""
    n = embeddings.direction_sums[0]
    gone = embeddings.n - n
    left_out = f"{gone} row{'s' if gone > 1 else ''} without a direction left out" if gone else None
    return Value(value, n, joined(note, left_out))


def joined(*notes: str | None) -> str | None:
    """Several notes as one."""
    return "; ".join(note for note in notes if note) or None
