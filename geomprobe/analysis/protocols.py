"""Named bundles of the choices that an analysis makes. A row of results names the protocol it was made under."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import UsageError, unknown_name
from geomprobe.encoders import Encoder
from geomprobe.tasks.base import Task

Reader = Callable[[str, str], Any]
"""Value of a choice (its name) from a word."""
LARGEST = 2**31 - 1
_READ = "read"


def one_of(*values: Any) -> dict[str, Reader]:
    """Metadata of a field that takes one of some values, each written as `word_of` writes it."""
    known = {word_of(value): value for value in values}

    def read(choice: str, word: str) -> Any:
        if word not in known:
            raise UsageError(f"{choice}={word[:80]} is not known.", f"Known: {', '.join(known)}")
        return known[word]

    return {_READ: read}


def whole_number(least: int, most: int = LARGEST, *, or_all: bool = False) -> dict[str, Reader]:
    """Metadata of a field that takes a whole number and, if asked, "all", which is None."""

    def read(choice: str, word: str) -> int | None:
        if or_all and word == "all":
            return None
        if not (word.isdecimal() and len(word) <= 20 and least <= int(word) <= most):
            also = " or all" if or_all else ""
            raise UsageError(f"{choice} takes a whole number from {least} to {most:,}{also}, not {word[:80]!r}.")
        return int(word)

    return {_READ: read}


def choices_of(made: type[Any]) -> dict[str, Reader]:
    """The choices of a dataclass: its fields that a word can set, by name."""
    return {field.name: field.metadata[_READ] for field in fields(made) if _READ in field.metadata}


def word_of(value: Any) -> str:
    """The word for the value of a choice, as `--set` takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "all" if value is None else str(value)


class PublishedAnalysis(typing.Protocol):
    """An analysis of its own in place of the metrics and probes of geomprobe: a dataclass of its choices."""

    def prepare(self, task: Task, train_poolings: bool) -> Task:
        """Task with the splits and rows that the analysis reads."""
        ...

    def measure(self, encoder: Encoder, texts: TaskTexts, vectors: np.ndarray, seed: int) -> dict[str, pd.DataFrame]:
        """Tables of one cell, from the vectors of all its texts."""
        ...

    def definitions(self, known: Mapping[str, dict[str, Any]], used: Iterable[str]) -> dict[str, Any]:
        """Definitions of the metrics that occur and are its own, or have other formulas here."""
        ...


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
    rows : int or None
        Validation rows, the first ones; None takes all.
    pairs : {"separate", "joined"}
        Each sentence of a pair encoded on its own, or a pair as the one text "a [SEP] b".
    padding : {"hidden", "visible"}
        Whether the encoder sees padding: if so, every text is padded to `max_length` tokens and no attention mask is
        given. Poolings skip it either way.
    query : {"shared", "per-model"}
        Whether the random query of an untrained attention pooling is the same for all models.
    published : PublishedAnalysis or None
        Formulas and probes of a published analysis; None measures by the registry and the probes of geomprobe.
    """

    name: str
    max_length: int | None = field(metadata=whole_number(1, or_all=True))
    max_train_rows: int = field(metadata=whole_number(2))
    train_poolings: bool = field(default=True, metadata=one_of(True, False))
    pooling_seeds: int = field(default=3, metadata=whole_number(1, 100))
    rows: int | None = field(default=None, metadata=whole_number(2, or_all=True))
    pairs: str = field(default="separate", metadata=one_of("joined", "separate"))
    padding: str = field(default="hidden", metadata=one_of("visible", "hidden"))
    query: str = field(default="shared", metadata=one_of("per-model", "shared"))
    published: PublishedAnalysis | None = None


STRICT = Protocol("strict", max_length=None, max_train_rows=10_000)


def switched(protocol: Protocol, choice: str, word: str) -> Protocol:
    """The protocol with one choice replaced; its name says so."""
    published = protocol.published
    own = choices_of(Protocol)
    known = own | (choices_of(type(published)) if published else {})
    if choice not in known:
        raise unknown_name("choice of a protocol", choice, list(known))
    value, name = known[choice](choice, word), f"{protocol.name}, {choice}={word}"
    if published is None or choice in own:
        return replace(protocol, name=name, **{choice: value})
    return replace(protocol, name=name, published=replace(typing.cast(Any, published), **{choice: value}))
