"""Tabulate how far seeds move each number: `make margins`, or `python docs/write_margins.py [FOLDER…]`.

Reads the finished comparisons of replications (by default docs/gallery/replication/*/), and writes the page
docs/reference/margins.md and the table geomprobe/comparison/seed_spread.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common import InputError, read_json, write_text
from geomprobe.comparison.records import record
from geomprobe.comparison.seed_spread import TABLE, scale_of, size_label, upper_bound
from geomprobe.results import RESULT_COLUMNS, check_run, read_table
from geomprobe.results.record import own_units

DOCS = Path(__file__).parent
PAGE = DOCS / "reference" / "margins.md"
NUMBER = ["pooling", "metric", "view"]


def kept() -> list[Path]:
    """Return the folders of the kept replications."""
    return [path.parent for path in sorted(DOCS.glob("gallery/replication/*/comparisons.parquet"))]


def arms(folders: Iterable[Path]) -> pd.DataFrame:
    """Mean and variance of every number between the seeds of each arm, at the last layer.

    Parameters
    ----------
    folders : iterable of Path
        Results of groups of seeds, such as a replication leaves: run.json and results.parquet of each are read. An arm
        that several folders hold, with the same weights, counts once.

    Returns
    -------
    DataFrame
        A row an arm, task, pooling, metric and view: also layers, dim, tokens, dof (seeds − 1), and sd on the scale of
        the metric's margin, NaN where the arm's mean has no place on it.

    Raises
    ------
    InputError
        A folder is damaged, or has no groups of seeds.
    """
    frames = []
    for folder in folders:
        run = check_run(read_json(folder / "run.json"), str(folder / "run.json"))
        groups = {name: members for name, members in (run.get("groups") or {}).items() if len(members) > 1}
        if not groups or run.get("protocol") != "strict":
            raise InputError(f"{folder} has no groups of seeds.", "Give folders of `geomprobe replicate`.")
        models = {entry["name"]: entry for entry in run["models"]}
        rows = read_table(folder / "results.parquet", RESULT_COLUMNS)
        rows = rows[(rows["status"] == "ok") & rows["control"].isna()]
        rows = rows[[(found := record(name)) is not None and found.compared for name in rows["metric"]]]
        for name, members in groups.items():
            first = models[members[0]]
            own = rows[rows["model"].isin(members) & (rows["layer"] == first["n_layers"])]
            training = first.get("training") or {}
            frames.append(
                own.assign(
                    arm=name,
                    hashes="".join(sorted(models[member]["hash"] for member in members)),
                    layers=first["n_layers"],
                    dim=first["dim"],
                    tokens=training.get("tokens", 0),
                )
            )
    every = pd.concat(frames).drop_duplicates(["hashes", "model_hash", "task", *NUMBER])
    keys = ["layers", "dim", "tokens", "arm", "hashes", "task", *NUMBER]
    found = every.assign(value=every["value"].astype(float)).groupby(keys, sort=False)["value"]
    table = found.agg(["mean", "var", "count"]).reset_index()
    unit = [own_units(scale_of(name), mean) for name, mean in zip(table["metric"], table["mean"], strict=True)]
    sd = np.sqrt(table["var"].to_numpy(float)) / np.where(unit, unit, np.nan)
    return table.assign(sd=sd, dof=table["count"] - 1)


def pooled(part: pd.DataFrame) -> tuple[float, int]:
    """Standard deviation within arms, and its degrees of freedom.

    Tasks share their seeds, so an arm's degrees of freedom count once, however many tasks it has.
    """
    part = part.dropna(subset="sd")
    dof = part["dof"].to_numpy(float)
    variance = float((dof * part["sd"] ** 2).sum() / dof.sum()) if len(part) else np.nan
    return variance**0.5, int(part.groupby("hashes")["dof"].max().sum())


def tabulated(found: pd.DataFrame) -> list[dict[str, Any]]:
    """`arms` as the packaged file holds them, an entry a size of model."""
    sizes = []
    for (layers, dim), own in found.groupby(["layers", "dim"]):
        spread: dict[str, Any] = {}
        for (pooling, metric, view), part in own.groupby(NUMBER):
            sd, dof = pooled(part)
            if dof:
                spread.setdefault(pooling, {}).setdefault(metric, {})[view] = [float(f"{sd:.3g}"), dof]
        sizes.append({"layers": int(layers), "dim": int(dim), "spread": spread})
    return sizes


def page(found: pd.DataFrame, folders: Sequence[Path]) -> str:
    """Return the page as Markdown."""
    lines = [INTRODUCTION]
    for (layers, dim), own in found.groupby(["layers", "dim"]):
        members = own.drop_duplicates("hashes")
        tokens = sorted({f"{count / 1e6:.1f} M" for count in members["tokens"]})
        lines += [
            f"## {size_label(layers, dim)}",
            "",
            f"{len(members)} arms ({', '.join(members['arm'])}) of {seeds(members)} seeds each, trained on "
            f"{' or '.join(tokens)} tokens. Read from {', '.join(f'`{named(folder)}`' for folder in folders)}.",
            "",
        ]
        for pooling, part in own.groupby("pooling"):
            lines += [f"### {pooling} pooling, {size_label(layers, dim)}", "", *number_table(part), ""]
    return "\n".join(lines).rstrip() + "\n"


def seeds(members: pd.DataFrame) -> str:
    """Return how many seeds the arms have."""
    return " or ".join(sorted({str(dof + 1) for dof in members["dof"]}))


def named(folder: Path) -> str:
    """Return a folder's name, from the repository where it lies there."""
    root = DOCS.parent.resolve()
    return str(folder.resolve().relative_to(root)) if folder.resolve().is_relative_to(root) else folder.name


