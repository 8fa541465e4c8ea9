"""Coverage, SE ratio, refusals, false positives and power over draws from populations of real embeddings.

    python -m tests.calibration.real --draws 300

Vectors are made once and kept in the folder of --cache; the texts come from the folder of --data. Populations whose
texts, vectors or encoder are missing are left out, and why is said. A part, in minutes, as a table:

    python -m tests.calibration.real --table --populations mini6_mean --rows 200 --metrics effective_rank uniformity \\
        --designs sentences "50 documents" "null, same rows" "power, same rows, 1.5" --draws 100 --counts some.csv

What was found is kept as counts in real_counts.csv beside this file, or in the file of --counts; a later run draws the
seeds that are missing and adds to it. Take another file after a change of the method: old counts do not know of it.
designs.py says how rows are drawn, real_page.py what the targets are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common import write_text
from geomprobe.common.files import cache_dir
from tests.calibration import counting
from tests.calibration.counting import label, read_counts, simulate, write_counts
from tests.calibration.designs import (
    ALL,
    CELLS,
    DESIGNS,
    GROUPS,
    PROBE,
    ROWS,
    Cell,
    Design,
    draw,
    eligible,
    metrics_of,
)
from tests.calibration.populations import OTHER, POPULATIONS, prepare, sentiments, texts, vectors
from tests.calibration.real_page import compact, page, summary
from tests.calibration.simulate import ALIKE

COUNTS = Path(__file__).with_name("real_counts.csv")
PAGE_FILE = Path("docs/explanation/calibration-real.md")
TRAINED = 4_000
"""Sentences of SST-2 that the probe is fitted to, always the same; the others are drawn from."""


@dataclass(frozen=True)
class Source:
    """The folder of the populations, and that of the texts (see `populations`)."""

    folder: Path
    data: Path


def fraction(source: Source, n: int, design: Design, group: str) -> float:
    """Return the share of the population's units (sentences, articles) that a draw has.

    It is 0 for two clouds of other sentences: the variance of their difference is not reduced by the finite population.
    """
    if design.second == "sentences":
        return 0.0
    if group == "probe":
        return n / (len(sentiments(source.folder, source.data)) - TRAINED)
    if design.documents is None:
        return n / len(texts(source.folder))
    return design.documents / len(eligible(source.folder, n // design.documents))


@cache
def alike(folder: Path, population: str) -> tuple[Callable[[np.ndarray], np.ndarray], ...]:
    """Return the vectors of a population and of its OTHER, with the same mean and mean square, by their rows."""
    X, Y = vectors(folder, population), vectors(folder, OTHER[population])
    (mean, size), (other_mean, other_size) = (moments(Z) for Z in (X, Y))

    def first(rows: np.ndarray) -> np.ndarray:
        return X[rows].astype(np.float64)

    def second(rows: np.ndarray) -> np.ndarray:
        return (Y[rows] - other_mean) * (size / other_size) + mean

    return first, second


def moments(Z: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the mean and the root mean squared distance from it, of every tenth row."""
    part = np.asarray(Z[::10], np.float64)
    return part.mean(0), float(np.sqrt(part.var(0).sum()))


