"""Draws of a cell, counted: intervals that cover, tests that reject, and the verdict of the rules that judge them.

A cell is a frozen dataclass whose fields say where its draws come from; `simulate.py` has cells of synthetic clouds,
`real.py` of real embeddings. The truth of a cell is the mean of the statistic over the draws: the expected value at
this N, which is what the intervals are for. Draws are judged in batches, each by the mean over all draws up to its own.
A draw is part of that mean, which flatters: a coverage of 95 % by 0.2 points with 50 draws, by 0.1 with 100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common import write_text
from geomprobe.inference.calibration import FALSE_POSITIVES, HIGHEST, JUDGED, LOWEST, SELECTED, binomial_interval

FIRST_SEED = 20_000
"""Rules of the method were fixed on draws of the seeds below, which no page shows."""
CHUNK = 10
"""Draws of one job."""
BATCH = 100
"""Draws that are judged and kept together; an interrupted run loses no more than these."""
NUMBERS = ("value", "se", "low", "high", "p", "boot_low", "boot_high")
COUNTED = (
    *("seeds", "draws", "mean", "squares", "given", "se", "conservative", "covered", "tested", "rejected"),
    *("booted", "boot_covered"),
)
"""Of a metric in a cell: seeds drawn, values and their mean and summed squared deviations, intervals given, the mean of
their standard errors, how many are labelled and how many cover, paired tests and how many have p < 0.05,
naive bootstraps and how many cover."""
VIEWS = ("raw", "centred")

Draws = Callable[[Sequence[int]], list[dict]]
"""From seeds to rows: seed, metric, view, label, NUMBERS, and `reason` where the counts shall say why it is refused."""


def of_cell(cell: Any, counts: pd.DataFrame) -> pd.Series:
    """Return which rows of the counts are of this cell."""
    return (counts[list(asdict(cell))] == list(asdict(cell).values())).all(axis=1)


def place_of(counts: pd.DataFrame) -> list[str]:
    """Return the columns that say where counts come from: cell, metric and view."""
    return list(counts.columns[: counts.columns.get_loc("seeds")])


def label(row: pd.Series | dict) -> str:
    """Return how the product labels an interval: "" for a plain one, "conservative" or "refused"."""
    return "refused" if pd.isna(row["se"]) else "conservative" if "too large" in row["ci_method"] else ""


def judged(cell: Any, rows: pd.DataFrame, known: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """Return the counts of a cell after a batch of draws.

    Parameters
    ----------
    rows : DataFrame
        Of draws.
    known : DataFrame
        The cell's counts before it.
    seeds : int
        How many seeds the batch drew.
    """
    before = known.set_index(["metric", "view"])
    drawn = (int(known["seeds"].max()) if len(known) else 0) + seeds
    parts = dict(list(rows.groupby(["metric", "view"], sort=False)))
    out = []
    for metric, view in dict.fromkeys([*before.index, *parts]):  # a metric may have no value in any draw of a batch
        part = parts.get((metric, view), rows.iloc[:0])
        old = before.loc[(metric, view)] if (metric, view) in before.index else pd.Series(0.0, index=COUNTED)
        values, n = part["value"].to_numpy(float), old["draws"]
        draws = n + len(values)
        truth = (n * old["mean"] + values.sum()) / draws
        # of all values about their mean, from those of either part
        squares = old["squares"] + n * (old["mean"] - truth) ** 2 + ((values - truth) ** 2).sum()
        given, tested = part[part["label"] != "refused"], part["p"].dropna()
        booted = part[part["boot_low"].notna()]
        counts = {
            "draws": len(part),
            "given": len(given),
            "conservative": (given["label"] == "conservative").sum(),
            "covered": ((given["low"] <= truth) & (truth <= given["high"])).sum(),
            "tested": len(tested),
            "rejected": (tested < 0.05).sum(),
            "booted": len(booted),
            "boot_covered": ((booted["boot_low"] <= truth) & (truth <= booted["boot_high"])).sum(),
        }
        counts = {key: int(old[key] + count) for key, count in counts.items()}
        se = (old["given"] * old["se"] + given["se"].sum()) / max(counts["given"], 1)
        found = {"seeds": drawn, "mean": truth, "squares": squares, "se": se} | counts
        place = asdict(cell) | {"metric": metric, "view": view}
        out.append(place | {key: found[key] for key in COUNTED})
        if "reason" in rows:
            refused = part.loc[part["label"] == "refused", "reason"]
            out[-1]["reason"] = refused.iloc[-1] if len(refused) else old.get("reason", "")
    return pd.DataFrame(out)


def summarise(counts: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell, metric and view: coverage, SE ratio, labels, false positives, verdict of `fault`."""
    table = counts[[*place_of(counts), "seeds", "draws", "mean", "given", "se"]].copy()
    table["sd"] = np.sqrt(counts["squares"] / (counts["draws"] - 1).clip(lower=1))
    table["se_ratio"] = table["se"] / table["sd"].where((table["sd"] > 0) & (table["given"] > 0))
    table["refused"] = 1 - counts["given"] / counts["draws"]
    table["missed"] = (counts["given"] - counts["covered"]) / counts["draws"]
    shares = {
        "conservative": ("conservative", "given"),
        "coverage": ("covered", "given"),
        "false_positives": ("rejected", "tested"),
        "bootstrap": ("boot_covered", "booted"),
    }
    for share, (part, whole) in shares.items():
        table[share] = counts[part] / counts[whole].where(counts[whole] > 0)
    tests = counts["tested"]
    rows = zip(table.to_dict("records"), tests, strict=True)
    table["fault"] = [fault(row, row["given"], tested) for row, tested in rows]
    return table


