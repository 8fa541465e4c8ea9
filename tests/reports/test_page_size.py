"""A page of many tasks stays within its limit, and says what was left out and where it stands."""

from __future__ import annotations

import pytest

from reports import html
from reports.view import build_view


@pytest.fixture(scope="module")
def page(make_results):
    view = build_view(make_results(tasks=tuple(f"task{i}" for i in range(6)), poolings=("mean",), layers=(12,)))
    return view, html.render_figures(view)


def test_a_page_within_the_limit_is_whole(page):
    text = html.render_html(*page, {})
    assert len(text.encode()) <= html.LIMIT
    assert html.NO_FIGURE not in text


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_the_largest_figures_are_left_out_first(page, share):
    view, svg = page
    limit = int(share * len(html.render_html(view, svg, {}).encode()))
    text = html.render_html(view, svg, {"run.json": b"{}"}, limit=limit)
    assert len(text.encode()) <= limit
    assert 0 < text.count(html.NO_FIGURE) <= len(svg)
    assert "more rows are left out" not in text or text.count(html.NO_FIGURE) == len(svg)


def test_rows_of_tables_are_left_out_next(page):
    view, svg = page
    bare = len(html.render_html(view, dict.fromkeys(svg, ""), {}).encode())
    text = html.render_html(view, svg, {}, limit=int(0.9 * bare) + html.LIST_OF_FILES)
    assert len(text.encode()) <= int(0.9 * bare) + html.LIST_OF_FILES
    assert "more rows are left out of this page; report.json and the results folder have them" in text
