"""Figures: the same every time, each drawn once."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from geomprobe.reports.render import figures
from geomprobe.reports.render.figures.axes import plain
from geomprobe.reports.render.figures.curves import profile, spectrum
from geomprobe.reports.render.figures.overview import margins
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


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0, 0.25, 0.5], ["0", "0.25", "0.50"]),
        ([-2.0, -1.0, 0.0], ["−2", "−1", "0"]),
        ([1.00001, 1.00002], ["1.00001", "1.00002"]),
        ([0.0, 10_000.0, 20_000.0], ["0", "10k", "20k"]),
        ([1_500_000.0, 2_000_000.0], ["1.5M", "2.0M"]),
        ([0.0, 1e-5, 2e-5], ["0", "1e−5", "2e−5"]),
        ([1000.0], ["1000"]),
        ([], []),
    ],
)
def test_ticks_are_numbers_in_full(values, texts):
    assert plain(values) == texts


@given(st.integers(-12, 9), st.integers(-1000, 1000), st.sampled_from([1, 2, 2.5, 5]), st.integers(2, 9))
def test_ticks_are_told_apart(power, start, step, n):
    assert len(set(plain([(start + i) * step * 10.0**power for i in range(n)]))) == n


def test_no_offset_stands_at_the_end_of_an_axis():
    axis = Figure().add_subplot()
    profile(axis, {"lines": [{"series": 0, "x": [0, 1], "y": [1.000012, 1.000017]}]})
    axis.figure.canvas.draw()
    assert axis.yaxis.get_offset_text().get_text() == ""
    assert all("1.0000" in label.get_text() for label in axis.get_yticklabels())


def test_a_logarithmic_axis_of_few_decades_has_ticks():
    axis = Figure().add_subplot()
    spectrum(axis, {"lines": [{"series": 0, "x": [1, 2, 4, 7], "y": [0.3, 0.2, 0.18, 0.15]}]})
    axis.figure.canvas.draw()
    low, high = axis.get_xlim()
    shown = [t.get_text() for t, x in zip(axis.get_xticklabels(), axis.get_xticks(), strict=True) if low <= x <= high]
    assert shown == ["1", "2", "5"]


def test_figures_do_not_depend_on_the_settings_of_matplotlib():
    panel = {"title": "loss", "lines": [{"series": 0, "x": [0, 9], "y": [1, 2]}]}
    data = {"panels": [panel], "legend": [], "x_label": "tokens"}
    first = figures.render("training", data)
    with mpl.rc_context({"text.usetex": True, "axes.titlepad": 20, "axes.unicode_minus": False, "lines.marker": "x"}):
        assert figures.render("training", data) == first


@pytest.mark.parametrize(
    ("end", "ticks"),
    [(2.0, [1, 2]), (9.0, [1, 3, 10]), (25.0, [1, 3, 10, 30]), (800.0, [1, 100]), (5e5, [1, 100, 10_000])],
)
def test_the_axis_of_margins_has_few_ticks_and_the_end_of_the_band_is_one(end, ticks):
    axis = Figure().add_subplot()
    ends = {"low": None, "high": None, "marks": [end]}
    row = {"name": "rank", "list": "differs", "judgement": "higher", "value": end, "note": "", **ends}
    margins(axis, {"rows": [row], "x_label": ""})
    assert [tick for tick in axis.get_xticks() if 0 < tick <= axis.get_xlim()[1]] == ticks
