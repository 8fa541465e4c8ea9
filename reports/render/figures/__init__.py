"""Figure data of the view model → SVG. Each kind of figure is one function of the modules here."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from geomprobe.reports.render.figures.curves import curves, histograms, profiles, spectra, training
from geomprobe.reports.render.figures.maps import heat
from geomprobe.reports.render.figures.overview import overview, standing
from geomprobe.reports.render.figures.points import controls, decomposition, forest, ranking
from geomprobe.reports.render.figures.scatter import scatter
from geomprobe.reports.render.figures.style import STYLE
from geomprobe.reports.render.figures.svg import tidy


def render(kind: str, data: Mapping[str, Any]) -> str:
    """A figure as an ``<svg>`` element; the same data give the same bytes.

    Parameters
    ----------
    kind : str
        A key of `DRAW`.
    data : mapping
        The figure's ``data`` in the view model.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # whatever a user's matplotlibrc says
        mpl.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", "Glyph")  # text stays text, so the reader's fonts decide
        figure = DRAW[kind](data)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return tidy(out.getvalue())


KINDS = (
    *(overview, standing, spectra, histograms, curves, decomposition, heat, forest, ranking, profiles, training),
    *(controls, scatter),
)
DRAW: dict[str, Callable[[Mapping[str, Any]], Figure]] = {draw.__name__: draw for draw in KINDS}
