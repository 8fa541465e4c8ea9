"""Named bundles of the choices that an analysis makes. A row of results names the protocol it was made under."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from geomprobe.analysis.texts import TaskTexts
from geomprobe.common import UsageError, unknown_name
from geomprobe.encoders import Encoder
from geomprobe.tasks.base import Task


class PublishedAnalysis(typing.Protocol):
    """An analysis of its own in place of the metrics and probes of geomprobe."""

    def prepare(self, task: Task, train_poolings: bool) -> Task:
        """Task with the splits and rows that the analysis reads."""
        ...

    def measure(self, encoder: Encoder, texts: TaskTexts, vectors: np.ndarray, seed: int) -> dict[str, pd.DataFrame]:
        """Tables of one cell, from the vectors of all its texts."""
        ...

    def definitions(self, known: Mapping[str, dict[str, Any]], used: Iterable[str]) -> dict[str, Any]:
        """Definitions of the metrics that occur and are its own, or have other formulas here."""
        ...

    def replaced(self, **choices: Any) -> PublishedAnalysis:
        """The analysis with some of its choices replaced."""
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
    max_length: int | None
    max_train_rows: int
    train_poolings: bool = True
    pooling_seeds: int = 3
    rows: int | None = None
    pairs: str = "separate"
    padding: str = "hidden"
    query: str = "shared"
    published: PublishedAnalysis | None = None


STRICT = Protocol("strict", max_length=None, max_train_rows=10_000)
# What each choice can be: words, whole numbers from a least one (or "all"), yes or no.
WORDS: dict[str, tuple[str, ...]] = {
    "pairs": ("joined", "separate"),
    "padding": ("visible", "hidden"),
    "query": ("per-model", "shared"),
    "class_distance": ("unsquared", "squared"),
    "entropy_bound": ("N", "N-1"),
    "token_target": ("token", "word"),
    "scaling": ("all-rows", "folds"),
    "probe_rows": ("validation", "train"),
    "score": ("accuracy", "skill"),
    "alignment_power": ("4", "2"),
}
NUMBERS = {"rows": 2, "max_length": 1, "uniformity_rows": 2, "max_train_rows": 2, "pooling_seeds": 1, "max_iter": 1}
OPEN = ("rows", "max_length", "uniformity_rows")  # numbers that may also be "all"
MOST = {"pooling_seeds": 100}
LARGEST = 2**31 - 1  # of the others
SWITCHES = ("centre", "train_poolings")
CHOICES = (*WORDS, *NUMBERS, *SWITCHES)
PREFIX = "protocol."


def switched(protocol: Protocol, choice: str, word: str) -> Protocol:
    """Return the protocol with one choice replaced; its name says so."""
    if choice not in CHOICES:
        raise unknown_name("choice of a protocol", choice, list(CHOICES))
    value, name = _value(choice, word), f"{protocol.name}, {choice}={word}"
    if choice in {field.name for field in fields(Protocol)}:
        return replace(protocol, name=name, **{choice: value})
    if protocol.published is None:
        raise UsageError(f"{choice} is a choice of the published formulas.", "It needs --protocol paper.")
    return replace(protocol, name=name, published=protocol.published.replaced(**{choice: value}))


def _value(choice: str, word: str) -> Any:
    if choice in WORDS:
        if word not in WORDS[choice]:
            raise UsageError(f"{choice}={word[:80]} is not known.", f"Known: {', '.join(WORDS[choice])}")
        return int(word) if choice == "alignment_power" else word
    if choice in SWITCHES:
        if word not in ("yes", "no"):
            raise UsageError(f"{choice}={word[:80]} is not known.", "Known: yes, no")
        return word == "yes"
    if choice in OPEN and word == "all":
        return None
    least, most = NUMBERS[choice], MOST.get(choice, LARGEST)
    if not (word.isdecimal() and len(word) <= 20 and least <= int(word) <= most):
        also = " or all" if choice in OPEN else ""
        raise UsageError(f"{choice} takes a whole number from {least} to {most:,}{also}, not {word[:80]!r}.")
    return int(word)
