"""Coverage of intervals and false positives of paired tests, over clouds whose truth is known by repeated drawing.

    python tests/calibration/simulate.py --draws 1000 --page docs/calibration.md

The truth of a cell is the mean of the statistic over the draws: the expected value at this N, which is what the
intervals are for. Beside it stands the naive bootstrap (rows with replacement, percentiles).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from geomprobe.common import write_text

CLOUDS = ("gaussian", "power-law", "clustered", "heavy-tailed", "anisotropic", "near-collapsed")
ROWS = (200, 1000, 5000)
DIMENSIONS = (32, 128, 512)
BOOTSTRAPPED = ("effective_rank", "uniformity")
CLUSTER_SIZE = 4
METRICS = (
    *("effective_rank", "rankme", "spectral_entropy", "participation_ratio", "stable_rank", "rank_90", "rank_99"),
    *("alpha_req", "isoscore", "vendi_score", "mean_cosine", "uniformity", "uniformity_jensen"),
    *("rogue_share_1", "rogue_share_3", "norm_cv", "partition_isotropy"),
)


@dataclass(frozen=True)
class Cell:
    """One cloud, size and dimension."""

    cloud: str
    n: int
    d: int


def draw(cell: Cell, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the vectors of two encoders of the same rows, equal in law and correlated, and clusters of rows."""
    n, d = cell.n, cell.d
    scale, clusters = np.ones(d), None
    if cell.cloud in ("power-law", "clustered", "near-collapsed"):
        scale = np.arange(1, d + 1) ** -0.5
    shared, own = rng.normal(size=(n, d)), rng.normal(size=(2, n, d))
    if cell.cloud == "clustered":
        clusters = np.arange(n) // CLUSTER_SIZE
        groups = rng.normal(size=(3, int(clusters.max()) + 1, d))[:, clusters]
        shared, own = (shared + groups[0]) / np.sqrt(2), (own + groups[1:]) / np.sqrt(2)
    if cell.cloud == "heavy-tailed":  # one scale a row: t with 5 degrees of freedom in every direction
        tail = np.sqrt(5 / rng.chisquare(5, size=(n, 1)))
        shared, own = shared * tail, own * tail
    mean = np.zeros(d)
    if cell.cloud == "anisotropic":
        mean[:] = 4.0  # 4 times the root mean square of a coordinate
    if cell.cloud == "near-collapsed":
        mean[:] = 100 * np.sqrt((scale**2).mean())
    first, second = ((shared + own[side]) / np.sqrt(2) * scale + mean for side in (0, 1))
    return first, second, clusters


def one_draw(cell: Cell, seed: int, metrics: Sequence[str] | None, bootstrap: int) -> list[dict]:
    """Return a row per metric: value, interval, p of the paired test, and the bootstrap interval if asked for."""
    from geomprobe import inference

    rng = np.random.default_rng([seed, cell.n, cell.d, CLOUDS.index(cell.cloud)])
    first, second, clusters = draw(cell, rng)
    measured = [inference.measure(Z, metrics=metrics, clusters=clusters) for Z in (first, second)]
    rows = []
    for i, a in measured[0][0].iterrows():
        if a["status"] != "ok":
            continue
        left, right = measured[0][1][i], measured[1][1][i]
        numbers = inference.number_clusters(clusters, cell.n)
        p = None if left is None or right is None else inference.paired_difference(left, right, numbers).p
        rows.append(
            {
                "metric": a["metric"],
                "view": a["view"],
                "value": a["value"],
                "se": a["se"],
                "low": a["ci_low"],
                "high": a["ci_high"],
                "method": a["ci_method"],
                "p": p,
            }
        )
    if bootstrap:
        for row, low, high in bootstrap_intervals(first, rows, bootstrap, rng):
            row["boot_low"], row["boot_high"] = low, high
    return rows


def bootstrap_intervals(Z: np.ndarray, rows: list[dict], times: int, rng: np.random.Generator):
    """Yield (row, low, high): percentiles over resamples of rows with replacement."""
    from geomprobe.metrics import measure

    wanted = [row for row in rows if row["metric"] in BOOTSTRAPPED]
    names = list(dict.fromkeys(row["metric"] for row in wanted))
    samples = []
    for _ in range(times):
        frame = measure(Z[rng.integers(0, len(Z), len(Z))], metrics=names, intervals=False)
        samples.append(frame.set_index(["metric", "view"])["value"])
    table = pd.concat(samples, axis=1).astype(float)
    for row in wanted:
        values = table.loc[(row["metric"], row["view"])]
        yield row, *np.quantile(values, [0.025, 0.975])


