"""Figures with a point a text: the map of the rows."""

from __future__ import annotations

from matplotlib.axes import Axes

from geomprobe.common import InputError
from geomprobe.reports.plot.choices import Source, add_legend, axes_of, facts_of, named, say, write
from geomprobe.reports.render.figures.axes import short_label
from geomprobe.reports.render.figures.scatter import cloud, look
from geomprobe.reports.sections.maps import kinds_of, map_figure, shown

MAPS = "geomprobe analyze MODEL makes them; results of earlier versions have none."


def map(
    results: Source,
    ax: Axes | None = None,
    *,
    task: str | None = None,
    model: str | None = None,
    projection: str | None = None,
    colour: str | None = None,
    legend: bool = True,
) -> Axes:
    """Where a model puts the texts of a task: a point a text, in the colour and marker of its class.

    Maps of several models show the same texts, each rotated or reflected onto the first, so that they can be read next
    to one another. Distances of t-SNE mean little when they are far.

    Parameters
    ----------
    results : Results or path
    ax : Axes, optional
    task : str, optional
        Default: the first with a map.
    model : str, optional
        Default: A of a comparison, else the first model.
    projection : {"tsne", "pca"}, optional
        Default: t-SNE, which keeps neighbours, where there is one; else principal axes.
    colour : str, optional
        "label", "cluster in NAME" (of a comparison "cluster in A"), "length" or "neighbours in common". Default: the
        first of these that says something here.
    legend : bool
        Right of the axes.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The results are missing or damaged, or have no map.
    UsageError
        A name, a projection or a colour does not occur in the results.

    Examples
    --------
    >>> import geomprobe as gp
    >>> ax = gp.plot.map("runs/analyze/mine")
    >>> ax.get_title(), ax.get_legend().get_title().get_text()
    ('reviews, my-encoder, mean pooling, layer 2', 'label')
    """
    facts = facts_of(results)
    maps = {found.task: found for found in facts.row_maps if found.models}
    if not maps:
        raise InputError("These results have no map of the texts.", MAPS)
    found = maps[next(iter(maps)) if task is None else named("task", [*maps], task)]
    names = shown(facts, found) or list(found.models)[:1]
    if model is not None and (asked := named("model", [*found.models], model)) not in names:
        names.insert(0, asked)
    place = 0 if model is None else names.index(named("model", names, model))
    if not kinds_of(found, names):
        raise InputError(f"The maps of {found.task} have no place for some texts.", MAPS)
    pairs = [pair for pair in found.overlap if {*pair} <= {*names}]
    data = map_figure(facts, found, names, pairs)["data"]
    kinds = {kind["key"]: kind["name"] for kind in data["kinds"]}
    colours = {made["name"]: made for made in data["colours"]}
    kind = next(iter(kinds)) if projection is None else named("projection", [*kinds], projection)
    chosen = colours[next(iter(colours)) if colour is None else named("colour", [*colours], colour)]
    panel, ax = data["panels"][place], axes_of(ax, wide=True)
    cloud(ax, panel["maps"][kind], chosen)
    where = f"{found.pooling} pooling, layer {panel['layer']}"
    write(ax, f"{found.task}, {short_label(panel['title'], 30)}, {where}", kinds[kind])
    if legend:
        add_legend(ax, [], {name: look(chosen, k) for k, name in enumerate(chosen["names"])}, title=chosen["name"])
    left_out = found.entry.get("left_out", {})
    say(*(f"{name} is not complete here: {why}." for name, why in left_out.items()))
    return ax
