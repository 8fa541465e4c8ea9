"""Letters of models against their definition, a published example and the algorithm as it was published first."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from geomprobe.inference.letters import letters


def relation(k: int, pairs) -> np.ndarray:
    apart = np.zeros((k, k), bool)
    for i, j in pairs:
        apart[i, j] = apart[j, i] = True
    return apart


def insert_and_absorb(apart: np.ndarray) -> set[frozenset[int]]:
    """Piepho (2004): split each column that holds a pair that is apart, drop columns inside others."""
    columns = {frozenset(range(len(apart)))}
    for i, j in zip(*np.nonzero(np.triu(apart)), strict=True):
        split = {part for c in columns for part in ((c - {i}, c - {j}) if {i, j} <= c else (c,))}
        columns = {c for c in split if not any(c < other for other in split)}
    return columns


def columns_of(found: list[str]) -> set[frozenset[int]]:
    return {frozenset(k for k, own in enumerate(found) if letter in own) for letter in set("".join(found))}


def share(found: list[str], i: int, j: int) -> bool:
    return bool(set(found[i]) & set(found[j]))


@pytest.mark.parametrize("seed", range(40))
def test_two_share_a_letter_exactly_where_they_are_not_apart(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 14))
    apart = relation(k, [pair for pair in combinations(range(k), 2) if rng.random() < rng.random()])
    found = letters(apart)
    assert all(found)
    assert all(share(found, i, j) != apart[i, j] for i, j in combinations(range(k), 2))
    # no letter can be given to one more model, and there are no more of them than by insertion and absorption
    assert columns_of(found) <= insert_and_absorb(apart)


@pytest.mark.parametrize("seed", range(20))
def test_where_values_a_step_apart_are_told_apart_the_letters_are_those_of_insertion_and_absorption(seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=12))
    apart = np.abs(values[:, None] - values) > 0.7
    found = letters(apart)
    assert columns_of(found) == insert_and_absorb(apart)
    firsts = [min(own) for own in found]
    assert firsts == sorted(firsts)
    assert found[0][0] == "a"


def test_the_published_example():
    """Gramm et al. (2007), figure 2: five treatments, four pairs of them apart, three letters."""
    apart = relation(5, [(0, 4), (1, 2), (1, 4), (2, 4)])
    assert columns_of(letters(apart)) == {frozenset({0, 1, 3}), frozenset({0, 2, 3}), frozenset({3, 4})}


def test_many_pairs_that_are_apart_take_few_letters():
    """Insertion and absorption makes 2¹⁶ columns of 16 pairs that are told apart, and no others."""
    apart = relation(32, [(2 * i, 2 * i + 1) for i in range(16)])
    found = letters(apart)
    assert all(share(found, i, j) != apart[i, j] for i, j in combinations(range(32), 2))
    assert len(set("".join(found))) < 52
