"""Differences of two groups of seeds: claims about objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from geomprobe.common import UsageError
from geomprobe.comparison.pairs import ModelResults, check_rows, refits_of_difference
from geomprobe.comparison.power import grouped, with_numbers_for_margin
from geomprobe.comparison.table import adjusted, differences
from geomprobe.inference.refits import with_refits
from geomprobe.results import COMPARISON_COLUMNS, Results, table
from geomprobe.results.record import Margin


def compare_groups(
    results: Results, groups: Mapping[str, Sequence[str]], margins: Mapping[str, Margin] | None = None
) -> Results:
    """Add the differences between two groups of seeds, second group minus first, at the level of objectives.

    SE² = s_A²/k_A + s_B²/k_B + Var_rows(mean influence B − mean influence A)/N, Student's t with Satterthwaite's
    degrees of freedom. With fewer than three seeds in a group no verdict is given.

    Parameters
    ----------
    results : Results
    groups : mapping of two names to model names
    margins : mapping of metric to Margin, optional

    Raises
    ------
    UsageError
        There are not two groups, a model is unknown or in both, or the models did not see the same rows.
    """
    if len(groups) != 2:
        raise UsageError(f"{len(groups)} groups were given.", "Give two: --group NAME=MODEL,… --group NAME=MODEL,…")
    members = [name for group in groups.values() for name in group]
    if len(set(members)) < len(members):
        raise UsageError("A model is in the groups twice.")
    sides = [ModelResults(results, name) for name in members]
    check_rows(sides)
    (a, first), (b, second) = groups.items()
    pairs, falls = [], []
    for key, row in sides[0].numbers.items():
        if not all(key in side.numbers for side in sides):
            continue
        seeds = [side.estimate(side.numbers[key]) for side in sides]
        split = seeds[: len(first)], seeds[len(first) :]
        means = (np.mean([one.value for one in group]) for group in split)
        values = dict(zip(("value_a", "value_b"), means, strict=True))
        found, fall = grouped(*split)
        refits = refits_of_difference(sides[: len(first)], sides[len(first) :], row)
        pairs.append(({**row, **values}, (found if refits is None else with_refits(found, refits)).interval()))
        falls.append(fall)
    compared = differences(pairs, results.definitions, (a, b), margins, "objective")
    added = adjusted(compared, results.definitions, seeds=min(len(first), len(second)))
    added = with_numbers_for_margin(added, falls.__getitem__)
    results.comparisons = table(pd.concat([results.comparisons, added]), COMPARISON_COLUMNS)
    results.run["groups"] = {name: list(group) for name, group in groups.items()}
    return results
