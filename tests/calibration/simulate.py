"""Coverage of intervals and false positives of paired tests, over clouds whose truth is known by repeated drawing.

    python tests/calibration/simulate.py --draws 1000 --page docs/calibration.md

Draws are kept in runs/calibration, a CSV a cell; a later run adds those that are missing. Empty that folder after a
change of the method: old draws do not know of it.

The truth of a cell is the mean of the statistic over the draws: the expected value at this N, which is what the
intervals are for. Beside it stands the naive bootstrap (rows with replacement, percentiles).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product, starmap
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from geomprobe.common import write_text

CLOUDS = ("gaussian", "power-law", "clustered", "heavy-tailed", "anisotropic", "near-collapsed")
ROWS = (200, 1000, 5000)
DIMENSIONS = (32, 128, 512)
FIRST_SEED = 20_000
"""Rules of the method were fixed on draws of the seeds below, which the page does not show."""
RESAMPLES = 100
CHUNK = 10
"""Draws of one job; an interrupted run loses no more than these."""
NUMBERS = ("value", "se", "low", "high", "p", "boot_low", "boot_high")
JUDGED = 20
"""Fewest intervals or tests by which a cell is judged."""
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

    @property
    def file(self) -> str:
        """Name of the CSV of its draws."""
        return f"{self.cloud}-{self.n}x{self.d}.csv"


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


def one_draw(cell: Cell, seed: int, metrics: Sequence[str], bootstrap: int) -> list[dict]:
    """Return a row per metric and view: value, interval, its label, p of the paired test, and the bootstrap's interval.

    The label is "" for a plain interval, else "conservative" or "refused". A seed always draws the same clouds.
    """
    from geomprobe import inference

    rng = np.random.default_rng([seed, cell.n, cell.d, CLOUDS.index(cell.cloud)])
    first, second, clusters = draw(cell, rng)
    measured = [inference.measure(Z, metrics=metrics, clusters=clusters) for Z in (first, second)]
    numbers = inference.number_clusters(clusters, cell.n)
    booted = naive_bootstrap(first, metrics, bootstrap, rng) if bootstrap else {}
    rows = []
    for a, left, right in zip(measured[0][0].to_dict("records"), measured[0][1], measured[1][1], strict=True):
        if a["status"] != "ok":
            continue
        p = None if left is None or right is None else inference.paired_difference(left, right, numbers).p
        label = "refused" if pd.isna(a["se"]) else "conservative" if "conservative" in a["ci_method"] else ""
        low, high = booted.get(a["metric"], (None, None)) if a["view"] == "raw" else (None, None)
        numbers_of = {"value": a["value"], "se": a["se"], "low": a["ci_low"], "high": a["ci_high"], "p": p}
        place = {"seed": seed, "metric": a["metric"], "view": a["view"], "label": label}
        rows.append({**place, **numbers_of, "boot_low": low, "boot_high": high})
    return rows


def naive_bootstrap(
    Z: np.ndarray, metrics: Sequence[str], times: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Return percentile intervals over resamples of rows with replacement, as one would code them in an afternoon."""
    n = len(Z)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=times).astype(float)
    values = {}
    if "effective_rank" in metrics:
        from geomprobe.metrics.spectrum import effective_rank

        values["effective_rank"] = []
        for w in counts / n:
            centred = Z - w @ Z
            spectrum = np.linalg.eigvalsh((centred * w[:, None]).T @ centred)[::-1]
            values["effective_rank"].append(effective_rank(np.maximum(spectrum[: min(n - 1, Z.shape[1])], 0)))
    if "uniformity" in metrics:
        z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
        kernel = np.exp(-4 * (1 - z @ z.T))
        values["uniformity"] = np.log(((counts @ kernel * counts).sum(1) - n) / (n * (n - 1)))
    return {name: tuple(np.quantile(found, [0.025, 0.975])) for name, found in values.items()}


