"""The pages: each makes the view model, or a Markdown page, of one kind of folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomprobe.reports.data.files import AUDIT_FILE
from geomprobe.reports.data.load import load
from geomprobe.reports.pages.audit import audit_view
from geomprobe.reports.pages.results import results_view
from geomprobe.results import Results


def build_view(source: str | Path | Results) -> dict[str, Any]:
    """View model of a results folder, ready for JSON.

    Parameters
    ----------
    source : path or Results
        A results folder, the folder of an audit, or results in memory.

    Raises
    ------
    InputError
        The folder is missing, incomplete or damaged.
    """
    if not isinstance(source, Results) and (Path(source) / AUDIT_FILE).is_file():
        return audit_view(Path(source))
    return results_view(load(source))
