"""Differences of two encoders measured on the same rows, with intervals, adjusted p-values and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.common import InputError, UsageError
from geomprobe.common.progress import Progress, shown
from geomprobe.comparison.margin_overrides import margin
from geomprobe.comparison.pairs import (
    NUMBER,
    PLACE,
    ModelResults,
    Row,
    by_key,
    check_rows,
    geometry,
    joined,
    key_of,
    paired,
    paired_estimate,
)
from geomprobe.comparison.power import Paired, with_numbers_for_margin
from geomprobe.comparison.records import known
from geomprobe.comparison.seed_spread import with_seed_spread
from geomprobe.inference import Interval, influence_table, intervals, measure
from geomprobe.metrics import REGISTRY, registry
from geomprobe.results import COMPARISON_COLUMNS, Results, table
from geomprobe.results.record import Margin
from geomprobe.vectors import VectorSource


def compare(
    vectors: Mapping[str, Any],
    rows: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    *,
    metrics: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    positives: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    margins: Mapping[str, Margin] | None = None,
    seed: int = 0,
    progress: Progress | str | None = "auto",
) -> pd.DataFrame:
    """Differences between two sets of embeddings of the same rows.

    Every choice of a comparison is an argument here; all but the vectors have a default.

    Parameters
    ----------
    vectors : mapping of two names to array-like of shape (n_rows, dim)
        Row i of both belongs to the same text. The dimensions may differ.
    rows : sequence of length n_rows, or a mapping of the two names to such, optional
        Row ids, one per row and none twice. Given for both sides, they must be the same in the same order.
    metrics : sequence of str, optional
        Names from the registry; all that apply by default.
    labels : ndarray of shape (n_rows,), optional
    positives : ndarray of shape (n_pairs, 2), optional
    clusters : ndarray of shape (n_rows,), optional
        Rows with the same number share a source and are not independent.
    margins : mapping of metric to Margin, optional
        Equivalence margins in place of those of the records.
    progress : "auto", None, or callable (done, total)
        "auto" shows a bar in a notebook or on a terminal, after a second; elsewhere nothing is shown.

    Returns
    -------
    DataFrame
        Columns of `results.COMPARISON_COLUMNS`; `diff` is second minus first.

    Raises
    ------
    UsageError
        There are not two sets, or they do not have the same rows.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> Z = np.random.default_rng(0).normal(size=(500, 8))
    >>> stretched = Z * [4, 1, 1, 1, 1, 1, 1, 1]
    >>> found = gp.compare({"a": Z, "b": stretched}, metrics=["effective_rank"]).loc[0]
    >>> f"{found.value_a:.2f} and {found.value_b:.2f}: {found.verdict}"
    '7.98 and 6.78: lower'
    """
    _check_vectors(vectors, rows)
    a, b = vectors
    sides = []
    for name, Z in vectors.items():
        with shown(progress, f"measuring {name}") as show:
            frame, influences = measure(
                VectorSource(Z, show) if show else Z,
                metrics=metrics, labels=labels, positives=positives, clusters=clusters, seed=seed,
            )  # fmt: skip
        compared = frame["metric"].map(lambda metric: REGISTRY[metric].compared).astype(bool)
        moved = by_key(influence_table(frame, influences), NUMBER)
        sides.append((frame[(frame["status"] == "ok") & compared], moved))
    rows_of_both = joined(sides[0][0], sides[1][0], NUMBER)
    keys = [key_of(row, NUMBER) for row in rows_of_both]
    found = [
        geometry(row, sides[0][1].get(key), sides[1][1].get(key)) for row, key in zip(rows_of_both, keys, strict=True)
    ]
    definitions = registry.definitions()
    pairs = [(row, one.interval()) for row, one in zip(rows_of_both, found, strict=True)]
    verdicts = adjusted(differences(pairs, definitions, (a, b), margins), definitions)
    return table(with_numbers_for_margin(verdicts, lambda i: Paired(found[i])), COMPARISON_COLUMNS)


def _check_vectors(vectors: Mapping[str, Any], rows: Sequence[Any] | Mapping[str, Sequence[Any]] | None) -> None:
    if len(vectors) != 2:
        raise UsageError(f"compare takes two sets of embeddings, not {len(vectors)}.")
    (a, first), (b, second) = vectors.items()
    if len(first) != len(second):
        raise UsageError(
            f"{a!r} has {len(first)} rows and {b!r} has {len(second)}.", "Embed the same texts, in the same order."
        )
    for ids in rows.values() if isinstance(rows, Mapping) else [] if rows is None else [rows]:
        if len(ids) != len(first) or len(set(ids)) < len(ids):
            raise UsageError("`rows` must hold one id a row, none of them twice.")
    if isinstance(rows, Mapping) and list(rows[a]) != list(rows[b]):
        raise UsageError(f"{a!r} and {b!r} do not have the same row ids.", "Embed the same texts, in the same order.")


def add_comparisons(results: Results, a: str, b: str, margins: Mapping[str, Margin] | None = None) -> Results:
    """Add the differences b − a of every cell that both models have; layers are matched by relative depth.

    Parameters
    ----------
    results : Results
    a, b : str
        Names of models.
    margins : mapping of metric to Margin, optional
        Equivalence margins in place of those of the records (see `comparison.margin_overrides.parse_margins`).

    Raises
    ------
    UsageError
        A name is unknown, or the two models did not see the same rows of a task.
    """
    own = with_seed_spread(_compared(results, a, b, margins), results.run, (a, b))
    of_variants = results.comparisons[results.comparisons["b"].isin(variants_of(results))]
    results.comparisons = table(pd.concat([own, of_variants]), COMPARISON_COLUMNS)
    results.run["compared"] = [a, b]
    return results


def add_untrained(results: Results, margins: Mapping[str, Margin] | None = None) -> Results:
    """Add what training gave each compared model: its differences from its architecture at random initialisation.

    Each such comparison, model minus random initialisation, is adjusted by itself.

    Parameters
    ----------
    results : Results
        With the comparison of two models (`run["compared"]`).
    margins : mapping of metric to (size, relative), optional
    """
    kinds, compared = results.run["baselines"], results.run["compared"] or []
    for entry in results.run["models"]:
        if kinds.get(entry["name"]) == "random-init":
            for name in (name for name in entry.get("baseline_of", ()) if name in compared):
                frames = [results.comparisons, _compared(results, entry["name"], name, margins)]
                results.comparisons = table(pd.concat(frames, ignore_index=True), COMPARISON_COLUMNS)
    return results


def _compared(results: Results, a: str, b: str, margins: Mapping[str, Margin] | None) -> pd.DataFrame:
    """The differences b − a of two models, adjusted by themselves."""
    first, second = (ModelResults(results, name) for name in (a, b))
    pairs = all_pairs(first, second)
    found = adjusted(differences(pairs, results.definitions, (a, b), margins), results.definitions)
    return with_numbers_for_margin(found, lambda i: Paired(paired_estimate(first, second, pairs[i][0])))


def all_pairs(first: ModelResults, second: ModelResults) -> list[tuple[Row, Interval]]:
    """Every number that two models have, and its paired difference."""
    check_rows([first, second])
    return [(row, paired(first, second, row)) for row in joined(first.rows, second.rows, PLACE)]


def variants_of(results: Results) -> dict[str, str]:
    """Quantised and truncated variants of models, and the model that each is of."""
    return {entry["name"]: entry["of"] for entry in results.run["models"] if entry.get("of")}


def add_variants(results: Results, margins: Mapping[str, Margin] | None = None) -> Results:
    """Add the paired differences of every quantised or truncated variant from its full vectors, variant minus full.

    The p-values of all variants of a model are adjusted together: the claim is that storing its vectors so changes
    nothing. Differences between models are adjusted apart, so they do not depend on the variants that were measured.

    Parameters
    ----------
    results : Results
    margins : mapping of metric to Margin, optional
    """
    named = variants_of(results)
    added = [results.comparisons[~results.comparisons["b"].isin(named)]]
    for of in dict.fromkeys(named.values()):
        full, frames = ModelResults(results, of), []
        for name in (name for name, whose in named.items() if whose == of):
            pairs = all_pairs(full, ModelResults(results, name))
            frames.append(differences(pairs, results.definitions, (of, name), margins))
        added.append(adjusted(table(pd.concat(frames), COMPARISON_COLUMNS), results.definitions))
    results.comparisons = table(pd.concat(added, ignore_index=True), COMPARISON_COLUMNS)
    return results


def families_of(metrics: Iterable[str], definitions: Mapping[str, Any]) -> list[str]:
    """Family of claims of each metric, as its definition declares it.

    Raises
    ------
    InputError
        A metric has no record: what it is to be adjusted with is not known.
    """
    families = {name: entry["family"] for name, entry in definitions.items() if "family" in entry}
    names = list(metrics)
    if unknown := sorted(set(names) - set(families)):
        raise InputError(
            f"No family of claims is declared for {', '.join(map(repr, unknown[:3]))}"
            f"{f' and {len(unknown) - 3} more' if len(unknown) > 3 else ''}, so p-values cannot be adjusted.",
            "geomprobe ls metrics lists what can be compared; results of another version are to be analysed anew.",
        )
    return [families[name] for name in names]


def differences(
    pairs: Iterable[tuple[Row, Interval]],
    definitions: Mapping[str, Any],
    sides: tuple[str, str],
    margins: Mapping[str, Margin] | None,
    level: str = "checkpoint",
) -> pd.DataFrame:
    """Comparison table before `adjusted`: equivalence and detectable difference.

    Parameters
    ----------
    pairs : iterable of (row, interval)
        The number of both sides, and its difference.
    definitions : mapping of metric to definition
    sides : tuple of two names
    margins : mapping of metric to Margin, optional
    level : {"checkpoint", "objective"}
    """
    rows, records = [], known(definitions)
    for row, found in pairs:
        metric, (a, b) = str(row["metric"]), (float(row[f"value_{side}"]) for side in "ab")
        size = margin(records.get(metric, {}), a, b, (margins or {}).get(metric))
        given = found.se is not None
        rows.append(
            {
                **{column: row.get(column) or pd.NA for column in ("task", "pooling", "view", "metric", "definition")},
                "a": sides[0],
                "b": sides[1],
                "level": level,
                "layer": row.get("layer_a", row.get("layer", pd.NA)),
                "value_a": a,
                "value_b": b,
                "diff": found.value,
                **found.to_row(),
                "dof": found.dof if given else np.nan,
                "p": found.p,
                "margin": size,
                "p_tost": _p_equivalence(found, size),
                "mdd": intervals.detectable(found.se, found.dof) if found.se is not None else np.nan,
                "n": row.get("n_a", row.get("n", pd.NA)),
            }
        )
    return table(rows, COMPARISON_COLUMNS)


def _p_equivalence(found: Interval, size: float | None) -> float:
    """P-value of "at least the margin apart" before adjustment, NaN where there is none."""
    if found.discordant is not None:
        return np.nan if size is None else found.discordant.p_equivalence(size, exact=found.se is None)
    if found.se is not None and size is not None:
        return intervals.p_equivalence(found.value, found.se, found.dof, size)
    return 0.0 if found.se == 0 and found.value == 0 else np.nan  # equal is equivalent, whatever the margin


def adjusted(
    frame: pd.DataFrame, definitions: Mapping[str, Any], *, seeds: int | None = None, equivalence: bool = True
) -> pd.DataFrame:
    """A comparison table with families, adjusted p-values and verdicts.

    A family holds the claims about the metrics of one kind over all tasks, layers, poolings and views. Both the
    p-values of "no difference" and those of equivalence (p_tost) are adjusted by Holm within it.

    Parameters
    ----------
    frame : DataFrame
        Columns of `results.COMPARISON_COLUMNS` of one comparison: p and p_tost as the tests give them.
    definitions : mapping of metric to definition
        Each with its family.
    seeds : int, optional
        Seeds of the smaller group, for claims about objectives.
    equivalence : bool
        False where p_tost is adjusted already, and rows were added that have none.
    """
    families = np.array(families_of(frame["metric"], definitions))
    # a copy, for without missing values it is the column itself, and p is not to be adjusted in place
    p_values = {c: frame[c].to_numpy(float, na_value=np.nan, copy=True) for c in ("p", "p_tost")}
    for name in dict.fromkeys(families):
        for column, p in p_values.items():
            if column == "p" or equivalence:
                p[families == name] = intervals.holm(p[families == name])
    numbers = zip(frame["diff"].to_numpy(float, na_value=np.nan), p_values["p"], p_values["p_tost"], strict=True)
    verdicts = [intervals.verdict(diff, p, p_tost, seeds=seeds) for diff, p, p_tost in numbers]
    frame = frame.assign(
        family=families,
        verdict=verdicts,
        p_holm=pd.array(p_values["p"]).astype("Float64"),
        p_tost=pd.array(p_values["p_tost"]).astype("Float64"),
    )
    return table(frame, COMPARISON_COLUMNS)
