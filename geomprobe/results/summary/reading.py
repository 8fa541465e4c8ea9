"""Tables of a results folder → `Facts`: every text made inert, names short and distinct, variants set apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from geomprobe.common.text import NAME_LIMIT, TEXT_LIMIT, clean, finite, short_names
from geomprobe.results.schema import Run
from geomprobe.results.summary.facts import POOLING_ORDER, Facts, Row, place_in
from geomprobe.results.summary.maps import row_maps

NAMES = ("model", "task", "pooling", "view", "metric", "definition", "control", "a", "b", "curve", "probe", "series")


def facts_of(
    tables: Mapping[str, pd.DataFrame],
    definitions: Mapping[str, Any],
    run: Mapping[str, Any],
    training: Mapping[str, list[dict[str, Any]]],
) -> Facts:
    """Index of the parts of a results folder, by the names of `geomprobe.results.Results`."""
    names = _display_names(tables["results"], run, training)

    def rows(frame: pd.DataFrame) -> list[Row]:
        frame = frame.astype(object).where(frame.notna(), None)
        return [_inert_row(row, names) for row in frame.to_dict("records")]

    shown: Run = _inert(run, names)
    records = rows(tables["results"])
    models = _ordered([m["name"] for m in shown.get("models", [])], [r["model"] for r in records])
    tasks = _ordered([t["name"] for t in shown.get("tasks", [])], [r["task"] for r in records])
    poolings = {r["pooling"] for r in records}
    mapped = [entry["task"] for entry in run.get("maps", ())]
    facts = Facts(
        records,
        rows(tables["comparisons"]),
        rows(tables["curves"]),
        {names[k]: _inert(v, names) for k, v in definitions.items()},
        shown,
        {names[k]: v for k, v in training.items()},
        models,
        tasks,
        sorted(poolings, key=lambda p: (place_in(p, POOLING_ORDER), p)),
        similarities=rows(tables["similarities"]),
        rankings=rows(tables["rankings"]),
        trajectories=rows(tables["trajectories"]),
        changes=rows(tables["changes"]),
        read_maps=partial(row_maps, tables, list(zip(mapped, shown.get("maps", ()), strict=True)), names),
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


def _display_names(results: pd.DataFrame, run: Mapping[str, Any], training: Iterable[str]) -> _Names:
    """Raw name -> display name, no two models, tasks or poolings alike."""
    names = _Names()
    for column in ("model", "task", "pooling", "metric", "view", "control"):
        named = [entry["name"] for entry in run.get(f"{column}s", [])] if column in ("model", "task") else []
        seen = results[column].dropna().unique().tolist()
        every = [*filter(None, named), *map(str, seen)]
        if column == "model":
            every += [*(run.get("groups") or {}), *training]
            every += [*(entry["name"] for entry in run.get("series", ())), *run.get("bands", ())]
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
