"""Results folder → `Facts`: every text made inert, names short and distinct, variants set apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from geomprobe.reports.data.facts import POOLING_ORDER, Facts, Row, place_in
from geomprobe.reports.document.formats import NAME_LIMIT, TEXT_LIMIT, clean, finite, short_names
from geomprobe.results import Results, Run, read_results

NAMES = ("model", "task", "pooling", "view", "metric", "definition", "control", "a", "b", "curve", "probe")


def load(source: str | Path | Results) -> Facts:
    """The facts of a results folder or of results in memory.

    Raises
    ------
    InputError
        The folder is missing, incomplete or damaged.
    """
    if isinstance(source, Results):
        source.check()
    results = source if isinstance(source, Results) else read_results(source)
    names = _display_names(results)

    def rows(frame: pd.DataFrame) -> list[Row]:
        frame = frame.astype(object).where(frame.notna(), None)
        return [_inert_row(row, names) for row in frame.to_dict("records")]

    run: Run = _inert(results.run, names)
    records = rows(results.results)
    models = _ordered([m["name"] for m in run.get("models", [])], [r["model"] for r in records])
    tasks = _ordered([t["name"] for t in run.get("tasks", [])], [r["task"] for r in records])
    poolings = {r["pooling"] for r in records}
    facts = Facts(
        records,
        rows(results.comparisons),
        rows(results.curves),
        {names[k]: _inert(v, names) for k, v in results.definitions.items()},
        run,
        {names[k]: v for k, v in results.training.items()},
        models,
        tasks,
        sorted(poolings, key=lambda p: (place_in(p, POOLING_ORDER), p)),
        similarities=rows(results.similarities),
    )
    return apart(facts)


def apart(facts: Facts) -> Facts:
    """The facts of the full vectors; `variants` has the facts of their quantised and truncated variants."""
    entries = facts.run.get("models", [])
    stored = {entry["name"] for entry in entries if entry.get("of")}
    if not stored:
        return facts

    def part(of_variants: bool) -> Facts:
        def mine(rows: Sequence[Any], name: str) -> list[Any]:
            return [row for row in rows if (row[name] in stored) == of_variants]

        return replace(
            facts,
            rows=mine(facts.rows, "model"),
            comparisons=mine(facts.comparisons, "b"),
            curves=mine(facts.curves, "model"),
            similarities=mine(facts.similarities, "b"),
            models=[name for name in facts.models if (name in stored) == of_variants],
            run=facts.run | {"models": mine(entries, "name")},
        )

    return replace(part(False), variants=part(True))


def _ordered(first: list[Any], then: list[Any]) -> list[str]:
    return [str(n) for n in dict.fromkeys([*first, *then]) if n]


class _Names(dict[str, str]):
    """Display names; a name that was not seen when they were made is cleaned as it is met."""

    def __missing__(self, name: str) -> str:
        return clean(name, NAME_LIMIT)


def _display_names(results: Results) -> _Names:
    """Raw name -> display name, no two models, tasks or poolings alike."""
    names, run = _Names(), results.run
    for column in ("model", "task", "pooling", "metric", "view", "control"):
        named = [entry["name"] for entry in run.get(f"{column}s", [])] if column in ("model", "task") else []
        seen = results.results[column].dropna().unique().tolist()
        every = [*filter(None, named), *map(str, seen)]
        if column == "model":
            every += [*(run.get("groups") or {}), *results.training]
        names.update(short_names(dict.fromkeys(every)))
    return names


def _inert_row(row: Any, names: _Names) -> Row:
    for key, value in row.items():
        if key in NAMES:
            row[key] = names[str(value)] if value is not None else ""
        elif isinstance(value, str):
            row[key] = clean(value)
        elif isinstance(value, float):
            row[key] = finite(value)
    if "layer" in row:
        row["layer"] = int(row["layer"]) if row["layer"] is not None else 0
    return row


def _inert(value: Any, names: _Names) -> Any:
    """JSON with every text cleaned; names of models and tasks become their display names."""
    if isinstance(value, str):
        return names[value] if value in names else clean(value, 4 * TEXT_LIMIT)
    if isinstance(value, dict):
        return {names[str(k)] if str(k) in names else clean(k, NAME_LIMIT): _inert(v, names) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_inert(v, names) for v in value]
    return finite(value) if isinstance(value, float) else value
