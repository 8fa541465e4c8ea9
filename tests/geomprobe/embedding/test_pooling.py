"""Poolings: closed forms, padding that never counts, initial values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomprobe.common import UsageError
from geomprobe.embedding.pooling import POOLINGS, Pooler, make_pooler, pool

DIM = 8


def every_pooler(seed=0):
    trained = np.random.default_rng(seed).normal(size=4).astype(np.float32)
    return [make_pooler(name, DIM, seed=seed) for name in POOLINGS] + [Pooler("weighted", trained, True, seed)]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    extra=st.integers(0, 6),
    left=st.booleans(),
    seed=st.integers(0, 999),
)
def test_padding_never_counts(lengths, extra, left, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(n, DIM, generator=generator) for n in lengths]
    width = max(lengths) + extra
    states = torch.full((len(rows), width, DIM), torch.nan)  # not even NaN may leak
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        states[i, place], mask[i, place] = row, True
    poolers = every_pooler(seed)
    together = pool(states, mask, poolers)
    for i, row in enumerate(rows):
        alone = pool(row[None], torch.ones(1, len(row), dtype=torch.bool), poolers)
        for pooler, a, b in zip(poolers, together, alone, strict=True):
            torch.testing.assert_close(a[i], b[0], rtol=1e-5, atol=1e-6, msg=lambda m, p=pooler: f"{p.name}: {m}")


def test_closed_forms():
    states = torch.tensor([[[1.0, 5.0], [3.0, -1.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    weighted = Pooler("weighted", np.log(np.array([1, 3], np.float32)), True)
    attention = Pooler("attention", np.array([np.log(3) / 2, 0], np.float32), True)
    poolers = [make_pooler(n, 2) for n in ("mean", "max", "cls", "last")] + [weighted, attention]
    expected = [[2, 2], [3, 5], [1, 5], [3, -1], [2.5, 0.5], [2.5, 0.5]]
    for vector, value in zip(pool(states, mask, poolers), expected, strict=True):
        torch.testing.assert_close(vector[0], torch.tensor(value, dtype=torch.float32))


def test_weighted_takes_its_last_value_beyond_the_trained_positions():
    states = torch.randn(1, 7, DIM)
    mask = torch.ones(1, 7, dtype=torch.bool)
    short = Pooler("weighted", np.array([0, 1, 2], np.float32), True)
    long = Pooler("weighted", np.array([0, 1, 2, 2, 2, 2, 2], np.float32), True)
    assert torch.equal(*pool(states, mask, [short, long]))


def test_untrained_weighted_is_mean_bit_for_bit():
    states = torch.randn(16, 11, DIM)
    mask = torch.arange(11) < torch.randint(1, 12, (16, 1))
    mean, weighted = pool(states, mask, [make_pooler("mean", DIM), make_pooler("weighted", DIM)])
    assert torch.equal(mean, weighted)


def test_attention_is_the_folded_form_of_query_and_key():
    seed, states = 3, torch.randn(2, 5, DIM)
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(DIM, generator=generator, dtype=torch.float64)
    key = (2 * torch.rand(DIM, DIM, generator=generator, dtype=torch.float64) - 1) * (6 / (2 * DIM)) ** 0.5
    logits = torch.einsum("d,de,bte->bt", query, key, states.double()) / DIM**0.5
    expected = torch.einsum("bt,btd->bd", logits.softmax(1), states.double())
    (vector,) = pool(states, torch.ones(2, 5, dtype=torch.bool), [make_pooler("attention", DIM, seed=seed)])
    torch.testing.assert_close(vector.double(), expected, rtol=1e-5, atol=1e-6)


def test_seeds_and_notes():
    a, b, c = (make_pooler("attention", DIM, seed=s) for s in (0, 0, 1))
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert "untrained" in a.note
    assert "untrained" in make_pooler("weighted", DIM).note
    assert make_pooler("mean", DIM).note == ""


def test_float16_states_are_pooled_in_float32():
    states = torch.full((1, 4096, 2), 60000.0, dtype=torch.float16)
    for vector in pool(states, torch.ones(1, 4096, dtype=torch.bool), every_pooler()[:2]):
        assert vector.dtype == torch.float32
        torch.testing.assert_close(vector, torch.full((1, 2), 60000.0), rtol=1e-5, atol=0)


def test_unknown_name_names_the_nearest():
    with pytest.raises(UsageError, match="mean"):
        make_pooler("maen", DIM)
