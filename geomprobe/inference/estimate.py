"""A number with what its interval needs: the contributions of clusters, other variance, the rule for its spread.

Every t interval of the package is built here, in `student`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from geomprobe.inference.intervals import LEVEL, MIN_DEGREES, degrees, p_two_sided, standard_error, t_quantile
from geomprobe.inference.probe_tests import Discordant
from geomprobe.results.record import WIDE

FUNCTION = "influence function"
JACKKNIFE = "delete-a-shard jackknife"
ROUNDING = 0.25
"""Most variance that rounding the crossing up to a whole rank adds: it falls on either of two ranks equally often."""
CONSERVATIVE = 0.2
"""Share of a squared standard error that is second-order, and so counted twice, from which the interval covers too
much: 2Φ(1.96/√(1 − share)) − 1, 97.2 % at a fifth."""
PAIRED = 1 / 3
"""Ratio of what pairs of units do to Σ c² from which an interval covers 97 % and more though that is made good: in the
samples in which pairs do most, Σ c² is a poor guide to what single units do."""
RESOLUTION = 1e-9
"""Share of a value below which a difference is rounding: of one cloud in other units, say."""
MIN_SEEDS = 3

Rule = Callable[[np.ndarray, float], tuple[float, float] | None]
"""From contributions (g,) and unattributed variance to the standard error and its degrees of freedom.

None where a few contributions decide the standard error.
"""


def pair_ratio(contributions: np.ndarray, together: np.ndarray | None) -> float:
    """Mean square of what pairs of units do together, over Σ c²; 0 where it is not known."""
    size = float((contributions**2).sum())
    return float((together**2).mean()) / size if together is not None and len(together) and size else 0.0


def variance_share(contributions: np.ndarray, together: np.ndarray | None, pairs_only: bool = False) -> float:
    """Variance over Σ c², which counts the terms of several units once for each of them.

    Σ c² is Σ_k k·σ_k², σ_k² the variance of the terms of k units each, and the mean square of what pairs of units do
    together is Σ_k k(k − 1)/2·σ_k² (Efron & Stein 1981, "The jackknife estimate of variance", Annals of Statistics 9).
    With ρ the ratio of the two, the variance is

    - for means over pairs, which have no terms above these, 1 − ρ of Σ c², and no less than ρ, the second-order term;
    - else 1/(1 + ρ), which is right where the σ_k² fall off geometrically; no less than ρ again, and 1 where ρ is
      above it: there terms of high order, which count most in ρ, hide the second.
    """
    ratio = pair_ratio(contributions, together)
    return max(1 - ratio, ratio) if pairs_only else max(1 / (1 + ratio), min(ratio, 1.0))


class NoInterval(Exception):
    """A number has no valid interval; the message is the reason."""


def by_rows(contributions: np.ndarray, unattributed: float) -> tuple[float, float] | None:
    """Rule for one number: Satterthwaite's degrees of freedom (see `intervals.degrees`)."""
    dof = degrees(contributions)
    return None if dof < MIN_DEGREES else (standard_error(contributions, unattributed), dof)


def by_pairs(contributions: np.ndarray, unattributed: float) -> tuple[float, float] | None:
    """Rule for a paired difference: degrees of freedom as for one number."""
    dof = degrees(contributions)
    if dof < MIN_DEGREES:
        return None
    se = standard_error(contributions)
    if unattributed == 2 * ROUNDING:
        # nearly equal clouds are rounded to the same rank unless a step falls between their crossings. The chance is
        # the distance of these in ranks, about as far as one row moves it, √g·se, or less. The variance is that of a
        # normal variable which is a rank or more from 0 as rarely.
        chance = min(np.sqrt(len(contributions)) * se, 0.5)
        unattributed = min(unattributed, float(special.ndtri(chance / 2)) ** -2)
    return float(np.sqrt(se**2 + unattributed)), dof


def by_count(contributions: np.ndarray, unattributed: float) -> tuple[float, float]:
    """Rule for clusters, groups or families that weigh about the same: one degree of freedom less than there are."""
    return standard_error(contributions, unattributed), len(contributions) - 1


def certain(contributions: np.ndarray, unattributed: float) -> tuple[float, float]:
    """Rule for what cannot vary: no row moves it."""
    return 0.0, len(contributions) - 1.0


