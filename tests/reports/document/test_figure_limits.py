"""A figure draws no more than is read, and its caption counts the rest."""

from __future__ import annotations

import pytest

from geomprobe.reports import build_view
from geomprobe.reports.document.figure_limits import DRAWN, MAPPED, limited
from geomprobe.reports.document.walk import walk


def lines(series):
    return [{"series": s, "x": [0, 1], "y": [0, 1]} for s in series]


MANY = DRAWN + 5
LEGEND = [{"name": f"m{s}", "series": s} for s in range(MANY)]
CELL = {"value": 0.0, "text": "0", "failed": False}
FIGURES = {
    "spectra": {"panels": [{"title": "t", "lines": lines(range(MANY))}] * MANY, "legend": LEGEND},
    "decomposition": {"groups": [{"name": "t", "rows": lines(range(MANY))}] * MANY, "legend": LEGEND},
    "controls": {
        "panels": [{"title": "p", "rows": [{"name": "t", "controls": [], "points": lines(range(MANY))}] * MANY}] * 2,
        "legend": LEGEND,
    },
    "forest": {"panels": [{"title": "p", "rows": [{"name": "t"}] * MANY}] * 2},
    "training": {"panels": [{"title": "loss", "lines": lines(range(MANY))}] * MANY, "legend": LEGEND},
    "heat": {
        "rows": ["mean"] * (MAPPED + 1),
        "columns": ["t"] * (MAPPED + 2),
        "panels": [{"title": "m", "difference": False, "cells": [[CELL] * (MAPPED + 2)] * (MAPPED + 1)}] * MANY,
    },
}
SAID = {
    "spectra": f"the first {DRAWN} of {MANY} models and the first {DRAWN} of {MANY} tasks",
    "decomposition": f"the first {DRAWN} of {MANY} models and the first {DRAWN} of {MANY} tasks",
    "controls": f"the first {DRAWN} of {MANY} models and the first {DRAWN} of {MANY} tasks",
    "forest": f"the first {DRAWN} of {MANY} rows",
    "training": f"the first {DRAWN} of {MANY} models and the first {DRAWN} of {MANY} quantities",
    "heat": f"the first {MAPPED} of {MAPPED + 1} rows and the first {MAPPED} of {MAPPED + 2} columns and "
    f"the first {DRAWN} of {MANY} panels",
}


@pytest.mark.parametrize("kind", FIGURES)
def test_a_figure_counts_what_it_does_not_draw(kind):
    data, said = limited(kind, FIGURES[kind])
    assert said == f" Drawn: {SAID[kind]}."
    assert limited(kind, data) == (data, "")  # what is left is within the limits


def test_a_small_figure_is_whole():
    data = {"panels": [{"title": "t", "lines": lines(range(2))}] * DRAWN, "legend": LEGEND[:2]}
    assert limited("spectra", data) == (data, "")


def test_figures_do_not_grow_with_the_tasks(make_results):
    def drawn(tasks):
        view = build_view(
            make_results(
                tasks=tuple(f"task{i}" for i in range(tasks)), poolings=("mean",), training=False, spectrum_points=4
            )
        )
        kinds = ("heat", "overview")
        found = [block for block in walk(view) if block["type"] == "figure" and block["kind"] not in kinds]
        assert all("Drawn: the first" in block["caption"] for block in found)
        assert all(f"{tasks - 20} more" in block["alt"] for block in found)
        return {block["id"]: [len(p.get("lines") or p.get("rows") or ()) for p in block["data"].get("panels", ())]
                for block in found}  # fmt: skip

    assert drawn(DRAWN + 10) == drawn(DRAWN + 20)
