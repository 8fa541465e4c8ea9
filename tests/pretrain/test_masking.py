"""Masks and blocks: what may never happen does not, for thousands of draws and all lengths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomprobe.pretrain import masking, paper

SPECIAL = {"pad": 0, "cls": 2, "sep": 3, "mask": 4}


def rows(n, length, seed=0):
    ids = np.random.default_rng(seed).integers(5, 200, (n, length))
    ids[:, 0], ids[:, -1] = 2, 3
    ids[:, length // 3] = 3
    return ids


@settings(max_examples=300, deadline=None)
@given(st.integers(16, 512), st.integers(0, 3), st.integers(0, 2**31), st.integers(0, 10**7), st.floats(0.3, 1.0))
def test_context_and_targets_are_disjoint_and_inside(length, which, seed, step, fraction):
    size = masking.block_sizes(length)[which]
    blocks = masking.draw_blocks(8, length, size, context_fraction=fraction, seed=seed, step=step)
    assert blocks.targets.shape == (8, 2 * size)
    assert blocks.context.shape == (8, masking.context_length(length, size, fraction))
    for context, targets in zip(blocks.context, blocks.targets, strict=True):
        first, second = targets[:size], targets[size:]
        assert (np.diff(first) == 1).all()
        assert (np.diff(second) == 1).all()
        assert len(np.unique(targets)) == 2 * size
        assert not np.isin(context, targets).any()
        free = np.setdiff1d(np.arange(1, length - 1), targets)
        start = int(np.searchsorted(free, context[0]))
        assert np.array_equal(free[start : start + len(context)], context)  # a run among the positions left over
        assert min(context[0], targets[0]) >= 1
        assert max(context[-1], targets[-1]) <= length - 2


def test_no_context_holds_a_target_at_any_length():
    """Every row length and block size of the four, 4 rows each: 8,000 draws."""
    for length in range(16, 513):
        for step, size in enumerate(masking.block_sizes(length)):
            blocks = masking.draw_blocks(4, length, size, context_fraction=0.75, seed=length, step=step)
            seen = np.zeros((4, length), dtype=int)
            for positions in (blocks.context, blocks.targets):
                np.put_along_axis(seen, positions, np.take_along_axis(seen, positions, 1) + 1, 1)
            assert seen.max() == 1
            assert seen.sum() == 4 * (masking.context_length(length, size, 0.75) + 2 * size)  # no slot is filler


def test_every_place_is_drawn():
    blocks = masking.draw_blocks(4000, 32, 5, context_fraction=0.75, seed=1, step=2)
    for positions in (blocks.targets, blocks.context):
        counts = np.bincount(positions.ravel(), minlength=32)
        assert (counts[1:31] > 0).all()
        assert counts[0] == counts[31] == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(16, 300), st.integers(0, 2**31), st.integers(0, 10**7))
def test_masks_have_a_fixed_count_and_spare_special_tokens(length, seed, step):
    ids = rows(6, length)
    count = masking.masked_count(length, 0.15)
    masked, positions = masking.mask_tokens(ids, count=count, special=SPECIAL, vocab_size=200, seed=seed, step=step)
    assert positions.shape == (6, count)
    assert (np.diff(positions, axis=1) > 0).all()
    chosen = np.take_along_axis(ids, positions, 1)
    assert not np.isin(chosen, list(SPECIAL.values())).any()
    untouched = np.ones_like(ids, dtype=bool)
    np.put_along_axis(untouched, positions, False, 1)
    assert np.array_equal(masked[untouched], ids[untouched])
    inserted = np.take_along_axis(masked, positions, 1)
    assert not np.isin(inserted, [0, 2, 3]).any()


@settings(max_examples=100, deadline=None)
@given(st.integers(24, 300), st.integers(2, 6), st.integers(0, 2**31), st.integers(0, 10**7))
def test_masked_spans_step_over_special_tokens(length, span, seed, step):
    ids = rows(6, length)
    count = masking.masked_count(length, 0.3, span)
    assert count % span == 0
    _, positions = masking.mask_tokens(
        ids, count=count, span=span, special=SPECIAL, vocab_size=200, seed=seed, step=step
    )
    ordinary = np.flatnonzero(~np.isin(ids[0], list(SPECIAL.values())))  # at the same places in all rows
    assert positions.shape == (6, count)
    for chosen in positions:
        order = np.searchsorted(ordinary, chosen)
        assert np.array_equal(ordinary[order], chosen)
        assert (np.diff(order.reshape(-1, span), axis=1) == 1).all()  # neighbours among the ordinary tokens
        assert len(np.unique(order)) == count


def test_spans_in_a_row_of_very_short_documents():
    """With too few ordinary tokens, special ones are masked; the same positions every time, none twice."""
    ids = rows(2, 24)
    ids[:, 2:22] = 3
    given = {"count": 8, "span": 4, "special": SPECIAL, "vocab_size": 200, "seed": 0, "step": 0}
    (masked, positions), again = masking.mask_tokens(ids, **given), masking.mask_tokens(ids, **given)
    assert np.array_equal(masked, again[0])
    assert all(len(np.unique(chosen)) == 8 and 1 <= chosen.min() <= chosen.max() <= 22 for chosen in positions)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 16), min_size=1, max_size=6), st.integers(0, 60), st.integers(0, 2**31))
def test_target_spans_are_apart_and_the_context_is_the_rest(lengths, spare, seed):
    length = sum(lengths) + spare + 3
    blocks = masking.draw_spans(4, length, lengths, seed=seed, step=3)
    for context, targets in zip(blocks.context, blocks.targets, strict=True):
        assert np.array_equal(np.sort(np.concatenate([context, targets])), np.arange(1, length - 1))
        assert (np.diff(context) > 0).all()
        for span in np.split(targets, np.cumsum(lengths)[:-1]):
            assert (np.diff(span) == 1).all()


def test_spans_reach_every_place_equally():
    """Two spans of 2 and 3 in 9 places have 30 arrangements; each comes as often as the others."""
    blocks = masking.draw_spans(6000, 11, [2, 3], seed=0, step=0)
    _, counts = np.unique(blocks.targets, axis=0, return_counts=True)
    assert len(counts) == 30
    assert 0.7 * 200 < counts.min() <= counts.max() < 1.3 * 200


def test_eighty_ten_ten():
    ids = rows(2000, 128)
    masked, positions = masking.mask_tokens(ids, count=19, special=SPECIAL, vocab_size=200, seed=0, step=0)
    before, after = np.take_along_axis(ids, positions, 1), np.take_along_axis(masked, positions, 1)
    assert abs((after == 4).mean() - 0.8) < 0.01
    assert abs((after == before).mean() - 0.1) < 0.01
    drawn = after[(after != 4) & (after != before)]
    assert drawn.min() == 1  # the one ordinary id among the special ones
    assert drawn.max() == 199


def test_a_row_does_not_depend_on_its_batch():
    ids = rows(8, 64)
    whole = masking.mask_tokens(ids, count=9, special=SPECIAL, vocab_size=200, seed=3, step=7)
    part = masking.mask_tokens(ids[5:], count=9, special=SPECIAL, vocab_size=200, seed=3, step=7, first_row=5)
    assert np.array_equal(whole[0][5:], part[0])
    a = masking.draw_blocks(8, 64, 9, context_fraction=0.75, seed=3, step=7)
    b = masking.draw_blocks(3, 64, 9, context_fraction=0.75, seed=3, step=7, first_row=5)
    assert np.array_equal(a.context[5:], b.context)
    assert np.array_equal(a.targets[5:], b.targets)
    other = masking.draw_blocks(8, 64, 9, context_fraction=0.75, seed=3, step=8)
    assert not np.array_equal(a.targets, other.targets)


def test_the_papers_masks_leak():
    """About half of the targets are visible in the paper's context at 128 tokens; a third of its slots are filler."""
    blocks = paper.draw_blocks(2000, 128, seed=0, step=0)
    leaked = [np.isin(t[t > 0], c).mean() for c, t in zip(blocks.context, blocks.targets, strict=True)]
    assert 0.35 < np.mean(leaked) < 0.65
    assert 0.2 < (blocks.context == 0).mean() < 0.45
    assert blocks.context.shape[1], blocks.targets.shape[1] == paper.slots(128)


@pytest.mark.parametrize("length", [16, 128, 512])
def test_four_block_sizes(length):
    sizes = masking.block_sizes(length)
    assert len(sizes) == 4
    drawn = {masking.draw_block_size(length, seed=0, step=step) for step in range(200)}
    assert drawn == set(sizes)
