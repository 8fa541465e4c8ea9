"""What a report is made from: a results folder, or results in memory."""

from __future__ import annotations

from pathlib import Path

from geomprobe.results import Results, read_results
from geomprobe.results.summary.facts import Facts


def load(source: str | Path | Results) -> Facts:
    """The facts of a results folder or of results in memory.

    Raises
    ------
    InputError
        The folder is missing, incomplete or damaged.
    """
    if isinstance(source, Results):
        source.check()
    return (source if isinstance(source, Results) else read_results(source)).facts()
