"""What a results folder says, indexed for a report. Reading and selecting only: no number is computed here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, Literal

from geomprobe.results.record import named_end
from geomprobe.results.schema import Definition, Run
from geomprobe.results.summary.maps import RowMap

Row = dict[str, Any]
Kind = Literal["single", "pair", "groups", "many", "series"]
Judgement = Literal["higher", "lower", "mixed", "equivalent", "unclear", "none"]
"""What a comparison says of one cell, or of several: mixed where some are higher and some lower."""
PLACE = ("model", "task", "layer", "pooling")
# Which part of the report a family of metrics belongs to.
PARTS = {
    **dict.fromkeys(("spectrum", "hypersphere", "isotropy", "dimension", "pooling"), "geometry"),
    "semantic": "semantic",
    "lexical": "lexical",
}
POOLING_ORDER = ("model", "mean", "max", "weighted", "attention", "cls", "last")
WHOLE = {"embedding", "published analysis"}
"""Stages without which a cell has no number at all."""
VIEW_ORDER = ("", "raw", "centred", "standardised")


@dataclass(frozen=True)
class Facts:
    """A results folder with every text made inert and every list in its printing order.

    Attributes
    ----------
    rows : list of dict
        Rows of results, missing values as None.
    comparisons, curves, similarities, rankings, trajectories, changes : list of dict
        Rows of the tables of those names.
    models, tasks, poolings : list of str
        Display names.
    variants : Facts or None
        What the folder says of quantised and truncated vectors: kept apart, for the report is about the full ones.
    read_maps : callable
        Gives `row_maps`.
    """

    rows: list[Row]
    comparisons: list[Row]
    curves: list[Row]
    definitions: dict[str, Definition]
    run: Run
    training: dict[str, list[Row]]
    models: list[str]
    tasks: list[str]
    poolings: list[str]
    similarities: list[Row] = field(default_factory=list)
    rankings: list[Row] = field(default_factory=list)
    trajectories: list[Row] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)
    variants: Facts | None = None
    read_maps: Callable[[], list[RowMap]] = list

    @cached_property
    def row_maps(self) -> list[RowMap]:
        """The maps of the rows, one for each task; read when they are asked for, since they are many rows."""
        return self.read_maps()

    @cached_property
    def last_layer(self) -> dict[str, int]:
        """The deepest layer measured, for each model."""
        return {name: layers[-1] for name, layers in self.layers.items()}

    @cached_property
    def layers(self) -> dict[str, list[int]]:
        """The layers measured, for each model."""
        found: dict[str, set[int]] = {}
        for row in self.rows:
            found.setdefault(row["model"], set()).add(row["layer"])
        return {name: sorted(layers) for name, layers in found.items()}

    @cached_property
    def depth(self) -> dict[str, int]:
        """The number of layers of each model, by which relative depth is printed."""
        return {m["name"]: m.get("n_layers") or self.last_layer.get(m["name"], 0) for m in self.model_entries}

    @cached_property
    def model_entries(self) -> list[Row]:
        """The entries of run.json, one for each model, in order."""
        return self._entries("models", self.models)

    @cached_property
    def task_entries(self) -> list[Row]:
        """The entries of run.json, one for each task, in order."""
        return self._entries("tasks", self.tasks)

    def _entries(self, part: Literal["models", "tasks"], names: list[str]) -> list[Row]:
        known: dict[str, Row] = {entry["name"]: {**entry} for entry in self.run.get(part, [])}
        return [known.get(name, {"name": name}) for name in names]

    @cached_property
    def task_hashes(self) -> dict[str, set[str]]:
        """Task -> the fingerprints of its data that occur: more than one where models saw different rows."""
        found: dict[str, set[str]] = defaultdict(set)
        for row in self.rows:
            if row["task_hash"]:
                found[row["task"]].add(row["task_hash"])
        return found

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Group name -> its models, where seeds were compared in groups."""
        return self.run.get("groups") or {}

    @cached_property
    def level(self) -> str:
        """The level of the comparison that the report is about: objective where groups were compared."""
        grouped = self.groups or any(c["level"] == "objective" for c in self.comparisons)
        return "objective" if grouped else "checkpoint"

    @cached_property
    def pair(self) -> tuple[str, str] | None:
        """The two sides of the comparison, second minus first; also where no number could be compared for failures."""
        rows = [c for c in self.comparisons if c["level"] == self.level]
        if not rows and not self.failed_cells:
            return None
        asked = list(self.groups) if self.level == "objective" else self.run.get("compared") or []
        if len(asked) == 2 and (self.level == "objective" or set(asked) <= set(self.models)):
            return asked[0], asked[1]
        return (rows[0]["a"], rows[0]["b"]) if rows else None

    @cached_property
    def baselines(self) -> list[str]:
        """Models that learned nothing, measured to show where a figure then lies."""
        named = self.run.get("baselines", {})
        return [m for m in self.models if m in named]

    @cached_property
    def own(self) -> list[str]:
        """The models that the report is about: all but the baselines."""
        return [m for m in self.models if m not in self.baselines]

    @cached_property
    def kind(self) -> Kind:
        """Which report this is."""
        if self.run.get("series"):
            return "series"
        if self.pair and self.level == "objective":
            return "groups"
        if self.pair and len(self.own) <= 2:
            return "pair"
        return "single" if len(self.own) == 1 else "many"

    @cached_property
    def series(self) -> dict[str, int]:
        """Colour and marker of each model; the models of one group, or of one training of a series, share them."""
        if self.kind == "series":
            runs = {entry["name"]: entry["models"] for entry in self.run.get("series", [])}
            group = {name: band for band, members in self.run.get("bands", {}).items() for name in members}
            drawn = dict.fromkeys([*self.run.get("bands", {}), *(name for name in runs if name not in group)])
            place = {name: i for i, name in enumerate(drawn)}
            place |= {name: place[band] for name, band in group.items()}
            return place | {model: place[run] for run, models in runs.items() for model in models}
        if self.groups:
            place = {m: i for i, members in enumerate(self.groups.values()) for m in members}
            return {m: place.get(m, len(self.groups)) for m in self.models} | {g: i for i, g in enumerate(self.groups)}
        order = [*self.pair, *self.models] if self.pair else self.models
        return {m: i for i, m in enumerate(dict.fromkeys(order))}

    @cached_property
    def pooling(self) -> str:
        """The pooling that is shown first."""
        return self.poolings[0] if self.poolings else ""

    @cached_property
    def untrained(self) -> list[str]:
        """Poolings with parameters that were not trained."""
        untrained = {p["name"] for p in self.run.get("poolings", []) if p.get("trained") is False}
        return [p for p in self.poolings if p in untrained]

    @cached_property
    def by_cell(self) -> dict[tuple, Row]:
        """(model, task, layer, pooling, metric, view) -> row, controls left out; the first of several definitions."""
        cells: dict[tuple, Row] = {}
        for row in self.rows:
            if not row["control"]:
                key = itemgetter(*PLACE, "metric", "view")(row)
                if key not in cells or (cells[key]["value"] is None and row["value"] is not None):
                    cells[key] = row
        return cells

    @cached_property
    def by_difference(self) -> dict[tuple, Row]:
        """(task, layer, pooling, metric, view) -> comparison of the pair."""
        cells: dict[tuple, Row] = {}
        for row in self.comparisons:
            if row["level"] == self.level and (row["a"], row["b"]) == self.pair:
                cells.setdefault(itemgetter(*PLACE[1:], "metric", "view")(row), row)
        return cells

    @cached_property
    def comparison_layer(self) -> int:
        """The deepest layer that was compared."""
        return max((key[1] for key in self.by_difference), default=0)

    def cell(self, model: str, task: str, pooling: str, metric: str, view: str, layer: int | None = None) -> Row | None:
        """The row of one number, at the last layer by default."""
        layer = self.last_layer.get(model, 0) if layer is None else layer
        return self.by_cell.get((model, task, layer, pooling, metric, view))

    def difference(self, task: str, pooling: str, metric: str, view: str, layer: int | None = None) -> Row | None:
        """The comparison of one number, at the last layer by default."""
        layer = self.comparison_layer if layer is None else layer
        return self.by_difference.get((task, layer, pooling, metric, view))

    @cached_property
    def metrics(self) -> list[tuple[str, str]]:
        """(metric, view) of every number, in printing order."""
        found = dict.fromkeys((row["metric"], row["view"]) for row in self.rows if row["status"] != "failed")
        return sorted(
            found,
            key=lambda mv: (self.entry(mv[0]).get("order", math.inf), mv[0], place_in(mv[1], VIEW_ORDER), mv[1]),
        )

    def entry(self, metric: str) -> Definition:
        """The record of a metric, empty where the folder has none."""
        return self.definitions.get(metric, {})

    def part(self, name: str) -> list[tuple[str, str]]:
        """The (metric, view) of one part: semantic, lexical or geometry."""
        return [mv for mv in self.metrics if self.part_of(mv[0]) == name]

    def part_of(self, metric: str) -> str:
        """The part of the report that a metric belongs to, by the family in its definition."""
        return PARTS.get(self.entry(metric).get("family", ""), "geometry")

    @cached_property
    def headline(self) -> list[tuple[str, str]]:
        """The few numbers that carry the argument, those that occur."""
        return headline_of(self.metrics, self.definitions)

    @cached_property
    def _rankings(self) -> dict[tuple[str, str, str, str], list[Row]]:
        found: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
        for row in sorted(self.rankings, key=itemgetter("rank")):
            cell = found[row["task"], row["pooling"], row["metric"], row["view"]]
            if row["model"] not in [other["model"] for other in cell]:  # the first of several definitions
                cell.append(row)
        return found

    def ranked(self, task: str, pooling: str, metric: str, view: str) -> list[Row]:
        """The models in the order of a number, without baselines; `letters` is None where no pair was tested."""
        if found := self._rankings.get((task, pooling, metric, view)):
            return found
        cells = [self.cell(name, task, pooling, metric, view) for name in self.own]
        known = [row for row in cells if row and row["value"] is not None]
        known.sort(key=itemgetter("value"), reverse=named_end(self.entry(metric).get("direction", "")) != "lower")
        return [{**row, "rank": place, "letters": None} for place, row in enumerate(known, 1)]

    @cached_property
    def trajectory_of(self) -> dict[tuple[str, ...], list[Row]]:
        """(series, task, pooling, metric, view) -> the values along it, in the order of the steps."""
        return _along(self.trajectories, ("series", *PLACE[1::2], "metric", "view"), ("step",))

    @cached_property
    def changes_of(self) -> dict[tuple[str, ...], list[Row]]:
        """(against, series, task, pooling, metric, view) -> paired differences, in the order of the steps."""
        return _along(self.changes, ("against", "series", *PLACE[1::2], "metric", "view"), ("step_a", "step_b"))

    @cached_property
    def curves_by_kind(self) -> dict[tuple[str, str], list[Row]]:
        """(curve, pooling) -> its points at the deepest layer of each model, under the first view of the curve."""
        deepest: dict[str, int] = {}
        views: dict[tuple[str, str], str] = {}
        for row in self.curves:
            deepest[row["model"]] = max(row["layer"], deepest.get(row["model"], row["layer"]))
            views.setdefault((row["model"], row["curve"]), row["view"])
        found: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self.curves:
            shown = row["layer"] == deepest[row["model"]] and row["view"] == views[row["model"], row["curve"]]
            if shown and row["x"] is not None and row["y"] is not None:
                found[row["curve"], row["pooling"]].append(row)
        return found

    @cached_property
    def failed_stages(self) -> dict[tuple, set[str]]:
        """(model, task, layer, pooling) -> the stages that failed there (see `geomprobe.results.STAGES`)."""
        found: dict[tuple, set[str]] = defaultdict(set)
        for row in self.rows:
            if row["status"] == "failed":
                found[itemgetter(*PLACE)(row)].add(row["metric"])
        return found

    @cached_property
    def measured_stages(self) -> dict[str, set[tuple[str, str]]]:
        """Task -> (metric, view) of the numbers that some model, layer or pooling has there."""
        found: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for row in self.rows:
            if row["value"] is not None and not row["control"]:
                found[row["task"]].add((row["metric"], row["view"]))
        return found

    def missing(self, name: str, task: str, pooling: str, metric: str, view: str, layer: int | None = None) -> bool:
        """Whether a number of a model, or of a group of seeds, is missing because its cell failed.

        A number that nothing measured on the task, while other numbers of its stage were, does not exist there: no
        failure.

        Parameters
        ----------
        layer : int, optional
            The deepest of the model by default.
        """
        stage, known = self._stage_of(metric), self.measured_stages.get(task, set())
        if known and (metric, view) not in known and any(self._stage_of(m) == stage for m, _ in known):
            return False
        for model in self.groups.get(name, [name]):
            at = self.last_layer.get(model, 0) if layer is None else layer
            if {stage, metric, *WHOLE} & self.failed_stages.get((model, task, at, pooling), set()):
                return True
        return False

    def _stage_of(self, metric: str) -> str:
        """The stage of a cell that a metric comes from, one of `geomprobe.results.STAGES`."""
        by_part = "geometry" if self.part_of(metric) == "geometry" else "probes"
        return self.entry(metric).get("stage", by_part)

    @property
    def failed_cells(self) -> list[Row]:
        """The entries of `failed` that are cells, not pairs of models."""
        return [entry for entry in self.failed if entry["layer"] is not None]

    @cached_property
    def failed(self) -> list[Row]:
        """An entry for each cell, and each pair of models, that failed: PLACE, stage and note of the first stage."""
        seen: dict[tuple, Row] = {}
        for row in [*self.rows, *(self.variants.rows if self.variants else ()), *self.similarities]:
            if row["status"] != "failed":
                continue
            entry = {key: row.get(key) for key in PLACE} | {"stage": row["metric"], "note": row["note"]}
            if "a" in row:
                entry["model"] = f"{row['a']} and {row['b']}" if row["a"] != row["b"] else f"layers of {row['a']}"
            seen.setdefault(itemgetter(*PLACE)(entry), entry)
        return list(seen.values())


