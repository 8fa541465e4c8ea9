"""Reports: results folder → view model → HTML and PDF. Imports only `geomprobe.common` and `geomprobe.results`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from geomprobe.results import Results

__all__ = ["build_view", "write_report"]


def build_view(source: str | Path | Results) -> dict[str, Any]:
    """The view model of a results folder or of results in memory (see `geomprobe.reports.pages.build_view`)."""
    from geomprobe.reports.pages import build_view

    return build_view(source)


def write_report(source: str | Path | Results, *paths: str | Path) -> list[Path]:
    """Write a report to each path, HTML, PDF or JSON by its suffix (see `geomprobe.reports.write.write_report`).

    Examples
    --------
    >>> import geomprobe as gp
    >>> [path.name for path in gp.write_report("runs/analyze/mine", "report.json")]
    ['report.json']
    """
    from geomprobe.reports.write import write_report

    return write_report(source, *paths)