def summarise(cell: Cell, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per metric and view: coverage, labels, false positives, and the verdict of the rule below."""
    out = []
    for (metric, view), part in rows.groupby(["metric", "view"], sort=False):
        truth, spread = part["value"].mean(), part["value"].std()
        refused = part["label"] == "refused"
        given = part[~refused]
        conservative = (given["label"] == "conservative").mean() if len(given) else np.nan
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
    if given >= JUDGED:
        if outside(row["coverage"], given, at_least=0.93):
            return "covers too little"
        if row["conservative"] < 0.5 and outside(row["coverage"], given, at_most=0.97):
            return "covers too much, not labelled"
    if tested >= JUDGED and outside(row["false_positives"], tested, at_most=0.06):
        return "false positives"
    return ""


def several_draws(cell: Cell, seeds: Sequence[int], metrics: Sequence[str], bootstrapped: int) -> list[dict]:
    """Return the rows of several seeds; the first `bootstrapped` of all have a naive bootstrap beside them."""
    import torch

    torch.set_num_threads(1)
    end = FIRST_SEED + bootstrapped
    return [row for seed in seeds for row in one_draw(cell, seed, metrics, RESAMPLES if seed < end else 0)]


def simulate(
    cell: Cell,
    draws: int,
    *,
    metrics: Sequence[str] = METRICS,
    bootstrapped: int = 0,
    pool: Executor | None = None,
    keep: Path | None = None,
) -> pd.DataFrame:
    """Return the rows of `one_draw` for so many seeds from FIRST_SEED on.

    Parameters
    ----------
    bootstrapped : int
        How many of the seeds have a naive bootstrap beside them.
    pool : Executor, optional
        Draws in parallel.
    keep : Path, optional
        CSV that holds the draws as they come; seeds that it has already are not drawn again.
    """
    known = pd.read_csv(keep, keep_default_na=False, na_values=["nan"]) if keep and keep.exists() else None
    missing = sorted(set(range(FIRST_SEED, FIRST_SEED + draws)) - set(() if known is None else known["seed"]))
    parts = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
    tables = [] if known is None else [known]
    if pool is None:
        made = (several_draws(cell, part, metrics, bootstrapped) for part in parts)
    else:
        jobs = [pool.submit(several_draws, cell, part, metrics, bootstrapped) for part in parts]
        made = (job.result() for job in as_completed(jobs))
    for rows in made:
        table = pd.DataFrame(rows).astype(dict.fromkeys(NUMBERS, float))
        tables.append(table)
        if keep:
            table.to_csv(keep, mode="a", header=not keep.exists(), index=False, float_format="%.8g", na_rep="nan")
    return pd.concat(tables, ignore_index=True)


def kept(folder: Path, cells: Iterable[Cell]) -> pd.DataFrame:
    """Return the summary of all cells that a folder holds draws of."""
    found = [(cell, path) for cell in cells if (path := folder / cell.file).exists()]
    frames = [(cell, pd.read_csv(path, keep_default_na=False, na_values=["nan"])) for cell, path in found]
    return pd.concat([summarise(cell, rows) for cell, rows in frames], ignore_index=True)


PAGE = f"""# Calibration

Coverage of nominal 95 % intervals and false positives of nominal 5 % paired tests, in per cent of draws from clouds
whose truth is known. Written by `python tests/calibration/simulate.py`; the rules that judge a cell stand in that file.
All draws have seeds of {FIRST_SEED:,} and above. The rules of the method, that which refuses heavy tails and the choice
between slope and leave-one-out among them, were made on draws of other seeds, and were not changed after these.

- **c**: the product labels the interval conservative; **–**: it gives no valid interval (each in most draws).
- **!**: the cell fails: its 99 % binomial interval lies below 93 % (coverage), above 97 % (coverage without the label
  conservative), or above 6 % (false positives).
  A mark beside "–" judges the few draws that were given an interval, where these are at least {JUDGED}.
- Columns are rows × dimensions. "bootstrap" is the coverage of the naive bootstrap: rows with replacement, percentiles.

"""


def page(table: pd.DataFrame) -> str:
    """Return the summary as a page of Markdown: a section per cloud, a row per metric and view."""
    cells = table[["cloud", "n", "d"]].drop_duplicates()
    whole = len(CLOUDS) * len(ROWS) * len(DIMENSIONS)
    fewest = int(table.groupby(["cloud", "n", "d"])["draws"].max().min())
    text = [PAGE]
    if len(cells) < whole or fewest < 1000:
        known = 100 * 2.58 * np.sqrt(0.05 * 0.95 / fewest)
        text.append(
            f"**This table is partial**: {len(cells)} of {whole} cells, {fewest} draws in the smallest (the full\n"
            f"form has 1,000). Shares are known to about ± {known:.0f} points only, so a\n"
            "cell without a mark is not thereby shown to be right. Missing metrics were not drawn.\n\n"
        )
    text.append(failures(table))
    text.append(refusals(table))
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


def failures(table: pd.DataFrame) -> str:
    """Return the section of every cell that fails, and of what too few intervals are given to judge, with figures."""
    wrong = table[table["fault"].fillna("") != ""]
    lines = [
        f"- {row.cloud}, {row.n} × {row.d}, {row.metric}{'' if row.view == 'raw' else f' ({row.view})'}: {row.fault}; "
        f"coverage {100 * row.coverage:.0f} % of the {100 * (1 - row.refused):.0f} % of draws with an interval, "
        f"false positives {100 * row.false_positives:.0f} %"
        for row in wrong.itertuples()
    ]
    text = "## What is not calibrated\n\n" + ("\n".join(lines) if lines else "No cell fails.") + "\n\n"
    given = (table["draws"] * (1 - table["refused"])).round().astype(int)
    unsettled = table[(table["fault"].fillna("") == "") & (given >= JUDGED) & (table["coverage"] < 0.90)]
    if len(unsettled):
        text += "Not settled, for want of draws: coverage below 90 %, but within the binomial interval of 93 %:\n\n"
        text += "".join(
            f"- {row.cloud}, {row.n} × {row.d}, {row.metric}{'' if row.view == 'raw' else f' ({row.view})'}: "
            f"{100 * row.coverage:.0f} % of {given[row.Index]} intervals\n"
            for row in unsettled.itertuples()
        )
        text += "\n"
    few = table[(given > 0) & (given < JUDGED) & (table["coverage"] < 0.93)]
    lines = [
        f"- {row.cloud}, {row.n} × {row.d}, {row.metric}{'' if row.view == 'raw' else f' ({row.view})'}: "
        f"{given[row.Index]} of {row.draws} draws, {round(row.coverage * given[row.Index])} cover"
        for row in few.itertuples()
    ]
    if lines:
        text += f"Intervals in fewer than {JUDGED} draws, too few to judge, of which under 93 % cover:\n\n"
        text += "\n".join(lines) + "\n\n"
    return text


def refusals(table: pd.DataFrame) -> str:
    """Return the section that lists what has no interval in most draws, a line per cloud and metric."""
    lines = []
    for (cloud, metric, view), part in table.groupby(["cloud", "metric", "view"], sort=False):
        known = [(f"{r.n} × {r.d}", r.refused) for r in part.itertuples() if r.refused > 0.5]
        if known:
            shares = ", ".join(f"{100 * share:.0f} % at {size}" for size, share in known)
            lines.append(f"- {cloud}, {metric}{'' if view == 'raw' else f' ({view})'}: {shares}")
    return "## What is refused in most draws\n\n" + "\n".join(lines) + "\n\n"


def entries(known: pd.DataFrame, size: tuple[int, int]) -> list[str]:
    """Return coverage, false positives and the bootstrap's coverage of one cell, as text."""
    if size not in known.index:
        return ["", "", ""]
    row = known.loc[size]
    mark = " !" if isinstance(row["fault"], str) and row["fault"] else ""
    covers = mark if "covers" in str(row["fault"]) else ""
    label = " c" if row["conservative"] >= 0.5 else ""
    coverage = f"–{covers}" if row["refused"] > 0.5 else f"{100 * row['coverage']:.0f}{label}{covers}"
    wrong = "" if np.isnan(row["false_positives"]) else f"{100 * row['false_positives']:.0f}{'' if covers else mark}"
    return [coverage, wrong, "" if np.isnan(row["bootstrap"]) else f"{100 * row['bootstrap']:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--bootstrapped", type=int, default=100, help="draws with a naive bootstrap beside them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--dimensions", type=int, nargs="*", default=DIMENSIONS)
    parser.add_argument("--clouds", nargs="*", default=CLOUDS)
    parser.add_argument("--metrics", nargs="*", default=METRICS)
    parser.add_argument("--keep", type=Path, default=Path("runs/calibration"), help="folder of the draws, a CSV a cell")
    parser.add_argument("--page", type=Path, help="Markdown page of all cells in the folder: docs/calibration.md")
    chosen = parser.parse_args()
    chosen.keep.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(chosen.workers) as pool:
        for n, d, cloud in product(chosen.rows, chosen.dimensions, chosen.clouds):
            started, cell = time.perf_counter(), Cell(cloud, n, d)
            rows = simulate(
                cell,
                chosen.draws,
                metrics=chosen.metrics,
                bootstrapped=chosen.bootstrapped,
                pool=pool,
                keep=chosen.keep / cell.file,
            )
            faults = (summarise(cell, rows)["fault"] != "").sum()
            seconds = time.perf_counter() - started
            print(f"{cell.file}: {rows['seed'].nunique()} draws, {faults} faults, {seconds:.0f} s", flush=True)
    table = kept(chosen.keep, starmap(Cell, product(CLOUDS, ROWS, DIMENSIONS)))
    if chosen.page:
        write_text(chosen.page, page(table))
    print(table[table["fault"] != ""].to_string())


if __name__ == "__main__":
    main()
