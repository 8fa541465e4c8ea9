"""The tables of an analysis, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import pandas as pd

from geomprobe.common import InputError, hash_bytes
from geomprobe.common.text import NAME_LIMIT, clean, listed
from geomprobe.results.schema import STATUSES, TABLES, check_definitions, check_record, check_run
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.model import Summary
from geomprobe.results.summary.printed import as_html, as_latex, as_markdown
from geomprobe.results.summary.reading import facts_of
from geomprobe.results.summary.summarise import summarise

FAILED_PLACE = ["model", "task", "layer", "pooling"]


def table(rows: Iterable[Mapping[str, Any]] | pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a data frame with exactly the given columns and types; a key outside them is an error."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    if unknown := set(frame.columns) - set(columns):
        raise ValueError(f"columns outside the schema: {sorted(unknown)}")
    frame = frame.reindex(columns=list(columns)).astype(dict(columns))
    lists = [name for name, dtype in columns.items() if dtype == "object"]
    return frame.assign(**{name: frame[name].where(frame[name].notna(), None) for name in lists})  # as a folder has it


@dataclass(repr=False)
class Results:
    """Everything that a results folder holds, in memory.

    Attributes
    ----------
    results, comparisons, curves, examples, influences, similarities, maps, neighbours, … : DataFrame
        With the columns of `TABLES`, under the same names.
    definitions : dict of str to Definition
        Metric name -> the registry's entry: formula, range, direction, invariances, source.
    run : Run
        Provenance: models, tasks, versions, hardware, command, wall time.
    training : dict
        Model name -> list of training log records (the lines of metrics.jsonl).
    """

    results: pd.DataFrame
    comparisons: pd.DataFrame = field(default_factory=partial(table, [], TABLES["comparisons"]))
    curves: pd.DataFrame = field(default_factory=partial(table, [], TABLES["curves"]))
    examples: pd.DataFrame = field(default_factory=partial(table, [], TABLES["examples"]))
    definitions: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    training: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    influences: pd.DataFrame = field(default_factory=partial(table, [], TABLES["influences"]))
    refits: pd.DataFrame = field(default_factory=partial(table, [], TABLES["refits"]))
    similarities: pd.DataFrame = field(default_factory=partial(table, [], TABLES["similarities"]))
    maps: pd.DataFrame = field(default_factory=partial(table, [], TABLES["maps"]))
    neighbours: pd.DataFrame = field(default_factory=partial(table, [], TABLES["neighbours"]))
    neighbour_overlap: pd.DataFrame = field(default_factory=partial(table, [], TABLES["neighbour_overlap"]))
    moved_pairs: pd.DataFrame = field(default_factory=partial(table, [], TABLES["moved_pairs"]))
    texts: pd.DataFrame = field(default_factory=partial(table, [], TABLES["texts"]))
    rankings: pd.DataFrame = field(default_factory=partial(table, [], TABLES["rankings"]))
    trajectories: pd.DataFrame = field(default_factory=partial(table, [], TABLES["trajectories"]))
    changes: pd.DataFrame = field(default_factory=partial(table, [], TABLES["changes"]))

    def __repr__(self) -> str:
        models, tasks = (
            listed([clean(name, NAME_LIMIT) for name in self.results[column].dropna().unique()], most=6)
            for column in ("model", "task")
        )
        return f"<Results of {models} on {tasks}: {len(self.results)} numbers, {len(self.comparisons)} differences>"

    def check(self) -> None:
        """Raise InputError where run, definitions, training logs or statuses are not what the schema declares."""
        check_run(self.run)
        check_definitions(self.definitions)
        for model, records in self.training.items():
            for i, record in enumerate(records, 1):
                check_record(record, f"training/{training_log(model)}, line {i}")
        for name in ("results", "similarities"):
            check_statuses(getattr(self, name), f"{name}.parquet")

    def facts(self) -> Facts:
        """The numbers indexed for summaries and reports, every text made inert."""
        return facts_of({name: getattr(self, name) for name in TABLES}, self.definitions, self.run, self.training)

    def summary(self) -> Summary:
        """The answer in one sentence and three lists: what differs, what is shown equal, what cannot be told.

        Examples
        --------
        >>> import geomprobe as gp
        >>> summary = gp.read_results("runs/analyze/mine").summary()
        >>> summary.kind, summary.limits
        ('single', 'No comparison was made, so no difference is claimed.')
        """
        return summarise(self.facts())

    def to_markdown(self) -> str:
        """The summary in Markdown, for a pull request or a README."""
        return as_markdown(self.summary())

    def to_latex(self) -> str:
        """The summary as a LaTeX table (booktabs), the sentence as its caption."""
        return as_latex(self.summary())

    def _repr_html_(self) -> str:
        return as_html(self.summary())


def check_statuses(frame: pd.DataFrame, where: str) -> None:
    """Raise InputError where a table has a status that there is none of."""
    if unknown := sorted(set(frame["status"].dropna()) - set(STATUSES)):
        raise InputError(f"{where}: status {unknown[0][:60]!r} is none of {', '.join(STATUSES)}.")


def count_failures(results: pd.DataFrame, similarities: pd.DataFrame) -> int:
    """How many cells failed, and pairs of sound cells whose similarity failed: `failed_cells` of run.json.

    Parameters
    ----------
    results, similarities : DataFrame
        With the columns of RESULT_COLUMNS and SIMILARITY_COLUMNS.
    """
    cells = results.loc[results["status"] == "failed", FAILED_PLACE].drop_duplicates()
    broken = set(cells[["model", "task", "pooling"]].itertuples(index=False, name=None))
    pairs = similarities.loc[similarities["status"] == "failed", ["a", "b", "task", "pooling"]].drop_duplicates()
    return len(cells) + sum(
        (a, task, pooling) not in broken and (b, task, pooling) not in broken
        for a, b, task, pooling in pairs.itertuples(index=False, name=None)
    )


def training_log(model: str) -> str:
    """File name of a model's training log; a name that no file can have is escaped, a long one hashed."""
    name = quote(model, safe=" ()+,=@", errors="backslashreplace")
    return f"{name if len(name) <= 200 else hash_bytes(model)}.jsonl"
