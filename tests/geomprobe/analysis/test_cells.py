"""Cells: their keys stay what they are, so that what was measured before is found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from geomprobe.analysis.cells import CellContext
from geomprobe.analysis.protocols import STRICT
from geomprobe.analysis.texts import TaskTexts
from geomprobe.analysis.variants import FULL, Variant
from geomprobe.encoders import Encoder
from geomprobe.predict_reconstruct.protocol import PAPER
from geomprobe.tasks.base import Split, Task

WORDS = ("the cat", "a dog", "the tree", "a bird")


@pytest.fixture
def fixed(monkeypatch):
    """An encoder and a task whose content is the same on every machine and in every version."""
    monkeypatch.setattr("geomprobe.__version__", "0")
    monkeypatch.setattr(Encoder, "hash", "e" * 64)
    encoder = Encoder("toy", "toy", "path", nn.Linear(1, 1), None, max_length=64, default_prompt="query: ")
    rows = Split("validation", WORDS, None, np.arange(4, dtype="<i8") % 2, ("0", "1", "2", "3"))
    return encoder, Task("toy", "classification", None, rows, ("a", "b"), "accuracy")


@pytest.mark.parametrize(
    ("layer", "pooling", "protocol", "seed", "matched", "prompt", "variant", "key"),
    [
        (2, "mean", STRICT, 0, None, None, FULL, "d9732a68a2da"),
        (0, "weighted", STRICT, 3, 20, None, FULL, "302ccf21308f"),
        (2, "model", STRICT, 0, None, None, FULL, "fe0d3e98295d"),
        (2, "mean", STRICT, 0, None, "passage: ", FULL, "a338323c8f49"),
        (2, "max", PAPER, 0, None, None, FULL, "ca7c371bd6b5"),
        (2, "mean", STRICT, 0, None, None, Variant("int8", 8, True), "b9feab75488f"),
    ],
)
def test_the_key_of_a_cell_is_what_it_was(fixed, layer, pooling, protocol, seed, matched, prompt, variant, key):
    """It may change where numbers do (CELLS, VERSION): then the kept cells are measured again."""
    encoder, task = fixed
    encoder, texts = replace(encoder, prompt=prompt), TaskTexts.of(task, matched)
    assert CellContext(encoder, texts, layer, pooling, protocol, seed, variant).key[:12] == key
