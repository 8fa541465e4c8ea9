"""Geometry against JEPA skill over all runs of a study: does more latent skill go with less wording?

    python docs/gallery/jepa/dose.py RUNS --data DIR

measures every finished run RUNS/<arm>/seed-N of `geomprobe replicate` (one that is measured already is kept), and
writes geometry.csv, slopes.csv and dose.svg next to this file. A point is an arm, the mean of its seeds. A slope is
that of ordinary least squares over arms, with Student's t interval; its second form holds the held-out MLM loss fixed,
for what learns more in one part learns more in the other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from scipy import stats

from geomprobe.common import read_json, write_text

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
MEASURES = {
    "uniformity, centred": ("stsb", "mean", "uniformity", "centred"),
    "uniformity, raw": ("stsb", "mean", "uniformity", "raw"),
    "effective rank, max pooling": ("stsb", "max", "effective_rank", "raw"),
    "R² of the bag of words": ("stsb", "mean", "lexical_bow_r2", "raw"),
    "word content skill": ("stsb", "mean", "lexical_word_content_skill", "raw"),
    "cosine and word overlap, given gold": ("stsb", "mean", "partial_spearman_overlap", "raw"),
    "cosine and gold, given word overlap": ("stsb", "mean", "partial_spearman_gold", "raw"),
    "share of words": ("controlled", "mean", "words_share", "raw"),
    "share of meaning": ("controlled", "mean", "meaning_share", "raw"),
    "triplet margin": ("controlled", "mean", "triplet_margin", "raw"),
    "conditional bits (CoLA)": ("cola", "mean", "semantic_conditional_bits", "raw"),
}
"""Name: task, pooling, metric, view."""
ASKED = ["--task", "controlled", "--task", "stsb", "--task", "cola", "--pool", "mean", "--pool", "max"]


def analyse(run: Path, out: Path, data: str) -> None:
    """Results folder of a run, where there is none yet."""
    if not (out / "results.csv").is_file():
        command = [sys.executable, "-m", "geomprobe", "analyze", str(run), *ASKED, "--data", data, "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def record(run: Path, results: Path) -> dict[str, object]:
    """A run's training and its measures."""
    trained = read_json(run / "run.json")
    found = {"arm": run.parent.name, "seed": trained["seed"], "flops": trained["flops"]}
    last = trained["final"]
    found |= {key: last[key] for key in last if key.startswith("skill_") or key == "held_out_mlm"}
    table = pd.read_csv(results / "results.csv", keep_default_na=False, na_values={"value": [""]})
    table = table[table["control"] == ""].set_index(["task", "pooling", "metric", "view"]).sort_index()
    for name, place in MEASURES.items():
        (found[name],) = table.loc[[place], "value"]
    return found


def slope(arms: pd.DataFrame, name: str, *fixed: str) -> tuple[float, float, float]:
    """Change of a measure for 10 % more skill, and its 95 % interval, with other columns held fixed."""
    design = np.column_stack([np.ones(len(arms)), arms["skill_context"], *(arms[column] for column in fixed)])
    wanted = arms[name].to_numpy()
    coefficients, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    free = len(arms) - design.shape[1]
    variance = ((wanted - design @ coefficients) ** 2).sum() / free
    error = (variance * np.linalg.inv(design.T @ design)[1, 1]) ** 0.5
    half = stats.t.ppf(0.975, free) * error
    return tuple(0.1 * value for value in (coefficients[1], coefficients[1] - half, coefficients[1] + half))


def draw(runs: pd.DataFrame, arms: pd.DataFrame, slopes: pd.DataFrame) -> str:
    """A panel for each measure."""
    columns = 4
    figure, axes = plt.subplots(-(-len(MEASURES) // columns), columns, figsize=(13, 9), layout="constrained")
    colours = dict(zip(arms.index, plt.get_cmap("tab20").colors, strict=False))
    for axis, name in zip(axes.flat, MEASURES, strict=False):
        for arm, of in runs.groupby("arm"):
            axis.plot(100 * of["skill_context"], of[name], ".", color=colours[arm], alpha=0.4, markersize=4)
            at = 100 * arms.loc[arm, "skill_context"], arms.loc[arm, name]
            axis.plot(*at, "o", color=colours[arm], label=arm)
        each = slopes.loc[name]
        axis.set_title(f"{name}\n{each['slope']:+.3g} [{each['low']:.3g}, {each['high']:.3g}] for 10 %", fontsize=9)
        axis.tick_params(labelsize=8)
    for axis in axes.flat[len(MEASURES) :]:
        axis.set_axis_off()
    for axis in axes[-1]:
        axis.set_xlabel("JEPA skill, %", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    path = HERE / "dose.svg"
    figure.savefig(path, metadata={"Date": None})
    return path.name


def main() -> None:
    """Measure, fit and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", default=os.environ.get("GEOMPROBE_DATA", ""))
    args = parser.parse_args()
    records = []
    for run in sorted(args.runs.glob("*/seed-*")):
        if (run / "run.json").is_file() and read_json(run / "run.json")["finished"]:
            results = args.runs / "geometry" / f"{run.parent.name}-{run.name}"
            analyse(run, results, args.data)
            records.append(record(run, results))
    runs = pd.DataFrame(records)
    write_text(HERE / "geometry.csv", runs.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    skilled = runs.dropna(subset=["skill_context"])
    arms = skilled.drop(columns="seed").groupby("arm").mean()
    both = arms.dropna(subset=["held_out_mlm"])  # not `jepa`, which has no MLM
    found = {name: [*slope(arms, name), *slope(both, name, "held_out_mlm")] for name in MEASURES}
    heads = ["slope", "low", "high", "slope_at_equal_mlm", "low_at_equal_mlm", "high_at_equal_mlm"]
    slopes = pd.DataFrame.from_dict(found, orient="index", columns=heads)
    write_text(HERE / "slopes.csv", slopes.to_csv(index_label="measure", float_format="%.4g", lineterminator="\n"))
    print(slopes.to_string(float_format="%.4g"))
    print(draw(skilled, arms, slopes))


if __name__ == "__main__":
    main()
