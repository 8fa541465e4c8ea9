"""Make the verdicts of the kept comparisons anew, by the families and margins of the code.

`python docs/gallery/verdicts.py --check` says what would change; without --check, tables and pages are written anew.

Everything comes from what the folders keep, and a second run changes nothing. p is kept. p_tost is kept adjusted, so it
is made anew: from diff, se, margin and the degrees of freedom that the interval shows, or from the examples where a
test of discordant examples decides. Adjusted within the families that the folder names, by the margins that it keeps,
it must give what is kept. Audits (audit.json) keep no p_tost: only `geomprobe audit` makes their verdicts anew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq

import geomprobe.results.earlier_versions as earlier
from geomprobe.api import every_metric
from geomprobe.common import read_json, write_json
from geomprobe.comparison import pairs
from geomprobe.comparison.margin_overrides import margin
from geomprobe.comparison.table import adjusted
from geomprobe.inference import Interval, intervals
from geomprobe.reports.write import write_report
from geomprobe.results import (
    COMPARISON_COLUMNS,
    EXAMPLE_COLUMNS,
    RESULT_COLUMNS,
    Results,
    read_results,
    read_table,
    table,
    write_table,
)

HERE = Path(__file__).parent
AGREES = 1e-9  # how closely p_tost made anew, adjusted within the old families, must give what is kept
PLACE = ("task", "layer", "pooling", "view", "metric")


def read(folder: Path) -> Results:
    """Return the results that a folder keeps."""
    if (folder / "curves.parquet").is_file():
        return read_results(folder)
    tables = (
        read_table(folder / f"{name}.parquet", columns)
        for name, columns in (("results", RESULT_COLUMNS), ("comparisons", COMPARISON_COLUMNS))
    )
    return earlier.current(Results(*tables, run=read_json(folder / "run.json")))


def degrees_of_freedom(row: pd.Series) -> float:
    """Return the degrees of freedom of an interval diff ± t·se, which folders of earlier versions do not keep."""
    reach = float(row["ci_high"] - row["ci_low"]) / 2 / float(row["se"])
    if reach <= intervals.t_quantile(0.975, 1e9):
        return np.inf
    return float(brentq(lambda dof: intervals.t_quantile(0.975, dof) - reach, 0.1, 1e9, xtol=1e-12))


def unadjusted(results: Results, frame: pd.DataFrame, margins: Sequence[float | None] | None = None) -> np.ndarray:
    """Return p_tost of each row of one comparison before adjustment, float64; NaN where there is none.

    Parameters
    ----------
    results : Results
    frame : DataFrame
        With the margins by which its p_tost was made, which is checked.
    margins : sequence of float or None, optional
        A margin a row in place of these.
    """
    by_examples: dict[tuple, Interval] = {}
    if frame["ci_method"].str.contains("McNemar|score interval").any():
        sides = [pairs.ModelResults(results, str(frame[end].iloc[0])) for end in ("a", "b")]
        for row in pairs.joined(sides[0].rows, sides[1].rows, (*pairs.CELL, *pairs.NUMBER)):
            place = tuple(row["layer_a"] if key == "layer" else row[key] for key in PLACE)
            by_examples[place] = pairs.paired(*sides, row)

    def of(row: pd.Series, size: float) -> float:
        if pd.isna(row["p_tost"]):
            return np.nan
        diff = float(row["diff"])
        if "McNemar" in row["ci_method"] or "score interval" in row["ci_method"]:
            found = by_examples[tuple(row[list(PLACE)])]
            assert found.discordant is not None
            assert abs(found.value - diff) < AGREES
            return found.discordant.p_equivalence(size, exact=found.se is None)
        if row["se"] == 0:
            return 0.0 if diff == 0 else intervals.p_equivalence(diff, 0.0, 1.0, size)
        return intervals.p_equivalence(diff, float(row["se"]), degrees_of_freedom(row), size)

    kept = frame["margin"].to_numpy(float, na_value=np.nan)
    p = np.array([of(row, size) for (_, row), size in zip(frame.iterrows(), kept, strict=True)])
    before = p.copy()
    for family in set(frame["family"]):
        here = (frame["family"] == family).to_numpy()
        before[here] = intervals.holm(p[here])
    off = np.nanmax(np.abs(before - frame["p_tost"].to_numpy(float, na_value=np.nan)), initial=0)
    if not off <= AGREES:
        raise SystemExit(f"p_tost made anew is {off:.2g} off what is kept: it cannot be adjusted anew")
    if margins is None:
        return p
    return np.array([of(row, size) for (_, row), size in zip(frame.iterrows(), margins, strict=True)])


def renew(folder: Path, check: bool) -> str:
    """Write the tables and the page of a folder anew, unless `check`; return what changes."""
    results = read(folder)
    definitions = every_metric()
    frames = []
    for (_, _, level), part in results.comparisons.groupby(["a", "b", "level"], sort=False):
        groups = results.run.get("groups") or {}
        seeds = min(map(len, groups.values())) if level == "objective" else None
        values = zip(part["metric"], part["value_a"], part["value_b"], strict=True)
        margins = pd.array([margin(definitions[name], a, b) for name, a, b in values], "Float64")
        p_tost = unadjusted(results, part, margins.to_numpy(float, na_value=np.nan))
        frames.append(adjusted(part.assign(p_tost=p_tost, margin=margins), definitions, seeds=seeds))
    before, now = results.comparisons, table(pd.concat(frames), COMPARISON_COLUMNS)
    if not check:
        results.comparisons = now
        results.run.pop("claims", None)  # of earlier versions: the summary says it
        results.definitions = {name: definitions[name] for name in dict.fromkeys(results.results["metric"])}
        write(folder, results)
    changed = before["verdict"].to_numpy() != now["verdict"].to_numpy()
    lines = [f"{folder.relative_to(HERE)}: {changed.sum()} of {len(now)} verdicts change"]
    moves = zip(now["metric"], before["verdict"], now["verdict"], strict=True)
    counts = Counter(move for move, differs in zip(moves, changed, strict=True) if differs)
    lines += [f"  {name}: {count} from {old!r} to {new!r}" for (name, old, new), count in sorted(counts.items())]
    return "\n".join(lines)


def write(folder: Path, results: Results) -> None:
    """Write the tables that a folder keeps, and its report."""
    write_table(folder / "comparisons.parquet", results.comparisons)
    write_table(folder / "results.parquet", table(results.results, RESULT_COLUMNS))
    write_json(folder / "run.json", results.run)
    if not (folder / "curves.parquet").is_file():
        write_report(results, folder / "report.html")
        return
    results.results.to_csv(folder / "results.csv", index=False)
    write_table(folder / "examples.parquet", table(results.examples, EXAMPLE_COLUMNS))
    write_json(folder / "definitions.json", results.definitions)
    write_report(folder, folder / "report.html", folder / "report.pdf")
    pictures = [sys.executable, "-m", "geomprobe.reports.render.screenshots", str(folder), str(folder)]
    subprocess.run(pictures, check=True)
    (folder / "wide.png").replace(folder / "report.png")


def rename_switches(audit: Path) -> None:
    """Give the numbers of words the name of words in an audit of an earlier version."""
    document = read_json(audit)
    lines = [line for claim in document["claims"] for task in claim["tasks"] for line in task["switches"]]
    for line in lines:
        if line["name"] == "token_target=word":
            line["metric"] = line["metric"].replace(earlier.TOKENS, earlier.WORDS)
    write_json(audit, document)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="say what would change, and write nothing")
    only_check = parser.parse_args().check
    for path in sorted(HERE.rglob("comparisons.parquet")):
        print(renew(path.parent, only_check))
    for path in [] if only_check else sorted(HERE.rglob("audit.json")):
        rename_switches(path)
