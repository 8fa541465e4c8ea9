"""Skill by span length: what can be attained from a frozen encoder, and what trainings attain.

    python docs/gallery/jepa/ceiling.py

draws ceiling.svg from ceiling.csv, the tables of tests/benchmarks/ceiling.py one after the other, and geometry.csv.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
TRAINED = {"blocks": "layer", "half-life": "layer", "spans-4": "layer", "student-smooth-l1": "instance"}
"""Arms that are shown, with the normalisation of their targets."""
COLOURS = {"layer": "tab:blue", "instance": "tab:orange", "batch": "tab:green"}
SPANS = [1, 2, 4, 8, 16, 32]


def main() -> None:
    """Draw a panel for each encoder."""
    ceiling = pd.read_csv(HERE / "ceiling.csv", dtype={"span": str})
    trained = pd.read_csv(HERE / "geometry.csv").groupby("arm").mean(numeric_only=True)
    encoders = list(dict.fromkeys(ceiling["encoder"]))
    figure, axes = plt.subplots(1, len(encoders), figsize=(4.3 * len(encoders), 4.2), layout="constrained", sharey=True)
    for axis, encoder in zip(axes, encoders, strict=True):
        best = ceiling[ceiling["encoder"] == encoder].groupby(["target", "span"])["skill"].max().unstack()
        for target in best.index:
            norm = target.rpartition(", ")[2]
            style = "-" if target.startswith("last layer") else "--"
            axis.plot(SPANS, 100 * best.loc[target, [*map(str, SPANS)]], style, color=COLOURS[norm], label=target)
        if encoder == encoders[0]:
            for arm, norm in TRAINED.items():
                skills = [100 * trained.loc[arm, f"skill_span_{span}"] for span in SPANS[:-1]]
                axis.plot(SPANS[:-1], skills, "o", color=COLOURS[norm], alpha=0.6)
                axis.annotate(arm, (1, skills[0]), xytext=(5, 3), textcoords="offset points", fontsize=8)
        axis.set_xscale("log", base=2, subs=[])
        axis.set_xticks(SPANS, [*map(str, SPANS)])
        axis.set_title(encoder, fontsize=10)
        axis.set_xlabel("span, tokens")
        axis.legend(fontsize=7, frameon=False)
    axes[0].set_ylim(0, 62)
    axes[0].set_ylabel("skill over the text of another row, %")
    figure.savefig(HERE / "ceiling.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
