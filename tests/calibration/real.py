"""Coverage, SE ratio, refusals and power of the intervals over draws from populations of real embeddings.

    python -m tests.calibration.real --cache FOLDER --draws 300

A part of it, in a few minutes, as a table (metric, view, N, population, design):

    python -m tests.calibration.real --cache FOLDER --metrics effective_rank uniformity --populations mini6_mean \\
        --rows 200 1000 --designs sentences "50 documents" --draws 100 --counts some.csv --table

What was found is kept as counts in real_counts.csv beside this file, or in the file of --counts; a later run draws the
seeds that are missing and adds to it. Delete that file after a change of the method: old counts do not know of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from tests.calibration import counting
from tests.calibration.counting import label, read_counts, simulate, summarise, with_view, write_counts
from tests.calibration.populations import POPULATIONS, articles, texts, vectors

ROWS = (200, 500, 1000, 2000)
COUNTS = Path(__file__).with_name("real_counts.csv")
SPECTRAL = (
    *("effective_rank", "rankme", "spectral_entropy", "participation_ratio", "stable_rank", "rank_90", "rank_99"),
    *("isoscore", "vendi_score"),
)
METRICS = (*SPECTRAL, "mean_cosine", "uniformity", "partition_isotropy", "intrinsic_dimension")
SHRUNK = (0.95, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True)
class Design:
    """How rows are drawn, and what is measured.

    Attributes
    ----------
    documents : int or None
        Articles of Wikipedia, each with the same number of its sentences; None draws sentences from all texts.
    declared : bool
        Whether the articles are declared as clusters.
    shrunk : float or None
        None measures one cloud. Otherwise two are drawn, each row of either from the same article, in random order, and
        their difference is measured; the leading direction of the second is multiplied by this.
    """

    documents: int | None = None
    declared: bool = True
    shrunk: float | None = None


DESIGNS = {
    "sentences": Design(),
    "50 documents": Design(50),
    "100 documents": Design(100),
    "50 documents, undeclared": Design(50, declared=False),
    "100 documents, undeclared": Design(100, declared=False),
    "null, sentences": Design(shrunk=1.0),
    "null, 100 documents": Design(100, shrunk=1.0),
    **{f"power, shrunk to {share}": Design(shrunk=share) for share in SHRUNK},
}


@dataclass(frozen=True)
class Cell:
    """A population, a number of rows and a design of DESIGNS."""

    population: str
    n: int
    design: str


CELLS = [Cell(*place) for place in product(POPULATIONS, ROWS, DESIGNS)]


def draw(folder: Path, n: int, design: Design, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return indices of texts, (n,) or of two clouds (2, n), and their clusters (n,); None where articles are too few.

    Without replacement. Sentences are a simple random sample of all texts: independent, but for the finite population,
    whatever article they come from. Of two clouds the rows of an article are shared out at random, so that "no
    difference" is exactly true.
    """
    sides = 1 if design.shrunk is None else 2
    if design.documents is None:
        rows = rng.choice(len(texts(folder)), sides * n, replace=False).reshape(sides, n)
        clusters = None
    else:
        each = n // design.documents
        known = eligible(folder, sides * each)
        if len(known) < 2 * design.documents:
            return None
        chosen = rng.choice(len(known), design.documents, replace=False)
        parts = [rng.choice(known[i], sides * each, replace=False).reshape(sides, each) for i in chosen]
        rows, clusters = np.concatenate(parts, axis=1), np.repeat(np.arange(design.documents), each)
    return (rows[0] if sides == 1 else rows), clusters if design.declared else None


def eligible(folder: Path, size: int) -> list[np.ndarray]:
    """Return the rows of the articles with at least so many sentences."""
    return [rows for rows in articles(folder) if len(rows) >= size]


