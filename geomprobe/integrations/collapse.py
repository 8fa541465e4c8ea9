"""When does a training collapse? Limits on the geometry of its texts, each raised once until it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Limit(NamedTuple):
    """A sign of collapse: raised past one value, and over only once the metric is back past the other."""

    raised: float
    over: float
    reason: str

    def past(self, value: float, limit: float) -> bool:
        """Whether a value lies past a limit, on the side of collapse."""
        return value < limit if self.raised < self.over else value > limit


COLLAPSE = {
    "effective_rank": Limit(2.0, 3.0, "the texts use fewer than two dimensions"),
    "mean_cosine": Limit(0.999, 0.99, "different texts get the same vector"),
}
"""Limits that no encoder of use reaches; the pretrainer's monitors have the same."""
SHRUNK = Limit(0.1, 0.2, "of the effective rank at the first measurement is left")
KEY = "geometry/"
RANK = f"{KEY}effective_rank"


class Collapse:
    """Watches the limits from measurement to measurement.

    What the first measurement shows is no collapse in this training, until it is over once.

    Parameters
    ----------
    log : sequence of mapping
        Lines of the log that a resumed training goes on with.
    """

    def __init__(self, log: Sequence[Mapping[str, Any]] = ()):
        self.first: Mapping[str, Any] = {}
        self.raised: set[str] = set()
        for line in log:
            if any(key.startswith(KEY) for key in line):  # no failed measurement
                self.signs(line)

    def signs(self, values: Mapping[str, Any]) -> list[str]:
        """A sentence for each sign of collapse that these values are the first to show."""
        shown = {}
        for name, limit in COLLAPSE.items():
            value = values.get(KEY + name)
            if value is None:  # all vectors are equal, or zero
                shown[name] = f"{name} has no value: the texts get the same vector"
            elif limit.past(value, limit.over if name in self.raised else limit.raised):
                shown[name] = f"{name} = {value:.4g}: {limit.reason}"
        rank, before = values.get(RANK), self.first.get(RANK)
        if rank is not None and before:
            share = rank / before
            if SHRUNK.past(share, SHRUNK.over if "share" in self.raised else SHRUNK.raised):
                shown["share"] = f"effective_rank = {rank:.4g}: {share:.1%} {SHRUNK.reason}"
        new = [text for name, text in shown.items() if name not in self.raised] if self.first else []
        self.first = self.first or values
        self.raised = set(shown)
        return new
