"""SVG without what a page does not need."""

from __future__ import annotations

import re


def tidy(svg: str) -> str:
    """Drop what a page does not need: prolog, metadata, idle ids and groups, decimals below a hundredth of a point."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = svg.replace(' transform="rotate(-0 ', ' transform="rotate(0 ')
    svg = re.sub(r' transform="rotate\(0 [^)]*\)"', "", svg)
    parts = re.split(r"(<text[^>]*>[^<]*</text>)", svg)  # what stands inside a text element is content
    parts[::2] = [re.sub(r"(?<![#\w])(-?\d+\.\d{2})\d+", r"\1", part) for part in parts[::2]]
    return re.sub(r"\s*\n\s*", "\n", _without_idle_groups("".join(parts))).strip() + "\n"


def _without_idle_groups(svg: str) -> str:
    """Drop every ``<g>`` that has no attribute, with the end tag that belongs to it."""
    stack: list[bool] = []

    def keep(tag: re.Match[str]) -> str:
        if tag[0] == "</g>":
            return tag[0] if stack.pop() else ""
        stack.append(tag[0] != "<g>")
        return tag[0] if stack[-1] else ""

    return re.sub(r"</g>|<g(?: [^>]*)?>", keep, svg)
