"""The common checks of a metric: what its record declares is true. In the tests they run over the built-in ones.

Each check is a function of a subject that raises AssertionError; its first line says what is true. It returns False
where there is nothing to check, and is then not among those passed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from geomprobe.common import first_line
from geomprobe.inference.estimate import FUNCTION
from geomprobe.inference.influence import Workspace, estimate_of
from geomprobe.inference.jackknife import subset
from geomprobe.metrics import embeddings_of, value_row
from geomprobe.metrics.embeddings import Embeddings
from geomprobe.metrics.records import BOTH, ROTATION, ROW_SCALE, SCALE, SHIFT, STANDARD, Metric, Value
from geomprobe.metrics.transforms import transform
from geomprobe.results.record import WIDE
from geomprobe.vectors import VectorSource
from geomprobe.vectors.moments import Moments

TINY = 1e-7
"""What a value that crosses zero may change by in float32."""


def ordinary(n: int = 90, d: int = 15) -> np.ndarray:
    """Rows of unequal variances around a mean that is not zero, float64 of shape (n, d); not symmetric."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.4 + 0.4 * rng.normal(size=d)
    x[:, : d // 4] += 0.1 * x[:, : d // 4] ** 2
    return x


def moved(x: np.ndarray, invariance: str) -> np.ndarray:
    """Rows under one of the transformations that a metric may be invariant to."""
    rng = np.random.default_rng(3)
    d = x.shape[1]
    if invariance == ROTATION:
        return x @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    if invariance == SCALE:
        return 3.7 * x
    return x + 2 * rng.normal(size=d) if invariance == SHIFT else x * rng.uniform(0.2, 5, (len(x), 1))


class _InBlocks(VectorSource):
    """Rows that are read seven at a time."""

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        return super().blocks(7)


@dataclass
class Subject:
    """A metric under one of its definitions, and ordinary rows to measure it on."""

    metric: Metric
    definition: str = STANDARD
    x: np.ndarray = field(default_factory=ordinary)

    def embeddings(self, data: Any, order: np.ndarray | None = None) -> Embeddings:
        """Rows with labels and positives; these move along with an order of the rows."""
        n = data.n if isinstance(data, (Moments, VectorSource)) else len(data)
        labels, positives = np.arange(n) % 3, np.arange(n // 2 * 2).reshape(-1, 2)
        if order is not None:
            labels, positives = labels[order], np.argsort(order)[positives]
        return embeddings_of(data, labels, positives, influences=True)

    @property
    def view(self) -> str:
        """The raw view where the metric has it, else the first of its views."""
        return "raw" if "raw" in self.metric.views else self.metric.views[0]

    def row(self, data: Any, order: np.ndarray | None = None, view: str = "") -> dict[str, Any]:
        """Row of `measure`, in `view` unless another is named."""
        return value_row(self.metric, self.definition, transform(self.embeddings(data, order), view or self.view))

    def value(self, data: Any, order: np.ndarray | None = None) -> float:
        """Value, which there has to be."""
        row = self.row(data, order)
        assert row["status"] == "ok", f"no value on ordinary rows: {row['status']}, {row['note']}"
        return float(row["value"])

    def same(
        self, what: str, data: Any, rel: float, floor: float = 1e-12, of: Any = None, order: np.ndarray | None = None
    ) -> None:
        """Assert that data, in an order of the rows, have the value of the ordinary rows, or of other ones."""
        found, expected = self.value(data, order), self.value(self.x if of is None else of)
        assert abs(found - expected) <= max(rel * abs(expected), floor), f"{what}: {found!r}, not {expected!r}"


def texts(subject: Subject) -> None:
    """Name, family, formula, range, direction and source are there, and a note for each other definition."""
    metric = subject.metric
    said = {name: getattr(metric, name) for name in ("name", "family", "formula", "range", "direction", "source")}
    empty = [name for name, text in (said | metric.variant_notes).items() if not str(text).strip()]
    assert not empty, f"no text for {', '.join(empty)}"
    json.dumps(metric.entry(), allow_nan=False)


def finite(subject: Subject) -> None:
    """Ordinary rows have a finite value, of float64 or a whole number; twice the same, and nothing is written to.

    In the other views they have a value or a documented status.
    """
    x = subject.x.copy()
    subject.same("measured twice", x, 0, 0, of=x)
    assert np.array_equal(x, subject.x), "it writes to the rows"
    for view in subject.metric.views:
        has_status(f"in the view {view}", subject.row(x, view=view))
    embeddings = subject.embeddings(x)
    state = embeddings.state
    shared = [np.asarray(each) for each in (state.mean, state.scatter, embeddings.labels, embeddings.positives)]
    before = [each.copy() for each in shared]
    found = subject.metric.variants[subject.definition](transform(embeddings, subject.view))
    for was, now in zip(before, shared, strict=True):
        assert np.array_equal(was, now), "it writes to the moments, labels or positives"
    dtype = np.asarray(found.value if isinstance(found, Value) else found).dtype
    assert dtype == np.float64 or dtype.kind in "iu", f"the value is of type {dtype}, not float64"


def row_order(subject: Subject) -> None:
    """The order of the rows does not matter."""
    order = np.random.default_rng(2).permutation(len(subject.x))
    subject.same("in another order", subject.x[order], 1e-9, order=order)


def invariance(what: str, subject: Subject) -> bool:
    """A declared invariance holds in the raw view."""
    if declared := what in subject.metric.invariances:
        subject.same(f"under {what}", moved(subject.x, what), 1e-8)
    return declared


def number_formats(subject: Subject) -> None:
    """Rows of half and single precision, of numpy and torch, have the value of their numbers in float64."""
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        rounded = torch.from_numpy(subject.x).to(dtype)
        rel, floor = (1e-12, 1e-12) if dtype == torch.float64 else (1e-4, TINY)
        for rows in [rounded] if dtype == torch.bfloat16 else [rounded, rounded.numpy()]:
            subject.same(f"of {dtype}", rows, rel, floor, of=rounded.double().numpy())


def layout(subject: Subject) -> None:
    """Read-only arrays, other orders in memory, views into wider arrays and lists are the same rows."""
    read_only, wide = subject.x.copy(), np.repeat(subject.x, 2, axis=1)
    read_only.flags.writeable = False
    for rows in (read_only, np.asfortranarray(subject.x), wide[:, ::2], subject.x.tolist()):
        subject.same("in another layout", rows, 1e-9)


def has_status(what: str, row: dict[str, Any]) -> None:
    """Assert that a row has a value, or a documented status and the reason."""
    said = f"{what}: {row['note']}. Raise geomprobe.NotApplicable where there is no value"
    assert row["status"] in ("ok", "not applicable", "too few rows"), said
    assert np.isfinite(row["value"]) if row["status"] == "ok" else row["note"], (
        f"{what}: {row['status']} without a note"
    )


def magnitudes(subject: Subject) -> None:
    """Rows of 1e30 and 1e-30 times the size have a value or a documented status; the same value under scale."""
    for scale in (1e30, 1e-30):
        for dtype, rel in ((np.float64, 1e-9), (np.float32, 1e-4)):
            rows = (subject.x * scale).astype(dtype)
            row = subject.row(rows)
            has_status(f"rows times {scale:g}", row)
            if row["status"] == "ok" and SCALE in subject.metric.invariances:
                subject.same(f"rows times {scale:g}", rows, rel, TINY)


def degenerate_rows(subject: Subject) -> None:
    """Equal rows, zero rows, few rows, more dimensions than rows, one dimension: a value or a documented status."""
    rng = np.random.default_rng(5)
    rows = {"equal rows": np.tile(subject.x[0], (len(subject.x), 1)), "zero rows": np.zeros((20, 5))}
    rows |= {f"{n} rows of {d}": rng.normal(size=(n, d)) for n, d in ((2, 5), (3, 5), (12, 40), (40, 1), (6, 2))}
    for what, data in rows.items():
        has_status(what, subject.row(data))


def blocks(subject: Subject) -> None:
    """Rows that are read in small blocks have the same value."""
    subject.same("in blocks of 7 rows", _InBlocks(subject.x), 1e-9)


def merged_moments(subject: Subject) -> None:
    """Merged moments have the same value where that is all it needs; else the status is "needs rows"."""
    state = Moments().update(subject.x[:40]).merge(Moments().update(subject.x[40:]))
    status, needs = subject.row(state)["status"], subject.metric.needs
    expected = "ok" if needs == "moments" else "needs rows"
    assert status == expected, f"of moments alone: status {status!r}, not {expected!r}; its needs say {needs!r}"
    if needs == "moments":
        subject.same("of merged moments", state, 1e-8)


def stated_range(subject: Subject) -> None:
    """The value is in the declared range: "[0, 1]", "(0, ∞)", "{1, …, D}"; ends are numbers or formulas of N and D."""
    ends = re.fullmatch(r"[\[({](.+?),\s*(?:…,\s*)?(.+?)[\])}](?:[ ,].*)?", subject.metric.range)
    low, high = (_number(end, *subject.x.shape) for end in ends.groups()) if ends else (np.nan, np.nan)
    assert not (np.isnan(low) and np.isnan(high)), f"{subject.metric.range!r} cannot be read: write [0, 1] or (0, ∞)"
    value = subject.value(subject.x)
    outside = value < low - TINY or value > high + TINY
    assert not outside, f"{value!r} is outside {subject.metric.range}"


def _number(end: str, n: int, d: int) -> float:
    """End of a range; NaN where it is no number and no formula of N and D."""
    known = {"__builtins__": {}, "min": min, "max": max, "sqrt": np.sqrt, "inf": np.inf, "N": n, "D": d}
    text = end.replace("−", "-").replace("√", "sqrt").replace("∞", "inf")
    try:
        return float(eval(re.sub(r"(?<=\d)(?=[ND(])", "*", text), known))
    except Exception:
        return np.nan


def interval(subject: Subject) -> bool:
    """The standard error is finite, or it is said why there is none."""
    checked = False
    for view in set(subject.metric.views) & set(BOTH):
        embeddings = transform(subject.embeddings(subject.x), view)
        row = value_row(subject.metric, subject.definition, embeddings)
        if row["status"] == "ok":
            work = Workspace(embeddings, np.arange(embeddings.n))
            found = estimate_of(subject.metric, subject.definition, work, row["value"]).interval()
            assert not re.match(r"no valid interval: \w+Error: ", found.method), f"{view}: {found.method}"
            assert found.se is None or 0 <= found.se < np.inf, f"{view}: the standard error is {found.se}"
            checked = True
    return checked


def influence(subject: Subject) -> bool:
    """A derivative says how far each row moves the value: it agrees with leaving rows out, one after the other.

    Counts, which move by whole numbers, and metrics that rows left out move more than other rows would are passed over;
    of pairs that mean the same, a pair moves the value and not a row. The derivative of a quantile fails though it is
    right, for leaving out one row does not show how a quantile moves.
    """
    metric, x = subject.metric, ordinary(160, 20)
    if metric.integer or metric.left_out_overstates or metric.needs == "positives":
        return False
    checked = False
    raw, rows = subject.embeddings(x), np.arange(0, len(x), 8)
    given_in = {"raw"} if metric.influence else set()
    for view in (set(metric.default_views or metric.views[:1]) | given_in) & set(BOTH):
        embeddings = transform(raw, view)
        value = value_row(metric, subject.definition, embeddings)["value"]
        estimate = estimate_of(metric, subject.definition, Workspace(embeddings, np.arange(len(x))), value)
        if estimate.contributions is None or not estimate.method.startswith(FUNCTION):
            continue
        checked = True
        parts = [transform(subset(raw, np.arange(len(x)) != i), view) for i in rows]
        left = value - np.array([value_row(metric, subject.definition, part)["value"] for part in parts])
        given, expected = len(x) * estimate.contributions[rows], (len(x) - 1) * left
        given, expected = given - given.mean(), expected - expected.mean()
        if given.any() or expected.any():
            with np.errstate(divide="ignore", invalid="ignore"):  # where one side does not move at all
                agree = (given * expected).sum() / np.sqrt((given**2).sum() * (expected**2).sum())
                ratio = given.std() / expected.std()
            least, most = (0.8, 2.0) if estimate.method.endswith(WIDE) else (0.97, 1.25)
            said = f"{view}: influences and leaving rows out"
            assert agree > least, f"{said} correlate by {agree:.3f}, not at least {least}"
            assert 0.8 < ratio < most, f"{said} have sizes in the ratio {ratio:.2f}, not 0.8 to {most}"
    return checked


OF_ALL = (
    *(texts, finite, row_order, number_formats, layout, magnitudes),
    *(degenerate_rows, blocks, merged_moments, stated_range, interval),
)
CHECKS: dict[str, Callable[[Subject], bool | None]] = {check.__name__.replace("_", " "): check for check in OF_ALL}
OF_STANDARD = {what: partial(invariance, what) for what in (ROTATION, SCALE, SHIFT, ROW_SCALE)} | {
    "influence": influence
}
"""Checks of the standard definition alone: of what the record declares of it."""


def check_metric(metric: Metric) -> list[str]:
    """Check that a metric does what its record says.

    Parameters
    ----------
    metric : Metric
        Registered or not.

    Returns
    -------
    list of str
        Names of the checks that were run, each after the name of its definition: it passed them all. Those of what it
        does not declare are not run. The module `geomprobe.inference.checks` says what each asks for.

    Raises
    ------
    AssertionError
        It fails some; the message names each with the reason.
    RuntimeError
        Under ``python -O``.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> largest = gp.Metric(
    ...     name="largest_length", family="lengths", compute=lambda e: np.linalg.norm(e.vectors, axis=1).max(),
    ...     needs="rows", formula="max ‖x‖", range="[0, ∞)", direction="larger: a row lies far off",
    ...     invariances=("rotation", "shift"), source="this example",
    ... )
    >>> gp.check_metric(largest)
    Traceback (most recent call last):
        ...
    AssertionError: largest_length fails 1 of 13 checks:
    standard, shift: under shift: 12.822197112076148, not 4.235810747129645
    """
    if not __debug__:
        raise RuntimeError("python -O leaves assertions out, and with them all checks")
    passed, failed = [], []
    for definition in metric.variants:
        for name, check in (CHECKS | OF_STANDARD if definition == STANDARD else CHECKS).items():
            try:
                if check(Subject(metric, definition)) is not False:
                    passed.append(f"{definition}, {name}")
            except Exception as error:  # an assertion, or what the metric raised
                kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
                failed.append(f"{definition}, {name}: {kind}{first_line(error)}")
    if failed:
        total = len(passed) + len(failed)
        raise AssertionError("\n".join([f"{metric.name} fails {len(failed)} of {total} checks:", *failed]))
    return passed
