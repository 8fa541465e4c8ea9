"""The order of the data: a permutation in every pass, a pure function of (seed, step)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomprobe.pretrain.data import permute, row_indices


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**63))
def test_permute_is_a_permutation(n, key):
    assert np.array_equal(np.sort(permute(np.arange(n), n, key)), np.arange(n))


def test_permute_mixes():
    """Neighbours are sent apart, and keys give unrelated orders."""
    n = 10_000
    a, b = permute(np.arange(n), n, 1), permute(np.arange(n), n, 2)
    assert abs(np.corrcoef(a, np.arange(n))[0, 1]) < 0.04
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.04
    assert (np.abs(np.diff(a)) == 1).mean() < 0.002
    assert (a == b).mean() < 0.002


@pytest.mark.parametrize("n_rows", [7, 64, 1000])
def test_each_pass_visits_every_row_once(n_rows):
    drawn = np.concatenate([row_indices(3, step, 8, n_rows) for step in range(3 * n_rows // 8 + 1)])
    passes = [drawn[k * n_rows : (k + 1) * n_rows] for k in range(3)]
    for rows in passes:
        assert np.array_equal(np.sort(rows), np.arange(n_rows)[: len(rows)] if len(rows) == n_rows else np.sort(rows))
        assert len(np.unique(rows)) == len(rows)
    assert not np.array_equal(passes[0], passes[1])


def test_huge_corpora_need_no_memory():
    n = 10**12
    out = row_indices(0, 123_456_789, 4096, n)
    assert out.min() >= 0
    assert out.max() < n
    assert len(np.unique(out)) == 4096


def test_seed_decides():
    assert np.array_equal(row_indices(1, 5, 32, 999), row_indices(1, 5, 32, 999))
    assert not np.array_equal(row_indices(1, 5, 32, 999), row_indices(2, 5, 32, 999))
