"""Colours: contrast in light, dark and print, legible numbers, figures that follow the theme."""

from __future__ import annotations

import re

import pytest

from geomprobe.reports.render.figures import style
from geomprobe.reports.render.html import TEMPLATES

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
