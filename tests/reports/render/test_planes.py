"""Maps of rows: the pictures of a page and of the PDF, and data that may stand inside a script element."""

from __future__ import annotations

import json
import re

from geomprobe.reports.render.figures import render
from geomprobe.reports.render.figures.style import DARK_TONES, TONES, luminance
from geomprobe.reports.render.planes import data_block, dots, tone_styles
from tests.synthetic import HOSTILE

COLOUR = {"name": "label", "names": ["yes", "no"], "tones": ["c0", "c1"], "values": "0 1 1"}
PANEL = {"title": "a $x$ <b>", "series": 0, "maps": {"pca": "10,20 500,500 990,30"}, "near": "", "cosines": ""}
DATA = {
    "texts": ["x", "y", "z"],
    "kinds": [{"key": "pca", "name": "axes"}],
    "colours": [COLOUR],
    "panels": [PANEL, PANEL],
}


def test_each_class_is_a_path_with_a_dot_a_row():
    assert dots(PANEL, "pca", COLOUR) == [("c0", "M10,20h0"), ("c1", "M500,500h0M990,30h0")]


def test_no_text_ends_the_data():
    texts = [*HOSTILE, "</script><script>", "<!--", "&lt;"]
    block = data_block({"texts": texts})
    assert not set(block) & {"<", ">", "&"}
    assert json.loads(block)["texts"] == texts


def test_the_picture_of_the_pdf_is_the_same_every_time_and_has_every_row():
    svg = render("scatter", DATA)
    assert svg == render("scatter", DATA)
    assert "a $x$ &lt;b&gt;" in svg
    assert len(re.findall(r"<use ", svg)) >= 2 * 3


def test_every_tone_has_a_rule_and_is_seen_on_its_page():
    rules = tone_styles()
    assert all(f".map .{tone}{{" in rules for tone in TONES)
    assert TONES.keys() == DARK_TONES.keys()
    # 3 to 1, as WCAG asks of graphical objects, against the panels of a light and a dark page
    for tones, paper in ((TONES, "#f6f7f9"), (DARK_TONES, "#1c2026")):
        for tone in tones.values():
            light, dark = sorted((luminance(tone), luminance(paper)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, tone
