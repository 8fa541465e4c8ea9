"""Rarefaction and N-matching: the same population gives the same value at the same number of rows."""

import numpy as np
import pytest

from geomprobe.api import measure
from geomprobe.metrics.sample_size import rarefaction


def draw(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 40)) * np.arange(1, 41) ** -0.5


def test_ranks_grow_with_rows_and_end_at_the_whole():
    x = draw(600, 0)
    curve = rarefaction(x, metrics=["effective_rank", "participation_ratio"], sizes=[50, 150, 600], draws=4)
    ranks = curve[curve["metric"] == "effective_rank"]
    assert ranks["value"].is_monotonic_increasing
    assert ranks["n"].tolist() == [50, 150, 600]
    whole = measure(x, metrics=["effective_rank"], intervals=False)["value"].iloc[0]
    assert ranks["value"].iloc[-1] == pytest.approx(whole)
    assert ranks["draws"].tolist() == [4, 4, 1]
    again = rarefaction(x, metrics=["effective_rank", "participation_ratio"], sizes=[50, 150, 600], draws=4)
    assert again.equals(curve)


def test_default_sizes():
    curve = rarefaction(draw(200, 0), metrics=["effective_rank"], draws=1)
    assert curve["n"].min() == 3
    assert curve["n"].max() == 200


def test_matching_takes_the_bias_of_size_away():
    small, large = draw(60, 1), draw(1500, 2)
    apart = [measure(x, metrics=["effective_rank"], intervals=False)["value"].iloc[0] for x in (small, large)]
    alike = [rarefaction(x, metrics=["effective_rank"], sizes=[60], draws=6)["value"].iloc[0] for x in (small, large)]
    assert apart[1] - apart[0] > 3
    assert abs(alike[1] - alike[0]) < 1.2


def test_sizes_are_checked():
    for sizes in ([1], [30, 61], []):
        with pytest.raises(ValueError, match="sizes"):
            rarefaction(draw(60, 0), sizes=sizes)
