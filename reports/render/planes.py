"""Maps of rows on a page: pictures that are there without a script, and the data by which a script links them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from geomprobe.reports.render.figures.style import DARK_TONES, TONES


def dots(panel: Mapping[str, Any], kind: str, colour: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Tone and SVG path of each class of a map: a dot is a line of no length with a round end."""
    places, classes = panel["maps"][kind].split(), [int(row) for row in colour["values"].split()]
    paths = ["".join(f"M{at}h0" for at, found in zip(places, classes, strict=True) if found == k)
             for k in range(len(colour["names"]))]  # fmt: skip
    return list(zip(colour["tones"], paths, strict=True))


def data_block(data: Mapping[str, Any]) -> Markup:
    """The data as JSON that may stand inside a script element: no text in it can end the element or begin another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def tone_styles() -> str:
    """Style rules of the tones, on a light and on a dark page."""

    def of(tones: Mapping[str, str]) -> str:
        return "".join(f"--{name}:{tone};" for name, tone in tones.items())

    rules = "".join(f".map .{name}{{stroke:var(--{name});--tone:var(--{name})}}" for name in TONES)
    light = f":root{{{of(TONES)}}}"
    return f"{light}@media (prefers-color-scheme:dark){{:root{{{of(DARK_TONES)}}}}}@media print{{{light}}}{rules}\n"
