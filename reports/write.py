"""Write reports: the view model is built once, and every format is made from it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from geomprobe.common import UsageError, write_bytes
from geomprobe.common.atomic import final_path
from geomprobe.reports.data.files import FILES
from geomprobe.reports.document.walk import dumps
from geomprobe.reports.pages import build_view
from geomprobe.reports.render.html import render_figures, render_html
from geomprobe.reports.render.pdf import render_pdf
from geomprobe.results import Results, write_results

NEEDED = "Give a file that ends in .html, .pdf or .json."
HINT = "Remove it, or choose another name."


def write_report(source: str | Path | Results, *paths: str | Path) -> list[Path]:
    """Write the report of a results folder or of results in memory.

    Parameters
    ----------
    source : path or Results
    *paths : path
        Ends in .html, .pdf or .json; each is written atomically. The same results give the same bytes.

    Returns
    -------
    list of Path

    Raises
    ------
    UsageError
        A path has another ending, or is a folder, a device, or a link to itself or to a file of another kind.
    InputError
        The folder is missing, incomplete or damaged.

    Examples
    --------
    >>> import geomprobe as gp
    >>> [path.name for path in gp.write_report("runs/analyze/mine", "report.json")]
    ['report.json']
    """
    targets = [Path(path) for path in paths]
    kinds = [target.suffix.lower() for target in targets]
    if not targets:
        raise UsageError("write_report needs a path to write to.", NEEDED)
    for target, kind in zip(targets, kinds, strict=True):
        if kind not in (".html", ".pdf", ".json"):
            raise UsageError(f"{target.name} is no report.", NEEDED)
        if final_path(target).is_dir():  # raises for what must not be replaced
            raise UsageError(f"{target} is a folder: no report can be written there.", HINT)
    view = build_view(source)
    svg = render_figures(view) if {".html", ".pdf"} & set(kinds) else {}
    for target, kind in zip(targets, kinds, strict=True):
        if kind == ".html":
            content = render_html(view, svg, data_files(source)).encode()
        else:
            content = render_pdf(view, svg) if kind == ".pdf" else dumps(view).encode()
        write_bytes(target, content)
    return targets


def data_files(source: str | Path | Results) -> dict[str, bytes]:
    """The files of a results folder that a report offers, in the order in which they are taken along."""
    if isinstance(source, Results):
        with tempfile.TemporaryDirectory() as folder:
            tables = (source.results, source.comparisons, source.curves, source.examples)
            return data_files(write_results(folder, Results(*tables, source.definitions, source.run)))
    return {name: path.read_bytes() for name in FILES if (path := Path(source) / name).is_file()}
