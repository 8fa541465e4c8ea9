"""How far a probe's number moves when it is fitted on other training rows, from refits on halves of the train split.

A probe is fitted once more on each half of the train rows, for several random divisions into halves (whole clusters).
Half the difference of the two numbers has, to first order, the variance that new training rows of the full size would
cause: the two halves are independent samples, and each has twice the variance of the whole. Where the number is at its
maximum over fits, so that training rows move it in second order only, the estimate is twice the variance, while a
bootstrap of the training rows or the variance between halves gives three times as much. The two halves are scored on
the same rows; what these rows alone make of the difference is in the variance over rows already, and is taken off.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from geomprobe.inference.estimate import Estimate, Rule
from geomprobe.inference.intervals import degrees, standard_error

SAID = re.compile(r", \d+ refits$")
"""What `with_refits` adds to the words of an interval."""


def refit_variance(differences: np.ndarray) -> tuple[float, float]:
    """Variance due to the training rows, and the squared standard error of this estimate.

    Parameters
    ----------
    differences : float64 ndarray of shape (p, g)
        For each division, half the difference of the number between the two halves, by cluster of scored rows: a row
        sums to half the difference.
    """
    total = differences.sum(axis=1)
    of_rows = np.array([standard_error(row - row.mean()) ** 2 for row in differences])
    found = float((total**2).mean())
    return max(found - float(of_rows.mean()), 0.0), 2 * found**2 / len(total)


def by_refits(rule: Rule, differences: np.ndarray) -> Rule:
    """Rule that adds the variance due to the training rows to the variance over scored rows that `rule` gives.

    Satterthwaite's degrees of freedom of the sum. Where `rule` gives no standard error, a few rows decide the variance
    over rows; that matters only as long as it is over half of the sum.
    """
    variance, uncertainty = refit_variance(differences)

    def combined(contributions: np.ndarray, unattributed: float) -> tuple[float, float] | None:
        found = rule(contributions, unattributed)
        if found is None:
            se, dof = standard_error(contributions, unattributed), degrees(contributions)
            if variance <= se**2:
                return None
        else:
            se, dof = found
        total = se**2 + variance
        estimated = se**4 / max(dof, 1.0) + uncertainty / 2
        dof = total**2 / estimated if estimated else dof
        return float(np.sqrt(total)), float(dof)

    return combined


def with_refits(estimate: Estimate, differences: np.ndarray) -> Estimate:
    """The same number, its interval also over the training rows; `differences` as `refit_variance` takes them."""
    if estimate.contributions is None:
        return estimate
    method = f"{estimate.method}, {2 * len(differences)} refits"
    return replace(estimate, rule=by_refits(estimate.rule, differences), method=method)
