"""Figures: the same every time, each drawn once."""

from __future__ import annotations

import pytest

from geomprobe.reports.render import figures
from geomprobe.reports.render.html import LIMIT
from geomprobe.results import write_results


def test_a_figure_is_the_same_every_time_and_keeps_text_as_text():
    line = {"series": 0, "x": [1, 2, 4], "y": [0.5, 0.3, 0.2]}
    data = {
        "panels": [{"title": "a $x$ <b>", "lines": [line]}],
        "legend": [{"name": "m", "series": 0}],
        "x_label": "x",
        "y_label": "y",
    }
    first = figures.render("spectra", data)
    assert first == figures.render("spectra", data)
    assert "a $x$ &lt;b&gt;" in first
    assert first.count("<g") == first.count("</g>")
    assert "<metadata>" not in first


@pytest.mark.parametrize(
    "grid",
    [
        {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "attention")},
        pytest.param({"layers": tuple(range(7))}, marks=pytest.mark.thorough),
    ],
    ids=["small", "largest"],
)
def test_a_report_is_small_and_draws_each_figure_once(grid, make_results, tmp_path, monkeypatch):
    """Two models, five tasks, four poolings, seven layers: under 2 MB, and HTML and PDF share their figures."""
    from geomprobe.reports import write_report

    folder = write_results(tmp_path / "results", make_results(intervals=True, failed=True, **grid))
    drawn = []
    for kind, draw in figures.DRAW.items():
        monkeypatch.setitem(figures.DRAW, kind, lambda data, draw=draw: (drawn.append(data), draw(data))[1])
    html, pdf, view = write_report(folder, *(folder / f"report.{suffix}" for suffix in ("html", "pdf", "json")))
    assert len(drawn) == view.read_text(encoding="utf-8").count('"type": "figure"') <= 80
    assert html.stat().st_size <= LIMIT
    assert pdf.read_bytes().startswith(b"%PDF")
