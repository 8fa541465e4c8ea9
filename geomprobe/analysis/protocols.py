"""Named bundles of the choices that an analysis makes. A row of results names the protocol it was made under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from geomprobe.common import UsageError, unknown_name


@dataclass(frozen=True)
class Published:
    """Choices of formulas and probes of the published analysis of Predict and Reconstruct (arXiv 2606.05173).

    Attributes
    ----------
    uniformity_rows : int or None
        Most rows whose pairs uniformity is taken over, drawn with the seed; None reads all pairs.
    centre : bool
        Whether the mean vector is subtracted before directions are taken.
    alignment_power : {4, 2}
        Power of the distance of two rows of a class.
    class_distance : {"unsquared", "squared"}
        What is averaged over the pairs within and between classes.
    entropy_bound : {"N", "N-1"}
        Spectral entropy is divided by log min(N, D) or log min(N - 1, D).
    token_target : {"token", "word"}
        Whether the token probe names the most frequent token or the most frequent word of a row.
    scaling : {"all-rows", "folds"}
        Whether the scaler of a probe sees all rows, or the rows that the probe is fitted on.
    probe_rows : {"validation", "train"}
        Probes cross-validated on the validation split, or fitted on train (`max_train_rows` of it) and scored on
        validation.
    score : {"accuracy", "skill"}
        "skill" adds (accuracy - majority) / (1 - majority), majority being the share of the most frequent class of the
        scored rows, and the difference of the skills of the task probe and the token probe.
    max_iter : int
        Most iterations of the probes' solver.
    parts : tuple of {"geometry", "task", "token"}
        What is computed.
    """

    uniformity_rows: int | None = 1000
    centre: bool = False
    alignment_power: int = 4
    class_distance: str = "unsquared"
    entropy_bound: str = "N"
    token_target: str = "token"
    scaling: str = "all-rows"
    probe_rows: str = "validation"
    score: str = "accuracy"
    max_iter: int = 500
    parts: tuple[str, ...] = ("geometry", "task", "token")


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
    published : Published or None
        Formulas and probes of the published analysis; None measures by the registry and the probes of geomprobe.
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
    published: Published | None = None


STRICT = Protocol("strict", max_length=None, max_train_rows=10_000)
PAPER = Protocol(
    "paper",
    max_length=128,
    max_train_rows=2_000,
    train_poolings=False,
    rows=2_000,
    pairs="joined",
    padding="visible",
    query="per-model",
    published=Published(),
)
PROTOCOLS = {"strict": STRICT, "paper": PAPER}

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


def choose(name: str, settings: Sequence[str] = ()) -> Protocol:
    """Return a protocol with some of its choices replaced.

    Parameters
    ----------
    name : {"strict", "paper"}
    settings : sequence of str
        Each "protocol.CHOICE=VALUE", such as "protocol.pairs=separate" or "protocol.rows=all".

    Raises
    ------
    UsageError
        An unknown name, choice or value; a choice given twice; one of the published formulas under another protocol.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, list(PROTOCOLS))
    protocol = PROTOCOLS[name]
    chosen: set[str] = set()
    for setting in settings:
        key, equals, word = (part.strip() for part in setting.partition("="))
        if not equals or not key.startswith(PREFIX):
            raise UsageError(
                f"--set {setting[:80]!r} is not protocol.CHOICE=VALUE.", "For example protocol.pairs=separate"
            )
        if key in chosen:
            raise UsageError(f"--set {key} is given twice.")
        chosen.add(key)
        protocol = switched(protocol, key.removeprefix(PREFIX), word)
    return protocol


def switched(protocol: Protocol, choice: str, word: str) -> Protocol:
    """Return the protocol with one choice replaced; its name says so."""
    if choice not in CHOICES:
        raise unknown_name("choice of a protocol", choice, list(CHOICES))
    value, name = _value(choice, word), f"{protocol.name}, {choice}={word}"
    if choice in {field.name for field in fields(Protocol)}:
        return replace(protocol, name=name, **{choice: value})
    if protocol.published is None:
        raise UsageError(f"{choice} is a choice of the published formulas.", "It needs --protocol paper.")
    return replace(protocol, name=name, published=replace(protocol.published, **{choice: value}))


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