def leading(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the leading direction of a population, from every tenth row."""
    part = np.asarray(X[::10], np.float64)
    mean = part.mean(0)
    return mean, np.linalg.eigh((part - mean).T @ (part - mean))[1][:, -1]


def one_draw(folder: Path, cell: Cell, seed: int, metrics: Sequence[str]) -> list[dict]:
    """Return a row per metric and view: value, interval, its label and, of a difference, the p-value."""
    from geomprobe import inference

    design = DESIGNS[cell.design]
    found = draw(folder, cell.n, design, np.random.default_rng([seed, cell.n, design.documents or 0]))
    if found is None:
        return []
    (rows, clusters), X = found, vectors(folder, cell.population)
    if design.shrunk is None:
        measured = inference.measure(np.asarray(X[rows]), metrics=metrics, clusters=clusters)[0]
        return [of_row(seed, row) for row in measured.to_dict("records") if row["status"] == "ok"]
    clouds = [np.asarray(X[one], np.float64) for one in rows]
    if design.shrunk != 1:
        mean, direction = leading(X)
        clouds[1] -= (1 - design.shrunk) * np.outer((clouds[1] - mean) @ direction, direction)
    (frame, first), (_, second) = (inference.measure(Z, metrics=metrics, clusters=clusters) for Z in clouds)
    out = []
    for row, a, b in zip(frame.to_dict("records"), first, second, strict=True):
        if a is None or b is None:
            continue
        interval = b.minus(a).interval()
        known = {"value": interval.value} | interval.to_row()
        out.append(of_row(seed, row | known) | {"p": interval.p})
    return out


def of_row(seed: int, row: dict) -> dict:
    """Return a row of results as the counts take it."""
    numbers = {"value": row["value"], "se": row["se"], "low": row["ci_low"], "high": row["ci_high"], "p": None}
    place = {"seed": seed, "metric": row["metric"], "view": row["view"], "label": label(row)}
    return place | numbers | {"boot_low": None, "boot_high": None}


def several_draws(folder: Path, cell: Cell, metrics: Sequence[str], seeds: Sequence[int]) -> list[dict]:
    """Return the rows of several seeds."""
    import torch

    torch.set_num_threads(1)
    return [row for seed in seeds for row in one_draw(folder, cell, seed, metrics)]


def compact(table: pd.DataFrame) -> str:
    """Return the summary in a few columns: a line per metric, view, N, population and design."""
    table = table.sort_values(["metric", "view", "n", "design", "population"], key=ranked)
    lines = [f"{'metric':32}{'N':>5}  {'population':12}{'design':27}{'draws':>6}{'cover':>7}{'SE/sd':>7}{'refused':>9}"]
    lines[0] += f"{'p<.05':>7}  label"
    for row in table.itertuples():
        cover, ratio, wrong = shown(100 * row.coverage, ".1f"), shown(row.se_ratio, ".2f"), row.false_positives
        kind = "conservative" if row.conservative >= 0.5 else ""
        lines.append(
            f"{with_view(row.metric, row.view):32}{row.n:>5}  {row.population:12}{row.design:27}{row.draws:>6}"
            f"{cover:>7}{ratio:>7}{100 * row.refused:>8.0f}%{shown(100 * wrong, '.1f'):>7}  {kind}"
        )
    return "\n".join(lines)


def shown(value: float, form: str) -> str:
    """Return a number as text, "–" for none."""
    return "–" if np.isnan(value) else f"{value:{form}}"


def ranked(column: pd.Series) -> pd.Series:
    """Return the place of names among those of this file, by which tables are sorted."""
    orders = {"metric": METRICS, "view": counting.VIEWS, "population": list(POPULATIONS), "design": list(DESIGNS)}
    order = orders.get(str(column.name))
    return column if order is None else column.map({name: i for i, name in enumerate(order)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder with texts.parquet and POPULATION.npy")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--step", type=int, default=50, help="draws of a cell before the next cell has its turn")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so long")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="*", choices=ROWS, default=ROWS)
    parser.add_argument("--populations", nargs="*", choices=list(POPULATIONS), default=list(POPULATIONS))
    parser.add_argument("--designs", nargs="*", choices=list(DESIGNS), default=list(DESIGNS))
    parser.add_argument("--metrics", nargs="*", choices=METRICS, default=METRICS)
    parser.add_argument("--counts", type=Path, default=COUNTS, help="what was found so far; added to")
    parser.add_argument("--table", action="store_true", help="print a compact table of what was chosen")
    chosen = parser.parse_args()
    begun, counting.BATCH = time.perf_counter(), chosen.step
    wanted = list(product(range(chosen.step, chosen.draws + chosen.step, chosen.step), chosen.rows))
    wanted = list(product(wanted, chosen.populations, chosen.designs))
    with ProcessPoolExecutor(chosen.workers) as pool:
        for (draws, n), population, design in wanted:
            if time.perf_counter() - begun > 60 * chosen.minutes:
                print(f"stopped after {chosen.minutes:g} minutes, at up to {draws} draws a cell; run again to go on")
                break
            cell = Cell(population, n, design)
            if draw(chosen.cache, n, DESIGNS[design], np.random.default_rng(0)) is not None:
                simulate(
                    cell,
                    min(draws, chosen.draws),
                    partial(several_draws, chosen.cache, cell, chosen.metrics),
                    chosen.metrics,
                    pool=pool,
                    known=read_counts(chosen.counts),
                    keep=partial(write_counts, chosen.counts, cell, CELLS, METRICS),
                )
    table = summarise(read_counts(chosen.counts))
    if chosen.table:
        of = {"n": chosen.rows, "population": chosen.populations, "design": chosen.designs, "metric": chosen.metrics}
        print(compact(table[np.logical_and.reduce([table[column].isin(known) for column, known in of.items()])]))


if __name__ == "__main__":
    main()