def by_seeds(first: np.ndarray, second: np.ndarray) -> Rule:
    """Rule for the difference of the means of two groups of seeds with these values, (k_A,) and (k_B,).

    SE² = s_A²/k_A + s_B²/k_B + the variance over rows + unattributed variance, which is known and not estimated;
    Satterthwaite's degrees of freedom of the sum.
    """
    seeds = [(float(values.var(ddof=1)) / len(values), len(values) - 1.0) for values in (first, second)]

    def rule(rows: np.ndarray, unattributed: float) -> tuple[float, float] | None:
        of_rows = standard_error(rows) ** 2 if rows.any() and len(rows) > 1 else 0.0
        parts = [*seeds, (of_rows, degrees(rows))]
        variance = sum(v for v, _ in parts)
        if rows.any() and degrees(rows) < MIN_DEGREES and of_rows > variance / 2:
            return None
        estimated = sum(v**2 / max(f, 1.0) for v, f in parts)
        variance += unattributed
        return float(np.sqrt(variance)), variance**2 / estimated if estimated else degrees(rows)

    return rule


@dataclass(frozen=True)
class Interval:
    """A number with its standard error and what follows from it.

    Attributes
    ----------
    value : float
    se, low, high : float or None
        None where there is no valid interval.
    dof : float
        Degrees of freedom of the t distribution.
    p : float or None
        p-value of "the value is 0".
    method : str
        How it was made; starts with "no valid interval" where it was not.
    discordant : Discordant or None
        Counts of the rows that distinguish two classifiers; where they are few, there is no standard error.
    """

    value: float
    se: float | None
    low: float | None
    high: float | None
    dof: float
    p: float | None
    method: str
    discordant: Discordant | None = None

    def to_row(self) -> dict[str, Any]:
        """Columns of results: se, ci_low, ci_high, ci_method."""
        return {"se": self.se, "ci_low": self.low, "ci_high": self.high, "ci_method": self.method}


def student(value: float, se: float, dof: float, method: str, level: float = LEVEL) -> Interval:
    """Interval of a value by Student's t."""
    half = t_quantile((1 + level) / 2, dof) * se if se else 0.0
    return Interval(value, se, value - half, value + half, dof, p_two_sided(value, se, dof), method)


