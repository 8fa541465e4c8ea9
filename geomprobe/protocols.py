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
    train_poolings : bool
        Whether `weighted` and `attention` are trained with the probe on the train split before they are used; where a
        task does not allow it (no labels, few rows) they stay at initialisation, and the row says so.
    pooling_seeds : int
        Times a pooling is trained. The first one is used, the others show how far what was learned depends on chance.
    """

    name: str
    max_length: int | None
    max_train_rows: int
    train_poolings: bool = True
    pooling_seeds: int = 3


STRICT = Protocol("strict", max_length=None, max_train_rows=10_000)
