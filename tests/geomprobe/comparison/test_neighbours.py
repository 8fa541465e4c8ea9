"""Rows whose neighbours changed: the share that both models name, against sets and against mutual_knn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geomprobe.analysis.maps import neighbour_rows
from geomprobe.comparison.neighbours import neighbour_overlap
from geomprobe.inference.similarity import similarity
from geomprobe.metrics.maps import squared_distances
from geomprobe.metrics.matrix import Matrix


def test_the_overlap_is_that_of_sets_and_its_mean_mutual_knn():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((50, 6))
    sides = Z, Z + 0.5 * rng.standard_normal(Z.shape)
    ids = [f"row {i}" for i in range(50)]
    first, second = (neighbour_rows(squared_distances(Matrix(side)), ids) for side in sides)
    found = neighbour_overlap(first, second)
    named = [table.groupby("row_id")["neighbour"].agg(set) for table in (first, second)]
    slow = {i: len(named[0][i] & named[1][i]) / 10 for i in ids}
    assert dict(zip(found["row_id"], found["overlap"], strict=True)) == slow
    # least first, equal ones as they stand
    assert found["row_id"].tolist() == sorted(ids, key=lambda i: slow[i])
    knn = similarity(*sides, metrics=["mutual_knn"], permutations=0, intervals=False)["value"][0]
    assert found["overlap"].mean() == pytest.approx(knn)


def test_no_and_all_neighbours_in_common():
    first = pd.DataFrame({"row_id": ["b", "b", "a", "a"], "neighbour": ["x", "y", "x", "y"]})
    other = first.assign(neighbour=["y", "x", "p", "q"])
    assert neighbour_overlap(first, other).values.tolist() == [["a", 0.0], ["b", 1.0]]
