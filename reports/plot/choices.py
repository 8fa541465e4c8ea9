"""What a figure shows where the caller leaves it open, how that is said, and what it says of what is left out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.axes import Axes

from geomprobe.common import InputError, UsageError
from geomprobe.common.errors import unknown_name
from geomprobe.common.text import NAME_LIMIT, clean, words
from geomprobe.reports.data.load import load
from geomprobe.reports.document.blocks import Figure
from geomprobe.reports.document.figure_limits import DRAWN
from geomprobe.reports.render.figures.axes import literal, scaled
from geomprobe.reports.render.figures.panels import key_handles, series_handles
from geomprobe.reports.render.figures.style import GRID
from geomprobe.results import Results
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.words import absent

Source = Results | str | Path
Option = TypeVar("Option")
INSIDE = 4
"""Entries of a legend that stands inside its axes."""
LABELS = 0.4
"""Height in inches of ticks and label of the x axis, below which a legend of marks stands."""
COMPARE = "geomprobe compare A B writes results with a comparison."
ANALYZE = "geomprobe ls metrics lists what geomprobe analyze measures."


def facts_of(source: Source, models: Sequence[str] | None = None, layer: int | None = None) -> Facts:
    """The facts of results, of some models and one layer alone where they are given."""
    if not isinstance(source, Results | str | os.PathLike):
        given = f"{type(source).__module__.partition('.')[0]} {type(source).__name__}"
        raise UsageError(f"Figures are made of results or a results folder, not of a {given}.", "See gp.read_results.")
    facts = load(source)
    if layer is not None:
        layers = sorted({row["layer"] for row in facts.rows})
        if layer not in layers:
            raise UsageError(f"Layer {layer} was not measured.", f"Measured: {', '.join(map(str, layers))}.")
        facts = _only(facts, lambda row: row["layer"] == layer)
    if models is not None:
        kept = some("model", facts.models, models)
        named = {*kept, *facts.groups}
        facts = _only(facts, lambda row: {row[key] for key in ("model", "a", "b") if key in row} <= named)
        facts = replace(facts, models=kept)
    return facts


def _only(facts: Facts, keep: Callable[[Mapping[str, Any]], bool]) -> Facts:
    tables: dict[str, Any] = {
        name: [*filter(keep, getattr(facts, name))] for name in ("rows", "comparisons", "curves", "rankings")
    }
    return replace(facts, **tables)


def of_tasks(facts: Facts, tasks: Sequence[str] | None) -> Facts:
    """The facts of some tasks alone; of all where none are given."""
    kept = some("task", facts.tasks, tasks)
    return facts if tasks is None else replace(_only(facts, lambda row: row["task"] in kept), tasks=kept)


def some(kind: str, known: list[str], asked: Sequence[str] | None) -> list[str]:
    """The names that are asked for, in that order; all where none are."""
    if isinstance(asked, str):
        raise UsageError(f"`{kind}s` takes a list of names, not one name.", f"Give [{asked!r}].")
    return known if asked is None else [named(kind, known, name) for name in asked]


def named(kind: str, known: list[str], asked: str) -> str:
    """A name as it is displayed; raises UsageError where it does not occur."""
    if (name := clean(asked, NAME_LIMIT)) not in known:
        raise unknown_name(kind, name, known)
    return name


def among(kind: str, known: list[str], asked: str | None) -> list[str]:
    """The name that is asked for; all where none is."""
    return known if asked is None else [named(kind, known, asked)]


def metrics(facts: Facts, metric: str | None, view: str | None) -> list[tuple[str, str]]:
    """The (metric, view) that are asked for, headline numbers first; these alone where nothing is."""
    ordered = list(dict.fromkeys([*facts.headline, *facts.metrics]))
    found = facts.headline
    if metric is not None:
        metric = named("metric", list(dict.fromkeys(m for m, _ in ordered)), metric)
        found = [number for number in ordered if number[0] == metric]
    if view is not None:
        view = named("view", list(dict.fromkeys(v for _, v in found)), view)
        found = [number for number in found if number[1] == view]
    return found


def first(
    options: Iterable[Option], make: Callable[[Option], Figure | None], what: str, hint: str
) -> tuple[dict[str, Any], Option]:
    """Data of the figure of the first option that has one, and that option; raises InputError where none has."""
    for option in options:
        if figure := make(option):
            return figure["data"], option
    raise InputError(f"These results have no {what}.", hint)


def layer_of(facts: Facts, names: Sequence[str] | None = None) -> str:
    """The layer of some models, or groups of seeds, that is shown, in words; of all models by default."""
    models = [model for name in names or facts.models for model in facts.groups.get(name, [name])]
    deepest = {facts.last_layer[model] for model in models if model in facts.last_layer}
    return f"layer {deepest.pop()}" if len(deepest) == 1 else "the deepest layer of each"


def place_of(facts: Facts, pooling: str) -> str:
    """The pooling and the layer that are shown, in words."""
    return f"{words(pooling)} pooling, {layer_of(facts)}"


def axes_of(ax: Axes | None, lines: int = 0, wide: bool = False) -> Axes:
    """The axes that are given, else those of a new figure of pyplot, higher the more lines of names it has."""
    if isinstance(ax, Axes):
        return ax
    if ax is not None:
        raise UsageError(f"`ax` must be one matplotlib Axes, not {type(ax).__name__}.", "Of several give one: axes[0].")
    from matplotlib import pyplot

    size = 7.2 if wide else 4.8, 1.1 + 0.3 * lines if lines else 3.2
    _, ax = pyplot.subplots(figsize=size, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def write(ax: Axes, title: str | None = None, x: str | None = None, y: str | None = None) -> None:
    """Set what is given of title and labels."""
    for text, setter in ((title, ax.set_title), (x, ax.set_xlabel), (y, ax.set_ylabel)):
        if text is not None:
            literal(setter(text, wrap=True))


def add_legend(
    ax: Axes, entries: Sequence[Mapping[str, Any]], keys: Mapping[str, Any] | None = None, title: str = ""
) -> None:
    """Add the legend of series and of kinds of marks.

    It stands in the axes, right of them where it is long or has a title, and below them where it is of marks alone.
    """
    handles = [*series_handles(entries), *key_handles(keys or {})]
    place: dict[str, Any] = {}
    if title or (entries and len(handles) > INSIDE):
        place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)}
    elif not entries:
        down = scaled(LABELS) / (ax.bbox.height / ax.figure.dpi)
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -down), "ncols": len(handles), "frameon": False}
    legend = ax.legend(handles=handles, title=title or None, **place)
    literal(*legend.get_texts(), legend.get_title())


def tell(facts: Facts, pooling: str, most: int = DRAWN) -> None:
    """Warn of cells that failed, and of models and tasks past those that are drawn."""
    cut = [
        f"The first {most} of {len(names)} {kind} are drawn; choose others with `{kind}`."
        for kind, names in (("models", facts.models), ("tasks", facts.tasks))
        if len(names) > most
    ]
    say(absent(facts, pooling).strip(), *cut)


def say(*notes: str) -> None:
    """Warn of what is not drawn, where there is anything."""
    if text := " ".join(filter(None, notes)):
        warnings.warn(text, stacklevel=3)
