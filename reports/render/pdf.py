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
from geomprobe.reports.document.walk import dumps, figures, shortened
from geomprobe.reports.render.html import LIMIT, TEMPLATES

CUTS = ((400, True, True), (100, True, True), (25, True, True), (25, False, True), (5, False, True), (5, False, False))
"""Rows a table, whether the view model is attached, whether figures are drawn: tried one after the other while the
document is too large. Most of its bytes are tables, for readers are told of each cell where it stands."""


def render_pdf(view: Mapping[str, Any], svg: Mapping[str, str]) -> bytes:
    """The document (PDF/UA-1); the same view gives the same bytes.

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

    numbers = {name: str(i) for i, name in enumerate(name for name in figures(view) if name in svg)}
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    template: Any = (TEMPLATES / "report.typ").read_bytes()  # whose declared type may not differ from the fonts'
    data = dumps(view)
    attachable = len(zlib.compress(data.encode())) <= LIMIT / 2
    drawn = {number: _printable(svg[figure]) for figure, number in numbers.items()}

    def compiled(most: int, attached: bool, with_figures: bool) -> bytes:
        numbered = numbers if with_figures else {}
        extra = {"figures": numbered, "attached": attached, "json_size": size(len(data.encode()))}
        content = {"view": _printable(json.dumps(_told(shortened(view, most)) | extra, ensure_ascii=False))}
        return typst.compile(
            template,
            # in memory: a process that is killed leaves no file
            sys_inputs=content | {"report": data if attached else ""} | (drawn if with_figures else {}),
            font_paths=[str(fonts)],
            ignore_system_fonts=True,
            pdf_standards=["ua-1"],
            timestamp=0,
        )

    document = b""
    for cut in dict.fromkeys((most, attached and attachable, with_figures) for most, attached, with_figures in CUTS):
        document = compiled(*cut)
        if len(document) <= LIMIT:
            break
    return document


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
    """The text with every character that the font lacks as U+FFFD."""
    lacking = {ord(c) for c in set(text) - {"\n", "\t"}} - _covered()
    return text.translate(dict.fromkeys(lacking, "\ufffd")) if lacking else text
