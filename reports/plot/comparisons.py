"""Figures of differences and ranks: the whole comparison, heat map, forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from matplotlib.axes import Axes

from geomprobe.common import InputError
from geomprobe.common.text import NAME_LIMIT, listed
from geomprobe.reports.document.blocks import Figure
from geomprobe.reports.document.figure_limits import DRAWN, MAPPED
from geomprobe.reports.plot.choices import (
    ANALYZE,
    COMPARE,
    Source,
    add_legend,
    among,
    axes_of,
    facts_of,
    first,
    layer_of,
    metrics,
    named,
    of_tasks,
    place_of,
    say,
    tell,
    write,
)
from geomprobe.reports.render.figures.axes import short_label
from geomprobe.reports.render.figures.maps import cells
from geomprobe.reports.render.figures.overview import KEYS, margins
from geomprobe.reports.render.figures.points import bars, ranks
from geomprobe.reports.sections import poolings
from geomprobe.reports.sections.parts import points
from geomprobe.reports.sections.parts.sides import sides
from geomprobe.results.summary.summarise import summarise
from geomprobe.results.summary.words import how_many, title


def summary(
    results: Source,
    ax: Axes | None = None,
    *,
    tasks: Sequence[str] | None = None,
    layer: int | None = None,
    legend: bool = True,
) -> Axes:
    """The whole comparison: each headline metric's difference B − A in units of the largest that counts as none.

    The grey band holds the differences that count as none. A point is the difference in the typical cell, the median of
    those that agree with the verdict, with its 95 % interval; filled where a difference is shown, orange where B is
    higher and blue where A is. A faint mark is a cell, one task under one pooling. What differs comes first, then what
    is shown equal, then what cannot be told. Beyond one margin a long axis is logarithmic.

    Parameters
    ----------
    results : Results or path
    ax : Axes, optional
    tasks : sequence of str, optional
        Default: all.
    layer : int, optional
        Default: the deepest that was compared.
    legend : bool
        Below the axes.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The results are missing or damaged, or have no comparison with margins.
    UsageError
        A name or a layer does not occur in the results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> ax = gp.plot.summary("runs/compare/mine")
    >>> ax.get_title(), ax.get_xlabel()
    ('hybrid − mlm, layer 4', 'B − A, in units of the margin')
    """
    facts = of_tasks(facts_of(results, layer=layer), tasks)
    if not facts.pair:
        raise InputError("These results have no comparison.", COMPARE)
    found = points.overview(facts, summarise(facts))
    if not found:
        raise InputError("No difference of these results has a margin.", "geomprobe report shows them as measured.")
    data, (a, b) = found["data"], facts.pair
    ax = axes_of(ax, len(data["rows"]), wide=True)
    margins(ax, data)
    write(ax, f"{b} − {a}, layer {facts.comparison_layer}", data["x_label"])
    if legend:
        add_legend(ax, [], KEYS)
    failed = how_many(facts)
    say(
        f"Left out, for they failed: {failed}." if failed else "",
        f"Not drawn, for want of a margin: {listed(data['without'])}." if data["without"] else "",
    )
    return ax


def heatmap(
    results: Source,
    ax: Axes | None = None,
    *,
    metric: str | None = None,
    view: str | None = None,
    of: str | None = None,
    layer: int | None = None,
) -> Axes:
    """A metric under every pooling (down) on every task (across), the numbers printed where there is room.

    Of a difference, red is where B is higher and blue where A is. A hatched cell failed, an empty one has no number.

    Parameters
    ----------
    results : Results or path
    ax : Axes, optional
    metric, view : str, optional
        Default: the first headline metric that was measured, and its first view.
    of : str, optional
        "A", "B", "B-A", or the name of a model. Default: "B-A" where there is a comparison, else the first model.
    layer : int, optional
        Default: the deepest of each model.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The results are missing or damaged, the metric has no value, or a comparison is asked for and there is none.
    UsageError
        A name or a layer does not occur in the results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> ax = gp.plot.heatmap("runs/compare/mine", metric="effective_rank")
    >>> ax.get_title()
    'effective rank, B − A, layer 4'
    """
    facts = facts_of(results, layer=layer)
    names = sides(facts)
    if of in ("A", "B", "B-A") and not facts.pair and of not in names:
        raise InputError(f"These results have no comparison, so no {of}.", COMPARE)
    letters = dict(zip(("A", "B"), names, strict=False)) if facts.pair else {}
    of = letters.get(of, of) if of else "B-A" if facts.pair else names[0]
    place = len(names) if of == "B-A" and facts.pair else names.index(named("model", names, of))
    options = metrics(facts, metric, view)
    what = metric or "headline metric"
    data, number = first(options, lambda number: poolings.heat(facts, *number), what, ANALYZE)
    ax = axes_of(ax, len(data["rows"]), wide=len(data["columns"]) > 6)
    panel = data["panels"][place]
    cells(ax, panel, data)
    shown = [names[place]] if place < len(names) else [*(facts.pair or ())]
    write(ax, f"{title(facts, *number)}, {short_label(panel['title'], 30)}, {layer_of(facts, shown)}")
    return ax


def forest(
    results: Source,
    ax: Axes | None = None,
    *,
    metric: str | None = None,
    view: str | None = None,
    pooling: str | None = None,
    layer: int | None = None,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> Axes:
    """Differences B − A of every task with their 95 % intervals; without one, models by value.

    The grey band holds the differences that count as none. A mark is filled where the difference is shown, orange where
    B is higher and blue where A is. Of many models, those with a letter in common are not told apart, and baselines are
    hollow; there are no letters at other layers than the deepest, where no pair is tested.

    Parameters
    ----------
    results : Results or path
    ax : Axes, optional
    metric, view : str, optional
        Default: the first headline metric that was measured, and its first view.
    pooling : str, optional
        Default: the first with the metric.
    layer : int, optional
        Default: the deepest of each model.
    tasks : sequence of str, optional
        Default: all, of more than 12 the first. Models are ranked on the first task with the metric.
    models : sequence of str, optional
        Models to rank. Default: all; of more than 60 the highest.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The results are missing or damaged, have one model alone, or the metric has no value.
    UsageError
        A name or a layer does not occur in the results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> ax = gp.plot.forest("runs/compare/mine", metric="effective_rank")
    >>> ax.get_title(), ax.get_xlabel()
    ('effective rank, mean pooling, layer 4', 'B − A (hybrid − mlm)')
    """
    facts = of_tasks(facts_of(results, models, layer), tasks)
    if not facts.pair and len(facts.models) < 2:
        raise InputError("These results have one model and no comparison.", COMPARE)

    def make(chosen: tuple[tuple[str, str], str]) -> Figure | None:
        return (points.forest if facts.pair else points.ranking)(facts, "plot", [chosen[0]], chosen[1])

    options = product(metrics(facts, metric, view), among("pooling", facts.poolings, pooling))
    data, (number, pooling) = first(options, make, metric or "headline metric", ANALYZE)
    panel = data["panels"][0]
    ax = axes_of(ax, len(panel["rows"]), wide=not facts.pair)
    if facts.pair:
        a, b = facts.pair
        bars(ax, panel)
        write(ax, f"{title(facts, *number)}, {place_of(facts, pooling)}", f"B − A ({b} − {a})")
    else:
        ranks(ax, panel, most=NAME_LIMIT)
        write(ax, f"{panel['task']}, {place_of(facts, pooling)}", title(facts, *number))
    tell(facts, pooling, DRAWN if facts.pair else MAPPED)
    return ax
