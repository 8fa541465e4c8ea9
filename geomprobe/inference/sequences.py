"""Intervals for repeated looks, whose number is not known beforehand: new rows, or new checkpoints on the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from geomprobe.common import UsageError
from geomprobe.inference.intervals import LEVEL

FIRST_ROWS = 100
"""Rows from which on the asymptotic sequence is read: below them a mean of skewed rows is not normal enough."""
NO_CORRELATION_ABOVE = 1 - 1e-9
"""Two looks that are more alike are taken to be this alike, so that their joint normal law has a density."""


def share_of_look(look: int) -> float:
    """Share of the total error that a look may spend, 1/(k(k + 1)) at the k-th; the shares of all looks sum to 1.

    Examples
    --------
    >>> [round(share_of_look(k), 4) for k in (1, 2, 7)]
    [0.5, 0.1667, 0.0179]
    """
    return 1 / (look * (look + 1))


def look_levels(errors: Sequence[float] | np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Two-sided error at which the interval of each look may be read, so that all looks together keep theirs.

    The estimates of the looks depend on each other, for they are made from the same rows. A look spends the probability
    that it is the first whose interval misses its truth. This is at most the probability that it misses and one chosen
    earlier look does not (Worsley 1982, "An improved Bonferroni inequality and applications", Biometrika 69, with one
    edge a look), and the joint normal law of these two has a closed form (Owen 1956, "Tables for computing bivariate
    normal probabilities", Annals of Mathematical Statistics 27). The error spent so is set by Lan & DeMets (1983,
    "Discrete sequential boundaries for clinical trials", Biometrika 70): it depends on no later look. The earlier look
    is the one under which the least would be spent.

    Parameters
    ----------
    errors : sequence of K floats
        Error that each look may spend, such as 0.05 times `share_of_look`.
    correlation : float64 ndarray of shape (K, K)
        Correlations of the looks' estimates; row k is read up to column k. Where one is understated, the intervals get
        wider; 0 where it is not known.

    Returns
    -------
    float64 ndarray of shape (K,)
        At least `errors`, and at most the sum of the errors up to the look.

    Examples
    --------
    >>> import numpy as np
    >>> errors = [0.05 * share_of_look(k) for k in range(1, 11)]
    >>> look_levels(errors, np.eye(10))[[0, 9]].round(4)  # looks without anything in common
    array([0.025 , 0.0005])
    >>> look_levels(errors, np.full((10, 10), 0.99))[[0, 9]].round(4)  # nearly the same estimate ten times
    array([0.025 , 0.0201])
    """
    levels, cut = np.array(errors, float), np.empty(len(errors))
    for k, error in enumerate(levels):
        cut[k] = -special.ndtri(error / 2)
        together = np.minimum(np.abs(correlation[k, :k]), NO_CORRELATION_ABOVE)
        earlier = cut[:k][together > 0], together[together > 0], error
        if len(earlier[0]) and _too_much(cut[k], *earlier) < 0:
            # a look and an earlier one miss together at most as often as the earlier one does
            least = -special.ndtri((error + 2 * special.ndtr(-earlier[0].min())) / 2) - 1e-3
            cut[k] = optimize.brentq(_too_much, max(least, 1e-3), cut[k], args=earlier, xtol=1e-5)
        levels[k] = 2 * special.ndtr(-cut[k])
    return levels


def _too_much(cut: float, earlier: np.ndarray, correlation: np.ndarray, error: float) -> float:
    """Error that a look spends beyond its own, by the earlier look under which it spends the least."""
    return float(_alone(cut, earlier, correlation).min()) - error


