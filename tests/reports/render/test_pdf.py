"""The document is tagged and has contents, links and the view model."""

from __future__ import annotations

import io

import pytest


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
