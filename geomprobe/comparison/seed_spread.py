"""How far another seed alone moves a number, from a table of replications (docs/reference/margins.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from geomprobe.common import read_json
from geomprobe.comparison.records import record
from geomprobe.results.record import own_units

TABLE = Path(__file__).with_name("seed_spread.json")
"""A list of sizes of model, made by docs/write_margins.py: pooling, metric and view to [sd, degrees of freedom]."""
LEVEL = 0.95


def upper_bound(sd: float, dof: float) -> float:
    """One-sided upper bound of √2·σ, the standard deviation of the difference of two seeds, by χ² with dof degrees."""
    return float(np.sqrt(2 * dof / special.chdtri(dof, LEVEL)) * sd)


def scale_of(metric: str) -> str:
    """Scale of a metric's margin, on which its seeds are compared; its own units if it has none or may be negative."""
    found = record(metric)
    return found.margin.scale if found and found.margin and not found.range.startswith("(−∞") else "absolute"


def size_label(layers: int, dim: int) -> str:
    """Words for a size of model."""
    return f"{layers} layers of {dim}"


def with_seed_spread(frame: pd.DataFrame, run: Mapping[str, Any], sides: tuple[str, str]) -> pd.DataFrame:
    """Differences of two checkpoints with the columns seed_spread and seed_size.

    The tabulated size nearest to the two models counts, by the logarithm of layers times dim²; seed_size says "nearest"
    where it is not that of both. Empty for baselines, which have no seeds of training, for another protocol, and for
    layers, poolings and metrics that are not tabulated.

    Parameters
    ----------
    frame : DataFrame
        Columns of `results.COMPARISON_COLUMNS`.
    run : Run
    sides : tuple of two names
    """
    models = [entry for name in sides for entry in run["models"] if entry["name"] == name]
    trained = not set(sides) & set(run.get("baselines") or ()) and all(m.get("dim") for m in models)
    if not trained or run.get("protocol") != "strict":
        return frame
    shapes = [(int(entry["n_layers"]), int(entry["dim"])) for entry in models]

    def log_size(layers: int, dim: int) -> float:
        return float(np.log(max(layers, 1) * dim**2))

    middle = np.mean([log_size(*shape) for shape in shapes])
    nearest = min(read_json(TABLE), key=lambda entry: abs(log_size(entry["layers"], entry["dim"]) - middle))
    label = size_label(nearest["layers"], nearest["dim"])
    if set(shapes) != {(nearest["layers"], nearest["dim"])}:
        label = f"nearest: {label}"

    def moved(row: Mapping[Any, Any]) -> float:
        known = nearest["spread"].get(row["pooling"], {}).get(row["metric"], {}).get(row["view"])
        if known is None or row["layer"] != shapes[0][0]:
            return np.nan
        return upper_bound(*known) * own_units(scale_of(row["metric"]), (row["value_a"] + row["value_b"]) / 2)

    spread = [moved(row) for row in frame.to_dict("records")]
    labels = [label if value == value else pd.NA for value in spread]
    return frame.assign(seed_spread=pd.array(spread, "Float64"), seed_size=pd.array(labels, "string"))
