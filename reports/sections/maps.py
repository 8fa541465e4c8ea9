"""Section: where the models put the same texts, whose neighbours changed, which pairs moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from geomprobe.common.text import clean, count, counted, listed, number, slug
from geomprobe.reports.document.blocks import (
    Block,
    Figure,
    Section,
    Table,
    cell,
    choice,
    figure,
    line,
    section_of,
    table,
    text,
)
from geomprobe.reports.sections.parts.sides import lettered
from geomprobe.results.summary.facts import Facts
from geomprobe.results.summary.maps import PROJECTIONS, RowMap

PLACE = 45
PANELS, TASKS = 4, 6
"""Most maps of one task, and tasks with maps: a page holds no more."""
NEAR = 5
"""Neighbours of a row that a map shows."""
CHANGED, LISTED, MOVED = 8, 3, 8
"""Rows of the table of changed neighbours, neighbours there, and pairs that came nearer, or apart."""
BRIEF = 80
"""Most characters of a neighbour in that table."""
TONES = 8
"""Labels with a colour of their own."""
BANDS = 5
SIDE = 1000
"""Side of the square that a map is drawn in."""
NAMES = {"tsne": "t-SNE, which keeps neighbours", "pca": "principal axes"}

SAYS = {
    "pca_variance": ("pca", "Two principal axes hold {} of the variance."),
    "pca_neighbours": ("pca", "They keep {} of the nearest neighbours."),
    "tsne_neighbours": ("tsne", "t-SNE keeps {} of the nearest neighbours; its far distances mean little."),
}
"""What is said of the quality of a map, for what run.json calls it."""

Colour = dict[str, Any]
"""What points are coloured by: name, names of the classes, their tones, and the class of each row."""


def section(facts: Facts) -> Section | None:
    """Maps and what moved, an option a task; None where the folder holds no maps."""
    known = facts.row_maps[:TASKS]
    options = [(found.task, blocks) for found in known if (blocks := _of_task(facts, found))]
    if not options:
        return None
    alone = len(options) == 1
    parts: list[Block] = options[0][1] if alone else [choice("task", [_option(*each) for each in options])]
    if more := len(facts.row_maps) - len(known):
        parts.append(text(f"The maps of {counted(more, 'more task')} are in the results folder.", "note"))
    several = any(len(shown(facts, found)) > 1 for found in known)
    told = ["where each model puts the same texts" if several else "where the model puts the texts"]
    told += ["whose neighbours changed"] * any(found.overlap for found in known)
    told += ["which pairs moved"] * any(found.moved for found in known)
    lead = f"{listed(told).capitalize()}."
    if facts.kind == "groups":
        lead += " Of each group the first seed is shown."
    title = "Which texts moved?" if several else "Where do the texts lie?"
    return section_of("maps", title, lead, parts, _answer(facts))


def _answer(facts: Facts) -> str:
    """How many neighbours the first two models that are shown have in common, on each task."""
    known: dict[str, float] = {}
    pairs = set()
    for found in facts.row_maps[:TASKS]:
        names = shown(facts, found)[:2]
        share = found.entry.get("overlap", {}).get(names[-1]) if tuple(names) in found.overlap else None
        if share is not None:
            known[found.task] = found.entry.get("neighbours", 0) * share
            pairs.add(tuple(names))
    if len(pairs) != 1:
        return ""
    a, b = (_short(facts, name) for name in pairs.pop())
    k = facts.row_maps[0].entry.get("neighbours", 0)
    shared = listed([f"{number(share, 1)} on {task}" for task, share in known.items()], 5)
    return f"Of a text's {k} nearest neighbours {a} and {b} share {shared} on average."


def _option(task: str, blocks: list[Block]) -> Any:
    return {"name": task, "note": "", "blocks": blocks}


def shown(facts: Facts, found: RowMap) -> list[str]:
    """The models whose maps are drawn: both sides, the first seed of each group, or the first few models."""
    if facts.kind == "groups" and facts.pair:
        names = [facts.groups[side][0] for side in facts.pair if facts.groups.get(side)]
    else:
        names = list(facts.pair or facts.own)
    return [name for name in names if name in found.models][:PANELS]


def _short(facts: Facts, name: str) -> str:
    """The letter of a side of the pair, else the name."""
    return "AB"[facts.pair.index(name)] if facts.pair and name in facts.pair else name


def _of_task(facts: Facts, found: RowMap) -> list[Block]:
    names = shown(facts, found)
    left_out = [f"{model} is not complete here: {why}." for model, why in found.entry.get("left_out", {}).items()]
    notes: list[Block] = [text(" ".join(left_out), "warning")] if left_out else []
    if not names:
        return notes
    pairs = [pair for pair in found.overlap if pair[0] in names and pair[1] in names]
    undrawn = text("No map is drawn: some texts have no place in the kept tables.", "warning")
    blocks: list[Block] = [*notes, map_figure(facts, found, names, pairs) if kinds_of(found, names) else undrawn]
    for pair in pairs:
        blocks += [_changed(facts, found, pair), *_moved(facts, found, pair)]
    return blocks


def kinds_of(found: RowMap, names: list[str]) -> list[str]:
    """The projections in which every text has a place in each of the models; damaged tables may have none."""
    return [name for name in PROJECTIONS if all(name in found.models[model].points for model in names)]


def map_figure(facts: Facts, found: RowMap, names: list[str], pairs: list[tuple[str, str]]) -> Figure:
    kinds = kinds_of(found, names)
    colours = [made for made in _colours(facts, found, names, pairs) if made]
    data = {
        "texts": found.texts,
        "start": found.overlap[pairs[0]][0][0] if pairs else 0,
        "kinds": [{"key": kind, "name": NAMES[kind]} for kind in kinds],
        "colours": colours,
        "panels": [_panel(facts, found, name, kinds) for name in names],
    }
    who = listed([lettered(facts, name) for name in names])
    alt = f"Map of {counted(len(found.texts), 'text')} of {found.task} in {who}, coloured by {colours[0]['name']}."
    alone = "Map of" if len(names) == 1 else "The same"
    title = (
        f"{alone} {counted(len(found.texts), 'text')} of {found.task} in {listed([_short(facts, n) for n in names])}"
    )
    return figure(slug("map", found.task), "scatter", title, _caption(facts, found, names, kinds), alt, data)


def _panel(facts: Facts, found: RowMap, name: str, kinds: list[str]) -> dict[str, Any]:
    model = found.models[name]
    near = [row[:NEAR] for row in model.near] if any(model.near) else []
    return {
        "title": lettered(facts, name),
        "series": facts.series.get(name, 0),
        "layer": model.layer,
        "maps": {kind: _places(model.points[kind]) for kind in kinds},
        "near": _joined([[i for i, _ in row] for row in near]),
        "cosines": _joined([[round(100 * cosine) for _, cosine in row] for row in near]),
    }


def _joined(rows: Sequence[Sequence[int]]) -> str:
    """Rows of whole numbers as text: commas inside a row, spaces between rows, as in the points of an SVG."""
    return " ".join(",".join(map(str, row)) or "-" for row in rows)


def _places(points: np.ndarray) -> str:
    """Points in a square, with a margin; y runs downwards."""
    low, high = points.min(0), points.max(0)
    scale = 0.94 * SIDE / (float((high - low).max()) or 1.0)
    at = (points - (low + high) / 2) * (scale, -scale) + SIDE / 2
    return _joined(at.round().astype(int).tolist())


def _colours(facts: Facts, found: RowMap, names: list[str], pairs: list[tuple[str, str]]) -> list[Colour | None]:
    """What points can be coloured by; None for what says nothing here."""
    groups = [
        _classes(
            f"cluster in {_short(facts, name)}", ["" if g is None else str(g + 1) for g in found.models[name].groups]
        )
        for name in names[:2]
    ]
    kept = None
    if pairs:
        known = dict(found.overlap[pairs[0]])
        shares = [known.get(i) for i in range(len(found.texts))]
        kept = _shares("neighbours in common", shares, found.entry.get("neighbours", 0))
    alike = {"name": "nothing", "names": ["texts"], "tones": ["c0"], "values": _joined([[0]] * len(found.texts))}
    made = [_classes("label", found.labels), *groups, _lengths(found.lengths), kept]
    return made if any(made) else [alike]


def _classes(name: str, values: list[str]) -> Colour | None:
    """Classes by their frequency, the most frequent ones with a tone of their own; None where there is one at most."""
    known = [value for value, _ in Counter(filter(None, values)).most_common()]
    if len(known) < 2:
        return None
    first = sorted(known[:TONES]) if all(value.isdigit() for value in known) else known[:TONES]
    others = ["others"] * (len(known) > TONES) + ["none"] * (not all(values))
    place = {value: i for i, value in enumerate(first)} | {"": len(first) + len(others) - 1}
    tones = [*(f"c{i}" for i in range(len(first))), *("c" for _ in others)]
    return {
        "name": name,
        "names": [*first, *others],
        "tones": tones,
        "values": _joined([[place.get(value, len(first))] for value in values]),
    }


def _lengths(lengths: list[int]) -> Colour | None:
    """Bands of lengths with about as many texts each; None where all are equally long."""
    ordered = sorted(lengths)
    ends = sorted(
        {ordered[len(ordered) * (i + 1) // BANDS - 1] for i in range(BANDS) if len(ordered) * (i + 1) >= BANDS}
    )
    if len(ends) < 2:
        return None
    starts = [ordered[0], *(min(n for n in ordered if n > end) for end in ends[:-1])]
    band = [next(i for i, end in enumerate(ends) if length <= end) for length in lengths]
    return {
        "name": "length",
        "names": [f"{a}–{b} characters" if a < b else f"{a} characters" for a, b in zip(starts, ends, strict=True)],
        "tones": _ramp(len(ends)),
        "values": _joined([[i] for i in band]),
    }


def _shares(name: str, shares: list[float | None], k: int) -> Colour:
    """Bands of shares of k neighbours: none, up to a fifth, to a half, to four fifths, more."""
    tops = [0, 0.2, 0.5, 0.8, 1]
    ends = [round(k * top) for top in tops]
    starts = [0, *(end + 1 for end in ends[:-1])]
    band = [next(i for i, top in enumerate(tops) if share is None or share <= top + 1e-9) for share in shares]
    names = [f"{a}–{b} of {k}" if a < b else f"{b} of {k}" for a, b in zip(starts, ends, strict=True)]
    return {"name": name, "names": names, "tones": _ramp(BANDS)[::-1], "values": _joined([[i] for i in band])}


def _ramp(n: int) -> list[str]:
    """Tones of n bands, from light to dark."""
    return [f"l{round(i * (BANDS - 1) / max(n - 1, 1))}" for i in range(n)]


def _caption(facts: Facts, found: RowMap, names: list[str], kinds: list[str]) -> str:
    """What a point is, how many rows are shown, and how far each map can be trusted."""
    entry, n = found.entry, len(found.texts)
    of = entry.get("of", n)
    rows = f"all {count(n)} rows" if of == n else f"{count(n)} of {count(of)} rows, drawn at random"
    layers = listed([f"{found.models[name].layer} of {_short(facts, name)}" for name in names])
    said = [f"A point is {entry.get('point', 'a row')}; {rows}; {found.pooling} pooling, layer {layers}."]
    for what, (kind, sentence) in SAYS.items():
        shares = [entry.get("shown", {}).get(name, {}).get(what) for name in names]
        if kind in kinds and all(share is not None for share in shares):
            said.append(sentence.format(listed([f"{number(100 * share, 0)} %" for share in shares])))
    if len(names) > 1:
        said.append("The later maps are rotated or reflected onto the first.")
    said.append("Clusters: k-means of a model's directions.")
    return " ".join(said)


def _changed(facts: Facts, found: RowMap, pair: tuple[str, str]) -> Table:
    """Rows whose neighbours changed most, with the nearest of those that are neighbours on one side alone."""
    sides = [found.models[name] for name in pair]
    heads = [("text", False), ("in common", True), *((f"near in {_short(facts, name)} alone", False) for name in pair)]
    k = found.entry.get("neighbours", 0)
    rows = []
    for i, share in found.overlap[pair][:CHANGED]:
        near = [[j for j, _ in side.near[i]] for side in sides]
        alone = [[(n, j) for n, j in enumerate(mine, 1) if j not in other] for mine, other in (near, near[::-1])]
        lists = ["\n".join(f"{n}. {clean(found.texts[j], BRIEF)}" for n, j in some[:LISTED]) for some in alone]
        rows.append(line([cell(found.texts[i]), cell(_of(share, k), share), *map(cell, lists)], found.task))
    least = found.overlap[pair][0][1]
    ties = sum(share == least for _, share in found.overlap[pair])
    caption = (
        f"Texts of {found.task} whose neighbours changed most, with up to {LISTED} neighbours of one side alone and "
        "their places in its order."
    )
    if ties > len(rows):
        caption += (
            f" {count(ties)} of {count(len(found.overlap[pair]))} texts share {_of(least, k)}; the first are shown."
        )
    return table(slug("changed", found.task, *pair), caption, heads, rows)


def _of(share: float, k: int) -> str:
    """How many of k neighbours a share of them is."""
    return f"{round(k * share)} of {k}"


def _moved(facts: Facts, found: RowMap, pair: tuple[str, str]) -> list[Block]:
    """Pairs whose similarity moved most: nearer, then apart."""
    pairs = found.moved.get(pair, [])
    nearer = [each for each in pairs if each.shares[1] > each.shares[0]]
    apart = [each for each in pairs if each.shares[1] < each.shares[0]]
    a, b = (_short(facts, name) for name in pair)
    way = f"{a} → {b}"
    heads = [("", False), ("text", False), ("other text", False), (f"place, {way}", True), (f"cosine, {way}", True)]
    rows = []
    for word, some in (("nearer", nearer), ("apart", apart)):
        for each in some[:MOVED]:
            shares, cosines = [100 * share for share in each.shares], each.cosines
            cells = [cell(word, tone="word"), cell(found.texts[each.row]), cell(found.texts[each.other])]
            cells.append(cell(f"{_arrow(shares, 0)} %", shares[1] - shares[0]))
            rows.append(line([*cells, cell(_arrow(cosines, 2), cosines[1] - cosines[0])], found.task))
    if not rows:
        return []
    caption = (
        f"Pairs of texts of {found.task} that came nearer, and apart, most from {a} to {b}. Cosines have another scale "
        "in each model, so a pair is placed among all pairs: the place is the share of the pairs that are less alike."
    )
    return [table(slug("moved", found.task, *pair), caption, heads, rows)]


def _arrow(values: Sequence[float], places: int) -> str:
    """A value of a and of b."""
    return " → ".join(number(value, places) for value in values)
