"""The view model as a tagged PDF: a Typst template that reads the data as JSON, so no text of theirs is ever markup."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from geomprobe.common import GeomprobeError
from geomprobe.common.text import size
from geomprobe.reports.document.walk import dumps, shortened
from geomprobe.reports.render.html import LIMIT, TEMPLATES
from geomprobe.reports.render.paged import arranged

CUTS = ((400, True, True), (100, True, True), (25, True, True), (25, False, True), (5, False, True), (5, False, False))
"""Rows a table, whether the view model is attached, whether figures are drawn: tried one after the other while the
document is too large. Most of its bytes are tables, for readers are told of each cell where it stands."""

PAGES = 6
"""Pages before the appendix, at most."""
LAYOUTS = ((2, 9), (1, 9), (1, 6), (1, 4))
"""Figures of a section and rows of its table before the appendix: the first that leaves so few pages."""


def render_pdf(view: Mapping[str, Any], svg: Mapping[str, str]) -> bytes:
    """The document (PDF/UA-1); the same view gives the same bytes.

    The answer and the sections that answer a question come first, on `PAGES` pages where one figure a section and a
    table of four rows fit there; the rest is an appendix.

    Where it is too large, its longest tables are cut, then the view model is not attached, then figures are left out;
    the document says each. A view model that takes half of what a report may have is never attached.

    Parameters
    ----------
    view : mapping
        The view model.
    svg : mapping
        Figure id -> SVG, from `geomprobe.reports.render.html.render_figures`.

    Raises
    ------
    GeomprobeError
        typst is not installed.
    """
    import matplotlib

    try:
        import typst
    except ImportError:
        hint = "pip install typst; the HTML report needs no more than is there."
        raise GeomprobeError("The PDF is made with the package typst, which is not installed.", hint) from None

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    common: dict[str, Any] = {"font_paths": [str(fonts)], "ignore_system_fonts": True}
    template: Any = (TEMPLATES / "report.typ").read_bytes()  # whose declared type may not differ from the fonts'
    data = dumps(view)
    attachable = len(zlib.compress(data.encode())) <= LIMIT / 2

    def inputs(pages: Mapping[str, Any], attached: bool = False, with_figures: bool = True) -> dict[str, str]:
        """What the template reads: strings in memory, so that a process that is killed leaves no file."""
        numbered = {name: str(i) for i, name in enumerate(_figures(pages)) if with_figures and name in svg}
        extra = {"figures": numbered, "attached": attached, "json_size": size(len(data.encode()))}
        text = json.dumps(_without_data(pages) | extra, ensure_ascii=False)
        drawn = {number: _printable(svg[name]) for name, number in numbered.items()}
        return {"view": _printable(text), "report": data if attached else ""} | drawn

    def before_the_appendix(layout: tuple[int, int]) -> int:
        alone = inputs({**arranged(told, *layout), "appendix": []})
        return json.loads(typst.query(template, "<before-the-appendix>", "value", True, sys_inputs=alone, **common))

    told = _told(view)
    layout = next((each for each in LAYOUTS if before_the_appendix(each) <= PAGES), LAYOUTS[-1])
    document = b""
    for cut in dict.fromkeys((most, attached and attachable, with_figures) for most, attached, with_figures in CUTS):
        pages = arranged(shortened(told, cut[0]), *layout)
        document = typst.compile(
            template, sys_inputs=inputs(pages, *cut[1:]), pdf_standards=["ua-1"], timestamp=0, **common
        )
        if len(document) <= LIMIT:
            break
    return document


def _figures(pages: Mapping[str, Any]) -> list[str]:
    """The ids of the figures of what `arranged` makes, in order."""
    blocks = [pages["answer"]["picture"], *(b for part in (*pages["main"], *pages["appendix"]) for b in part["blocks"])]
    return [block["id"] for block in blocks if block and block["type"] == "figure"]


def _without_data(value: Any) -> Any:
    """The view without the data of its figures, which are drawn already."""
    if isinstance(value, list):
        return [_without_data(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _without_data(item) for key, item in value.items() if key != "data"}
    return value


@cache
def _covered() -> frozenset[int]:
    """Code points that the document's font has; PDF/UA refuses a text that no font can show."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont("DejaVu Sans")).get_charmap())


UNREADABLE = "(a script that this document lacks; the HTML report shows it)"


def _told(value: Any) -> Any:
    """Part of a view model whose table cells say so where most of a line's letters are none of the document's font."""
    if isinstance(value, list):
        return [_told(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: item if key == "data" else _told(item) for key, item in value.items()}
    if {"text", "sort", "tone"} <= found.keys():
        found["text"] = "\n".join(UNREADABLE if _unreadable(line) else line for line in found["text"].split("\n"))
    return found


def _unreadable(line: str) -> bool:
    letters = [char for char in line if char.isalpha()]
    return 2 * sum(ord(char) not in _covered() for char in letters) > max(len(letters), 6)


def _printable(text: str) -> str:
    """The text with every character that the font lacks as U+FFFD, and no break between a value and its interval."""
    text = text.replace(" ± ", "\u00a0±\u00a0")  # a value stays with its interval
    lacking = {ord(c) for c in set(text) - {"\n", "\t"}} - _covered()
    return text.translate(dict.fromkeys(lacking, "\ufffd")) if lacking else text
