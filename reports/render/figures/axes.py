"""Ticks, texts and sizes on one axes, whether it is of a report or of the user's own figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from geomprobe.reports.render.figures.style import PAPER, STYLE

UNITS = ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))
"""From which size on numbers are written in a unit, the unit, its letter."""
FEW_DECADES = 2
"""A logarithmic axis that spans fewer has ticks at 2 and 5, too."""


NAME = 18
"""Characters of a name on an axis."""


def short_label(name: str, most: int = NAME) -> str:
    """A name with its middle left out where it is long: names of models differ at their ends."""
    end = most // 2
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[-end:]}"


def scaled(size: float) -> float:
    """A size that suits the type of a report, for the size of type that is set."""
    return size * mpl.rcParams["font.size"] / STYLE["font.size"]


def ink() -> Any:
    """The colour of text."""
    return mpl.rcParams["text.color"]


def paper(axis: Axes) -> Any:
    """The colour behind the data, which fills a hollow marker."""
    behind = axis.get_facecolor()
    return behind if to_rgba(behind)[3] else PAPER


def literal(*texts: Text) -> None:
    """Draw texts as they are: a name that holds $ or _ is no formula, whatever is set of mathematics and TeX."""
    for text in texts:
        text.set_parse_math(False)
        text.set_usetex(False)


def names_down(axis: Axes, names: Sequence[str], places: Sequence[float], most: int = NAME) -> None:
    """Write names at places of the y axis."""
    axis.set_yticks(places, [short_label(name, most) for name in names])
    axis.tick_params(axis="y", labelcolor=ink())
    axis.grid(axis="y", visible=False)
    literal(*axis.get_yticklabels())


def plain(values: Sequence[float]) -> list[str]:
    """Numbers of one axis as text, with the decimals that tell them apart: 0.25, 20k, 1.5M, 2e−5."""
    largest = max(map(abs, values), default=0.0)
    unit, letter = next(((unit, letter) for least, unit, letter in UNITS if largest >= least), (1.0, ""))
    if 0 < largest < 9e-5:
        power = math.floor(math.log10(largest) + 1e-9)
        unit, letter = 10.0**power, f"e−{-power}"
    shown = [value / unit for value in values]
    apart = min((b - a for a, b in pairwise(sorted({*shown}))), default=largest / unit)
    exact = (d for d in range(9) if all(abs(round(value, d) - value) <= apart / 1000 for value in shown))
    places = next(exact, 9)
    texts = [f"{value:.{places}f}".replace("-", "−") for value in shown]
    return [text + letter if text.strip("−0.") else "0" for text in texts]


class Plain(ticker.Formatter):
    """Ticks as `plain` writes them: nothing is added to or multiplied with them at the end of the axis."""

    def format_ticks(self, values: Any) -> list[str]:
        return plain([float(value) for value in values])

    def __call__(self, x: float, pos: int | None = None) -> str:
        return plain([float(x)])[0]


def linear(side: Axis, ticks: int, **options: Any) -> None:
    """A linear scale with so many ticks at most."""
    side.set_major_locator(ticker.MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3, **options))
    side.set_major_formatter(Plain())


def logarithmic(axis: Axes) -> None:
    """Both scales logarithmic, their ticks written as numbers, at 2 and 5 too where few decades are spanned.

    Called after the data are drawn.
    """
    axis.set_xscale("log")
    axis.set_yscale("log")
    for side in (axis.xaxis, axis.yaxis):
        low, high = side.get_view_interval()
        few = high < low * 10**FEW_DECADES
        side.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6))
        side.set_minor_locator(ticker.NullLocator())
        side.set_major_formatter(ticker.FuncFormatter(lambda value, _: plain([value])[0]))
