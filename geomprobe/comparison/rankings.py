"""Many models under each headline number: their order, and which of them are told apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.comparison.pairs import NUMBER, ModelResults, Row, filled
from geomprobe.comparison.records import known
from geomprobe.comparison.table import adjusted, all_pairs, differences, variants_of
from geomprobe.inference.letters import letters
from geomprobe.results import COMPARISON_COLUMNS, RANKING_COLUMNS, Results, table
from geomprobe.results.record import Margin, named_end
from geomprobe.results.summary.facts import headline_of, judgement

MOST_PAIRS = 500
"""Pairs of models that are tested, those of 32 models: time and the adjustment grow with their number."""
PAIRED = ("results", "influences", "examples", "refits")
"""Tables that paired differences are made of."""
CELL = ["task", "pooling", *NUMBER]


def add_rankings(results: Results, margins: Mapping[str, Margin] | None = None) -> Results:
    """Add the order of the models under each headline number, per cell at the deepest layer of each, with letters.

    Two models share a letter in a cell unless they are told apart there: the verdict on their paired difference is
    higher or lower, and the difference is not shown to be within the margin.

    Whoever reads the letters makes a claim about all pairs of models in all cells at once. So the p-values of all
    pairs, tasks, poolings and views are adjusted together, by Holm within a family of metrics; that holds however the
    tests depend on each other, as they do, for pairs share models and cells share rows. Baselines are not ranked. Of
    more than MOST_PAIRS pairs none is tested, and the models have a rank but no letters.

    Parameters
    ----------
    results : Results
    margins : mapping of metric to Margin, optional
        Equivalence margins in place of those of the records.
    """
    left_out = {*results.run.get("baselines", ()), *variants_of(results)}
    measured = set(results.results["model"])
    names = [entry["name"] for entry in results.run["models"] if entry["name"] in measured - left_out]
    if len(names) < 2:
        return results
    definitions, sides = known(results.definitions), headline_sides(results, names)
    pairs = tested_pairs(sides, definitions, margins)
    found: list[dict[str, Any]] = []
    for cell, rows in by_cell(pd.concat(side.rows for side in sides)).items():
        direction = definitions.get(str(rows[0]["metric"]), {}).get("direction", "")
        found += ranked(rows, pairs.get(cell), lower=named_end(direction) == "lower")
    results.rankings = table(found, RANKING_COLUMNS)
    return results


def headline_sides(results: Results, names: Sequence[str]) -> list[ModelResults]:
    """What a comparison needs of each model; its rows are the headline numbers at its deepest layer."""
    sides = deepest_sides(results, names)
    found = [(row["metric"], row["view"]) for side in sides for row in side.numbers.values()]
    headline = headline_of(list(dict.fromkeys(found)), known(results.definitions))
    return [with_numbers(side, headline) for side in sides]


def with_numbers(side: ModelResults, chosen: Collection[tuple[str, str]]) -> ModelResults:
    """A side whose rows are these (metric, view) alone; what else it has is still found by cell."""
    part, rows = copy(side), filled(side.rows, NUMBER)
    part.rows = rows[np.array([each in chosen for each in zip(rows["metric"], rows["view"], strict=True)], bool)]
    return part


def deepest_sides(results: Results, names: Sequence[str]) -> list[ModelResults]:
    """What a comparison needs of each model, at its deepest layer.

    That layer counts as the last one, so models are matched by it, however deep they are.
    """
    last = results.results.groupby("model")["layer"].max()

    def deepest(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["model"].isin(names) & (frame["layer"] == frame["model"].map(last))]

    tables: dict[str, Any] = {name: deepest(getattr(results, name)) for name in PAIRED}
    models = [{**entry, "n_layers": last[entry["name"]]} for entry in results.run["models"] if entry["name"] in names]
    ends = replace(results, **tables, run={**results.run, "models": models})
    return [ModelResults(ends, name) for name in names]


def tested_pairs(
    sides: Sequence[ModelResults], definitions: Mapping[str, Any], margins: Mapping[str, Margin] | None
) -> dict[Any, list[Row]]:
    """The comparisons of all pairs, adjusted together, by cell; none where there are too many."""
    pairs = list(combinations(sides, 2))
    if len(pairs) > MOST_PAIRS:
        return {}
    frames = [differences(all_pairs(a, b), definitions, (a.name, b.name), margins) for a, b in pairs]
    compared = adjusted(table(pd.concat(frames), COMPARISON_COLUMNS), definitions)
    return by_cell(compared.assign(tests=compared.groupby("family")["p"].transform("count")))


def by_cell(frame: pd.DataFrame) -> dict[Any, list[Row]]:
    """The rows of each task, pooling and number."""
    cells = filled(frame, NUMBER).groupby(CELL, sort=False)
    return {cell: list(rows.to_dict("records")) for cell, rows in cells}


def ranked(rows: Sequence[Row], pairs: Sequence[Row] | None, lower: bool) -> list[dict[str, Any]]:
    """The models of one cell in the order of their values, with letters where pairs are given.

    Parameters
    ----------
    rows : sequence of rows of results
        One a model.
    pairs : sequence of rows of comparisons, optional
        Adjusted, with the number of `tests` of their family.
    lower : bool
        The lowest value is the first.
    """
    rows = sorted(rows, key=lambda row: row["value"], reverse=not lower)
    values = [row["value"] for row in rows]
    columns = [column for column in RANKING_COLUMNS if column in rows[0]]
    found = [{c: row[c] for c in columns} | {"rank": 1 + values.index(row["value"])} for row in rows]
    if not pairs:
        return found
    place = {row["model"]: i for i, row in enumerate(rows)}
    apart = np.zeros((len(rows), len(rows)), bool)
    tested = np.zeros_like(apart)
    for pair in pairs:
        i, j = place[pair["a"]], place[pair["b"]]
        apart[i, j] = apart[j, i] = judgement({**pair}) in ("higher", "lower")
        tested[i, j] = tested[j, i] = not pd.isna(pair["p"])
    untested = len(rows) - 1 - tested.sum(1)
    some = np.flatnonzero(tested.any(1)).tolist()
    own = dict(zip(some, letters(apart[np.ix_(some, some)]), strict=True))
    return [
        row | {"tests": pairs[0]["tests"], "letters": own.get(i), "untested": untested[i]}
        for i, row in enumerate(found)
    ]
