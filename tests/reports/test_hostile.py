"""Names and texts of users are shown as they are and are never markup, in both formats."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from geomprobe.reports import build_view, write_report
from tests.synthetic import HOSTILE, hostile_results

TAGS = {
    "html", "head", "meta", "title", "style", "link", "script", "body", "a", "header", "p", "span", "h1", "h2", "h3",
    "bdi", "ul", "ol", "li", "div", "strong", "main", "section", "details", "summary", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "nav", "form", "label", "select", "option", "figure", "figcaption", "svg", "g", "path",
    "defs", "use", "clippath", "rect", "text", "pattern", "code", "pre", "dl", "dt", "dd", "footer", "h4",
}  # fmt: skip


class Page(HTMLParser):
    """Everything that a page could do harm with."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.data: list[str] = []
        self.text: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._open = "data" if ("type", "application/json") in attrs else tag
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in ("href", "xlink:href", "src", "action")]

    def handle_data(self, data):
        {"script": self.scripts, "data": self.data}.get(self._open, self.text).append(data)
        self._open = "" if self._open in ("script", "data") else self._open


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    return [p.read_bytes() for p in write_report(hostile_results(), folder / "report.html", folder / "report.pdf")]


def test_html_holds_no_element_attribute_or_link_of_a_user(written):
    source = written[0].decode()
    page = Page(source)
    assert page.tags <= TAGS
    assert not [a for a in page.attributes if a.startswith("on") or a in ("src", "style", "srcdoc")]
    assert all(re.match(r"#[A-Za-z0-9_-]+$|data:", link) for link in page.links)
    assert len(page.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source
    assert [json.loads(data)["texts"][0] for data in page.data] == [HOSTILE[0]] * 6  # texts of maps, one block a task
    assert not [data for data in page.data if "<" in data or ">" in data]
    shown = " ".join(page.text)
    assert '"><img src=x onerror="window.pwned=1">' in shown  # shown as text, not swallowed
    assert "</style></svg><svg onload=window.pwned=1>" in shown
    assert "{{ 7*7 }}" in shown


def test_ids_of_the_page_are_unique_and_every_link_has_its_target(written):
    source = written[0].decode()
    ids = re.findall(r'<[a-zA-Z][^<>]*? id="([^"]+)"', re.sub(r"<svg.*?</svg>", "", source, flags=re.S))
    assert len(ids) == len(set(ids))
    targets = {link[1:] for link in re.findall(r'<a [^>]*?href="(#[^"]+)"', source)}
    assert targets <= {*ids, "main"}


def test_no_control_character_survives_and_long_names_are_cut(written):
    source = written[0].decode()
    assert not re.findall(r"[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069\ufffe]", source)
    assert not [text for text in Page(source).text if "x" * 130 in text]
    assert "x" * 600 not in source


def test_pdf_shows_markup_as_text(written):
    pypdf = pytest.importorskip("pypdf", reason="pypdf is in the test extra")
    import io

    reader = pypdf.PdfReader(io.BytesIO(written[1]))
    text = re.sub(r"\s+", "", "".join(page.extract_text() for page in reader.pages))
    assert '#panic("typst")#eval("1")$x$@ref<label>' in text
    assert "<script>window.pwned=1</script>" in text
    assert len(reader.pages) < 80
    assert "/JavaScript" not in str(reader.trailer["/Root"])
    assert "report.json" in reader.attachments


def test_names_stay_apart_after_shortening():
    view = build_view(hostile_results())
    assert len({s["name"] for s in view["sides"]}) == 2
    assert len(set(view["selectors"]["task"])) == 6
    assert all(len(name) <= 48 for name in view["selectors"]["task"])
    assert HOSTILE[5] not in str(view)
