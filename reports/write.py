"""Write reports: the view model is built once, and every format is made from it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from geomprobe.common import UsageError, write_bytes
from geomprobe.reports.data.files import FILES
from geomprobe.reports.document.walk import dumps
from geomprobe.reports.pages import build_view
from geomprobe.reports.render.html import render_figures, render_html
from geomprobe.results import Results, write_results

Maker = Callable[[Mapping[str, Any], Mapping[str, str], Mapping[str, bytes]], bytes]


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
        A path has another ending, or is a folder.
    InputError
        The folder is missing, incomplete or damaged.
    """
    targets = [Path(path) for path in paths]
    if not targets:
        raise UsageError("write_report needs a path to write to.", "Give a file that ends in .html, .pdf or .json.")
    for target in targets:
        if target.suffix.lower() not in MAKERS:
            raise UsageError(f"{target.name} is no report.", "Give a file that ends in .html, .pdf or .json.")
        if target.is_dir():
            raise UsageError(
                f"{target} is a folder: no report can be written there.", "Remove it, or choose another name."
            )
    view = build_view(source)
    svg = render_figures(view) if any(t.suffix.lower() != ".json" for t in targets) else {}
    files = data_files(source)
    for target in targets:
        write_bytes(target, MAKERS[target.suffix.lower()](view, svg, files))
    return targets


def data_files(source: str | Path | Results) -> dict[str, bytes]:
    """The files of a results folder that a report offers, in the order in which they are taken along."""
    if isinstance(source, Results):
        with tempfile.TemporaryDirectory() as folder:
            without_logs = Results(
                source.results, source.comparisons, source.curves, source.examples, source.definitions, source.run
            )
            return data_files(write_results(folder, without_logs))
    return {name: path.read_bytes() for name in FILES if (path := Path(source) / name).is_file()}


def _pdf(view: Mapping[str, Any], svg: Mapping[str, str], files: Mapping[str, bytes]) -> bytes:
    from geomprobe.reports.render.pdf import render_pdf

    return render_pdf(view, svg)


MAKERS: dict[str, Maker] = {
    ".html": lambda view, svg, files: render_html(view, svg, files).encode(),
    ".pdf": _pdf,
    ".json": lambda view, svg, files: dumps(view).encode(),
}
