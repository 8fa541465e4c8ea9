"""False alarms, width and power of intervals under repeated looks: new checkpoints on the same rows, and new rows.

    python tests/calibration/looks.py --series 1000            # checkpoints
    python tests/calibration/looks.py --series 1000 --rows     # rows

A series has 50 looks. A false alarm: one of its intervals excludes the truth, which is 0. Power: the truth becomes 4
standard errors at look 26, and one of the looks 26 to 50 excludes 0. The page is docs/explanation/looks-study.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy import special, stats

from geomprobe.inference.estimate import by_pairs
from geomprobe.inference.sequences import confidence_sequence, correlations, look_levels, share_of_look

LOOKS, ALPHA = 50, 0.05
CHANGE, SHIFT = 25, 4.0
DRAWS = 10_000
NORMAL = np.random.default_rng(0).standard_normal((DRAWS, LOOKS), dtype=np.float32)
"""Draws for the joint law of all looks, for the sharpest boundary that could be had"""
SHARES = ALPHA * np.array([share_of_look(k) for k in range(1, LOOKS + 1)])
# how looks are related, their correlation, rows, influences
CELLS = [
    ("shared", 0.0, 200, "normal"),
    ("shared", 0.9, 200, "normal"),
    ("shared", 0.0, 200, "exponential"),
    ("shared", 0.9, 200, "exponential"),
    ("shared", 0.99, 200, "exponential"),
    ("drifting", 0.97, 200, "exponential"),
    ("shared", 0.0, 2000, "exponential"),
]

Levels = Callable[[np.ndarray], np.ndarray]


def by_draws(correlation: np.ndarray) -> np.ndarray:
    """Levels by the joint normal law of all looks, from draws: exact but for their number."""
    root = np.linalg.cholesky(correlation + 1e-6 * np.eye(LOOKS)).astype(np.float32)
    size, alive, levels = np.abs(NORMAL @ root.T), np.ones(DRAWS, bool), np.empty(LOOKS)
    for k, spent in enumerate(np.cumsum(SHARES)):
        left = size[alive, k]
        place = len(left) - 1 - max(round(spent * DRAWS) - (DRAWS - len(left)), 0)
        cut = np.partition(left, place)[place]
        alive &= size[:, k] <= cut
        levels[k] = 2 * special.ndtr(-cut)
    return levels


METHODS: dict[str, Levels] = {
    "95 % at each look": lambda correlation: np.full(LOOKS, ALPHA),
    "0.05/(k(k + 1))": lambda correlation: SHARES,
    "the same, with one earlier look (used)": lambda correlation: look_levels(SHARES, correlation),
    "the same, with all earlier looks": by_draws,
    "used, at a twentieth of the error": lambda correlation: look_levels(SHARES / 20, correlation),
}

COSTLY = ("the same, with all earlier looks", "used, at a twentieth of the error")
"""Only on a quarter of the series."""


def influences(rng: np.random.Generator, related: str, r: float, n: int, shape: str) -> np.ndarray:
    """Influences of n rows at all looks, mean 0 and variance 1, correlated r between two (successive) looks."""
    z = rng.standard_normal((LOOKS, n))
    if related == "shared":
        z = np.sqrt(r) * rng.standard_normal(n) + np.sqrt(1 - r) * z
    else:
        for k in range(1, LOOKS):
            z[k] = r * z[k - 1] + np.sqrt(1 - r * r) * z[k]
    return -special.log_ndtr(-z) - 1 if shape == "exponential" else z


def one_series(rng: np.random.Generator, *cell, drawn: bool) -> Iterator[tuple[float, float, float]]:
    """False alarm, width at the last look over the 95 % interval's, and whether a change is found, for each method."""
    rows = influences(rng, *cell)
    n, estimate = rows.shape[1], rows.mean(1)
    contributions = (rows - estimate[:, None]) / n
    # a look without a valid interval has no end that could exclude anything
    se, dof = np.array([by_pairs(each, 0.0) or (np.nan, np.nan) for each in contributions]).T
    correlation = correlations(contributions, se)
    for name, method in METHODS.items():
        if name in COSTLY and not drawn:
            yield np.nan, np.nan, np.nan
            continue
        levels = method(correlation)
        half = special.stdtrit(dof, 1 - levels / 2) * se
        moved = np.abs(estimate[CHANGE:] + SHIFT / np.sqrt(n)) > half[CHANGE:]
        usual = special.stdtrit(dof[-1], 1 - ALPHA / 2) * se[-1]
        yield (np.abs(estimate) > half).any(), half[-1] / usual, moved.any()


