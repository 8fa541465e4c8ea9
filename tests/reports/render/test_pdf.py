"""The document is tagged and has contents, links and the view model."""

from __future__ import annotations

import io

import pytest

import geomprobe.reports.render.html as html
import geomprobe.reports.render.pdf as pdf
from geomprobe.reports import build_view


def test_pdf_is_tagged_has_contents_links_and_the_view(make_results, tmp_path):
    pypdf = pytest.importorskip("pypdf", reason="pypdf is in the test extra")
    from geomprobe.reports import write_report

    small = make_results(tasks=("sst2", "mrpc"), poolings=("mean",), intervals=True)
    path, view = write_report(small, tmp_path / "report.pdf", tmp_path / "report.json")
    reader = pypdf.PdfReader(io.BytesIO(path.read_bytes()))
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    assert len(reader.outline) >= 10
    assert b"pdfuaid" in root["/Metadata"].get_object().get_data()
    links = [a for page in reader.pages for a in page.get("/Annots", []) if a.get_object().get("/Subtype") == "/Link"]
    assert len(links) > 20
    assert reader.attachments["report.json"][0] == view.read_bytes()
    tags = path.read_bytes()
    assert reader.metadata.title == "hybrid against mlm"
    assert tags.startswith(b"%PDF")


def test_a_text_in_a_script_that_the_font_lacks_is_said_to_be_one():
    cells = [
        {"text": text, "sort": None, "tone": "", "link": ""}
        for text in ("1. 猫坐在垫子上\n2. a cat", "القطة", "模型-a")
    ]
    told = pdf._told({"rows": [{"cells": cells}], "data": {"text": "猫坐在垫子上"}})
    assert [cell["text"] for cell in told["rows"][0]["cells"]] == [f"{pdf.UNREADABLE}\n2. a cat", "القطة", "模型-a"]
    assert told["data"]["text"] == "猫坐在垫子上"


@pytest.fixture(scope="module")
def page(make_results):
    view = build_view(
        make_results(tasks=tuple(f"task{i}" for i in range(3)), poolings=("mean", "max"), layers=(12,), training=False)
    )
    return view, html.render_figures(view)


@pytest.mark.slow
def test_a_document_that_is_too_large_leaves_out_one_thing_after_the_other(page, monkeypatch):
    """Rows, then the attached data, then figures; it says each, and the last size holds."""
    pypdf, _ = pytest.importorskip("pypdf"), pytest.importorskip("typst")

    def made(limit):
        monkeypatch.setattr(pdf, "LIMIT", limit)
        document = pdf.render_pdf(*page)
        read = pypdf.PdfReader(io.BytesIO(document))
        return len(document), bool(read.attachments), " ".join("".join(p.extract_text() for p in read.pages).split())

    monkeypatch.setattr(pdf, "CUTS", ((400, True, True), (2, True, True), (2, False, True), (2, False, False)))
    whole, attached, text = made(10**7)
    assert attached
    assert "left out" not in text
    some_rows, attached, text = made(whole - 1)
    assert some_rows < whole
    assert attached
    assert "more rows are left out here" in text
    monkeypatch.setattr(pdf, "CUTS", pdf.CUTS[1:])
    unattached, attached, text = made(some_rows - 1)
    assert unattached < some_rows
    assert not attached
    assert "too large to be attached" in text
    assert "This figure is left out" not in text
    smallest, attached, text = made(unattached - 1)
    assert smallest < unattached
    assert "This figure is left out" in text
