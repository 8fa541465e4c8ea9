"""How many rows, and how many seeds, find a difference of a given size: a power analysis from a pilot's influences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import pandas as pd
from scipy import special

from geomprobe.inference import Estimate
from geomprobe.inference.estimate import JACKKNIFE, MIN_SEEDS
from geomprobe.inference.intervals import LEVEL, MIN_DEGREES, UNCLEAR, degrees, detectable, standard_error

CONFIDENCE = 0.8
"""Of the upper limit of a number of rows or seeds: the pilot's own standard error has an error."""
FEWEST = 200
"""Intervals are calibrated from so many rows on: no fewer are advised, but where the pilot itself has fewer."""
ENDLESS = 1e9
"""What a billion times the rows, or so many seeds, do not find, no number finds."""


def inflation(dof: float) -> float:
    """Upper limit of a variance in units of its estimate, by χ² with dof degrees of freedom."""
    return float(dof / special.chdtri(dof, CONFIDENCE))


@dataclass(frozen=True)
class Paired:
    """How the standard error of a paired difference falls with the rows.

    Attributes
    ----------
    found : Estimate
        The difference in the pilot; it has an interval.
    inflated : float
        Factor of the variance over rows.
    """

    found: Estimate
    inflated: float = 1.0

    def at(self, growth: float) -> tuple[float, float]:
        """Standard error and degrees of freedom at `growth` times the rows, in clusters of the same sizes.

        There are `growth` times as many contributions, each 1/growth as large, so their squares sum to 1/growth of
        what they do in the pilot. Variance not attributable to rows stays.
        """
        contributions = self.found.scaled
        assert contributions is not None
        spread = self.found.rule(contributions * np.sqrt(self.inflated / growth), self.found.unattributed_variance)
        assert spread is not None, "the degrees of freedom are those of the pilot, which has an interval"
        se, dof = spread
        return se, dof if JACKKNIFE in self.found.method else dof * growth  # shards are as many at any number of rows

    @property
    def least(self) -> float:
        """The growth below which there would be no interval."""
        return min(MIN_DEGREES / self.at(1.0)[1], 1.0)

    def upper(self) -> Paired:
        """The same at the upper limit of the variance."""
        return replace(self, inflated=inflation(self.at(1.0)[1]))


@dataclass(frozen=True)
class Grouped:
    """How the standard error of a difference of two groups falls with rows and seeds (see `Estimate.grouped`).

    Attributes
    ----------
    found : Estimate
        The difference in the pilot; it has an interval.
    groups : tuple of two float64 ndarrays
        Values of the seeds.
    inflated : tuple of two floats
        Factors of the variances over seeds and over rows.
    """

    found: Estimate
    groups: tuple[np.ndarray, np.ndarray]
    inflated: tuple[float, float] = (1.0, 1.0)

    def _seeds(self, seeds: float | None) -> list[tuple[float, float]]:
        """Variance of each group's mean and its degrees of freedom, with so many seeds in place of the pilot's."""
        counts = [len(values) if seeds is None else seeds for values in self.groups]
        pairs = zip(self.groups, counts, strict=True)
        return [(self.inflated[0] * float(values.var(ddof=1)) / k, k - 1) for values, k in pairs]

    def at(self, growth: float, seeds: float | None = None) -> tuple[float, float]:
        """Standard error and degrees of freedom at `growth` times the rows, with so many seeds a group."""
        rows = self.found.scaled
        assert rows is not None
        parts = self._seeds(seeds)
        if rows.any() and len(rows) > 1:
            parts.append((self.inflated[1] * standard_error(rows) ** 2 / growth, degrees(rows) * growth))
        variance = sum(v for v, _ in parts) + self.found.unattributed_variance
        estimated = sum(v**2 / max(f, 1.0) for v, f in parts)
        return float(np.sqrt(variance)), variance**2 / estimated if estimated else degrees(rows)

    @property
    def least(self) -> float:
        """The growth below which there would be no interval, whatever the seeds do."""
        return min(MIN_DEGREES / max(degrees(self.found.contributions), 1.0), 1.0)  # type: ignore[arg-type]

    def upper(self) -> Grouped:
        """The same at the upper limits of both variances."""
        seeds = self._seeds(None)
        estimated = sum(v**2 / f for v, f in seeds)
        dof = sum(v for v, _ in seeds) ** 2 / estimated if estimated else 1.0
        rows = self.found.contributions
        of_rows = inflation(degrees(rows)) if rows is not None and rows.any() else 1.0
        return replace(self, inflated=(inflation(dof), of_rows))


