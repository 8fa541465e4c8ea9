"""Reports: results folder → view model → HTML and PDF. Imports only `geomprobe.common` and `geomprobe.results`."""

from geomprobe.reports import plot
from geomprobe.reports.pages import build_view
from geomprobe.reports.write import write_report

__all__ = ["build_view", "plot", "write_report"]