def _alone(cut: float, earlier: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """P(|X| > cut, |Y| ≤ earlier) for standard normal X and Y with correlations from 0 to below 1."""
    outside = 2 * special.ndtr(-cut)
    both = 2 * (_quadrant(cut, earlier, correlation) + _quadrant(cut, earlier, -correlation))
    return np.clip(outside - both, 0.0, outside)


def _quadrant(h: float, k: np.ndarray, r: np.ndarray) -> np.ndarray:
    """P(X > h, Y > k) for standard normal X and Y with correlation r, by Owen's T; h and k are positive."""
    root = np.sqrt((1 - r) * (1 + r))
    wedges = special.owens_t(h, (k - r * h) / (h * root)) + special.owens_t(k, (h - r * k) / (k * root))
    return (special.ndtr(-h) + special.ndtr(-k)) / 2 - wedges


def correlations(contributions: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Correlations of estimates from the same clusters of rows, 0 where a standard error is 0 or NaN.

    Parameters
    ----------
    contributions : float64 ndarray of shape (K, g)
        How much each cluster moves each of the K estimates.
    se : float64 ndarray of shape (K,)
        Standard errors; variance that is not attributable to rows counts as independent.
    """
    g = contributions.shape[1]
    weight = np.where(se > 0, 1 / np.where(se > 0, se, 1.0), 0.0)
    scaled = contributions * weight[:, None] * np.sqrt(g / max(g - 1, 1))
    return np.clip(scaled @ scaled.T, -1.0, 1.0)


def confidence_sequence(
    values: Sequence[float] | np.ndarray,
    bounds: tuple[float, float] | None = None,
    *,
    sharpest_at: int = 1000,
    level: float = LEVEL,
) -> np.ndarray:
    """Intervals for a mean after each new row, valid at all numbers of rows together.

    You may look after every row and stop when you like. The rows are independent and arrive in random order; for a
    difference of two models give the differences of their scores, row by row. Looks at new checkpoints on the same
    rows are another matter: `geomprobe track` and `geomprobe gate --look`.

    Parameters
    ----------
    values : array-like of shape (n,)
        A score or a difference of scores a row, in the order of their arrival.
    bounds : (low, high), optional
        Least and largest possible value, where there are such: (0, 1) for right or wrong, (-1, 1) for a difference of
        these. Then the intervals hold from the first row on, and not only asymptotically.
    sharpest_at : int
        Number of rows at which the asymptotic intervals are narrowest; no effect with `bounds`.
    level : float
        Probability that all intervals hold.

    Returns
    -------
    float64 ndarray of shape (n, 2)
        Low and high end after rows 1 to n. Without `bounds`, infinite below 100 rows.

    Raises
    ------
    UsageError
        Values are not finite numbers, or outside the bounds; bounds are not two finite numbers, low < high; no such
        level or number of rows.

    Notes
    -----
    With σ̂ the standard deviation of the first t values, α = 1 − level, t* = `sharpest_at`, the asymptotic interval is
    mean ± σ̂·√(2(tρ² + 1)/(t²ρ²)·log(√(tρ² + 1)/α)), ρ² = (log(1 − 2 log α) − 2 log α)/t*: Robbins' normal mixture
    (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence
    sequences", Annals of Statistics 52, Theorem 2.2).

    The interval of values from 0 to 1 is (Σλx ± (log(2/α) + Σ(x − μ̂)²·(−log(1 − λ) − λ)))/Σλ with
    λ_t = min(½, √(2 log(2/α)/(σ̂²·t·log(1 + t)))), where μ̂ and σ̂² are those of the values before
    (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", J. Royal Statistical Society
    B 86, Theorem 2).

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> rng = np.random.default_rng(0)
    >>> low, high = gp.confidence_sequence(rng.normal(0.2, 1, size=2000)).T
    >>> int(np.argmax(low > 0)) + 1  # rows after which the mean is shown to be above 0
    220
    >>> gp.confidence_sequence(np.ones(200), bounds=(0, 1))[-1].round(2)  # 200 right answers in a row
    array([0.96, 1.  ])
    """
    try:
        x = np.asarray(values, float)
    except (TypeError, ValueError):
        x = np.array(np.nan)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise UsageError("confidence_sequence takes one finite number a row.", "Leave out rows without a score.")
    if not 0 < _finite(level) < 1 or not _finite(sharpest_at) >= 1:
        raise UsageError("level lies between 0 and 1, and sharpest_at is a number of rows.")
    alpha, t = 1 - level, np.arange(1, len(x) + 1)
    if bounds is None:
        mean = np.cumsum(x) / t
        sd = np.sqrt(np.maximum(np.cumsum((x - x[:1]) ** 2) / t - (mean - x[:1]) ** 2, 0.0))
        tilt = t * (np.log1p(-2 * np.log(alpha)) - 2 * np.log(alpha)) / sharpest_at
        half = sd * np.sqrt(2 * (tilt + 1) / (t * tilt) * np.log(np.sqrt(tilt + 1) / alpha))
        half[: FIRST_ROWS - 1] = np.inf
        return np.stack([mean - half, mean + half], axis=1)
    low, high = map(_finite, bounds) if np.shape(bounds) == (2,) else (np.nan, np.nan)
    if not low < high:
        raise UsageError("bounds are two finite numbers, low < high.", "(0, 1) for right or wrong, say.")
    if ((x < low) | (x > high)).any():
        raise UsageError(f"There are values outside the bounds {low:g} to {high:g}.")
    x = (x - low) / (high - low)
    means = (0.5 + np.cumsum(x)) / (t + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (t + 1)
    before = np.concatenate([[0.5], means])[:-1]
    rate = np.sqrt(2 * np.log(2 / alpha) / (np.concatenate([[0.25], variances])[:-1] * t * np.log1p(t)))
    rate = np.minimum(rate, 0.5)
    half = np.log(2 / alpha) + np.cumsum((x - before) ** 2 * (-np.log1p(-rate) - rate))
    centre = np.cumsum(rate * x)
    ends = np.stack([centre - half, centre + half], axis=1) / np.cumsum(rate)[:, None]
    return low + (high - low) * np.clip(ends, 0.0, 1.0)


def _finite(value: object) -> float:
    """A number as it is; NaN, which no comparison lets through, for anything that is none or not finite."""
    return float(value) if isinstance(value, int | float | np.number) and np.isfinite(value) else np.nan
