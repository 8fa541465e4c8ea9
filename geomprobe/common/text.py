"""How a report writes text, numbers and ids: user text made inert, every number formatted in one place."""

from __future__ import annotations

import contextlib
import itertools
import math
import numbers
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

NONE = "–"
NAME_LIMIT = 48
TEXT_LIMIT = 600
MOST_NAMES = 20  # of a list in a sentence
# Characters that reorder what stands around them; a name that holds one could make a sentence say something else.
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(value: Any, limit: int = TEXT_LIMIT) -> str:
    """Text on one line without control characters, at most ``limit`` characters long.

    Control characters, lone surrogates, noncharacters and bidirectional controls become U+FFFD: XML, JSON and PDF can
    carry none of the first three.
    """
    text = "" if value is None else str(value)
    if len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    text = "".join(_harmless(c) for c in text[: 4 * limit])
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _harmless(char: str) -> str:
    if char in "\t\n\r\u2028\u2029":
        return " "
    code = ord(char)
    bad = unicodedata.category(char) in ("Cc", "Cs") or char in BIDI_CONTROLS
    return "\ufffd" if bad or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE else char


def markdown(value: Any, limit: int = TEXT_LIMIT) -> str:
    """Clean text in which Markdown and HTML find nothing of theirs, and GitHub no mention and no issue."""
    escaped = re.sub(r"([\\`*_|<>\[\]])", r"\\\1", clean(value, limit))
    return re.sub(r"[@#](?=\w)", lambda found: f"&#{ord(found[0])};", escaped)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; its cells are taken as they are."""
    lines = [f"| {' | '.join(line)} |\n" for line in (heads, *rows)]
    return "".join([lines[0], f"|{'---|' * len(heads)}\n", *lines[1:]])


def short_names(names: Iterable[str], limit: int = NAME_LIMIT) -> dict[str, str]:
    """A display name for each name; names that look alike once shortened get a number."""
    shown: dict[str, str] = {}
    for name in names:
        base = clean(name, limit) or "(no name)"
        numbered = (f"{base[: limit - 5]} ({number})" for number in itertools.count(2))
        shown[name] = next(text for text in itertools.chain([base], numbered) if text not in shown.values())
    return shown


def finite(value: Any) -> float | None:
    """A finite float, or None for missing, NaN and infinite values, and for whole numbers beyond float64."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return None
    with contextlib.suppress(OverflowError):
        if math.isfinite(number := float(value)):
            return number
    return None


def decimals(values: Sequence[float | None], half_width: float | None = None) -> int:
    """How many decimals to print: two significant digits of the half-width, else by the largest magnitude."""
    if half_width:
        return min(max(1 - math.floor(math.log10(half_width)), 0), 6)
    largest = max((abs(v) for v in values if v is not None), default=0.0)
    if largest == 0:
        return 3
    return min(max(3 - math.ceil(math.log10(largest) + 1e-12), 0), 6) if largest >= 1 else 3 if largest >= 0.02 else 5


def number(value: Any, places: int | None = None, signed: bool = False) -> str:
    """A number as text with a true minus sign; missing is a dash."""
    x = finite(value)
    if x is None:
        return NONE
    places = decimals([x]) if places is None else places
    text = f"{x:+,.{places}f}" if signed else f"{x:,.{places}f}"
    if x != 0 and float(text.replace(",", "")) == 0 and abs(x) < 1e-6:
        text = f"{x:+.1e}" if signed else f"{x:.1e}"
    elif float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(low: Any, high: Any, places: int) -> str:
    """A 95 % interval as text, or an empty string where there is none."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"[{number(low, places)}, {number(high, places)}]"


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    x = finite(value)
    return NONE if x is None else f"{round(x):,}"


def roughly(value: int) -> str:
    """A whole number rounded up to two significant digits: 2,346 -> 2,400."""
    unit = 10 ** max(len(str(value)) - 2, 0)
    return count(-(-value // unit) * unit)


def counted(n: int, noun: str) -> str:
    """How many there are of a thing."""
    return f"{count(n)} {noun}{'s' * (n != 1)}"


def amount(value: Any) -> str:
    """A large number in thousands, millions, billions: 11,172,864 -> 11.2 M."""
    x = finite(value)
    if x is None:
        return NONE
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(x) >= size:
            return f"{x / (1e3 if letter == 'k' else size):.3g} {letter}"
    return f"{x:,.0f}"


def power(value: Any) -> str:
    """A very large number with its power of ten: 1.64e15 -> 1.64 × 10¹⁵."""
    x = finite(value)
    if x is None or x <= 0:
        return NONE
    exponent = math.floor(math.log10(x))
    return f"{x / 10**exponent:.2f} × 10{str(exponent).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def p_value(value: Any) -> str:
    """A p-value."""
    x = finite(value)
    return NONE if x is None else "< 0.001" if x < 0.001 else f"{x:.3f}"


def duration(seconds: Any) -> str:
    """A time span in words."""
    x = finite(seconds)
    if x is None:
        return NONE
    if x < 60:
        return f"{x:.1f} s"
    minutes, rest = divmod(round(x), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(n_bytes: int) -> str:
    """A file size."""
    return (
        f"{n_bytes} B" if n_bytes < 1000 else f"{n_bytes / 1e3:.0f} kB" if n_bytes < 1e6 else f"{n_bytes / 1e6:.1f} MB"
    )


def capitalised(text: str) -> str:
    """The text with its first letter in upper case."""
    return f"{text[:1].upper()}{text[1:]}"


def words(name: Any) -> str:
    """A metric or view name in plain words: effective_rank -> effective rank."""
    return clean(str(name).replace("_", " "), NAME_LIMIT)


def listed(items: Sequence[str], most: int = MOST_NAMES) -> str:
    """Items as a list in words: a, b and c; past `most` the rest is counted."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most:,} more"
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {flat(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(flat, value))
    return clean(value, 300)


def slug(*parts: str) -> str:
    """An id for a page: ASCII letters, digits and dashes; other text is spelled by its code points."""
    spelled = (re.sub(r"[^A-Za-z0-9]", lambda m: "-" if m[0] in " _-" else f"{ord(m[0]):x}", part) for part in parts)
    return "-".join(part[:60] for part in spelled if part)


def term(metric: str) -> str:
    """The id of a metric's entry in the glossary."""
    return slug("term", metric)
