"""Whether planned numbers of rows and seeds find what they were planned for, in 80 of 100 fresh draws.

    OMP_NUM_THREADS=1 python tests/calibration/planned_power.py --draws 1000

A pilot of 200 rows is drawn, rows are planned for the true difference, and so many fresh rows are drawn and tested at
the 5 % level. The truth is the mean difference over draws of about as many rows. Pilots err, so planned rows scatter,
and power is concave: next to the share that rejects stands `explained`, the mean power at these rows of a test with the
true standard error. The plan `upper` is by the upper limit, `undeclared` leaves the clusters out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from geomprobe import inference
from geomprobe.comparison.power import Paired, grouped, rows_needed, seeds_needed
from geomprobe.inference import Estimate, probe_tests

PILOT, DIM = 200, 24
SPECTRUM = np.arange(1, DIM + 1) ** -0.5
CLUSTER = 5
METRICS = {"effective_rank": 0.12, "mean_cosine": 1.0}
"""How far apart the encoders are, so that each metric needs several hundred rows."""
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""From a generator and a number of rows to the vectors of both encoders and the cluster of each row."""


def encoders(rows: np.ndarray, noise: np.ndarray, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """A power-law cloud, and a second encoder of the same rows that spreads them a little less evenly."""
    mean = 0.25 * np.cos(np.arange(DIM))
    first, tilt = rows * SPECTRUM, 1 + apart * np.linspace(0.1, -0.05, DIM)
    return first + mean, first * tilt + 0.15 * noise * SPECTRUM + (1 + 0.06 * apart) * mean


def independent(rng: np.random.Generator, n: int, apart: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that share nothing."""
    return *encoders(rng.normal(size=(n, DIM)), rng.normal(size=(n, DIM)), apart), np.arange(n)


def clustered(rng: np.random.Generator, n: int, apart: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in clusters of five, that share half of their variance."""
    home = np.arange(n) // CLUSTER

    def shared() -> np.ndarray:
        return np.sqrt(0.5) * (rng.normal(size=(home.max() + 1, DIM))[home] + rng.normal(size=(n, DIM)))

    return *encoders(shared(), shared(), apart), home


def difference(draw: Draw, metric: str, rng: np.random.Generator, n: int, declared: bool = True) -> Estimate:
    """Paired difference of a metric on n fresh rows; `declared` says whether the clusters are."""
    first, second, clusters = draw(rng, n)
    view = "raw"
    a, b = (
        inference.measure(Z, metrics=[metric], views=[view], clusters=clusters if declared else None)[1][0]
        for Z in (first, second)
    )
    assert a is not None
    assert b is not None
    return b.minus(a)


def truth(draw: Draw, metric: str, n: int, draws: int, seed: int = 1) -> tuple[float, float]:
    """Mean and standard deviation of the difference over draws of n rows."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        first, second, _ = draw(rng, n)
        frames = [inference.measure(Z, metrics=[metric], views=["raw"], intervals=False)[0] for Z in (first, second)]
        values.append(float(frames[1]["value"].iloc[0]) - float(frames[0]["value"].iloc[0]))
    return float(np.mean(values)), float(np.std(values, ddof=1))


@dataclass(frozen=True)
class Found:
    """Planned rows of each pilot, and whether the fresh draw rejected."""

    rows: np.ndarray
    rejects: np.ndarray
    refused: int


def power(draw: Draw, metric: str, size: float, draws: int, seed: int, plan: str = "rows", most: int = 20_000) -> Found:
    """Plan and test; `plan` is rows, upper (the upper limit) or undeclared (clusters left out)."""
    rng = np.random.default_rng(seed)
    rows, rejects, refused = [], [], 0
    for _ in range(draws):
        pilot = Paired(difference(draw, metric, rng, PILOT, plan != "undeclared"))
        if pilot.found.interval().se is None:
            refused += 1
            continue
        planned = rows_needed(pilot.upper() if plan == "upper" else pilot, PILOT, size) or most
        planned = CLUSTER * -(-min(planned, most) // CLUSTER)
        p = difference(draw, metric, rng, planned).interval().p
        rows.append(planned)
        rejects.append(p is not None and p < 0.05)
    return Found(np.array(rows), np.array(rejects), refused)


def explained(rows: np.ndarray, size: float, sd: float, at: int) -> float:
    """Mean power at these rows of a z test whose standard deviation at `at` rows is known."""
    return float(np.mean(stats.norm.cdf(size / (sd * np.sqrt(at / rows)) - stats.norm.ppf(0.975))))


def accuracies(rng: np.random.Generator, n: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of two probes is right on each of n examples; they disagree on about a fifth."""
    kind = rng.choice(4, n, p=[0.62, 0.18, 0.1 - gain / 2, 0.1 + gain / 2])
    return np.isin(kind, (0, 2)), np.isin(kind, (0, 3))


def accuracy_power(gain: float, draws: int, seed: int) -> Found:
    """Plan for a gain in accuracy from a pilot of 200 examples; fresh draws are tested by McNemar's exact test."""
    rng = np.random.default_rng(seed)
    rows, rejects = [], []
    for _ in range(draws):
        a, b = accuracies(rng, PILOT, gain)
        moved = probe_tests.mean_influence(b.astype(float)) - probe_tests.mean_influence(a.astype(float))
        pilot = Paired(Estimate.paired(b.mean() - a.mean(), moved / PILOT, 0.0, "accuracy"))
        planned = rows_needed(pilot, PILOT, gain)
        assert planned is not None
        rows.append(planned)
        rejects.append(probe_tests.Discordant.of(*accuracies(rng, planned, gain), 1.0, None).p_exact() < 0.05)
    return Found(np.array(rows), np.array(rejects), 0)


def seeds_power(size: float, pilot_seeds: int, draws: int, seed: int, upper: bool = False) -> Found:
    """Plan seeds a group for a difference in units of the seeds' standard deviation; rows add 3 % of its square."""
    rng = np.random.default_rng(seed)
    rows, rejects = [], []

    def groups(k: int, gain: float) -> tuple[list[Estimate], list[Estimate]]:
        shared = rng.normal(size=(2, PILOT))  # which rows move both groups alike is left out: what is left
        made = []
        for g in range(2):
            moved = shared[g] - shared[g].mean()
            values = gain * g + np.sqrt(0.03) * shared[g].mean() * np.sqrt(PILOT) + rng.normal(size=k)
            made.append([Estimate(v, np.sqrt(0.03) * moved / np.sqrt(PILOT)) for v in values])
        return made[0], made[1]

    for _ in range(draws):
        _, pilot = grouped(*groups(pilot_seeds, size))
        planned = seeds_needed(pilot.upper() if upper else pilot, size)
        planned = min(planned or 500, 500)
        found = Estimate.grouped(*groups(planned, size)).interval()
        rows.append(planned)
        rejects.append(found.p is not None and found.p < 0.05)
    return Found(np.array(rows), np.array(rejects), 0)


def main() -> None:
    """Print a line for each population, metric and way to plan."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    lines = []

    def told(what: str, how: str, found: Found, by_truth: float | None) -> None:
        low, high = stats.binomtest(int(found.rejects.sum()), len(found.rejects)).proportion_ci(0.95)
        quarter = np.percentile(found.rows, [10, 50, 90]).astype(int)
        line = {"population": what, "plan": how, "planned 10/50/90 %": "/".join(map(str, quarter))}
        line |= {"rejects %": f"{100 * found.rejects.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"}
        line |= {"explained %": "" if by_truth is None else f"{100 * by_truth:.1f}", "refused": found.refused}
        lines.append(line)
        print(line, flush=True)

    for name, cloud, at in (("independent", independent, 600), ("clusters of 5", clustered, 1000)):
        for metric, apart in METRICS.items():
            draw = partial(cloud, apart=apart)
            size, sd = truth(draw, metric, at, 4 * draws)
            sized = abs(size)
            for plan in ("rows", "undeclared" if cloud is clustered else "upper"):
                found = power(draw, metric, sized, draws, 2, plan)
                told(f"{name}, {metric} ({sized:.3g})", plan, found, explained(found.rows, sized, sd, at))
    gain = 0.04
    found = accuracy_power(gain, 10 * draws, 3)
    told(f"accuracy, + {gain:g}", "rows", found, explained(found.rows, gain, np.sqrt(0.2 - gain**2), 1))
    for k in (3, 5):
        for upper in (False, True):
            found = seeds_power(1.5, k, 10 * draws, 4, upper)
            told(f"seeds, 1.5 sd, pilot of {k}", "upper" if upper else "seeds", found, None)
    print(pd.DataFrame(lines).to_string(index=False))


if __name__ == "__main__":
    main()
