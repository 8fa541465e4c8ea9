"""The view model as a tagged PDF: a Typst template that reads the data as JSON, so no text of theirs is ever markup."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from geomprobe.common import GeomprobeError
from geomprobe.reports.render.html import LIMIT, TEMPLATES
from geomprobe.reports.view.formats import size
from geomprobe.reports.view.walk import dumps, shortened, walk

MOST_ROWS = (400, 100, 25)
"""Rows a table, tried one after the other while the document is too large."""


def render_pdf(view: Mapping[str, Any], svg: Mapping[str, str]) -> bytes:
    """The document (PDF/UA-1); the same view gives the same bytes.

    Where it is too large, its longest tables are cut, and say how many rows they leave out. The view model is attached
    unless that takes half of what a report may have.

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

    numbers = {f["id"]: str(i) for i, f in enumerate(f for f in walk(view) if f["type"] == "figure")}
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    template: Any = (TEMPLATES / "report.typ").read_bytes()  # whose declared type may not differ from the fonts'
    data = dumps(view)
    attached = len(zlib.compress(data.encode())) <= LIMIT / 2
    extra = {"figures": numbers, "attached": attached, "json_size": size(len(data.encode()))}
    inputs = {number: _printable(svg[figure]) for figure, number in numbers.items()}
    inputs["report"] = data if attached else ""
    for most in MOST_ROWS:
        document: bytes = typst.compile(
            template,
            # in memory: a process that is killed leaves no file
            sys_inputs=inputs | {"view": _printable(json.dumps(shortened(view, most) | extra, ensure_ascii=False))},
            font_paths=[str(fonts)],
            ignore_system_fonts=True,
            pdf_standards=["ua-1"],
            timestamp=0,
        )
        if len(document) <= LIMIT:
            break
    return document


@cache
def _covered() -> frozenset[int]:
    """Code points that the document's font has; PDF/UA refuses a text that no font can show."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont("DejaVu Sans")).get_charmap())


def _printable(text: str) -> str:
    """The text with every character that the font lacks as U+FFFD."""
    lacking = {ord(c) for c in set(text) - {"\n", "\t"}} - _covered()
    return text.translate(dict.fromkeys(lacking, "\ufffd")) if lacking else text
