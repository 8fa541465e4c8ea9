"""Read the grammar of the controlled suite and write sentences with it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np


@dataclass(frozen=True)
class Family:
    """A family of frames: P meanings of the same words, V frames for each of them.

    Attributes
    ----------
    name : str
    slots : dict of str to str
        Slot -> category of the lexicon.
    meanings : tuple of dict
        Variable of the frames -> slot, or a literal such as "not".
    frames : tuple of str
    """

    name: str
    slots: dict[str, str]
    meanings: tuple[dict[str, str], ...]
    frames: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """The lexicon (category -> synonym sets of two words), the families, and irregular forms."""

    lexicon: dict[str, tuple[tuple[str, str], ...]]
    families: tuple[Family, ...]
    plurals: dict[str, str]
    bases: dict[str, str]
    gendered: dict[str, tuple[str, ...]]
    strict: dict[str, tuple[str, ...]]

    @property
    def content_words(self) -> frozenset[str]:
        """Every word of every synonym set."""
        return frozenset(word for sets in self.lexicon.values() for pair in sets for word in pair)

    def plural(self, noun: str) -> str:
        """Plural of a noun of the lexicon."""
        return self.plurals.get(noun, noun + "s")


@cache
def grammar() -> Grammar:
    """Grammar that is packaged with this module."""
    text = resources.files("geomprobe.tasks").joinpath("controlled_grammar.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return Grammar(
        {category: tuple((a, b) for a, b in sets) for category, sets in data["lexicon"].items()},
        tuple(Family(f["name"], f["slots"], tuple(f["meanings"]), tuple(f["frames"])) for f in data["family"]),
        data["plurals"],
        data["bases"],
        {reflexive: tuple(nouns) for reflexive, nouns in data["gendered"].items()},
        {kind: tuple(verbs) for kind, verbs in data["strict"].items()},
    )


Draw = dict[str, tuple[str, str]]


def draw(slots: dict[str, str], rng: np.random.Generator) -> Draw:
    """Draw a synonym set for each slot, different ones within a category, each in random order.

    The first words of the sets are one lexicalisation of the sentence, the second words the other.
    """
    chosen: Draw = {}
    for category in dict.fromkeys(slots.values()):
        names = [slot for slot in slots if slots[slot] == category]
        sets = grammar().lexicon[category]
        for slot, index in zip(names, rng.choice(len(sets), len(names), replace=False), strict=True):
            a, b = sets[index]
            chosen[slot] = (a, b) if rng.random() < 0.5 else (b, a)
    return chosen


def write(frame: str, variables: dict[str, str]) -> str:
    """Sentence of a frame: variables filled in ({x_s}: plural of x), first letter raised, full stop."""
    plurals = {f"{name}_s": grammar().plural(word) for name, word in variables.items()}
    text = re.sub(r" +", " ", frame.format(**variables, **plurals)).strip()
    return text[0].upper() + text[1:] + "."


def write_cell(family: Family, words: Draw, meaning: int, wording: int, frame: int) -> str:
    """Sentence of one cell of a family's crossed design."""
    chosen = {slot: pair[wording] for slot, pair in words.items()}
    meant = {variable: chosen.get(target, target) for variable, target in family.meanings[meaning].items()}
    return write(family.frames[frame], chosen | meant)
