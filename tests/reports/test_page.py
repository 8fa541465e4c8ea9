"""What the page and the document promise: size, script, contrast, colours, structure, time."""

from __future__ import annotations

import io
import re

import pytest

from geomprobe.reports.render import figures
from geomprobe.reports.render.figures import style
from geomprobe.reports.render.html import LIMIT, TEMPLATES
from geomprobe.results import write_results

STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")
LIGHT, DARK, PRINT = (
    dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{3,6})", block))
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)
)


def contrast(first, second):
    a, b = sorted((style.luminance(first), style.luminance(second)), reverse=True)
    return (a + 0.05) / (b + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
def test_contrast_of_text_and_graphics(theme):
    for name in ("ink", "muted", "link", "issue", "tip", "passed", "text-0", "text-1", "text-2", "text-3"):
        for ground in ("paper", "panel", "issue-bg"):
            assert contrast(theme[name], theme[ground]) >= 4.5, (name, ground)
    for i in range(4):
        assert contrast(theme[f"series-{i}"], theme["paper"]) >= 3, i


def test_numbers_in_heat_maps_are_legible_on_every_colour():
    import matplotlib as mpl

    for name in ("cividis", "RdBu"):
        for k in range(256):
            face = mpl.colormaps[name](k)[:3]
            ink = "#000001" if style.luminance(face) > 0.18 else "#fffffd"
            assert contrast(face, ink) >= 4.4


def test_every_colour_of_the_figures_follows_the_theme():
    drawn = (*style.SERIES, style.INK, style.MUTED, style.GRID, style.PAPER)
    assert set(style.THEMED) == set(drawn)
    names = {name.removeprefix("--") for name in style.THEMED.values()}
    assert names <= set(LIGHT)
    assert names <= set(DARK)


def test_script_is_small():
    assert len((TEMPLATES / "report.js").read_bytes()) < 2048


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
