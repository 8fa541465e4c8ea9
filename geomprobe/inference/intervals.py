"""From influences to intervals, p-values and verdicts: pure functions of numbers."""

from __future__ import annotations

import numpy as np
from scipy import special

LEVEL = 0.95
POWER = 0.80
MIN_DEGREES = 8.0
"""Below so many degrees of freedom a few rows decide the standard error, and no interval is given."""
TAIL_SHARE = 0.1
"""Share of the rows whose lengths are the tail."""
TAIL_ROWS = 100
"""Fewest rows in which a tail is looked for."""
TAIL_INDEX = 3.0
"""Index of the tail at which the third moment ends, and with it the rate at which a mean becomes normal."""
TAIL_DEGREES = (30.0, 0.02)
"""Where the tail is heavy, fewest degrees of freedom for an interval, and fewest for each row."""


def degrees(contributions: np.ndarray) -> float:
    """Return Satterthwaite's degrees of freedom of Σ c², for m independent contributions c that sum to zero.

    2·E[s²]²/Var[s²] with the fourth moment taken from the sample, 2m/(kurtosis − 1), at most m − 1: m − 1 for normal
    contributions, fewer where some rows weigh much more than others. Contributions of exactly 0 say nothing of
    their own spread and are left out.
    """
    size = np.abs(contributions[contributions != 0])
    m = len(size)
    if not m:
        return float(max(len(contributions) - 1, 0))
    square = (size / size.max()) ** 2  # in their own units, for fourth powers leave float64 early
    total = float(square.sum())
    kurtosis = m * float((square**2).sum()) / total**2
    return float(min(m - 1, 2 * m / max(kurtosis - 1, 1e-9)))


def heavy_tailed(squares: np.ndarray, dimensions: float) -> bool:
    """Whether squared lengths of rows have a tail so heavy that a mean over the rows is far from normal.

    1/index by Hill (1975), "A simple general approach to inference about the tail of a distribution", Annals of
    Statistics 3, over the largest tenth. It is heavy above 1/TAIL_INDEX, and above 1.5 times what normal rows would
    show: in few dimensions these have long tails themselves.

    Parameters
    ----------
    squares : float64 ndarray of shape (n,)
        Squared distances of the rows from their mean; False below TAIL_ROWS of them.
    dimensions : float
        Of normal rows with about such squared lengths, gamma with shape dimensions/2: the participation ratio.
    """
    n = len(squares)
    count = int(TAIL_SHARE * n)
    tail = np.sort(squares)[n - count - 1 :]
    if n < TAIL_ROWS or tail[0] <= 0:
        return False
    places = 1 - TAIL_SHARE * (1 - (np.arange(100) + 0.5) / 100)
    normal = np.log(special.gammaincinv(dimensions / 2, places)).mean()
    normal -= np.log(special.gammaincinv(dimensions / 2, 1 - TAIL_SHARE))
    return bool(np.log(tail[1:] / tail[0]).mean() > max(1 / TAIL_INDEX, 1.5 * normal))


def standard_error(contributions: np.ndarray, extra: float = 0.0) -> float:
    """Return √(m/(m−1)·Σ c² + extra) for the contributions of m independent clusters."""
    m = len(contributions)
    return float(np.sqrt(m / (m - 1) * float((contributions**2).sum()) + extra))


def t_quantile(p: float, dof: float) -> float:
    """Quantile of Student's t."""
    return float(special.stdtrit(dof, p))


def p_two_sided(diff: float, se: float, dof: float) -> float:
    """P-value of "no difference"; 1 where nothing differs at all."""
    if se == 0:
        return 1.0 if diff == 0 else 0.0
    return float(2 * special.stdtr(dof, -abs(diff) / se))


def p_equivalence(diff: float, se: float, dof: float, margin: float) -> float:
    """P-value of "the difference is at least the margin" by two one-sided tests.

    Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach", J. Pharmacokinetics
    and Biopharmaceutics 15.
    """
    if se == 0:
        return 0.0 if diff == 0 or abs(diff) < margin else 1.0  # equal is equivalent, whatever the margin
    return float(special.stdtr(dof, (abs(diff) - margin) / se))


def detectable(se: float, dof: float, level: float = LEVEL, power: float = POWER) -> float:
    """Smallest difference that rows like these find with the given power: (t_(1−α/2) + t_power)·SE."""
    return (t_quantile((1 + level) / 2, dof) + t_quantile(power, dof)) * se


def holm(p: np.ndarray) -> np.ndarray:
    """P-values adjusted by Holm (1979), "A simple sequentially rejective multiple test procedure"; NaN stays."""
    p = np.asarray(p, float)
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return out


NO_INTERVAL = "no valid interval, no verdict"
FEW_SEEDS = "too few seeds, no verdict"
HIGHER, LOWER = "higher", "lower"
NO_DIFFERENCE = "no difference"
UNCLEAR = "no clear difference"
WITHIN = ", but equivalent within the margin"


def verdict(
    diff: float | None, p_holm: float | None, p_tost: float | None, *, alpha: float = 0.05, seeds: int | None = None
) -> str:
    """What a difference says, in fixed words. This is the one decision rule of the package.

    Parameters
    ----------
    diff : float or None
        Value of B minus value of A.
    p_holm : float or None
        p-value of "no difference", adjusted over the family; None where there is no valid interval.
    p_tost : float or None
        p-value of "at least the margin apart", adjusted over the family; None where no margin is declared.
    alpha : float
    seeds : int, optional
        Seeds of the smaller group, for a claim about objectives.

    Returns
    -------
    str
        ==================================================  =================================================
        "too few seeds, no verdict"                         a claim about objectives with under three seeds a group
        "no valid interval, no verdict"                     the data give no valid interval
        "higher", "lower"                                   B differs from A, by more than chance over the family
        "higher, but equivalent within the margin" (lower)  it differs, by less than the margin
        "no difference"                                     equivalence is established: within the margin
        "no clear difference"                               neither: the data cannot tell
        ==================================================  =================================================
    """
    if seeds is not None and seeds < 3:
        return FEW_SEEDS
    if diff is None or p_holm is None or np.isnan(diff) or np.isnan(p_holm):
        return NO_INTERVAL
    differs = p_holm < alpha and diff != 0
    equivalent = p_tost is not None and p_tost < alpha  # never so for NaN
    if differs:
        return (HIGHER if diff > 0 else LOWER) + (WITHIN if equivalent else "")
    return NO_DIFFERENCE if equivalent else UNCLEAR
