"""Quantised and truncated vectors as an axis of an analysis: each variant stands as a model of its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, product
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common import UsageError, hash_bytes, unknown_name
from geomprobe.metrics import REGISTRY
from geomprobe.metrics.records import ROTATION, SCALE, SHIFT
from geomprobe.results.record import ODDS, Record
from geomprobe.vectors.storage import PRECISIONS, int8_ranges, quantise, truncate

VERSION = "1"
"""Part of every variant's hash: raised when the meaning of its vectors changes."""

RECORDS = {
    "duplicate_share": Record(
        name="duplicate_share",
        family="isotropy",
        formula="share of the rows that equal an earlier row",
        range="[0, 1 − 1/N]",
        direction="smaller: more texts can be told apart by their vectors",
        invariances=(ROTATION, SCALE, SHIFT),
        source="count; of quantised and truncated vectors only",
        margin=ODDS,
    )
}


@dataclass(frozen=True)
class Variant:
    """How vectors are stored: first truncated, then renormalised, then quantised.

    Attributes
    ----------
    precision : {"float32", "int8", "binary"}
    dim : int or None
        Dimensions that are kept; None keeps all.
    renormalised : bool
        Whether truncated rows are scaled to unit length.
    """

    precision: str = "float32"
    dim: int | None = None
    renormalised: bool = False

    @property
    def label(self) -> str:
        """What follows the model's name; empty for the full vectors."""
        cut = "" if self.dim is None else f"dim {self.dim}" + " renormalised" * self.renormalised
        return " ".join(part for part in (cut, self.precision.replace("float32", "")) if part)

    @property
    def calibrated(self) -> bool:
        """Whether the vectors depend on the ranges of calibration rows."""
        return self.precision == "int8"

    def hash(self, full: str) -> str:
        """Content hash: of the full vectors their encoder's own."""
        return full if self == FULL else hash_bytes("variant", VERSION, self.label, full)

    def apply(self, vectors: np.ndarray, calibration: np.ndarray | None = None) -> np.ndarray:
        """Stored vectors as float32, which holds all codes exactly.

        Parameters
        ----------
        vectors : float32 ndarray of shape (n, dim)
        calibration : int64 ndarray, optional
            Rows that int8 ranges are taken from; all by default.
        """
        if self == FULL:
            return vectors
        if self.dim is not None:
            vectors = truncate(vectors, self.dim, renormalise=self.renormalised)
        ranges = None
        if self.calibrated and calibration is not None:
            ranges = int8_ranges(vectors[calibration])
        return quantise(vectors, self.precision, ranges).astype(np.float32)


FULL = Variant()


def plan(precisions: Sequence[str] = (), dims: Sequence[int] = ()) -> list[Variant]:
    """Variants that are asked for: each precision at the full width and at each dim.

    float32 is always among the precisions, and the full vectors, which are no variant, are left out. Truncated vectors
    are taken as they are and renormalised, but for binary, where both have the same signs.

    Raises
    ------
    UsageError
        A name or a number is unknown, impossible or given twice.
    """
    for name in precisions:
        if name not in PRECISIONS:
            raise unknown_name("precision", name, list(PRECISIONS))
    for dim in dims:
        if not isinstance(dim, Integral) or isinstance(dim, bool) or dim < 1:
            raise UsageError(f"--dim takes whole numbers from 1, not {dim!r}.", "For example --dim 64,128")
    for option, values in (("--precision", precisions), ("--dim", dims)):
        if twice := [value for i, value in enumerate(values) if value in values[:i]]:
            raise UsageError(f"{option} {twice[0]} is given twice.")
    cuts = [(None, False), *product(map(int, dims), (False, True))]
    found = [Variant(p, dim, unit) for p in PRECISIONS if p in ("float32", *precisions) for dim, unit in cuts]
    return [v for v in found if v != FULL and not (v.precision == "binary" and v.renormalised)]


def parse_dims(words: Sequence[str]) -> list[int]:
    """Numbers of dimensions that are written in an option; raises UsageError for other words."""
    if wrong := [word for word in words if not re.fullmatch("0*[1-9][0-9]{0,17}", word)]:
        raise UsageError(f"--dim takes whole numbers from 1, not {wrong[0][:80]!r}.", "For example --dim 64,128")
    return [int(word) for word in words]


