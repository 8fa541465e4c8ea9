"""The view model as one HTML file that holds all it needs: styles, figures, script, data."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from unicodedata import bidirectional

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from geomprobe.common.text import size
from geomprobe.reports.document.walk import figures, shortened
from geomprobe.reports.render.figures import render
from geomprobe.reports.render.figures.style import THEMED
from geomprobe.reports.render.planes import data_block, dots, tone_styles

TEMPLATES = Path(__file__).parent / "templates"
LIMIT = 2_000_000  # bytes of the whole page
LIST_OF_FILES = 4000  # bytes that are kept for the names of the files
ROWS_BESIDE_FIGURES = (400, 100, 25)
"""Rows a table, tried one after the other, of a page that is too large: its figures say more than its last rows."""
ROWS_ALONE = (10, 5)
"""Rows a table of a page that is too large without its figures."""
NO_FIGURE = Markup("<p>This figure is left out to keep the page below 2 MB. Its numbers are in the results folder.</p>")
MARKS = {"issue": "!", "tip": "→", "passed": "✓", "not applicable": "–"}
STYLE_ATTRIBUTE = re.compile(r' style="([^"]*)"')
SVG_ID = re.compile(r'( id="|url\(#|href="#)([^")]+)')
THEME = re.compile("|".join(THEMED), re.IGNORECASE)
RIGHT_TO_LEFT = ("R", "AL")
MIME = {".parquet": "application/vnd.apache.parquet", ".gz": "application/gzip", ".json": "application/json"}


def render_html(view: Mapping[str, Any], svg: Mapping[str, str], files: Mapping[str, bytes], limit: int = LIMIT) -> str:
    """The page.

    Parameters
    ----------
    view : mapping
        The view model.
    svg : mapping
        Figure id -> SVG, from `render_figures`.
    files : mapping
        File name -> content: what the page offers for download, the first ones first, as far as the limit allows.
    limit : int
        Bytes of the whole page. Where it is larger, the largest figures are left out, then rows of tables.
    """
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.js", "map.js"))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["isolated"] = _isolating(names_of(view))
    template = environment.get_template("report.html.j2")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    classes: dict[str, str] = {}
    figures_of_page = {name: Markup(_themed(text, classes, f"f{i}")) for i, (name, text) in enumerate(svg.items())}
    map_template = environment.get_template("map.html.j2")
    for name, block in figures(view).items():
        if block["kind"] == "scatter":
            figures_of_page[name] = Markup(map_template.render(b=block, level=3, dots=dots, data_block=data_block))
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "map.css")) + tone_styles()
    style += "".join(f".{name}{{{look}}}\n" for look, name in classes.items())
    common: dict[str, Any] = {
        "view": view,
        "figures": figures_of_page,
        "style": Markup(style),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
        "marks": MARKS,
    }

    def room() -> int:
        return limit - len(template.render(files={}, left_out=[], **common).encode()) - LIST_OF_FILES

    left = room()
    for most in (*ROWS_BESIDE_FIGURES, None, *ROWS_ALONE):
        if left >= 0:
            break
        if most is None:  # between the two, figures are left out
            common["figures"] = without_largest(common["figures"], -left, set(figures(view, foreground=True)))
        else:
            common["view"] = shortened(view, most)
        left = room()
    links, left_out = _links(files, left)
    return template.render(files=links, left_out=left_out, **common)


def names_of(view: Mapping[str, Any]) -> list[str]:
    """The names of models, tasks and poolings in the view model."""
    return [
        *(side["name"] for side in view["sides"]),
        *(name for names in view["selectors"].values() for name in names),
    ]


def _isolating(names: Iterable[str]) -> Callable[[str], str]:
    """A filter that keeps right-to-left names from reordering the numbers and brackets around them."""
    turned = sorted((name for name in names if any(bidirectional(c) in RIGHT_TO_LEFT for c in name)), key=len)
    if not turned:
        return lambda text: text
    found = re.compile("|".join(re.escape(str(escape(name))) for name in reversed(turned)))
    return lambda text: Markup(found.sub(lambda name: f"<bdi>{name[0]}</bdi>", str(escape(text))))


def without_largest(drawn: Mapping[str, Markup], excess: int, kept_longest: set[str]) -> dict[str, Markup]:
    """The figures of a page with as many replaced by a sentence as make up `excess` bytes.

    The largest are left out first, and the figures that are open at first last.
    """
    kept = dict(drawn)
    for name in sorted(drawn, key=lambda name: (name in kept_longest, -len(drawn[name].encode()))):
        if excess <= 0:
            break
        excess -= len(drawn[name].encode()) - len(NO_FIGURE.encode())
        kept[name] = NO_FIGURE
    return kept


def render_figures(view: Mapping[str, Any]) -> dict[str, str]:
    """Figure id -> SVG for every figure; of maps, which a page draws itself, for those that are open at first."""
    known, first = figures(view), figures(view, foreground=True)
    drawn = (name for name, figure in known.items() if figure["kind"] != "scatter" or name in first)
    return {name: render(known[name]["kind"], known[name]["data"]) for name in drawn}


def _links(files: Mapping[str, bytes], room: int) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Data links of the files that fit into ``room`` bytes, and the names of the others."""
    links: dict[str, dict[str, Any]] = {}
    left_out = []
    for name, content in files.items():
        packed = name.endswith(".csv")
        data = gzip.compress(content, 9, mtime=0) if packed else content
        kind = MIME[".gz" if packed else Path(name).suffix]
        href = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        if len(href) > room:
            left_out.append({"name": name, "size": size(len(content))})
            continue
        room -= len(href)
        links[name] = {"href": href, "size": size(len(data)), "gzip": packed}
    return links, left_out


def _themed(svg: str, classes: dict[str, str], prefix: str) -> str:
    """A figure that takes the page's colours, font and width; its styles become ``classes``, each written once.

    Its ids begin with a prefix of its own: two figures of one layout would share a clip path, which a browser does not
    find where the first of them is folded.
    """

    def named(attribute: re.Match[str]) -> str:
        style = THEME.sub(lambda m: f"var({THEMED[m[0].lower()]})", attribute[1])
        style = style.replace("'DejaVu Sans'", "var(--sans)")
        return f' class="{classes.setdefault(style, f"v{len(classes)}")}"'

    svg = SVG_ID.sub(rf"\1{prefix}\2", svg)
    head, _, body = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f"{head}>{STYLE_ATTRIBUTE.sub(named, body)}"