def share(count: int, of: int) -> str:
    """A share with its 99 % binomial interval (Clopper & Pearson 1934)."""
    low, high = stats.binomtest(count, of).proportion_ci(0.99)
    return f"{count / of:.1%} [{low:.1%}, {high:.1%}]"


def checkpoints(series: int) -> None:
    """Print the table of new checkpoints on the same rows."""
    print("| looks | rows | influences | method | false alarms | width at look 50 | power |")
    print("|---|---|---|---|---|---|---|")
    for cell in CELLS:
        begun, rng = time.perf_counter(), np.random.default_rng(1)
        found = np.array([list(one_series(rng, *cell, drawn=i < max(series // 4, 1))) for i in range(series)], float)
        for i, name in enumerate(METHODS):
            mine = found[~np.isnan(found[:, i, 0]), i]
            (alarms, _, power), width = mine.mean(0), np.nanmean(mine[:, 1])
            where = f"{cell[0]} {cell[1]:g} | {cell[2]:,} | {cell[3]}"
            print(
                f"| {where} | {name} | {share(round(alarms * len(mine)), len(mine))} | {width:.2f} | {power:.0%} |",
                flush=True,
            )
        print(f"<!-- {time.perf_counter() - begun:.0f} s -->", flush=True)


STREAMS: dict[str, tuple[Callable[[np.random.Generator], np.ndarray], float, tuple[float, float]]] = {
    "normal": (lambda rng: rng.standard_normal(5000), 0.0, (-np.inf, np.inf)),
    "exponential": (lambda rng: rng.exponential(size=5000), 1.0, (0.0, np.inf)),
    "t, 5 degrees of freedom": (lambda rng: rng.standard_t(5, size=5000), 0.0, (-np.inf, np.inf)),
    "right in 80 %": (lambda rng: (rng.random(5000) < 0.8).astype(float), 0.8, (0.0, 1.0)),
    "right in 99 %": (lambda rng: (rng.random(5000) < 0.99).astype(float), 0.99, (0.0, 1.0)),
    "difference, 10 % discordant": (
        lambda rng: (u := rng.random(5000)) * 0 + (u < 0.05) - (u > 0.95).astype(float), 0.0, (-1.0, 1.0)
    ),
}  # fmt: skip


def rows(series: int) -> None:
    """Print the table of new rows: 50 looks after 100, 200, …, 5,000 of them."""
    print("| rows | method | false alarms | half-width at 1,000 | at 5,000 |\n|---|---|---|---|---|")
    looks, z = np.arange(99, 5000, 100), -special.ndtri(ALPHA / 2)
    for name, (draw, truth, bounds) in STREAMS.items():
        rng, found = np.random.default_rng(2), {}
        for _ in range(series):
            x = draw(rng)
            t = np.arange(1, 5001)
            mean = np.cumsum(x) / t
            sd = np.sqrt(np.maximum(np.cumsum(x**2) / t - mean**2, 0))
            ends = {
                "95 % at each look": np.stack([mean - z * sd / np.sqrt(t), mean + z * sd / np.sqrt(t)], 1),
                "asymptotic": confidence_sequence(x),
            }
            if np.isfinite(bounds).all():
                ends["empirical Bernstein"] = confidence_sequence(x, bounds)
            for method, pairs in ends.items():
                low, high = pairs[looks].T
                alarm = bool(((low > truth) | (high < truth)).any())
                found.setdefault(method, []).append((alarm, np.diff(pairs[999])[0] / 2, np.diff(pairs[-1])[0] / 2))
        for method, values in found.items():
            alarms, *widths = np.array(values).T
            print(f"| {name} | {method} | {share(int(alarms.sum()), series)} | "
                  f"{widths[0].mean():.3f} | {widths[1].mean():.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--rows", action="store_true")
    given = parser.parse_args()
    (rows if given.rows else checkpoints)(given.series)