def check_widths(dims: Sequence[int], widths: Mapping[str, int]) -> None:
    """Refuse a dim that no model has; `widths` are the widest vectors of each model.

    Where some models have as many dimensions, the others' cells are "not applicable".
    """
    for dim in dims:
        if widths and dim > max(widths.values()):
            named = ", ".join(f"{name} has {width}" for name, width in list(widths.items())[:3])
            more = f" and {len(widths) - 3} more models have no more" if len(widths) > 3 else ""
            raise UsageError(
                f"--dim {dim}: no model has vectors of {dim} dimensions ({named}{more}).",
                f"--dim takes numbers from 1 to {max(widths.values())}.",
            )


def too_narrow(variant: Variant, width: int) -> pd.DataFrame | None:
    """Row that says that vectors have fewer dimensions than the variant keeps, None where they have not."""
    if variant.dim is None or variant.dim <= width:
        return None
    note = f"dim {variant.dim} is more than the {width} dimensions of these vectors"
    return pd.DataFrame([{"metric": "embedding", "status": "not applicable", "note": note}])


def duplicates(stored: np.ndarray, full: np.ndarray) -> pd.DataFrame:
    """Row that says how many rows equal an earlier one, and how many of the full vectors do."""
    n, d = stored.shape
    repeated, before = (n - len(np.unique(rows, axis=0)) for rows in (stored, full))
    row = {
        "metric": "duplicate_share",
        "definition": "standard",
        "view": "raw",
        "value": repeated / n,
        "n": n,
        "d": d,
        "ci_method": "no valid interval: a count of these rows",
        "note": f"{repeated:,} of {n:,} texts repeat an earlier vector; of the full vectors {before:,}",
    }
    return pd.DataFrame([row])


def without_sense(variant: Variant, metric: str) -> str | None:
    """Why a metric says nothing about a variant, None where it does.

    A code's unit is arbitrary, so metrics that change with scale are left out for int8 and binary; so are the spread of
    lengths that are equal by construction, and nearest neighbours among ±1 vectors.
    """
    codes, unit = variant.precision != "float32", variant.renormalised and variant.precision == "float32"
    found = REGISTRY.get(metric)
    if found is None:
        return None
    if found.of_lengths and (variant.precision == "binary" or unit):
        return "all lengths are equal by construction"
    if codes and SCALE not in found.invariances:
        return "it changes with the unit of the vectors, and that of codes is arbitrary"
    if variant.precision == "binary" and found.of_neighbours:
        return "neighbours of ±1 vectors are tied: their distances are whole numbers of signs"
    return None


def blanked(frame: pd.DataFrame, variant: Variant) -> pd.DataFrame:
    """Rows of results; those of metrics that make no sense for the variant are "not applicable"."""
    reasons = frame["metric"].map(lambda metric: without_sense(variant, str(metric)))
    gone = reasons.notna() & (frame["status"] == "ok")
    frame = frame.copy()
    frame.loc[gone, ["value", "se", "ci_low", "ci_high", "ci_method"]] = pd.NA
    frame.loc[gone, "status"] = "not applicable"
    frame.loc[gone, "note"] = reasons[gone]
    return frame


def numbered(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it where it is taken."""
    candidates = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(each for each in candidates if each not in taken)


def names(variants: Sequence[Variant], models: Sequence[str], taken: Sequence[str]) -> dict[tuple[str, Variant], str]:
    """A name for each variant of each model, none of them taken; what coincides is numbered."""
    found: dict[tuple[str, Variant], str] = {}
    for model, variant in product(models, variants):
        found[model, variant] = numbered(f"{model} {variant.label}", {*taken, *found.values()})
    return found


def entry(variant: Variant, full: Mapping[str, Any], name: str, calibration: Mapping[str, str]) -> dict[str, Any]:
    """What run.json says of a variant.

    Parameters
    ----------
    variant : Variant
    full : mapping
        The entry of the full model.
    name : str
    calibration : mapping of task to the rows that int8 ranges are taken from, in words
    """
    return {
        **full,
        "name": name,
        "hash": variant.hash(str(full["hash"])),
        "of": full["name"],
        "variant": variant.label,
        "precision": variant.precision,
        "dim": full["dim"] if variant.dim is None else variant.dim,
        "renormalised": variant.renormalised,
        "calibration": dict(calibration) if variant.calibrated else None,
    }
