"""Calibration in a user's own population: what is right holds, what is wrong is found with the right factor."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import geomprobe as gp
from geomprobe.common import UsageError
from geomprobe.inference.calibration import Population, _judged, binomial_interval
from geomprobe.metrics import embeddings_of

Z = np.random.default_rng(0).normal(size=(800, 3)) + 1.0


def first_mean(factor: float = 1.0, **changed) -> gp.Metric:
    """Mean of the first coordinate, with a derivative that is wrong by a factor."""
    fields = {
        "name": "first_mean",
        "family": "means",
        "compute": lambda embeddings: embeddings.state.mean[0],
        "influence": lambda embeddings: factor * (embeddings.vectors[:, 0] - embeddings.state.mean[0]),
        "formula": "mean x₁",
        "range": "(-∞, ∞)",
        "direction": "larger: further along the first axis",
        "source": "this test",
        "invariances": (),
    }
    return gp.Metric(**(fields | changed))


def drawn_means(factor: float, n: int, draws: int, of: np.ndarray) -> pd.DataFrame:
    """Draws of a mean, without replacement, with an interval that is wrong by a factor."""
    x = np.random.default_rng(1).permuted(np.tile(of, (draws, 1)), axis=1)[:, :n]
    value, se = x.mean(1), factor * x.std(1, ddof=1) / np.sqrt(n)
    half = stats.t.ppf(0.975, n - 1) * se
    known = {"status": "ok", "note": None, "ci_method": "influence function", "p_null": 0.5}
    return pd.DataFrame(known | {"value": value, "se": se, "ci_low": value - half, "ci_high": value + half})


@pytest.mark.parametrize("n", [20, 100, 200])
def test_draws_from_few_rows_say_what_draws_from_infinitely_many_would(n):
    drawn = drawn_means(1.0, n, 3000, Z[:, 0])
    found = _judged(drawn, n / len(Z))
    assert found["se_ratio"] == pytest.approx(1, abs=0.03)
    assert found["coverage"] == pytest.approx(0.95, abs=0.012)
    assert found["verdict"] == "holds"
    assert found["sd"] == pytest.approx(Z[:, 0].std(ddof=1) / np.sqrt(n), rel=0.04)
    if n == 200:  # without the correction, a quarter of all rows seems to have intervals that are too wide
        naive = _judged(drawn, 0.0)
        assert naive["se_ratio"] > 1.12
        assert naive["verdict"].startswith("too wide")


def test_the_factor_makes_a_wrong_interval_right():
    for wrong, said in ((0.5, "too narrow: multiply the standard error by 2"), (2.0, "too wide by a factor 2")):
        found = _judged(drawn_means(wrong, 100, 2000, Z[:, 0]), 100 / len(Z))
        words, _, factor = found["verdict"].rpartition(" ")
        assert said.startswith(words)
        assert float(factor) == pytest.approx(2, rel=0.06)


def test_an_error_of_zero_and_a_value_that_never_moves_are_said():
    none = drawn_means(0.0, 50, 200, Z[:, 0])
    assert _judged(none, 0.0)["verdict"] == "too narrow: the standard error is 0"
    still = drawn_means(1.0, 50, 200, Z[:, 0]).assign(value=1.0, ci_low=0.9, ci_high=1.1)
    assert _judged(still, 0.0)["verdict"] == "too wide: all draws have one value"


def test_few_draws_tell_little_and_a_label_is_said():
    of = {number: _judged(drawn_means(1.0, 50, number, Z[:, 0]), 50 / len(Z)) for number in (10, 100)}
    assert {found["verdict"] for found in of.values()} == {"too few draws to tell"}
    wide = drawn_means(2.0, 50, 500, Z[:, 0]).assign(ci_method="influence function, standard error probably too large")
    assert _judged(wide, 0.0)["verdict"].endswith("as its label says")
    refused = drawn_means(0.05, 50, 500, Z[:, 0])
    refused.loc[101:, ["se", "ci_low", "ci_high"]] = np.nan
    refused.loc[101:, "ci_method"] = "no valid interval: so"
    found = _judged(refused, 0.0)
    assert (found["reason"], found["intervals"]) == ("so", 101)
    assert found["verdict"].startswith("too narrow")
    found = _judged(refused.iloc[40:], 0.0)
    assert found["verdict"] == "no valid interval in 87 % of draws; those given miss too often"
    false = drawn_means(1.0, 50, 500, Z[:, 0])
    false.loc[:99, "p_null"] = 0.01
    assert _judged(false, 50 / len(Z))["verdict"] == "holds; 20 % of paired tests are false positives"


def test_binomial_intervals_are_those_of_scipy():
    for hits, count in ((0, 20), (17, 20), (20, 20)):
        found = stats.binomtest(hits, count).proportion_ci(0.99)
        assert binomial_interval(hits, count) == pytest.approx((found.low, found.high))


def test_draws_hold_whole_clusters_and_pairs_and_exactly_n_rows():
    clusters, pairs = np.repeat(np.arange(200), 4), np.stack([np.arange(0, 796, 8), np.arange(4, 800, 8)], 1)
    population = Population(embeddings_of(Z, positives=pairs, clusters=clusters), clusters)
    for seed in range(20):
        rows = population.draw(101, np.random.default_rng(seed))
        assert len(set(rows)) == len(rows) == 101
        sizes = np.bincount(population.units[rows])  # two clusters that pairs join
        assert sorted(set(sizes)) == [0, 101 % 8, 8]
        assert (sizes == 101 % 8).sum() == 1  # the last one is cut


def test_sides_are_exchangeable_pairs_of_one_cluster_and_class():
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(300), rng.integers(1, 5, 300))[:800]
    labels = clusters % 3
    population = Population(embeddings_of(Z[: len(clusters)], labels, clusters=clusters), clusters)
    differences = []
    for seed in range(300):
        a, b, units = population.sides(60, np.random.default_rng(seed))
        assert 57 <= len(a) == len(b) <= 60
        assert len({*a, *b}) == 2 * len(a)
        assert (labels[a] == labels[b]).all()
        for side in (a, b):  # a cluster is in one unit only
            assert len({*zip(clusters[side], units, strict=True)}) == len(set(clusters[side]))
        assert np.mean(clusters[a] == clusters[b]) > 0.4
        differences.append(clusters[a].mean() - clusters[b].mean())  # what rises with the order of the rows
    assert abs(np.mean(differences)) < 3 * stats.sem(differences)


def test_a_wrong_derivative_is_found_and_undeclared_clusters_too():
    told: list[tuple[int, int]] = []
    half = gp.calibrate(first_mean(0.3), Z, n=50, draws=60, progress=lambda *done: told.append(done))
    assert half["verdict"][0].startswith("too narrow: multiply the standard error by ")
    assert half["coverage_high"][0] < 0.93
    assert half["false_positives"][0] > 0.15
    assert told == [(i, 60) for i in range(1, 61)]
    pd.testing.assert_frame_equal(half, gp.calibrate(first_mean(0.3), Z, n=50, draws=60, progress=None))
    clusters = np.repeat(np.arange(200), 4)
    alike = np.random.default_rng(3).normal(size=(200, 3))[clusters] + 0.1 * Z
    declared = gp.calibrate(first_mean(), alike, n=80, draws=60, clusters=clusters).loc[0]
    assert declared.coverage > 0.9
    assert declared.se_ratio == pytest.approx(1, abs=0.25)
    # draws of single rows do not know of clusters: what is not declared cannot be seen, rows are then drawn alone
    assert gp.calibrate(first_mean(), alike, n=80, draws=60).loc[0].coverage > 0.9


def test_a_row_a_view_with_labels_and_pairs():
    pairs = np.arange(800).reshape(-1, 2)
    found = gp.calibrate("alignment", Z, n=60, draws=25, positives=pairs).loc[0]
    assert (found.intervals, found.tests) == (25, 0)
    assert pd.isna(found.false_positives)
    found = gp.calibrate("uniformity", Z, n=40, draws=3, views=["raw", "centred"])
    assert list(found["view"]) == ["raw", "centred"]
    assert set(found["verdict"]) == {"too few draws to tell"}
    found = gp.calibrate("class_separation", Z, n=80, draws=21, labels=np.arange(800) % 2).loc[0]
    assert (found.definition, found.tests) == ("standard", 21)


def test_a_metric_without_values_says_why():
    def broken(embeddings):
        raise ZeroDivisionError("no rows")

    found = gp.calibrate(first_mean(compute=broken), Z, n=40, draws=2).loc[0]
    assert found.verdict == "no value in 100 % of draws"
    assert "ZeroDivisionError: no rows" in found.reason
    found = gp.calibrate("hubness_skew", Z, n=40, draws=20, views="raw").loc[0]
    assert found.verdict == "no valid interval in 100 % of draws"
    assert not found.reason.startswith("no valid interval")


def test_what_cannot_be_calibrated_is_refused_with_the_reason():
    asked = {
        "n is 201 of 800 rows. Beyond a quarter": {"n": 201},
        "n is 1 of 800": {"n": 1},
        "n is 0 of 800 rows. A draw needs two": {"n": 0},
        "whole numbers, not 40.5": {"n": 40.5},
        "There are 7 rows": {"n": 2, "data": Z[:7]},
        "alignment needs positives": {"metric": "alignment", "n": 40},
        "draws is 1": {"n": 40, "draws": 1},
        "of type int": {"metric": 3, "n": 40},
        "effective_rnk": {"metric": "effective_rnk", "n": 40},
        "sideways": {"n": 40, "views": ["sideways"]},
        "these are moments": {"n": 40, "data": gp.Moments().update(Z)},
    }
    for said, options in asked.items():
        with pytest.raises(UsageError, match=said):
            gp.calibrate(**{"metric": "effective_rank", "data": Z, **options})
    with pytest.raises(ValueError, match="clusters must have shape"):
        gp.calibrate("effective_rank", Z, n=40, clusters=[1, 2])
    assert "a draw is 25 % of the rows" in gp.calibrate(first_mean(), Z, n=200, draws=2).loc[0].note


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["effective_rank", "mean_cosine", "uniformity"])
@pytest.mark.parametrize("rows", [800, 2000, 8000])
def test_draws_from_few_rows_agree_with_fresh_ones(metric, rows):
    """SE ratios of fresh draws of this cloud: 0.975, 0.975, 0.993 (400 draws)."""
    of = np.random.default_rng([rows, 1]).normal(size=(rows, 32)) * np.arange(1, 33) ** -0.5
    of[:, 0] += 1.5
    found = gp.calibrate(metric, of, n=200, views=["raw"]).loc[0]
    assert found.verdict == "holds"
    assert found.se_ratio == pytest.approx(1, abs=0.1)
    if rows == 800:
        assert found.se_ratio / np.sqrt(1 - 200 / rows) > 1.1  # without the correction for few rows
