"""Coverage of a probe's interval where train and validation rows are drawn anew, with refits and without.

    python tests/calibration/refits.py --probe discriminant --train 200 1000 4000 --rows 400 872 --draws 400
    python tests/calibration/refits.py --vectors sst2.npz --probe logistic --train 200 1000 --rows 400 --draws 100

Each draw is a train set, a validation set, and two models that see different vectors of the same texts and are equally
good by construction, so that their difference is 0 on average. The truth is the mean over the draws: the expected
number of a probe that is fitted on so many rows. Methods: none (rows alone), K refits on halves (the method of
`geomprobe.inference.refits`), the same without taking off what the scored rows make of it, the variance between halves
scaled to the full size, and a bootstrap of the training rows.

--vectors reads a file with `x` (n, d) and `y` (n,): the population is these rows, and a model sees them with noise.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from geomprobe.inference import probe_tests
from geomprobe.inference.estimate import by_count, by_pairs, student
from geomprobe.inference.intervals import degrees, standard_error
from geomprobe.inference.refits import by_refits
from geomprobe.probes.estimators import Classified, classify, discriminate

SCORES = ("accuracy", "macro F1", "log loss")
DIMENSIONS, CLASSES, PARTS = 32, 3, 4
SHARES = (0.6, 0.3, 0.1)
REFITS = (4, 10, 20)
BOOTSTRAPS = 10

Rows = tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]
Draw = Callable[[np.random.Generator, int, int], tuple[Rows, Rows]]


def planted(draws: np.random.Generator, *sizes: int) -> list[Rows]:
    """Rows of three unequal classes, each of four Gaussian parts, so that no linear probe is exact."""
    fixed = np.random.default_rng(0)
    centres = 0.55 * fixed.normal(size=(CLASSES, PARTS, DIMENSIONS))
    turned = np.linalg.qr(fixed.normal(size=(DIMENSIONS, DIMENSIONS)))[0]
    found = []
    for n in sizes:
        y = draws.choice(CLASSES, n, p=SHARES)
        z = centres[y, draws.integers(0, PARTS, n)] + draws.normal(size=(n, DIMENSIONS))
        first, second = (z + 0.7 * draws.normal(size=z.shape) for _ in range(2))
        found.append((y, (first, second @ turned)))
    return found


def of_file(path: Path) -> Callable[..., list[Rows]]:
    """Rows drawn from a file, without replacement within a draw."""
    with np.load(path) as file:
        x, y = file["x"].astype(np.float64), file["y"].astype(np.int64)
    noise = x.std()

    def drawn(draws: np.random.Generator, *sizes: int) -> list[Rows]:
        rows = np.split(draws.permutation(len(y))[: sum(sizes)], np.cumsum(sizes)[:-1])
        return [(y[at], tuple(x[at] + noise * draws.normal(size=x[at].shape) for _ in range(2))) for at in rows]

    return drawn


def by_row(found: Classified) -> np.ndarray:
    """What sums to each score, float64 (n_scores, n)."""
    n = len(found.labels)
    hits = np.bincount(found.labels[found.labels == found.predictions], minlength=CLASSES)
    sizes = np.bincount(found.labels, minlength=CLASSES) + np.bincount(found.predictions, minlength=CLASSES)
    f1 = float((2 * hits[sizes > 0] / sizes[sizes > 0]).mean())
    moved = probe_tests.macro_f1_influence(found.labels.astype(float), found.predictions.astype(float))
    return np.stack([found.right, moved + f1, found.log_loss]) / n


def discriminant(x: np.ndarray, y: np.ndarray, x_held_out: np.ndarray, y_held_out: np.ndarray, _: Any) -> Classified:
    """Linear discriminant analysis with a fixed shrinkage: hundreds of fits a second."""
    return discriminate(x, y, x_held_out, y_held_out, None)


class One(NamedTuple):
    """A number of a draw: by row; half the differences between halves, by row; and of bootstrap fits."""

    rows: np.ndarray
    halves: np.ndarray
    bootstraps: np.ndarray


def draw_numbers(seed: Sequence[int], population: Any, probe: Any, train: int, rows: int, most: int) -> list[One]:
    """Of the first model, and of the difference of both: one number a score."""
    draws = np.random.default_rng(seed)
    (y, x), (y_held_out, x_held_out) = population(draws, train, rows)
    half = train // 2
    orders = [draws.permutation(train) for _ in range(most // 2)]
    resampled = [draws.integers(0, train, train) for _ in range(BOOTSTRAPS)]

    def fit(which: int, at: np.ndarray) -> np.ndarray:
        home = np.random.default_rng(0).integers(0, 3, train)[at]  # copies of a row stay in one fold
        folds = [(np.flatnonzero(home != k), np.flatnonzero(home == k)) for k in range(3)]
        return by_row(probe(x[which][at], y[at], x_held_out[which], y_held_out, folds))

    models = []
    for which in range(2):
        whole = fit(which, np.arange(train))
        halves = np.stack([(fit(which, order[:half]) - fit(which, order[half:])) / 2 for order in orders])
        boots = np.stack([fit(which, at).sum(axis=1) for at in resampled])
        models.append((whole, halves, boots))
    first, second = models
    difference = [b - a for a, b in zip(first, second, strict=True)]
    return [One(one[0][s], one[1][:, s], one[2][:, s]) for s in range(len(SCORES)) for one in (first, difference)]


def spreads(one: One, paired: bool) -> dict[str, tuple[float, float]]:
    """Standard error and degrees of freedom by each method."""
    rule = by_pairs if paired else by_count
    rows = one.rows - one.rows.mean()
    alone = rule(rows, 0.0) or (standard_error(rows), degrees(rows))
    found = {"none": alone}
    for k in REFITS:
        if k // 2 <= len(one.halves):
            found[f"{k} refits"] = by_refits(rule, one.halves[: k // 2])(rows, 0.0) or alone
    total = one.halves.sum(axis=1)

    def sum_of(variance: float, dof: float) -> tuple[float, float]:
        whole = alone[0] ** 2 + variance
        return float(np.sqrt(whole)), whole**2 / (alone[0] ** 4 / alone[1] + variance**2 / dof)

    found["rows counted twice"] = sum_of(float((total**2).mean()), len(total))
    found["bootstrap"] = sum_of(float(one.bootstraps.var(ddof=1)), BOOTSTRAPS - 1)
    return found


def simulate(population: Any, probe: Any, train: int, rows: int, draws: int, most: int, first: int = 0) -> pd.DataFrame:
    """A row a score, number and method: true standard deviation, ratio of the mean variance to it, coverage, width."""
    numbers = [draw_numbers((1, train, rows, first + i), population, probe, train, rows, most) for i in range(draws)]
    table = []
    for place, names in enumerate([(s, n) for s in SCORES for n in ("number", "difference")]):
        ones = [each[place] for each in numbers]
        values = np.array([one.rows.sum() for one in ones])
        truth = 0.0 if names[1] == "difference" else values.mean()
        of = [spreads(one, names[1] == "difference") for one in ones]
        for method in of[0]:
            shown = [student(v, *each[method], method) for v, each in zip(values, of, strict=True)]
            covered = [each.low <= truth <= each.high for each in shown]
            ratio = np.sqrt(np.mean([each.se**2 for each in shown]) / values.var())
            row = dict(zip(("score", "of"), names, strict=True)) | {"train": train, "rows": rows, "method": method}
            row |= {"sd": values.std(), "se ratio": ratio, "coverage": np.mean(covered), "draws": draws}
            table.append(row)
    return pd.DataFrame(table)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--probe", choices=("discriminant", "logistic"), default="discriminant")
    parser.add_argument("--train", type=int, nargs="+", default=[200, 1000, 4000])
    parser.add_argument("--rows", type=int, nargs="+", default=[400, 872])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--most", type=int, default=20, help="refits of a draw")
    parser.add_argument("--vectors", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    population = of_file(asked.vectors) if asked.vectors else planted
    probe = discriminant if asked.probe == "discriminant" else classify
    for train in asked.train:
        for rows in asked.rows:
            found = simulate(population, probe, train, rows, asked.draws, asked.most)
            wide = found.pivot(
                index=["of", "score", "train", "rows", "sd"], columns="method", values=["coverage", "se ratio"]
            )
            print(wide.round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
