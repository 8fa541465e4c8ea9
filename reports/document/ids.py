"""Ids of a page: ASCII letters, digits and dashes."""

from __future__ import annotations

import re


def slug(*parts: str) -> str:
    """An id for a page: ASCII letters, digits and dashes; other text is spelled by its code points."""
    spelled = (re.sub(r"[^A-Za-z0-9]", lambda m: "-" if m[0] in " _-" else f"{ord(m[0]):x}", part) for part in parts)
    return "-".join(part[:60] for part in spelled if part)


def term(metric: str) -> str:
    """The id of a metric's entry in the glossary."""
    return slug("term", metric)