def number_table(part: pd.DataFrame) -> list[str]:
    """Return the lines of a table with a row a metric and view."""
    tasks = {name: int(own.groupby("hashes")["dof"].max().sum()) for name, own in part.groupby("task", sort=False)}
    head = ["metric", "view", "scale", f"all tasks ({max(tasks.values())})", "default margin"]
    head += [f"{name} ({dof})" for name, dof in tasks.items()]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for (metric, view), own in part.groupby(["metric", "view"]):
        scale, declared = scale_of(metric), getattr(record(metric), "margin", None)
        by_task = dict(list(own.groupby("task")))
        cells = [spread_of(by_task[name], scale) if name in by_task else "" for name in tasks]
        default = number(declared.size, declared.scale) if declared else "none"
        if declared and declared.scale != scale:
            default += f" ({declared.scale})"
        row = [metric, view, scale, f"**{spread_of(own, scale)}**", default, *cells]
        lines.append("| " + " | ".join(row) + " |")
    return lines


def spread_of(part: pd.DataFrame, scale: str) -> str:
    """Return "sd → bound", with a mark where arms are left out."""
    sd, dof = pooled(part)
    if not dof:
        return "–"
    left_out = int(part["sd"].isna().sum())
    return f"{number(sd, scale)} → {number(upper_bound(sd, dof), scale)}" + f" ({left_out} left out)" * bool(left_out)


def number(value: float, scale: str) -> str:
    """Return two digits, of a share of the value in per cent."""
    text = np.format_float_positional(value * 100 if scale == "relative" else value, 2, fractional=False, trim="-")
    return text + " %" * (scale == "relative")


INTRODUCTION = """# How far another seed moves a number

Written by `make margins` (`docs/write_margins.py`) from finished replications; do not edit by hand.

Two encoders of one recipe that differ in the seed alone differ in every number. This page tabulates by how much. A
smaller difference of two checkpoints says nothing about their recipes, however narrow its interval: the interval is
over rows, and takes the two checkpoints as they are.

**A cell is sd → bound.** sd is the standard deviation between the seeds of an arm, pooled over arms: squares are
weighted by their degrees of freedom f, which stand in brackets at the head of a column. √2·sd is the standard deviation
of the difference of two seeds. The bound is its one-sided 95 % upper limit, √2·sd·√(f/χ²_0.05(f)). It limits a standard
deviation and not every difference: at f = 14 one pair of seeds in six differs by more.

**Scale.** Spreads are on the scale of the metric's [margin](inference.md#margins): relative to the arm's mean, or in
log odds; in the metric's own units where the margin is absolute, where there is none, and for shares that may be
negative. Tasks share their seeds, so over all tasks an arm counts its degrees of freedom once.

**Beside a difference.** `compare` puts the bound beside each difference of two checkpoints, as `seed_spread` in
`comparisons.parquet`, in the metric's own units at the mean of both values: "another seed alone moves it by up to
`seed_spread` (`seed_size`)". `seed_size` is the tabulated size of model that is nearest to both, by the logarithm of
layers times width²; it begins with "nearest" where it is not theirs. Both columns are empty for the published protocol,
baselines, stored variants, layers before the last, groups of seeds (whose interval holds their spread), and for
poolings and metrics that are not tabulated.

## Are these the margins of equivalence?

No: the margins of [inference](inference.md#margins) stay the defaults, for three reasons.

- **One size.** All seeds here are encoders of 2 layers of 128 after 3 to 5 M tokens. Nothing in them says how far seeds
  move a model a hundred times larger, trained ten thousand times longer. By such a margin large models would be called
  equal because tiny ones are noisy.
- **Too wide to mean "none".** Under mean pooling another seed moves the participation ratio by up to 95 % of its value,
  norm_cv by 56 %, the odds of IsoScore by a factor of 3, raw uniformity by 0.2. As margins these would call a doubling
  equivalent.
- **Another question.** A margin says which difference does not matter to those who use the two checkpoints. The spread
  says with which difference a recipe cannot be credited. A large difference of two checkpoints is real for their users
  even where the next seed would undo it.

What carries over: another seed moves accuracy by up to 2 points, and most scores of probes and correlations by 3 to 11:
as much as their default margins or more. One pair of checkpoints settles no claim about recipes. `geomprobe compare
--group` with at least three seeds a side does, by the seeds' own spread.

"""


if __name__ == "__main__":
    chosen = [Path(name) for name in sys.argv[1:]] or kept()
    within = arms(chosen)
    write_text(PAGE, page(within, chosen))
    write_text(TABLE, json.dumps(tabulated(within), ensure_ascii=False) + "\n")
