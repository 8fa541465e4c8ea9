"""Make the verdicts of the kept comparisons anew, by the families of the code: `python docs/gallery/verdicts.py`.

Everything comes from what the folders keep, and a second run changes nothing. p is kept. p_tost is kept adjusted, so it
is made anew: from diff, se, margin and the degrees of freedom that the interval shows, or from the examples where a
test of discordant examples decides. Adjusted within the families that the folder names, it must give what is kept.
Pages are made by `geomprobe report` where the folder has curves; in others only names are replaced.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq

import geomprobe.results.earlier_versions as earlier
from geomprobe.api import every_metric
from geomprobe.common import read_json, write_json
from geomprobe.comparison import pairs
from geomprobe.comparison.sentences import claims
from geomprobe.comparison.table import adjusted
from geomprobe.inference import Interval, intervals
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


def unadjusted(results: Results, frame: pd.DataFrame) -> np.ndarray:
    """Return p_tost of each row of one comparison before adjustment, float64; NaN where there is none."""
    by_examples: dict[tuple, Interval] = {}
    if frame["ci_method"].str.contains("McNemar|score interval").any():
        sides = [pairs.ModelResults(results, str(frame[end].iloc[0])) for end in ("a", "b")]
        for row in pairs.joined(sides[0].rows, sides[1].rows, (*pairs.CELL, *pairs.NUMBER)):
            place = tuple(row["layer_a"] if key == "layer" else row[key] for key in PLACE)
            by_examples[place] = pairs.paired(*sides, row)

    def of(row: pd.Series) -> float:
        if pd.isna(row["p_tost"]):
            return np.nan
        diff, margin = float(row["diff"]), float(row["margin"])
        if "McNemar" in row["ci_method"] or "score interval" in row["ci_method"]:
            found = by_examples[tuple(row[list(PLACE)])]
            assert found.discordant is not None
            assert abs(found.value - diff) < AGREES
            return found.discordant.p_equivalence(margin, exact=found.se is None)
        if row["se"] == 0:
            return 0.0 if diff == 0 else intervals.p_equivalence(diff, 0.0, 1.0, margin)
        return intervals.p_equivalence(diff, float(row["se"]), degrees_of_freedom(row), margin)

    p = np.array([of(row) for _, row in frame.iterrows()])
    before = p.copy()
    for family in set(frame["family"]):
        here = (frame["family"] == family).to_numpy()
        before[here] = intervals.holm(p[here])
    off = np.nanmax(np.abs(before - frame["p_tost"].to_numpy(float, na_value=np.nan)), initial=0)
    if not off <= AGREES:
        raise SystemExit(f"p_tost made anew is {off:.2g} off what is kept: it cannot be adjusted anew")
    return p


def renew(folder: Path) -> str:
    """Write the tables of a folder anew; return how many verdicts there are of each kind, before and now."""
    results = read(folder)
    definitions = every_metric()
    frames = []
    for (_, _, level), part in results.comparisons.groupby(["a", "b", "level"], sort=False):
        groups = results.run.get("groups") or {}
        seeds = min(map(len, groups.values())) if level == "objective" else None
        frames.append(adjusted(part.assign(p_tost=unadjusted(results, part)), definitions, seeds=seeds))
    now = table(pd.concat(frames), COMPARISON_COLUMNS)
    before = results.comparisons
    results.run["claims"] = claims(now)
    write_table(folder / "comparisons.parquet", now)
    write_table(folder / "results.parquet", table(results.results, RESULT_COLUMNS))
    write_json(folder / "run.json", results.run)
    if (folder / "results.csv").is_file():
        results.results.to_csv(folder / "results.csv", index=False)
        write_table(folder / "examples.parquet", table(results.examples, EXAMPLE_COLUMNS))
        write_json(folder / "definitions.json", results.definitions)
    changed = before["verdict"].to_numpy() != now["verdict"].to_numpy()
    lines = [f"{folder.relative_to(HERE)}: {changed.sum()} of {len(now)} verdicts change"]
    counts = Counter(zip(before["verdict"][changed], now["verdict"][changed], strict=True))
    lines += [f"  {count} from {old!r} to {new!r}" for (old, new), count in counts.items()]
    for _, row in now[changed].iterrows():
        lines.append(
            f"    {row['task']}, {row['pooling']}: {row['metric']} {row['diff']:+.3f}, p_holm {row['p_holm']:.3f}"
        )
    if changed.any() and not (folder / "curves.parquet").is_file():
        raise SystemExit(f"{folder}: the page shows verdicts that change, and cannot be made from what is kept")
    return "\n".join(lines)


def rename_words(page: Path) -> None:
    """Give the word probe its name in a page that cannot be made anew."""
    text = page.read_text(encoding="utf-8")
    for gap in (" ", "_", "-"):  # none of which base64 has
        text = text.replace(gap.join(("lexical", "top", "token")), gap.join(("lexical", "top", "word")))
    page.write_text(text, encoding="utf-8")


def rename_switches(audit: Path) -> None:
    """Give the numbers of words the name of words in an audit of an earlier version."""
    document = read_json(audit)
    lines = [line for claim in document["claims"] for task in claim["tasks"] for line in task["switches"]]
    for line in lines:
        if line["name"] == "token_target=word":
            line["metric"] = line["metric"].replace(earlier.TOKENS, earlier.WORDS)
    write_json(audit, document)


if __name__ == "__main__":
    for path in sorted(HERE.rglob("comparisons.parquet")):
        print(renew(path.parent))
        if (path.parent / "curves.parquet").is_file():
            subprocess.run([sys.executable, "-m", "geomprobe", "report", str(path.parent)], check=True)
            subprocess.run(
                [sys.executable, "-m", "geomprobe.reports.render.screenshots", str(path.parent), str(path.parent)],
                check=True,
            )
            (path.parent / "wide.png").replace(path.parent / "report.png")
            (path.parent / "report.json").unlink()  # `geomprobe report` makes it
        else:
            rename_words(path.parent / "report.html")
    for path in sorted(HERE.rglob("audit.json")):
        rename_switches(path)