@cache
def leading(folder: Path, population: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the leading direction of both clouds of `alike` together, from every tenth row."""
    rows = np.arange(0, len(texts(folder)), 10)
    part = np.concatenate([of(rows) for of in alike(folder, population)])
    mean = part.mean(0)
    return mean, np.linalg.eigh((part - mean).T @ (part - mean))[1][:, -1]


def clouds_of(folder: Path, cell: Cell, rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the clouds that a design measures, from the indices of their rows."""
    design = DESIGNS[cell.design]
    if design.second != "pooling":
        return [np.asarray(vectors(folder, cell.population)[side]) for side in rows]
    first, second = (of(rows[0]) for of in alike(folder, cell.population))
    coin = rng.random((cell.n, 1)) < 0.5
    sides = [np.where(coin, first, second), np.where(coin, second, first)]
    mean, direction = leading(folder, cell.population)
    sides[1] += (design.scaled - 1) * np.outer((sides[1] - mean) @ direction, direction)
    return sides


def one_draw(source: Source, cell: Cell, seed: int, metrics: Sequence[str]) -> list[dict]:
    """Return a row per metric and view: value, interval, its label and, of a difference, the p-value."""
    from geomprobe import inference
    from geomprobe.inference.similarity import similarity

    design = DESIGNS[cell.design]
    rng = np.random.default_rng([seed, cell.n, design.documents or 0])
    if set(metrics) & set(GROUPS["probe"]):
        return probe_rows(source, cell, seed, metrics, rng)
    found = draw(source.folder, cell.n, design, rng)
    assert found is not None, cell
    rows, clusters = found
    clouds = clouds_of(source.folder, cell, rows, rng)
    if set(metrics) & set(ALIKE):
        clouds.append(np.asarray(vectors(source.folder, OTHER[cell.population])[rows[0]]))
        alike = similarity(*clouds, metrics=list(metrics), clusters=clusters, permutations=0)
        return [of_row(seed, row | {"view": "raw"}) for row in alike.to_dict("records") if row["status"] == "ok"]
    measured = [inference.measure(Z, metrics=list(metrics), clusters=clusters) for Z in clouds]
    frame = measured[0][0].to_dict("records")
    if not design.second:
        return [of_row(seed, row) for row in frame if row["status"] == "ok"]
    out = []
    for row, a, b in zip(frame, *(estimates for _, estimates in measured), strict=True):
        if a is not None and b is not None:
            interval = b.minus(a).interval()
            out.append(of_row(seed, row | {"value": interval.value} | interval.to_row()) | {"p": interval.p})
    return out


@cache
def probe(source: Source, population: str) -> tuple[Any, np.ndarray]:
    """Return what a probe of SST-2 predicts for the sentences it is not fitted to, and its training labels."""
    from geomprobe.probes.estimators import classify

    labels = sentiments(source.folder, source.data)
    order = np.random.default_rng(0).permutation(len(labels))
    fitted, held = labels.iloc[order[:TRAINED]], labels.iloc[order[TRAINED:]]
    X = vectors(source.folder, population)
    x, y = (np.asarray(X[part.index]) for part in (fitted, held))
    return classify(x, fitted.to_numpy(), y, held.to_numpy(), None), fitted.to_numpy()


def probe_rows(source: Source, cell: Cell, seed: int, metrics: Sequence[str], rng: np.random.Generator) -> list[dict]:
    """Return the rows of `one_draw` for a fitted probe on validation rows that are drawn anew."""
    from geomprobe.probes.scores import classification_rows

    whole, trained = probe(source, cell.population)
    rows = rng.choice(len(whole.labels), cell.n, replace=False)
    part = replace(whole, **{key: getattr(whole, key)[rows] for key in ("labels", "predictions", "log_loss")})
    scores = classification_rows("semantic", {None: part}, trained, part.labels, np.arange(cell.n), n=cell.n)
    return [
        of_row(seed, row | {"view": "raw"})
        for row in scores
        if row["metric"] in metrics and row["control"] is None and row.get("se") is not None
    ]


def of_row(seed: int, row: dict) -> dict:
    """Return a row of results as the counts take it."""
    numbers = {"value": row["value"], "se": row["se"], "low": row["ci_low"], "high": row["ci_high"], "p": None}
    place = {"seed": seed, "metric": row["metric"], "view": row["view"], "label": label(row)}
    return place | numbers | {"boot_low": None, "boot_high": None, "reason": row["ci_method"]}


def several_draws(source: Source, cell: Cell, metrics: Sequence[str], seeds: Sequence[int]) -> list[dict]:
    """Return the rows of several seeds."""
    import torch

    torch.set_num_threads(1)
    return [row for seed in seeds for row in one_draw(source, cell, seed, metrics)]


def drawn_together(cell: Cell, metrics: Sequence[str], known: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Return the metrics that a cell is for, apart by group and by the seeds that are counted of them already."""
    seeds = known[counting.of_cell(cell, known)].groupby("metric")["seeds"].max().to_dict() if len(known) else {}
    parts: dict[tuple[str, int], list[str]] = {}
    for group, names in metrics_of(DESIGNS[cell.design], metrics).items():
        for metric in names:
            parts.setdefault((group, seeds.get(metric, 0)), []).append(metric)
    return [(group, names) for (group, _), names in parts.items()]


def add_draws(
    source: Source, cell: Cell, draws: int, metrics: Sequence[str], counts: Path, pool: Executor | None
) -> None:
    """Draw the seeds that are missing of a cell and add them to a file of counts."""
    design = DESIGNS[cell.design]
    if draw(source.folder, cell.n, design, np.random.default_rng(0)) is None:
        return
    for group, names in drawn_together(cell, metrics, read_counts(counts)):
        share = fraction(source, cell.n, design, group)

        def keep(found: pd.DataFrame, share: float = share) -> None:
            write_counts(counts, cell, CELLS, ALL, found.assign(fraction=share))

        of_seeds = partial(several_draws, source, cell, names)
        simulate(cell, draws, of_seeds, names, pool=pool, known=read_counts(counts), keep=keep)


def add_rounds(chosen: argparse.Namespace, cells: Sequence[Cell]) -> None:
    """Draw a few seeds of every cell in turn, until each has all or the time is up."""
    begun, source = time.perf_counter(), Source(chosen.cache, chosen.data)
    with ProcessPoolExecutor(chosen.workers) as pool:
        for start in range(0, chosen.draws, chosen.step):
            draws = min(start + chosen.step, chosen.draws)
            for cell in cells:
                if time.perf_counter() - begun > 60 * chosen.minutes:
                    print(f"stopped after {chosen.minutes:g} minutes, before all cells had {draws} draws")
                    return
                add_draws(source, cell, draws, chosen.metrics, chosen.counts, pool)
            print(f"{len(cells)} cells have {draws} draws, {time.perf_counter() - begun:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = cache_dir() / "calibration"
    parser.add_argument("--cache", type=Path, default=cache, help="folder with texts.parquet and POPULATION.npy")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with wikipedia/ and glue/")
    parser.add_argument("--small", type=Path, help="checkpoint of the small encoder, where its vectors are not cached")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--step", type=int, default=50, help="draws of a cell before the next cell has its turn")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so long")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="*", choices=ROWS, default=ROWS)
    parser.add_argument("--populations", nargs="*", choices=list(POPULATIONS), default=list(POPULATIONS))
    parser.add_argument("--designs", nargs="*", choices=list(DESIGNS), default=list(DESIGNS))
    parser.add_argument("--metrics", nargs="*", choices=ALL, default=ALL)
    parser.add_argument("--counts", type=Path, default=COUNTS, help="what was found so far; added to")
    parser.add_argument("--page", type=Path, help=f"write a page of all counts; with the default counts: {PAGE_FILE}")
    parser.add_argument("--table", action="store_true", help="print a compact table of what was chosen")
    chosen = parser.parse_args()
    counting.BATCH = chosen.step
    there = prepare(chosen.cache, chosen.data, chosen.small, chosen.populations)
    if there and not (chosen.data / "glue").exists():
        print(f"Without a probe: {chosen.data / 'glue'} with the labels of SST-2 is missing (--data).")
        chosen.metrics = [metric for metric in chosen.metrics if metric not in PROBE]
    wanted = set(product(there, chosen.rows, chosen.designs))
    cells = [cell for cell in CELLS if (cell.population, cell.n, cell.design) in wanted]
    if cells:
        add_rounds(chosen, cells)
    counts = read_counts(chosen.counts)
    if counts.empty:
        return
    table = summary(counts)
    if chosen.table:
        of = {"n": chosen.rows, "population": chosen.populations, "design": chosen.designs, "metric": chosen.metrics}
        print(compact(table[np.logical_and.reduce([table[column].isin(known) for column, known in of.items()])]))
    path = chosen.page or (PAGE_FILE if chosen.counts == COUNTS else None)
    if path:
        write_text(path, page(table))


if __name__ == "__main__":
    main()
