"""Figures with a line a model: spectrum, uniformity, layers, training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from matplotlib.axes import Axes

from geomprobe.common import InputError
from geomprobe.common.text import words
from geomprobe.reports.document.blocks import Figure
from geomprobe.reports.plot.choices import (
    ANALYZE,
    INSIDE,
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
    tell,
    write,
)
from geomprobe.reports.render.figures.curves import profile as draw_profile
from geomprobe.reports.render.figures.curves import quantity as draw_quantity
from geomprobe.reports.render.figures.curves import spectrum as draw_spectrum
from geomprobe.reports.render.figures.points import DUMBBELL, dumbbells
from geomprobe.reports.sections import layers as profiles
from geomprobe.reports.sections import training as logs
from geomprobe.reports.sections.parts import curves
from geomprobe.reports.sections.parts.points import decomposition
from geomprobe.results.summary.words import title


def spectrum(
    results: Source,
    ax: Axes | None = None,
    *,
    task: str | None = None,
    pooling: str | None = None,
    layer: int | None = None,
    models: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """Share of the variance in the k-th direction against k, both axes logarithmic.

    Parameters
    ----------
    results : Results or path
    ax : Axes, optional
    task, pooling : str, optional
        Default: the first with a spectrum.
    layer : int, optional
        Default: the deepest of each model.
    models : sequence of str, optional
        Default: all; of more than 12 the first.
    legend : bool
        Of more than four entries it stands right of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The results are missing or damaged, or have no spectrum.
    UsageError
        A name or a layer does not occur in the results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> ax = gp.plot.spectrum("runs/compare/mine", task="mrpc")
    >>> ax.get_title(), ax.get_xscale()
    ('mrpc, mean pooling, layer 4', 'log')
    """
    facts = of_tasks(facts_of(results, models, layer), None if task is None else [task])

    def make(pooling: str) -> Figure | None:
        return curves.curve_figure(facts, "spectrum", pooling, curves.SPECTRUM)

    data, chosen = first(among("pooling", facts.poolings, pooling), make, "spectrum", ANALYZE)
    panel, ax = data["panels"][0], axes_of(ax, wide=len(data["legend"]) > INSIDE)
    draw_spectrum(ax, panel)
    write(ax, f"{panel['title']}, {place_of(facts, chosen)}", data["x_label"], data["y_label"])
    if legend:
        add_legend(ax, data["legend"])
    tell(of_tasks(facts, [panel["title"]]), chosen)
    return ax


def uniformity(
    results: Source,
    ax: Axes | None = None,
    *,
    tasks: Sequence[str] | None = None,
    pooling: str | None = None,
    layer: int | None = None,
    models: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """What raw uniformity is made of: the value after centring, and what the mean vector adds to it.

    Filled: uniformity of the raw vectors. Hollow: after centring. Tick: the Jensen bound, which the mean vector alone
    sets. Dashed line: the uniform distribution on the sphere. Where the filled marks of two models differ and the
    hollow ones do not, the models differ in their mean vectors.

    Parameters
    ----------
    results : Results or path
    ax : Axes, optional
    tasks : sequence of str, optional
        Default: all; of more than 12 the first.
    pooling : str, optional
        Default: the first with uniformity.
    layer : int, optional
        Default: the deepest of each model.
    models : sequence of str, optional
        Default: the two compared and the baselines, else all; of more than 12 the first.
    legend : bool
        Of more than four entries it stands right of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The results are missing or damaged, or have no uniformity.
    UsageError
        A name or a layer does not occur in the results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> ax = gp.plot.uniformity("runs/compare/mine", tasks=["sst2", "mrpc"])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['sst2', 'mrpc']
    """
    facts = of_tasks(facts_of(results, models, layer), tasks)
    options = among("pooling", facts.poolings, pooling)
    data, chosen = first(options, lambda name: decomposition(facts, name), "uniformity", ANALYZE)
    ax = axes_of(ax, sum(len(group["rows"]) for group in data["groups"]), wide=True)
    dumbbells(ax, data)
    write(ax, place_of(facts, chosen))
    if legend:
        add_legend(ax, data["legend"], DUMBBELL)
    tell(facts, chosen)
    return ax


def layers(
    results: Source,
    ax: Axes | None = None,
    *,
    metric: str | None = None,
    view: str | None = None,
    task: str | None = None,
    pooling: str | None = None,
    models: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """A metric against relative depth, 0 the embedding layer and 1 the last, with 95 % intervals as a band.

    Parameters
    ----------
    results : Results or path
    ax : Axes, optional
    metric, view : str, optional
        Default: the first headline metric that was measured, and its first view.
    task, pooling : str, optional
        Default: the first with the metric.
    models : sequence of str, optional
        Default: all; of more than 12 the first.
    legend : bool
        Of more than four entries it stands right of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The results are missing or damaged, one layer was measured, or the metric has no value.
    UsageError
        A name does not occur in the results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> ax = gp.plot.layers("runs/compare/mine", metric="effective_rank")
    >>> ax.get_ylabel(), ax.get_title(), len(ax.lines)
    ('effective rank', 'sst2, mean pooling', 2)
    """
    facts = of_tasks(facts_of(results, models), None if task is None else [task])
    if len({row["layer"] for row in facts.rows}) < 2:
        raise InputError(f"One layer was measured, {layer_of(facts)}.", "geomprobe analyze --layer all measures all.")
    options = product(metrics(facts, metric, view), among("pooling", facts.poolings, pooling))
    data, (number, pooling) = first(
        options, lambda chosen: profiles.profile(facts, *chosen[0], chosen[1]), metric or "headline metric", ANALYZE
    )
    panel, ax = data["panels"][0], axes_of(ax, wide=len(data["legend"]) > INSIDE)
    draw_profile(ax, panel)
    write(ax, f"{panel['title']}, {words(pooling)} pooling", "relative depth", title(facts, *number))
    if legend:
        add_legend(ax, data["legend"])
    tell(of_tasks(facts, [panel["title"]]), pooling)
    return ax


def training(
    results: Source,
    ax: Axes | None = None,
    *,
    quantity: str | None = None,
    models: Sequence[str] | None = None,
    legend: bool = True,
) -> Axes:
    """A loss, or another quantity that the trainer logged, along training.

    Parameters
    ----------
    results : Results or path
    ax : Axes, optional
    quantity : str, optional
        A key of the training logs, such as "loss", "held_out_mlm" or "uniformity_centred". Default: the loss.
    models : sequence of str, optional
        Default: all with a log; of more than 12 the first.
    legend : bool
        Of more than four entries it stands right of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The results are missing or damaged, or no model has a training log.
    UsageError
        A name does not occur in the results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> ax = gp.plot.training("runs/compare/mine", quantity="effective_rank")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('tokens', 'effective rank')
    """
    facts = facts_of(results, models)
    found = logs.logs_of(facts)
    known = logs.logged(found)
    if not known:
        raise InputError("No model has a training log.", "geomprobe pretrain writes one; analyze takes it along.")
    chosen = known[0] if quantity is None else named("quantity", known, quantity)
    data = logs.curves(facts, found, [chosen])["data"]
    panel, ax = data["panels"][0], axes_of(ax, wide=len(data["legend"]) > INSIDE)
    draw_quantity(ax, panel)
    write(ax, None, data["x_label"], panel["title"])
    if legend:
        drawn = {line["series"] for line in panel["lines"]}
        add_legend(ax, [entry for entry in data["legend"] if entry["series"] in drawn])
    return ax
