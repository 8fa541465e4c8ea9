"""The controlled suite: deterministic, balanced, and blind to a bag of words."""

from __future__ import annotations

from collections import Counter

import pytest

from geomprobe.common import UsageError
from geomprobe.probes.controls import words
from geomprobe.tasks import controlled


def test_same_seed_same_task():
    a, b = (controlled.load(train_rows=40, validation_rows=20, seed=3) for _ in range(2))
    assert a.fingerprint == b.fingerprint
    assert a.fingerprint != controlled.load(train_rows=40, validation_rows=20, seed=4).fingerprint


def test_splits_share_no_sentence():
    task = controlled.load(train_rows=400, validation_rows=200)
    sides = [set(split.first) | set(split.second) for split in (task.train, task.validation)]
    assert not sides[0] & sides[1]


def test_no_word_tells_the_label():
    split = controlled.load(train_rows=400, validation_rows=200).train
    counts = [
        Counter(
            w
            for a, b, y in zip(split.first, split.second, split.labels, strict=True)
            if y == label
            for w in words(a + " " + b)
        )
        for label in (0, 1)
    ]
    assert counts[0] == counts[1]


def test_odd_number_of_rows_is_refused():
    with pytest.raises(UsageError):
        controlled.load(train_rows=3)
