"""What a training did to the geometry of its texts: from first to last on the same rows, and on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from geomprobe.common.text import finite, number
from geomprobe.comparison.table import compare
from geomprobe.integrations.collapse import KEY

CENTRED = "_centred"
"""Ending of the name of a metric that is measured after the mean vector is removed."""
ROWS = 12  # of the table of steps


@dataclass(frozen=True)
class Trajectory:
    """The log of a monitor, in words.

    Attributes
    ----------
    log : sequence of dict
        Lines of `geometry.jsonl`.
    ends : mapping of step to ndarray of shape (n, d)
        Vectors of the first layer and pooling at the first and the latest step since the trainer was started.
    metrics : sequence of str
    n : int
        Texts.
    notes : sequence of str
        What to know of them.
    alarms : sequence of str
    spent, elapsed : float
        Seconds that measurements took, and that the training took with them.
    """

    log: Sequence[Mapping[str, Any]]
    ends: Mapping[int, np.ndarray]
    metrics: Sequence[str]
    n: int
    notes: Sequence[str]
    alarms: Sequence[str]
    spent: float
    elapsed: float

    def lines(self) -> list[str]:
        """A few lines for a terminal."""
        steps = [line["step"] for line in self.log if any(key.startswith(KEY) for key in line)]
        share = self.spent / max(self.elapsed, 1e-9)
        head = f"Geometry of {self.n:,} texts, {len(steps):,} measurements"
        head += f" from step {steps[0]:,} to {steps[-1]:,}" if steps else ""
        head += f", {failed:,} failed" if (failed := len(self.log) - len(steps)) else ""
        changed = [f"{name}: {before} to {after} ({moved})" for name, before, after, moved in self.changes]
        return [
            f"{head}: {self.spent:.1f} s of {self.elapsed:.1f} s ({share:.1%} of the time)",
            *([self.span] if changed else []),
            *changed,
            *self.notes,
            *self.alarms,
        ]

    def page(self) -> str:
        """A page in Markdown."""
        head, *_ = self.lines()
        parts = ["# Geometry of a training", " ".join([f"{head}.", *self.notes])]
        if self.changes:
            first, last = list(self.ends)
            parts.append(self.span)
            parts.append(_table(["metric", f"step {first:,}", f"step {last:,}", "difference"], self.changes))
        parts += ["## Signs of collapse", "\n".join(f"- {text}" for text in self.alarms) or "None."]
        picked = sorted({round(i * (len(self.log) - 1) / (ROWS - 1)) for i in range(ROWS)}) if self.log else []
        keys = [name for name in self.metrics if any(KEY + name in line for line in self.log)]
        rows = [[f"{self.log[i]['step']:,}", *(number(self.log[i].get(KEY + name)) for name in keys)] for i in picked]
        parts += ["## On the way", _table(["step", *keys], rows)]
        parts.append(f"{len(picked)} of {len(self.log)} measurements; all, with 95 % intervals, in geometry.jsonl.")
        return "\n\n".join(parts) + "\n"

    @property
    def span(self) -> str:
        """Between which steps the changes are."""
        first, last = self.ends
        return f"From step {first:,} to step {last:,}, paired over the same texts:"

    @cached_property
    def changes(self) -> list[list[str]]:
        """Metric, first value, last value and difference of each metric that has one."""
        if len(self.ends) < 2:
            return []
        first, last = self.ends
        names = list(dict.fromkeys(name.removesuffix(CENTRED) for name in self.metrics))
        frame = compare({"first": self.ends[first], "last": self.ends[last]}, metrics=names)
        rows = []
        for name in self.metrics:
            view = "centred" if name.endswith(CENTRED) else "raw"
            here = frame[(frame["metric"] == name.removesuffix(CENTRED)) & (frame["view"] == view)]
            for row in here.head(1).to_dict("records"):
                before, after, moved, low, high = (
                    number(row[column]) for column in ("value_a", "value_b", "diff", "ci_low", "ci_high")
                )
                interval = f", 95 % interval {low} to {high}" if finite(row["ci_low"]) is not None else ""
                rows.append([name, before, after, moved + interval])
        return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