def summarise(cell: Cell, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per metric and view: coverage, labels, false positives, and the verdict of the rule below."""
    out = []
    for (metric, view), part in rows.groupby(["metric", "view"], sort=False):
        truth, spread = part["value"].mean(), part["value"].std()
        refused = part["se"].isna()
        given = part[~refused]
        conservative = given["method"].str.contains("conservative").mean() if len(given) else np.nan
        covered = ((given["low"] <= truth) & (truth <= given["high"])).astype(float)
        tested = part["p"].dropna()
        row = {
            "cloud": cell.cloud,
            "n": cell.n,
            "d": cell.d,
            "metric": metric,
            "view": view,
            "draws": len(part),
            "sd": spread,
            "se": given["se"].astype(float).mean() if len(given) else np.nan,
            "refused": refused.mean(),
            "conservative": conservative,
            "coverage": covered.mean() if len(given) else np.nan,
            "false_positives": (tested < 0.05).mean() if len(tested) else np.nan,
            "bootstrap": np.nan,
        }
        if "boot_low" in part and part["boot_low"].notna().any():
            booted = part[part["boot_low"].notna()]
            row["bootstrap"] = ((booted["boot_low"] <= truth) & (truth <= booted["boot_high"])).mean()
        out.append({**row, "fault": fault(row, len(given), len(tested))})
    return pd.DataFrame(out)


def outside(share: float, count: int, *, at_least: float | None = None, at_most: float | None = None) -> bool:
    """Whether the 99 % binomial (Clopper-Pearson) interval of a share lies beyond a bound."""
    hits = round(share * count)
    if at_least is not None:
        return (stats.beta.ppf(0.995, hits + 1, count - hits) if hits < count else 1.0) < at_least
    assert at_most is not None
    return (stats.beta.ppf(0.005, hits, count - hits + 1) if hits else 0.0) > at_most


def fault(row: dict, given: int, tested: int) -> str:
    """Return what is wrong with a cell: "" if nothing is."""
    if given >= 20:
        if outside(row["coverage"], given, at_least=0.93):
            return "covers too little"
        if row["conservative"] < 0.5 and outside(row["coverage"], given, at_most=0.97):
            return "covers too much, not labelled"
    if tested >= 20 and outside(row["false_positives"], tested, at_most=0.06):
        return "false positives"
    return ""


def simulate(
    cells: Sequence[Cell],
    draws: int,
    *,
    bootstrap: int = 0,
    bootstrap_draws: int = 50,
    metrics: Sequence[str] | None = None,
    workers: int = 1,
    keep: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Return the summary of all cells; `keep` is a CSV that holds it cell by cell as it grows."""
    tables = []
    with ProcessPoolExecutor(workers) if workers > 1 else _Here() as pool:
        for cell in cells:
            started = time.perf_counter()
            names = list(metrics or METRICS)
            jobs = [
                pool.submit(one_draw, cell, seed, names, bootstrap if seed < bootstrap_draws else 0)
                for seed in range(draws)
            ]
            rows = pd.DataFrame([row for job in jobs for row in job.result()])
            tables.append(summarise(cell, rows))
            faults = (tables[-1]["fault"] != "").sum()
            say(f"{cell}: {draws} draws, {faults} faults, {time.perf_counter() - started:.0f} s")
            if keep:
                pd.concat(tables).to_csv(keep, index=False, float_format="%.4g")
    return pd.concat(tables, ignore_index=True)


PAGE = """# Calibration

Coverage of nominal 95 % intervals and false positives of nominal 5 % paired tests, in per cent of draws from clouds
whose truth is known. Written by `python tests/calibration/simulate.py`; the rules that judge a cell stand in that file.

- **c**: the product labels the interval conservative; **–**: it gives no valid interval (each in most draws).
- **!**: the cell fails: its 99 % binomial interval lies below 93 % (coverage), above 97 % (coverage without the label
  conservative), or above 6 % (false positives).
- Columns are rows × dimensions. "bootstrap" is the coverage of the naive bootstrap: rows with replacement, percentiles.

"""


def page(table: pd.DataFrame) -> str:
    """Return the summary as a page of Markdown: a section per cloud, a row per metric and view."""
    cells = table[["cloud", "n", "d"]].drop_duplicates()
    whole, fewest = len(CLOUDS) * len(ROWS) * len(DIMENSIONS), int(table["draws"].min())
    text = [PAGE]
    if len(cells) < whole or fewest < 1000:
        known = 100 * 2.58 * np.sqrt(0.05 * 0.95 / fewest)
        text.append(
            f"**This table is partial**: {len(cells)} of {whole} cells, {fewest} draws in the smallest (the full\n"
            f"form has 1,000). Shares are known to about ± {known:.0f} points only, so a\n"
            "cell without a mark is not thereby shown to be right. Missing metrics were not drawn.\n\n"
        )
    for cloud, part in table.groupby("cloud", sort=False):
        sizes = part[["n", "d", "draws"]].groupby(["n", "d"], sort=False)["draws"].max()
        draws = ", ".join(f"{n} × {d}: {count}" for (n, d), count in sizes.items())
        text.append(f"## {cloud}\n\nDraws: {draws}.\n\n")
        columns = [f"{n} × {d}{what}" for n, d in sizes.index for what in ("", " false positives", " bootstrap")]
        text.append(f"| metric | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|\n")
        for (metric, view), rows in part.groupby(["metric", "view"], sort=False):
            found = rows.set_index(["n", "d"])
            cells = [entry for size in sizes.index for entry in entries(found, size)]
            text.append(f"| {metric}{'' if view == 'raw' else f' ({view})'} | {' | '.join(cells)} |\n")
        text.append("\n")
    return "".join(text)


def entries(known: pd.DataFrame, size: tuple[int, int]) -> list[str]:
    """Return coverage, false positives and the bootstrap's coverage of one cell, as text."""
    if size not in known.index:
        return ["", "", ""]
    row = known.loc[size]
    mark = " !" if isinstance(row["fault"], str) and row["fault"] else ""
    covers = mark if "covers" in str(row["fault"]) else ""
    label = " c" if row["conservative"] >= 0.5 else ""
    coverage = "–" if row["refused"] > 0.5 else f"{100 * row['coverage']:.0f}{label}{covers}"
    wrong = "" if np.isnan(row["false_positives"]) else f"{100 * row['false_positives']:.0f}{'' if covers else mark}"
    return [coverage, wrong, "" if np.isnan(row["bootstrap"]) else f"{100 * row['bootstrap']:.0f}"]


class _Here:
    """An executor that runs at once, in this process."""

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def submit(self, function: Callable, *arguments: object) -> _Done:
        return _Done(function(*arguments))


@dataclass
class _Done:
    value: list[dict]

    def result(self) -> list[dict]:
        return self.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--bootstrap", type=int, default=100, help="resamples of the naive bootstrap; 0: none")
    parser.add_argument("--bootstrap-draws", type=int, default=50, help="draws that are bootstrapped too")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--dimensions", type=int, nargs="*", default=DIMENSIONS)
    parser.add_argument("--clouds", nargs="*", default=CLOUDS)
    parser.add_argument("--metrics", nargs="*", default=None)
    parser.add_argument("--out", type=Path, help="CSV of all cells")
    parser.add_argument("--page", type=Path, help="Markdown page of all cells, such as docs/calibration.md")
    parser.add_argument("--from", dest="made", type=Path, nargs="*", help="write the page from these CSVs only")
    chosen = parser.parse_args()
    if chosen.made:
        write_text(chosen.page, page(pd.concat([pd.read_csv(path) for path in chosen.made])))
        return
    cells = [Cell(*cell) for cell in product(chosen.clouds, chosen.rows, chosen.dimensions)]
    table = simulate(
        cells,
        chosen.draws,
        bootstrap=chosen.bootstrap,
        bootstrap_draws=chosen.bootstrap_draws,
        metrics=chosen.metrics,
        workers=chosen.workers,
        keep=chosen.out,
        say=lambda line: print(line, flush=True),
    )
    if chosen.page:
        write_text(chosen.page, page(table))
    print(table[table["fault"] != ""].to_string())


if __name__ == "__main__":
    main()
