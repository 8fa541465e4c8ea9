"""The words of a text, as lexical targets, overlaps and balance checks count them."""

from __future__ import annotations

import re

import numpy as np

from geomprobe.tasks.base import Split

WORD = re.compile(r"\w+(?:['’]\w+)*")


def words(text: str) -> list[str]:
    """Lower-cased words of a text, punctuation left out."""
    return WORD.findall(text.lower())


def word_overlap(split: Split) -> np.ndarray:
    """Jaccard overlap of the word sets of each pair, float64 (n,); 0 where neither side has a word."""
    sides = [(set(words(a)), set(words(b))) for a, b in zip(split.first, split.second or (), strict=True)]
    return np.array([len(a & b) / max(len(a | b), 1) for a, b in sides])
