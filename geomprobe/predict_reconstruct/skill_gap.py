"""The corrected form of the published balance: difference of the skills of the task probe and of the lexical probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.comparison import table as comparison
from geomprobe.inference import intervals
from geomprobe.inference.estimate import student
from geomprobe.predict_reconstruct.claims import GAP, POOLINGS
from geomprobe.results import COMPARISON_COLUMNS, table


def with_gap(frame: pd.DataFrame, definitions: Mapping[str, Any]) -> pd.DataFrame:
    """Comparisons with the difference of the skills of the task probe and of the lexical probe added.

    The influences of the two probes are not on the same rows, so the standard error is bounded by the sum of both
    (Cauchy-Schwarz): the interval is conservative. The difference joins the family of its record, and the p-values of
    "no difference" in it are adjusted anew. It has no margin, so the p-values of equivalence stay.
    """
    frames = []
    for _, part in frame.groupby(["a", "b", "level"], sort=False):
        lines = []
        for task in dict.fromkeys(part["task"]):
            for pooling in POOLINGS:
                here = part[(part["task"] == task) & (part["pooling"] == pooling)]
                task_probe = _first(here, ("semantic_skill", "sts_probe_spearman"))
                lexical = _first(here, ("lexical_word_content_skill", "lexical_top_word_skill"))
                if task_probe is not None and lexical is not None:
                    lines.append(_gap(task_probe, lexical))
        both = table(pd.concat([part, table(lines, COMPARISON_COLUMNS)]), COMPARISON_COLUMNS)
        few = part["verdict"].eq(intervals.FEW_SEEDS).any()
        frames.append(comparison.adjusted(both, definitions, seeds=0 if few else None, equivalence=False))
    return table(pd.concat(frames), COMPARISON_COLUMNS) if frames else frame


def _first(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Any] | None:
    for name in names:
        rows = frame[frame["metric"] == name]
        if len(rows):
            first = rows.astype(object).where(rows.notna(), None).iloc[0]
            return {str(column): value for column, value in first.items()}
    return None


def _gap(task_probe: dict[str, Any], lexical: dict[str, Any]) -> dict[str, Any]:
    """Comparison of (task probe − lexical probe) from the comparisons of its parts."""
    line = {key: task_probe[key] for key in ("a", "b", "level", "task", "layer", "pooling")}
    line |= {"definition": f"{task_probe['metric']} − {lexical['metric']}"}
    line |= {"view": GAP[1], "metric": GAP[0], "n": min(task_probe["n"], lexical["n"])}
    line |= {key: task_probe[key] - lexical[key] for key in ("value_a", "value_b", "diff")}
    if task_probe["se"] is None or lexical["se"] is None:
        whose = task_probe if task_probe["se"] is None else lexical
        return line | {"p": np.nan, "ci_method": whose["ci_method"]}
    se = task_probe["se"] + lexical["se"]
    dof = min((part["dof"] for part in (task_probe, lexical) if part["se"] > 0), default=1.0)
    found = student(line["diff"], se, dof, "sum of the standard errors of both probes, conservative")
    return line | found.to_row() | {"p": found.p, "dof": found.dof}