@dataclass(frozen=True)
class Estimate:
    """A number with what its interval and its difference from others need.

    Attributes
    ----------
    value : float
    contributions : float64 ndarray of shape (g,) or None
        How much each cluster of rows moves the value, Σ 0; None where there is no valid interval.
    unattributed_variance : float
        Variance not attributable to rows: rounding to whole ranks, sampling of pairs.
    rule : Rule
        Degrees of freedom and standard error from both.
    method : str
        How the contributions were found; why there are none, starting with "no valid interval".
    together : float64 ndarray of shape (m,) or None
        What seeded pairs of clusters add to their contributions, with a mean square that is the variance of all pairs'
        terms, which the contributions count twice; None where it is not known, and not made good.
    pairs_only : bool
        Whether there are no terms above those of pairs: a mean over pairs.
    """

    value: float
    contributions: np.ndarray | None
    unattributed_variance: float = 0.0
    rule: Rule = by_rows
    method: str = FUNCTION
    together: np.ndarray | None = None
    pairs_only: bool = False

    @classmethod
    def refused(cls, value: float, reason: object) -> Estimate:
        """A number without a valid interval."""
        return cls(value, None, method=f"no valid interval: {reason}")

    @classmethod
    def of_rows(
        cls,
        value: float,
        rows: np.ndarray,
        clusters: np.ndarray,
        *,
        unattributed_variance: float = 0.0,
        second_order: float = 0.0,
        method: str = FUNCTION,
        together: np.ndarray | None = None,
        pairs_only: bool = False,
    ) -> Estimate:
        """A number from the influences of rows, summed into clusters.

        Parameters
        ----------
        rows : float64 ndarray of shape (n,)
            The value moves by rows[i]/n where row i counts a little more; the sum over rows is zero.
        clusters : int64 ndarray of shape (n,)
            Cluster numbers from 0.
        second_order : float
            Estimated variance of the second-order term, which the influences alone overstate, and which is not made
            good: the interval is labelled.
        together, pairs_only
            As of the attributes: what makes it good.
        """
        contributions = np.bincount(clusters, rows, minlength=int(clusters.max()) + 1) / len(rows)
        return cls.of_clusters(
            value, contributions, len(rows), unattributed_variance, second_order, method, together, pairs_only
        )

    @classmethod
    def of_clusters(
        cls,
        value: float,
        contributions: np.ndarray,
        n: int,
        unattributed_variance: float = 0.0,
        second_order: float = 0.0,
        method: str = FUNCTION,
        together: np.ndarray | None = None,
        pairs_only: bool = False,
    ) -> Estimate:
        """A number from the contributions of clusters of n rows."""
        if len(contributions) < n:
            method += f", {len(contributions)} clusters"
        if len(contributions) > 1:
            first_order = standard_error(contributions, unattributed_variance) ** 2 - unattributed_variance
            rounded = unattributed_variance == ROUNDING and first_order < 2 * unattributed_variance
            paired = pair_ratio(contributions, together) > PAIRED
            if paired or rounded or 0 < first_order < second_order / CONSERVATIVE:
                method += f", {WIDE}"
        return cls(value, contributions, unattributed_variance, method=method, together=together, pairs_only=pairs_only)

    @classmethod
    def paired(
        cls,
        value: float,
        contributions: np.ndarray,
        unattributed_variance: float,
        method: str,
        together: np.ndarray | None = None,
        pairs_only: bool = False,
    ) -> Estimate:
        """A paired difference from the differences of contributions."""
        if contributions.any():
            return cls(value, contributions, unattributed_variance, by_pairs, f"paired {method}", together, pairs_only)
        return cls(value, contributions, 0.0, certain if value == 0 else by_pairs, f"paired {method}")

    @classmethod
    def grouped(cls, first: Sequence[Estimate], second: Sequence[Estimate]) -> Estimate:
        """Difference of the means of two groups of seeds, second less first, over seeds and rows.

        Seeds may share unattributed variance (as they do the rounding of a rank that all of them have), so it counts
        once a group and is not divided by the number of seeds.
        """
        values = [np.array([one.value for one in group], float) for group in (first, second)]
        value = float(values[1].mean() - values[0].mean())
        if min(len(first), len(second)) < MIN_SEEDS:
            return cls.refused(value, f"a group has fewer than {MIN_SEEDS} seeds")
        known = [[one.contributions for one in group if one.contributions is not None] for group in (first, second)]
        if sum(map(len, known)) < len(first) + len(second):
            return cls.refused(value, "a seed has no interval of its own")
        rows, rule = np.mean(known[1], axis=0) - np.mean(known[0], axis=0), by_seeds(*values)
        unattributed = 2 * float(np.mean([one.unattributed_variance for one in (*first, *second)]))
        spread = rule(rows, 0.0)
        if spread is not None and spread[0] == 0 and (value == 0 or not unattributed):
            return cls(value, rows, 0.0, rule, "seeds and rows")
        pairs = [_mean([one.together for one in group]) for group in (first, second)]
        method, together = "seeds and rows, Satterthwaite t", _minus(pairs[1], pairs[0])
        return cls(value, rows, unattributed, rule, method, together, first[0].pairs_only)

    def minus(self, other: Estimate, resolution: float = RESOLUTION) -> Estimate:
        """Self − other on the same clusters, row by row, so that what both share cancels.

        Parameters
        ----------
        other : Estimate
        resolution : float
            A difference below this share of the larger value is rounding, and counts as none.
        """
        value = self.value - other.value
        if self.contributions is None or other.contributions is None:
            return replace(other if other.contributions is None else self, value=value)
        if (self.together is None) != (other.together is None) and not self.pairs_only | other.pairs_only:
            return Estimate.refused(value, "one side was measured by an earlier version: measure both by this one")
        if abs(value) <= resolution * max(abs(self.value), abs(other.value)):
            value = 0.0
        contributions = self.contributions - other.contributions
        # so is the difference where one side is
        method = max(other.method, self.method, key=lambda text: WIDE in text)
        unattributed = other.unattributed_variance + self.unattributed_variance
        together = _minus(self.together, other.together)
        return Estimate.paired(value, contributions, unattributed, method, together, self.pairs_only)

    def summed(self, home: np.ndarray, size: int) -> Estimate:
        """Same number with its contributions summed into `size` coarser clusters; home: int64 (g,)."""
        if self.contributions is None:
            return self
        return replace(self, contributions=np.bincount(home, self.contributions, minlength=size))

    @property
    def scaled(self) -> np.ndarray | None:
        """The contributions in the size in which their squares sum to the variance (see `variance_share`)."""
        if self.contributions is None:
            return None
        return self.contributions * np.sqrt(variance_share(self.contributions, self.together, self.pairs_only))

    def interval(self, level: float = LEVEL) -> Interval:
        """Interval of the value's expectation at this number of rows."""
        if (scaled := self.scaled) is None:
            return Interval(self.value, None, None, None, 0.0, None, self.method)
        spread = self.rule(scaled, self.unattributed_variance)
        if spread is None:
            units = "shards" if self.method.startswith(JACKKNIFE) else "rows"
            reason = f"a few {units} decide the standard error: more rows, or other ones, are needed"
            return Estimate.refused(self.value, reason).interval()
        return student(self.value, *spread, self.method, level)

    def to_row(self) -> dict[str, Any]:
        """Columns of results that the interval fills, and `contributions`, of the table of influences."""
        return self.interval().to_row() | {"contributions": self.contributions}


def _minus(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    """Difference of what the same pairs add; None where one side does not know."""
    return one - other if one is not None and other is not None and len(one) == len(other) else None


def _mean(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    same = len(known) == len(parts) and len({len(part) for part in known}) == 1
    return np.mean(known, axis=0) if same else None