def outside(share: float, count: int, *, at_least: float | None = None, at_most: float | None = None) -> bool:
    """Whether the 99 % binomial (Clopper-Pearson) interval of a share lies beyond a bound."""
    low, high = binomial_interval(round(share * count), count)
    if at_least is not None:
        return high < at_least
    assert at_most is not None
    return low > at_most


def fault(row: dict, given: int, tested: int) -> str:
    """Return what is wrong with a cell: "" if nothing is.

    A refusal selects draws, and those that remain are not like the others, so that no rule of refusal can keep the
    coverage of the few that it lets pass. Where over 80 % of draws are refused, what is judged is therefore how often
    an interval is given and misses: the false coverage rate of a selected parameter (Benjamini & Yekutieli 2005, "False
    discovery rate-adjusted multiple confidence intervals for selected parameters", JASA 100).
    """
    if row["refused"] > SELECTED:
        if outside(row["missed"], row["draws"], at_most=0.07):
            return "misses too often"
    elif given >= JUDGED:
        if outside(row["coverage"], given, at_least=LOWEST):
            return "covers too little"
        if row["conservative"] < 0.5 and outside(row["coverage"], given, at_most=HIGHEST):
            return "covers too much, not labelled"
    if tested >= JUDGED and outside(row["false_positives"], tested, at_most=FALSE_POSITIVES):
        return "false positives"
    return ""


def simulate(
    cell: Any,
    draws: int,
    of_seeds: Draws,
    metrics: Sequence[str],
    *,
    pool: Executor | None = None,
    known: pd.DataFrame | None = None,
    keep: Callable[[pd.DataFrame], None] = lambda counts: None,
) -> pd.DataFrame:
    """Return the counts of some metrics in a cell after so many seeds from FIRST_SEED on.

    Parameters
    ----------
    of_seeds : callable
        Draws the cell with some seeds; a seed always draws the same.
    pool : Executor, optional
        Draws in parallel.
    known : DataFrame, optional
        Counts of earlier runs; seeds that they have already are not drawn again.
    keep : callable
        Given the cell's counts after every batch.
    """
    counts = pd.DataFrame(columns=[*asdict(cell), "metric", "view", *COUNTED])
    if known is not None and len(known):
        counts = known[of_cell(cell, known) & known["metric"].isin(metrics)]
    done = int(counts["seeds"].max()) if len(counts) else 0
    for start in range(FIRST_SEED + done, FIRST_SEED + draws, BATCH):
        seeds = range(start, min(start + BATCH, FIRST_SEED + draws))
        parts = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
        if pool is None:
            made = [of_seeds(part) for part in parts]
        else:
            made = [job.result() for job in [pool.submit(of_seeds, part) for part in parts]]
        rows = pd.DataFrame([row for part in made for row in part]).astype(dict.fromkeys(NUMBERS, float))
        counts = judged(cell, rows, counts, len(seeds))
        keep(counts)
    return counts


def read_counts(path: Path) -> pd.DataFrame:
    """Return all counts that are kept; none where there is no file."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def write_counts(path: Path, cell: Any, cells: Sequence[Any], metrics: Iterable[str], counts: pd.DataFrame) -> None:
    """Put the counts of some metrics in one cell in place of those that are kept.

    Parameters
    ----------
    cells, metrics
        All there are, in the order in which they are written.
    """
    kept = read_counts(path)
    if len(kept):
        counts = pd.concat([kept[~(of_cell(cell, kept) & kept["metric"].isin(counts["metric"]))], counts])
    counts = counts.reset_index(drop=True)
    fields = list(asdict(cell))
    where, order = {one: i for i, one in enumerate(cells)}, {metric: i for i, metric in enumerate(metrics)}
    ranks = pd.DataFrame(
        {
            "cell": [where[type(cell)(*place)] for place in counts[fields].itertuples(index=False)],
            "metric": counts["metric"].map(order),
            "view": counts["view"].map({view: i for i, view in enumerate(VIEWS)}),
        }
    )
    counts = counts.loc[ranks.sort_values(["cell", "metric", "view"], kind="stable").index]
    write_text(path, counts.to_csv(index=False))


def with_view(metric: str, view: str) -> str:
    """Return a metric's name, with its view where this is not the raw one."""
    return metric if view == "raw" else f"{metric} ({view})"