def level_of(tests: int) -> float:
    """Level of an interval that matches the first step of Holm's adjustment over so many tests."""
    return 1 - (1 - LEVEL) / tests


def smallest(enough: Callable[[float], bool], least: float) -> float | None:
    """The smallest number from `least` on that is enough, to 0.01 %; None where none below ENDLESS is."""
    if enough(least):
        return least
    low, high = least, 2 * least
    while not enough(high):
        low, high = high, 2 * high
        if high > ENDLESS:
            return None
    while high > low * (1 + 1e-4):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def rows_needed(pilot: Paired | Grouped, rows: int, difference: float, tests: int = 1) -> int | None:
    """Rows that find a difference with a power of 80 %; None where no number of rows does.

    The smallest n with (t_(1−α/2) + t_0.8)·SE(n) ≤ difference, whose degrees of freedom grow with n.

    Parameters
    ----------
    pilot : Paired or Grouped
    rows : int
        Of the pilot.
    difference : float
    tests : int
        Of the family: α is 5 % over `tests`, what Holm's adjustment asks of the smallest p-value.
    """
    level, least = level_of(tests), max(pilot.least, min(FEWEST / rows, 1.0))
    growth = smallest(lambda growth: detectable(*pilot.at(growth), level) <= difference, least)
    return None if growth is None else ceil(round(rows * growth, 6))


def seeds_needed(pilot: Grouped, difference: float, tests: int = 1, growth: float = 1.0) -> int | None:
    """Seeds a group, on `growth` times the pilot's rows, that find a difference with a power of 80 %; None if none."""
    level = level_of(tests)
    found = smallest(lambda seeds: detectable(*pilot.at(growth, seeds), level) <= difference, float(MIN_SEEDS))
    return None if found is None else ceil(round(found, 3))


def unpaired(one: Estimate, correlation: float) -> Estimate:
    """Difference of a model from another of the same spread whose influences have this correlation with its own.

    Var(B − A) = 2·(1 − ρ)·Var(A), if B moves as much with the rows as A does.
    """
    if (scaled := one.scaled) is None:
        return one
    contributions = scaled * np.sqrt(2 * (1 - correlation))
    return Estimate.paired(0.0, contributions, 2 * one.unattributed_variance, one.method)


def grouped(first: Sequence[Estimate], second: Sequence[Estimate]) -> tuple[Estimate, Grouped]:
    """Difference of two groups of seeds, and how its standard error falls."""
    found = Estimate.grouped(first, second)
    a, b = (np.array([one.value for one in group], float) for group in (first, second))
    return found, Grouped(found, (a, b))


def with_numbers_for_margin(frame: pd.DataFrame, pilot: Callable[[int], Paired | Grouped]) -> pd.DataFrame:
    """Comparison with the columns rows_for_margin and seeds_for_margin, filled where the data cannot tell.

    They are the rows, and the seeds a group, that would show a difference as large as the margin, adjusted over the
    family. The margin is declared beforehand. The observed difference is no size to plan by: its power is a function of
    its p-value alone.

    Parameters
    ----------
    frame : DataFrame
        Columns of `results.COMPARISON_COLUMNS`, with verdicts.
    pilot : callable
        From the place of a row in the frame to how its standard error falls.
    """
    tests = frame.groupby("family")["p"].transform("count")
    found: dict[str, list[int | None]] = {"rows_for_margin": [], "seeds_for_margin": []}
    for i, row in enumerate(frame.assign(tests=tests).to_dict("records")):
        rows = seeds = None
        if row["verdict"] == UNCLEAR and not pd.isna(row["se"]) and not pd.isna(row["margin"]) and row["margin"] > 0:
            falls, asked = pilot(i), (float(row["margin"]), int(row["tests"]))
            if falls.found.interval().se is not None:  # a probe's interval may come from its predictions alone
                rows = rows_needed(falls, int(row["n"]), *asked)
                seeds = seeds_needed(falls, *asked) if isinstance(falls, Grouped) else None
        found["rows_for_margin"].append(rows)
        found["seeds_for_margin"].append(seeds)
    return frame.assign(**{name: pd.array(values, "Int64") for name, values in found.items()})
