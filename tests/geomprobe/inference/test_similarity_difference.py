"""Differences of two similarities on the same rows: what both pairs share cancels, and no more than that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import geomprobe as gp
from geomprobe.common import UsageError
from geomprobe.metrics.similarity import SIMILARITIES

SMOOTH = ("linear_cka", "linear_cka_unbiased", "procrustes", "rsa_spearman")


def sides(seed: int, *noises: float, n: int = 200) -> list[np.ndarray]:
    """Encoders of the same rows, each with noise of its own of this size."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, 33) ** -0.5
    shared = rng.normal(size=(n, 32))
    return [(shared + noise * rng.normal(size=(n, 32))) * scale for noise in noises]


def test_the_rows_are_those_of_two_similarities():
    a, b, c = sides(0, 0.5, 0.3, 1.0)
    found = gp.similarity_difference((a, b), (a, c))
    first, second = (gp.similarity(a, other, permutations=0) for other in (b, c))
    assert list(found["metric"]) == list(SIMILARITIES)
    assert np.array_equal(found["value_a"], first["value"])
    assert np.array_equal(found["value_b"], second["value"])
    assert found["diff"].to_numpy() == pytest.approx(second["value"] - first["value"])
    assert (found["diff"] < 0).tolist() == [name != "procrustes" for name in SIMILARITIES]  # which is a distance
    assert (found["p_holm"] >= found["p"]).all()
    labels = found.set_index("metric")["ci_method"]
    assert all(labels[name].endswith("probably too large") for name in ("mutual_knn", "cknna"))
    back = gp.similarity_difference((a, c), (a, b))
    assert back["diff"].to_numpy() == pytest.approx(-found["diff"])
    assert back["se"].to_numpy() == pytest.approx(found["se"])


def test_equal_pairs_differ_by_nothing_and_undefined_ones_say_why():
    a, b, c = sides(0, 0.5, 0.3, 1.0)
    same = gp.similarity_difference((a, b), (a, 3 * b))
    assert (same["diff"].abs() < 1e-6).all()
    smooth = same[same["metric"].isin(("linear_cka", "linear_cka_unbiased"))]
    assert (smooth["diff"] == 0).all()
    assert (smooth["se"] < 1e-12).all()
    flat = gp.similarity_difference((a, b), (a, np.ones((200, 3))), metrics="linear_cka").loc[0]
    assert (flat.status, pd.isna(flat["diff"]), pd.isna(flat.p_holm)) == ("not applicable", True, True)
    assert flat.note
    few = gp.similarity_difference((a[:20], b[:20]), (a[:20], c[:20]), metrics=["mutual_knn"]).loc[0]
    assert few.ci_method == "no valid interval: fewer than 30 independent rows"
    assert few["diff"] == pytest.approx(few.value_b - few.value_a)


def test_clusters_and_the_sample_of_rsa_are_the_same_for_both_pairs(monkeypatch):
    a, b, c = sides(1, 0.5, 0.3, 0.3)
    twice = [np.repeat(side, 2, axis=0) for side in (a, b, c)]
    clusters = np.repeat(np.arange(200), 2)
    once = gp.similarity_difference((a, b), (a, c), metrics=["linear_cka"]).loc[0]
    found = gp.similarity_difference(
        (twice[0], twice[1]), (twice[0], twice[2]), metrics="linear_cka", clusters=clusters
    )
    assert found["se"][0] == pytest.approx(once.se, rel=0.02)
    monkeypatch.setitem(SIMILARITIES, "rsa_spearman", replace(SIMILARITIES["rsa_spearman"], most_rows=90))
    rsa = gp.similarity_difference((a, b), (a, c), metrics=["rsa_spearman"], seed=3).loc[0]
    assert rsa.value_a == gp.similarity(a, b, metrics=["rsa_spearman"], permutations=0, seed=3)["value"][0]
    assert rsa.note == "seeded sample of 90 rows"


def test_intervals_of_differences_hold_and_two_separate_ones_are_too_wide():
    found = check(("linear_cka",), (0.3, 0.3), 60, n=200)
    assert (found["apart"] > 1.2 * found["se"]).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("noises", [(0.3, 0.3), (1.0, 1.0), (0.3, 1.0)])
@pytest.mark.parametrize("n", [200, 1000])
def test_intervals_of_differences_hold_in_many_draws(n, noises):
    check(SMOOTH, noises, 200 if n == 200 else 60, n=n)


def check(names: tuple[str, ...], noises: tuple[float, float], draws: int, n: int) -> pd.DataFrame:
    """Rows of differences and of two separate errors, after a look at coverage, size and false positives."""
    found = []
    for seed in range(draws):
        a, b, c = sides(seed, 0.5, *noises, n=n)
        row = gp.similarity_difference((a, b), (a, c), metrics=names)
        alone = [gp.similarity(a, side, metrics=names, permutations=0)["se"] for side in (b, c)]
        found.append(row.assign(apart=np.sqrt(alone[0] ** 2 + alone[1] ** 2)))
    frame = pd.concat(found, ignore_index=True)
    for name, rows in frame.groupby("metric"):
        truth = rows["diff"].mean()
        covered = ((rows["ci_low"] <= truth) & (truth <= rows["ci_high"])).mean()
        spread = rows["diff"].std()
        assert covered > 0.9, name
        assert 0.8 < rows["se"].mean() / spread < 1.4, name
        rejected = (rows["p"] < 0.05).mean()
        assert rejected < 0.1 if noises[0] == noises[1] else rejected > 0.9, name
    return frame


def test_what_is_no_pair_or_has_other_rows_is_refused():
    a, b, c = sides(0, 0.5, 0.3, 1.0)
    for first in (a, (a,), (a, b, c)):
        with pytest.raises(ValueError, match="pairs of vectors"):
            gp.similarity_difference(first, (a, b))
    with pytest.raises(ValueError, match="same rows: 200, 200, 200, 199"):
        gp.similarity_difference((a, b), (a, c[1:]))
    with pytest.raises(ValueError, match="clusters"):
        gp.similarity_difference((a, b), (a, c), clusters=[1])
    with pytest.raises(UsageError, match="cka"):
        gp.similarity_difference((a, b), (a, c), metrics=["cka"])
