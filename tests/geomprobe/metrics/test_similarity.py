"""Similarity of two encoders: plain formulas, declared invariances, honest nulls."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from geomprobe.common import UsageError
from geomprobe.inference import jackknife
from geomprobe.inference.similarity import Compared, estimate_of, similarity
from geomprobe.metrics.matrix import NEIGHBOURS, REACH, Matrix
from geomprobe.metrics.pairs import nearest
from geomprobe.metrics.similarity import COLUMNS, SIMILARITIES, similarity_map

N = 60


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 9)) + 0.5
    y = x[:, :5] @ rng.normal(size=(5, 12)) + 0.8 * rng.normal(size=(N, 12))
    return x, y


def one(x, y, name):
    return similarity(x, y, metrics=[name], permutations=0).iloc[0]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def hsic(k, m):
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    ones = np.ones(n)
    middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * ones @ k @ m @ ones) / (n * (n - 3))


def centred_kernel(x):
    y = x - x.mean(0)
    return y @ y.T


def neighbours(x):
    distance = cdist(unit(x), unit(x))
    np.fill_diagonal(distance, np.inf)
    return [set(row) for row in np.argsort(distance, 1)[:, :NEIGHBOURS]]


def cknna(x, y):
    k, m = unit(x) @ unit(x).T, unit(y) @ unit(y).T

    def align(a, b, near_a, near_b):
        total = 0.0
        for i in range(N):
            mean_a, mean_b = (np.delete(a[i], i).mean(), np.delete(b[i], i).mean())
            total += sum((a[i, j] - mean_a) * (b[i, j] - mean_b) for j in near_a[i] & near_b[i])
        return total

    near_x, near_y = neighbours(x), neighbours(y)
    return align(k, m, near_x, near_y) / np.sqrt(align(k, k, near_x, near_x) * align(m, m, near_y, near_y))


def procrustes(x, y):
    a, b = x - x.mean(0), y - y.mean(0)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return np.sqrt(2 - 2 * np.linalg.svd(a.T @ b, compute_uv=False).sum())


def cka(x, y):
    k, m = centred_kernel(x), centred_kernel(y)
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def cka_unbiased(x, y):
    k, m = x @ x.T, y @ y.T  # not centred: the estimate centres by itself
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def rsa(x, y):
    upper = np.triu_indices(N, 1)
    return spearmanr((unit(x) @ unit(x).T)[upper], (unit(y) @ unit(y).T)[upper]).statistic


DIRECT = {
    "linear_cka": cka,
    "linear_cka_unbiased": cka_unbiased,
    "procrustes": procrustes,
    "mutual_knn": lambda x, y: np.mean(
        [len(a & b) / NEIGHBOURS for a, b in zip(neighbours(x), neighbours(y), strict=True)]
    ),
    "cknna": cknna,
    "rsa_spearman": rsa,
}


def test_every_similarity_has_an_oracle():
    assert set(DIRECT) == set(SIMILARITIES)


@pytest.mark.parametrize("name", list(SIMILARITIES))
class TestEverySimilarity:
    def test_plain_formula(self, name, pair):
        assert one(*pair, name)["value"] == pytest.approx(DIRECT[name](*pair), rel=1e-9)

    def test_float32(self, name, pair):
        x, y = (side.astype(np.float32) for side in pair)
        expected = DIRECT[name](x.astype(float), y.astype(float))
        assert one(x, torch.from_numpy(y), name)["value"] == pytest.approx(expected, rel=1e-6)

    def test_symmetric_and_itself(self, name, pair):
        x, y = pair
        assert one(x, y, name)["value"] == pytest.approx(one(y, x, name)["value"], rel=1e-9)
        assert one(x, x, name)["value"] == pytest.approx(0 if name == "procrustes" else 1, abs=1e-7)

    @pytest.mark.parametrize("what", ["rotation", "scale", "shift", "row scale"])
    def test_invariances_are_as_declared(self, name, pair, what):
        x, y = pair
        rng = np.random.default_rng(1)
        moved = {
            "rotation": lambda: y @ np.linalg.qr(rng.normal(size=(12, 12)))[0],
            "scale": lambda: 1e3 * y,
            "shift": lambda: y + 3 * rng.normal(size=12),
            "row scale": lambda: y * rng.uniform(0.2, 5, (N, 1)),
        }[what]()
        same = one(x, moved, name)["value"] == pytest.approx(one(x, y, name)["value"], rel=1e-9)
        assert same == (what in SIMILARITIES[name].invariances)

    def test_null(self, name, pair):
        x, y = pair
        row = similarity(x, y, metrics=[name], permutations=30, seed=1).iloc[0]
        assert row["p"] == pytest.approx(1 / 31)
        independent = np.random.default_rng(9).normal(size=(N, 7))
        row = similarity(x, independent, metrics=[name], permutations=30, seed=1).iloc[0]
        assert row["p"] > 1 / 31
        assert abs(row["value"] - row["null_mean"]) < 5 * row["null_sd"]

    def test_no_value_is_said(self, name, pair):
        x, _ = pair
        rng = np.random.default_rng(0)
        one_direction = (rng.uniform(1, 2, (N, 1)) * rng.normal(size=5)).astype(np.float32)
        for other in (np.ones((N, 3)), np.zeros((N, 3)), np.tile(x[:1], (N, 1))):
            assert one(x, other, name)["status"] == "not applicable"
            assert one(other, x, name)["status"] == "not applicable"
        # rounding gives every direction an order of neighbours, and ties theirs
        scattered = np.linalg.qr(rng.normal(size=(N, N)))[0]  # all equally far from each other
        for other in (one_direction, one_direction[:, :1], np.sign(x[:, :1]), scattered, scattered.astype(np.float32)):
            row = one(x, other, name)
            if name in ("mutual_knn", "cknna"):
                assert row["status"] == "not applicable", row
            assert row["status"] in ("not applicable", "too few rows") or np.isfinite(row["value"])
        two = one(x[:2], x[:2] + 1, name)
        assert two["status"] == "too few rows" or np.isfinite(two["value"])


def test_independent_data_has_no_unbiased_similarity():
    """The biased estimate does not fall to zero for independent data where D is near N; the unbiased one does."""
    rng = np.random.default_rng(0)
    biased, unbiased = [], []
    for _ in range(20):
        x, y = rng.normal(size=(50, 100)), rng.normal(size=(50, 100))
        frame = similarity(x, y, metrics=["linear_cka", "linear_cka_unbiased"], permutations=0)
        biased.append(frame["value"].iloc[0])
        unbiased.append(frame["value"].iloc[1])
    assert np.mean(biased) > 0.6
    assert abs(np.mean(unbiased)) < 4 * np.std(unbiased) / np.sqrt(20)


def test_table_and_map(pair):
    x, y = pair
    frame = similarity(x, y, permutations=3)
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["metric"]) == list(SIMILARITIES)
    layers = similarity_map([x, y], [x, y, np.ones((N, 2))], "linear_cka")
    assert layers.shape == (2, 3)
    assert layers[0, 0] == pytest.approx(1)
    assert layers[0, 1] == pytest.approx(layers[1, 0])
    assert np.isnan(layers[:, 2]).all()


def test_input_is_checked(pair):
    x, y = pair
    with pytest.raises(ValueError, match="same rows"):
        similarity(x, y[:-1])
    with pytest.raises(ValueError, match="NaN"):
        similarity(x, np.where(y == y[0, 0], np.nan, y))
    with pytest.raises(ValueError, match="two rows"):
        similarity(x[:1], y[:1])
    with pytest.raises(UsageError, match="similarity"):
        similarity(x, y, metrics=["cka"])


def test_neighbours_are_gathered_in_blocks():
    """Wide rows, and many rows, take several blocks; the numbers do not depend on them."""
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 20_000)) / 100
    distances, rows = nearest(torch.from_numpy(wide), NEIGHBOURS)
    between = cdist(wide, wide, "sqeuclidean")
    np.testing.assert_allclose(distances, np.sort(between, axis=1)[:, 1 : NEIGHBOURS + 1], rtol=1e-9)
    np.testing.assert_allclose(np.take_along_axis(between, rows.numpy(), 1), distances, rtol=1e-9)
    many = Matrix(rng.normal(size=(2_000, 256)))
    cosines = (many.z @ many.z.T).numpy()
    expected = np.take_along_axis(cosines, many.neighbours, 1) - (cosines.sum(1, keepdims=True) - 1) / 1_999
    np.testing.assert_allclose(many.near_kernel, expected, atol=1e-12)


class TestIntervals:
    @pytest.mark.parametrize("name", ["linear_cka", "linear_cka_unbiased"])
    def test_influence_of_cka_is_exactly_what_leaving_a_row_out_does(self, pair, name):
        a, b = (Matrix(x) for x in pair)
        compute = SIMILARITIES[name].compute
        value = compute(a, b)
        left = np.array([compute(*(Matrix(np.delete(x, i, 0)) for x in pair)) for i in range(N)])
        moved = (N - 1) * (value - left)
        found = estimate_of(name, Compared(a, b, np.arange(N)), value)
        assert N * found.contributions == pytest.approx(moved - moved.mean(), abs=1e-10)

    @pytest.mark.parametrize("name", ["procrustes", "rsa_spearman"])
    def test_influence_is_near_what_leaving_a_row_out_does(self, name):
        rng = np.random.default_rng(1)
        x = rng.normal(size=(150, 5)) + 0.4
        y = x[:, :4] * [2, 1, 1, 0.5] + 0.7 * rng.normal(size=(150, 4))
        compute = SIMILARITIES[name].compute
        value = compute(Matrix(x), Matrix(y))
        left = np.array([compute(Matrix(np.delete(x, i, 0)), Matrix(np.delete(y, i, 0))) for i in range(0, 150, 3)])
        moved = 149 * (value - left)
        found = 150 * estimate_of(name, Compared(Matrix(x), Matrix(y), np.arange(150)), value).contributions[::3]
        assert np.corrcoef(found, moved)[0, 1] > 0.98
        assert found.std() == pytest.approx(moved.std(), rel=0.1)

    @pytest.mark.parametrize("name", ["mutual_knn", "cknna"])
    def test_jackknife_of_neighbours_is_the_slow_one_from_one_search(self, name):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(200, 6)) + 0.3
        y = x + rng.normal(size=x.shape)
        clusters = np.arange(200) // 2
        home = jackknife.shards(clusters, 0)
        compute = SIMILARITIES[name].compute
        values = np.array([compute(Matrix(x[home != s]), Matrix(y[home != s])) for s in range(20)])
        a, b = Matrix(x, REACH), Matrix(y, REACH)
        found = estimate_of(name, Compared(a, b, clusters), compute(a, b))
        expected = np.bincount(clusters, jackknife.spread(values, home))
        assert 200 * found.contributions == pytest.approx(expected, abs=1e-9)
        assert similarity(x, y, metrics=[name], clusters=clusters)["ci_method"].item() == (
            "delete-a-shard jackknife, 100 clusters, standard error probably too large"
        )

    @pytest.mark.thorough
    def test_standard_errors_are_the_spread_of_fresh_samples(self):
        """No smaller than it for any, and not much larger but for the similarities of neighbours, which say so."""
        drawn = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            shared = rng.normal(size=(120, 10)) * np.arange(1, 11) ** -0.5
            x, y = (shared + 0.7 * rng.normal(size=shared.shape) * np.arange(1, 11) ** -0.5 for _ in range(2))
            drawn.append(similarity(x, y, permutations=0).set_index("metric"))
        spread = pd.concat([frame["value"] for frame in drawn], axis=1).std(axis=1)
        ratio = pd.concat([frame["se"].astype(float) for frame in drawn], axis=1).mean(axis=1) / spread
        assert (ratio > 0.8).all(), ratio
        assert (ratio.drop(["mutual_knn", "cknna"]) < 1.3).all(), ratio
        methods = pd.concat([frame["ci_method"] for frame in drawn], axis=1)
        assert methods.loc["linear_cka"].eq("influence function").mean() > 0.9

    def test_equal_sides_are_equal_without_error(self, pair):
        x = pair[0]
        turned = x @ np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0]
        for same in (x, 3 * x, turned, (3 * x).astype(np.float32)):
            first = x.astype(np.float32) if same.dtype == np.float32 else x
            found = similarity(first, same, permutations=0).set_index("metric")
            assert found["se"].tolist() == [0] * 6
        found = similarity(x, 3 * x + 1, permutations=0).set_index("metric")  # directions differ
        assert found["se"].drop(["mutual_knn", "cknna", "rsa_spearman"]).tolist() == [0] * 3
        assert found.loc["rsa_spearman", "se"] > 0

    def test_sides_without_anything_in_common_are_conservative(self):
        rng = np.random.default_rng(0)
        found = similarity(rng.normal(size=(200, 16)), rng.normal(size=(200, 12)), permutations=0)
        assert found["ci_method"].str.contains("too large").all()
        # as well where rows come in clusters, alike or not
        clusters = np.arange(200) // 4
        for share in (0, 0.8):
            sides = (
                share * rng.normal(size=(50, d))[clusters] + (1 - share) * rng.normal(size=(200, d)) for d in (16, 12)
            )
            found = similarity(*sides, clusters=clusters, permutations=0)
            assert found["ci_method"].str.contains("50 clusters, standard error").sum() >= 5, found[
                "ci_method"
            ].tolist()

    @pytest.mark.parametrize("name", ["mutual_knn", "cknna"])
    def test_few_rows_or_clusters_do_not_show_how_shared_neighbours_vary(self, name):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(120, 5))
        y = x + rng.normal(size=x.shape)
        reason = "no valid interval: fewer than 30 independent rows"
        for n in (12, 20, 29):
            assert similarity(x[:n], y[:n], metrics=[name])["ci_method"].item() == reason
        assert similarity(x, y, metrics=[name], clusters=np.arange(120) // 5)["ci_method"].item() == reason
        assert similarity(x[:40], y[:40], metrics=[name])["se"].item() > 0

    def test_sides_that_no_row_tells_apart_but_are_not_equal_have_no_interval_of_shared_neighbours(self):
        x = np.random.default_rng(0).normal(size=(120, 5))
        found = similarity(x, x + 1e-8, metrics=["mutual_knn", "cknna"])
        assert found["value"].tolist() == pytest.approx([1, 1])
        assert found["ci_method"].eq("no valid interval: no row tells the neighbours of the sides apart").all()

    @pytest.mark.filterwarnings("error")
    def test_tight_clouds_and_half_precision_have_neighbours_and_their_errors(self):
        rng = np.random.default_rng(0)
        names = ["mutual_knn", "cknna"]
        mean, x, noise = rng.normal(size=32), rng.normal(size=(400, 32)), rng.normal(size=(400, 32))
        tight = [(mean + 3e-4 * side).astype(np.float32) for side in (x, x + 0.02 * noise)]
        plain = similarity(*(side.astype(float) for side in tight), metrics=names, permutations=0)
        found = similarity(*tight, metrics=names, permutations=0)
        assert found["value"].tolist() == pytest.approx(plain["value"].tolist(), abs=0.01)
        assert found["se"].tolist() == pytest.approx(plain["se"].tolist(), rel=0.2)
        sides = [torch.from_numpy(mean + side) for side in (x, x + noise)]
        plain = similarity(*sides, metrics=names, permutations=0)
        for dtype in (torch.float16, torch.bfloat16):
            found = similarity(*(side.to(dtype) for side in sides), metrics=names, permutations=0)
            assert found["value"].tolist() == pytest.approx(plain["value"].tolist(), abs=0.02)
            assert (found["se"] > 0.002).all()

    @pytest.mark.filterwarnings("error")
    def test_one_large_cluster_is_said(self):
        rng = np.random.default_rng(0)
        found = similarity(rng.normal(size=(900, 6)), rng.normal(size=(900, 6)), clusters=np.zeros(900), permutations=0)
        assert found["ci_method"].str.startswith("no valid interval").all()

    def test_sampled_rows_keep_the_precision_of_all(self):
        x = (1 + 1e-3 * np.random.default_rng(0).normal(size=(2100, 8))).astype(np.float16)
        for n in (2000, 2100):
            assert similarity(x[:n], x[:n], metrics=["rsa_spearman"], permutations=0)["status"].item() != "ok"

    def test_clusters_widen_and_heavy_tails_are_refused(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(150, 8))
        y = x + rng.normal(size=x.shape)
        names = ["linear_cka", "procrustes"]
        alone = similarity(x, y, metrics=names)
        twice = similarity(*(np.repeat(z, 2, 0) for z in (x, y)), metrics=names, clusters=np.repeat(np.arange(150), 2))
        assert twice["se"].tolist() == pytest.approx(alone["se"].tolist(), rel=0.05)
        y[0] *= 1e4
        heavy = similarity(x, y, metrics=names)
        assert heavy["ci_method"].str.contains("the lengths of the rows have a heavy tail").all()
        assert heavy["se"].isna().all()
        with pytest.raises(ValueError, match="150 rows"):
            similarity(x, y, clusters=np.arange(20))

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("n", [2, 3, 4, 5, 9, 11, 12, 25, 60])
    @pytest.mark.parametrize("case", ["plain", "one cluster", "pairs", "one dimension", "equal rows", "rounded"])
    def test_few_or_odd_rows_have_an_interval_or_say_why_not(self, n, case):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(n, 1 if case == "one dimension" else 5))
        y = np.ones((n, 3)) if case == "equal rows" else x + rng.normal(size=x.shape)
        x, y = (x.round(), y.round()) if case == "rounded" else (x, y)
        clusters = {"one cluster": np.zeros(n), "pairs": np.arange(n) // 2}.get(case)
        found = similarity(x, y, permutations=2, clusters=clusters)
        for row in found[found["status"] == "ok"].to_dict("records"):
            assert np.isfinite(row["value"])
            assert (row["se"] is None or np.isnan(row["se"])) == row["ci_method"].startswith("no valid interval"), row
