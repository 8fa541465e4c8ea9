"""The page: script, size, what is left out of a page that would be too large."""

from __future__ import annotations

import pytest

from geomprobe.reports import build_view
from geomprobe.reports.document.walk import shortened
from geomprobe.reports.render import html
from geomprobe.reports.render.html import TEMPLATES


def test_script_is_small():
    assert sum(len(path.read_bytes()) for path in TEMPLATES.glob("*.js")) <= 10_000


@pytest.fixture(scope="module")
def page(make_results):
    view = build_view(
        make_results(tasks=tuple(f"task{i}" for i in range(3)), poolings=("mean", "max"), layers=(12,), training=False)
    )
    return view, html.render_figures(view)


def test_a_page_within_the_limit_is_whole(page):
    text = html.render_html(*page, {})
    assert len(text.encode()) <= html.LIMIT
    assert html.NO_FIGURE not in text
    assert "left out here" not in text


def test_figures_are_left_out_where_short_tables_are_too_large(page):
    view, svg = page
    short = len(html.render_html(shortened(view, html.ROWS_BESIDE_FIGURES[-1]), svg, {}).encode())
    limit = int(0.8 * short)
    text = html.render_html(view, svg, {"run.json": b"{}"}, limit=limit)
    assert len(text.encode()) <= limit
    assert 0 < text.count(html.NO_FIGURE) < len(svg)


def test_figures_in_the_foreground_are_left_out_last():
    drawn = {"open": "x" * 900, "folded": "x" * 500, "folded, small": "x" * 400}
    kept = html.without_largest(drawn, 300, {"open"})
    assert [name for name, text in kept.items() if text == html.NO_FIGURE] == ["folded"]


def test_rows_of_tables_are_left_out_first(page):
    view, svg = page
    short = len(html.render_html(shortened(view, html.ROWS_BESIDE_FIGURES[-1]), svg, {}).encode())
    limit = short + html.LIST_OF_FILES + 100
    assert len(html.render_html(view, svg, {}).encode()) > limit
    text = html.render_html(view, svg, {}, limit=limit)
    assert len(text.encode()) <= limit
    assert html.NO_FIGURE not in text
    assert "more rows are left out here; report.json and the results folder have them" in text
