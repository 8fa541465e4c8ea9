"""The verdict in words: in how many cells each verdict holds."""

from __future__ import annotations

from collections import Counter

import pytest

from geomprobe.reports import build_view
from geomprobe.results.summary.words import in_cells


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"higher": 10, "equivalent": 10}, "higher in 10 of 20 cells, equivalent in the other 10"),
        (
            {"equivalent": 1, "unclear": 4, "lower": 2},
            "no clear difference in 4 of 7 cells, lower in 2, equivalent in the other 1",
        ),
        ({"equivalent": 4, "lower": 0}, "equivalent in all 4 cells"),
        ({"none": 1}, "no verdict in the one cell"),
    ],
)
def test_every_cell_is_counted_once(counts, sentence):
    assert in_cells(Counter(counts)) == sentence


def test_metrics_without_a_majority_are_named_with_their_cells(make_results):
    results = make_results(tasks=("sst2", "mrpc"), poolings=("mean", "max"), intervals=True)
    results.comparisons["verdict"] = "equivalent"
    results.comparisons["diff"] = 0.5
    raw = (results.comparisons["metric"] == "uniformity") & (results.comparisons["view"] == "raw")
    results.comparisons.loc[~raw, "verdict"] = "different"
    sentence = build_view(results)["verdict"]["sentence"]
    assert sentence.startswith("hybrid has higher uniformity (centred) in 4 of 4 cells")
    assert sentence.endswith("compared with mlm. Uniformity (raw): equivalent in all 4 cells.")