def headline_of(metrics: Sequence[tuple[str, str]], definitions: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few (metric, view) that carry the argument, of those that occur, in the order of their definitions."""
    places = {m: definitions[m]["headline"] for m, _ in metrics if "headline" in definitions.get(m, {})}
    found = []
    for metric, place in sorted(places.items(), key=lambda item: item[1]["order"]):
        same = [mv for mv in metrics if mv[0] == metric]
        # a metric that argues by one view does so by any; where two are set against each other, both are needed
        found += [mv for mv in same if mv[1] in place["views"]] or same[: len(place["views"]) == 1]
    return found or [mv for mv in metrics if not definitions.get(mv[0], {}).get("reference")][:4]


def _along(rows: Sequence[Row], keys: Sequence[str], steps: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    """Rows by their keys, in the order of their steps; the first of several definitions."""
    found: dict[tuple[str, ...], dict[tuple, Row]] = defaultdict(dict)
    for row in sorted(rows, key=itemgetter(*steps)):
        if row.get("value", row.get("diff")) is not None:
            found[itemgetter(*keys)(row)].setdefault(tuple(row[step] for step in steps), row)
    return {key: list(part.values()) for key, part in found.items()}


def place_in(name: str, order: Sequence[str]) -> int:
    """The place of a name in an order, last where it is not there."""
    return order.index(name) if name in order else len(order)


def rows_of(task: Row) -> int | None:
    """The rows of a task that geometry is measured on, else the rows of its split."""
    return task.get("geometry_rows") or task.get("rows")


def judgement(row: Row) -> Judgement:
    """What a comparison says: higher, lower, equivalent, unclear or none (no interval, so no verdict)."""
    verdict, diff = row.get("verdict") or "no verdict", row.get("diff")
    if diff is None or "no verdict" in verdict or "no valid interval" in verdict:
        return "none"
    if "equivalent" in verdict or verdict == "no difference":
        return "equivalent"
    if "no clear difference" in verdict or diff == 0:
        return "unclear"
    return "higher" if diff > 0 else "lower"


def half_width(row: Row | None) -> float | None:
    """Half the width of a number's interval, None where it has none."""
    if not row or row.get("ci_low") is None or row.get("ci_high") is None:
        return None
    return (row["ci_high"] - row["ci_low"]) / 2 or None
