"""Why a number has no value: it is not defined for these vectors, there are too few rows, the rows are missing."""

from __future__ import annotations


class NotApplicable(Exception):
    """The metric has no value for these vectors; the message says why.

    Examples
    --------
    >>> import geomprobe as gp
    >>> def smallest_share(embeddings):
    ...     if embeddings.d == 1:
    ...         raise gp.NotApplicable("one dimension has all of the variance")
    ...     return embeddings.spectrum.values[-1] / embeddings.spectrum.values.sum()
    """

    status = "not applicable"


class TooFewRows(NotApplicable, ValueError):
    """There are too few rows; the message says how many there are and how many are needed."""

    status = "too few rows"


def undefined(n: int, needed: int, reason: str) -> NotApplicable:
    """Exception for a value that n rows do not have: `TooFewRows` where n is below what any rows need."""
    return TooFewRows(too_few(n, needed)) if n < needed else NotApplicable(reason)


def too_few(n: int, needed: int) -> str:
    """Note of a number that had n rows and needs more."""
    return f"{n:,} row{'' if n == 1 else 's'}; at least {needed:,} are needed"


class NeedsRows(Exception):
    """The metric reads the rows themselves, and only their moments are at hand."""
