"""Named bundles of the choices that an analysis makes. A row of results names the protocol it was made under."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """The choices behind a number.

    Attributes
    ----------
    name : str
    max_length : int or None
        Tokens a text is cut to; None is the encoder's own limit.
    max_train_rows : int
        Most training rows a probe is fitted on, drawn with the seed.
    """

    name: str
    max_length: int | None
    max_train_rows: int


STRICT = Protocol("strict", max_length=None, max_train_rows=10_000)
