"""Influences against leaving rows out, and standard errors against drawing again; probe tests against their sources."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from geomprobe import inference
from geomprobe.api import measure
from geomprobe.comparison.pairs import few_discordant
from geomprobe.inference import estimate, intervals, jackknife, left_out, neighbours, probe_tests, spectral, sphere
from geomprobe.inference.influence import KINDS
from geomprobe.metrics import REGISTRY, dimension, embeddings_of, measure_embeddings, pairs
from geomprobe.metrics.similarity import SIMILARITIES
from geomprobe.metrics.transforms import transform as seen_in
from geomprobe.vectors.moments import Moments

N, D = 160, 20
SMOOTH = (
    *(("effective_rank", "raw"), ("rankme", "raw"), ("spectral_entropy", "raw"), ("participation_ratio", "raw")),
    *(("stable_rank", "raw"), ("isoscore", "raw"), ("vendi_score", "raw"), ("alpha_req", "raw")),
    *(("mean_cosine", "raw"), ("mean_cosine", "centred"), ("uniformity", "raw"), ("uniformity", "centred")),
    *(("uniformity_jensen", "raw"), ("partition_isotropy", "raw"), ("rogue_share_1", "raw"), ("norm_cv", "raw")),
    *(("class_alignment", "raw"), ("class_separation", "raw")),
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def vectors(seed: int = 0, n: int = N, d: int = D) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5
    x[:, : d // 4] += 0.1 * x[:, : d // 4] ** 2  # not symmetric, so that the centre matters
    return 0.5 * (x + 0.4)


def labels_of(n: int) -> np.ndarray:
    return np.arange(n) % 3


def test_no_metric_is_decided_on_by_its_name():
    """How rows move a metric is said by its record, so that one more metric needs no change here."""
    names = {*REGISTRY, *SIMILARITIES}
    for file in Path(inference.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not names & texts, file.name
    kinds = {metric.statistic.kind for metric in REGISTRY.values() if metric.statistic}
    assert kinds == set(KINDS)


def test_rank_influence_is_the_slope_of_the_joined_curve():
    Z = vectors()
    influence = inference.measure(Z, metrics=["rank_90"])[1][0]

    def crossing(weights: np.ndarray) -> float:
        mean = weights @ Z
        y = Z - mean
        values = np.sort(np.linalg.eigvalsh((y * weights[:, None]).T @ y))[::-1]
        cumulative = np.concatenate([[0], np.cumsum(values) / values.sum()])
        return float(np.interp(0.9, cumulative, np.arange(D + 1)))

    base = np.full(N, 1 / N)
    for i in (0, 5, 77):
        step = 1e-5
        moved = base * (1 - step)
        moved[i] += step
        assert (crossing(moved) - crossing(base)) / step == pytest.approx(
            N * influence.contributions[i], rel=1e-2, abs=1e-2
        )
    assert influence.unattributed_variance == estimate.ROUNDING


def test_influences_of_pairs_and_their_chains():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(60, 8))
    apart = np.arange(40).reshape(20, 2)
    z = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    distance = ((z[apart[:, 0]] - z[apart[:, 1]]) ** 2).sum(1)
    row = measure(Z, metrics=["alignment"], positives=apart).iloc[0]
    assert row["se"] == pytest.approx(distance.std(ddof=1) / np.sqrt(20), rel=0.03)
    star = np.column_stack([np.zeros(20, int), np.arange(1, 21)])
    chained = inference.measure(Z, metrics=["alignment"], positives=star)[0].iloc[0]
    assert chained["ci_method"].startswith("no valid interval")  # all pairs share a row: one independent unit


DRAWN = [m for m in SMOOTH if m[0] not in ("partition_isotropy", "rogue_share_1")]  # conservative: see calibration


@pytest.fixture(scope="module")
def fresh_samples() -> dict[tuple[str, str], tuple[float, float, float]]:
    """Standard deviation over fresh samples, mean standard error, and mean jackknife error of every smooth metric."""
    labels, names = labels_of(200), list(dict.fromkeys(name for name, _ in DRAWN))
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        Z = rng.normal(size=(200, 16)) * np.arange(1, 17) ** -0.5 + 0.5
        frame, _ = inference.measure(Z, metrics=names, labels=labels)
        for row in frame[frame["se"].notna()].to_dict("records"):
            found.setdefault((row["metric"], row["view"]), []).append((row["value"], row["se"]))
    spread = {
        key: (np.std([v for v, _ in rows], ddof=1), np.mean([se for _, se in rows])) for key, rows in found.items()
    }
    embeddings, home = embeddings_of(Z, labels, None, None, 0, False), jackknife.shards(np.arange(200), 0)
    for key in spread:
        compute = REGISTRY[key[0]].variants["standard"]
        rows = jackknife.jackknife(
            seen_in(embeddings, key[1]), lambda c, f=compute: getattr(f(c), "value", f(c)), home, rows=True
        )
        spread[key] += (float(np.sqrt((rows**2).sum())) / 200,)
    return spread


@pytest.mark.thorough
@pytest.mark.parametrize(("metric", "view"), DRAWN)
def test_standard_error_is_the_spread_of_fresh_samples(metric, view, fresh_samples):
    spread, error, left_out = fresh_samples[(metric, view)]
    # first-order terms hardly exist for these two, so their errors are too large by up to sqrt(2), and labelled
    conservative = (metric, view) in (("mean_cosine", "centred"), ("alpha_req", "raw"))
    assert 0.8 < error / spread < (1.6 if conservative else 1.25)
    assert 0.5 < left_out / spread < 2  # 20 shards of one sample


@pytest.mark.parametrize(("n", "d", "mean"), [(60, 12, 0.5), (40, 40, 0.3)])
def test_entropies_have_the_exact_effect_of_leaving_a_row_out(n, d, mean):
    metrics = ["effective_rank", "rankme", "vendi_score"]
    Z = np.random.default_rng(0).normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5 + mean
    frame, influences = inference.measure(Z, metrics=metrics)
    left = [measure(np.delete(Z, i, 0), metrics=metrics, intervals=False)["value"] for i in range(n)]
    for k, influence in enumerate(influences):
        moved = (n - 1) * (frame["value"].iloc[k] - np.array([values.iloc[k] for values in left]))
        moved -= moved.mean()
        assert n * influence.contributions == pytest.approx(moved, abs=1e-3 * np.abs(moved).max())


@pytest.mark.parametrize(("n", "d", "size"), [(60, 20, 1), (60, 20, 7), (30, 45, 4), (45, 30, 40)])
@pytest.mark.parametrize("metric", ["effective_rank", "rankme", "participation_ratio", "stable_rank", "vendi_score"])
def test_clusters_are_left_out_exactly(n, d, size, metric):
    """Contributions, and what pairs of clusters add, from the values without the rows."""
    Z, clusters = vectors(1, n, d), np.sort(np.random.default_rng(0).permutation(np.arange(n) // size))
    sizes = np.bincount(clusters)
    frame, (found,) = inference.measure(Z, metrics=[metric], views=["raw"], clusters=clusters)

    def without(*gone):
        return measure(Z[~np.isin(clusters, gone)], metrics=[metric], views=["raw"], intervals=False)["value"].item()

    whole = frame["value"].item()
    one = np.array([without(a) for a in range(len(sizes))])
    pairs = left_out.drawn_pairs(sizes, 0)[:20] if len(sizes) > 2 else np.zeros((0, 2), int)
    two = np.array([without(a, b) for a, b in pairs])
    contributions, together = spectral.contributions_of(whole, one, two, sizes, pairs)
    close = 0.05 if metric == "stable_rank" else 2e-3  # its small eigenvalues enter to second order
    assert found.contributions == pytest.approx(contributions, abs=close * np.abs(contributions).max())
    if len(pairs):
        least = 0.1 if metric == "stable_rank" else 0.02
        got = found.together[: len(pairs)]
        assert got - got.mean() == pytest.approx(together, abs=least * max(np.abs(together).max(), 1e-9))


def ratio(draw, metrics, draws=120, **known):
    """Mean standard error over the spread of the values: of the product, and of contributions as they are."""
    values, errors, plain = [], [], []
    for seed in range(draws):
        frame, found = inference.measure(draw(np.random.default_rng(seed)), metrics=metrics, views=["raw"], **known)
        values.append(frame["value"].to_numpy(float))
        errors.append([one.interval().se for one in found])
        plain.append([np.sqrt((one.contributions**2).sum()) for one in found])
    spread = np.std(values, axis=0, ddof=1)
    return np.mean(errors, axis=0) / spread, np.mean(plain, axis=0) / spread


@pytest.mark.parametrize(("n", "d"), [(60, 8), (40, 100)])
def test_what_pairs_add_is_counted_once_where_no_direction_leads(n, d):
    metrics = ["participation_ratio", "spectral_entropy", *(["effective_rank"] if n > d else [])]
    errors, plain = ratio(lambda rng: rng.normal(size=(n, d)), metrics)
    assert (plain > 1.15).all()
    assert (errors < 0.92 * plain).all()
    assert ((errors > 0.85) & (errors < 1.35)).all()


def test_jackknife_agrees_with_the_influence_function():
    embeddings = embeddings_of(vectors(n=400), None, None, None, 0, False)
    home = jackknife.shards(np.arange(400), 0)
    for metric in ("effective_rank", "participation_ratio"):
        compute = REGISTRY[metric].variants["standard"]
        left_out = jackknife.jackknife(embeddings, lambda c, f=compute: f(c).value, home, rows=False)
        again = jackknife.jackknife(embeddings, lambda c, f=compute: f(c).value, home, rows=True)
        assert left_out == pytest.approx(again, rel=1e-6)
        found = inference.measure(vectors(n=400), metrics=[metric])[1][0]
        assert np.sqrt((left_out**2).sum()) == pytest.approx(400 * np.sqrt((found.contributions**2).sum()), rel=0.5)


def test_states_without_a_shard_are_merges_of_the_others():
    Z = vectors()
    parts = [Moments().update(part) for part in np.array_split(Z, 5)]
    for s, state in enumerate(jackknife.merged_without(parts)):
        rest = np.concatenate([part for i, part in enumerate(np.array_split(Z, 5)) if i != s])
        assert state.n == len(rest)
        assert state.covariance == pytest.approx(Moments().update(rest).covariance, rel=1e-9, abs=1e-12)


def test_shards_hold_whole_clusters_of_even_size():
    clusters = np.repeat(np.arange(90), np.random.default_rng(0).integers(1, 6, 90))
    home = jackknife.shards(clusters, 0)
    assert all(len(np.unique(home[clusters == c])) == 1 for c in range(90))
    sizes = np.bincount(home)
    assert len(sizes) == 20
    assert sizes.max() - sizes.min() <= 5


def test_hubness_has_no_interval():
    """In a cloud around a large mean neither the spread of the counts nor leaving rows out shows its error."""
    row = measure(vectors(), metrics=["hubness_skew"]).iloc[0]
    assert row["value"] > 0
    assert row["ci_method"].startswith("no valid interval: a few hubs")


@pytest.mark.parametrize("discard", [0.1, 0.0])
def test_twonn_influence_is_what_leaving_a_ratio_out_says(discard):
    ratios = np.random.default_rng(0).exponential(1 / 6, 500)

    def slope(x: np.ndarray) -> float:
        return dimension.two_nn(np.column_stack([np.ones(len(x)), np.exp(x)]), discard or 0.002)

    left = np.array([499 * (slope(ratios) - slope(np.delete(ratios, i))) for i in range(500)])
    left -= left.mean()
    found = neighbours.two_nn(ratios, discard or 0.002)
    inner = ratios < np.quantile(ratios, 0.85)  # the fit moves in steps where a ratio enters or leaves it
    assert np.corrcoef(found[inner], left[inner])[0, 1] > 0.98
    assert found.std() == pytest.approx(left.std(), rel=0.15)


def test_the_intrinsic_dimension_says_how_its_error_was_found():
    Z, pairs_of_rows = np.random.default_rng(0).normal(size=(300, 12)), np.arange(300) // 2
    methods = [
        measure(Z, metrics=["intrinsic_dimension"]),
        measure(Z, metrics=["intrinsic_dimension"], clusters=pairs_of_rows),
        measure(Z, metrics=["intrinsic_dimension:mle"]),
    ]
    assert [found["ci_method"].item() for found in methods] == [
        "influence function",
        "influence function, 150 clusters, standard error probably too large",
        "delete-a-shard jackknife, standard error probably too large",
    ]


@pytest.mark.thorough
def test_standard_error_of_the_intrinsic_dimension_is_the_spread_of_fresh_samples():
    """The jackknife's is almost twice as large, so that where it is all there is the interval is labelled."""
    values, errors = [], []
    for seed in range(100):
        Z = np.random.default_rng(seed).normal(size=(300, 12))
        row = measure(Z, metrics=["intrinsic_dimension"]).iloc[0]
        values, errors = [*values, row["value"]], [*errors, row["se"]]
        assert row["ci_method"] == "influence function"
    spread = np.std(values, ddof=1)
    assert 0.8 < np.mean(errors) / spread < 1.25
    embeddings = embeddings_of(Z)
    compute = REGISTRY["intrinsic_dimension"].variants["standard"]
    rows = jackknife.jackknife(embeddings, lambda c: compute(c).value, jackknife.shards(np.arange(300), 0), rows=True)
    assert np.sqrt((rows**2).sum()) / 300 > 1.3 * spread


@pytest.mark.thorough
def test_the_intrinsic_dimension_counts_clusters_and_neighbours_and_says_so():
    """What neighbours share is no less where rows are declared to go together: without it, 0.87 of the spread."""
    values, errors = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        Z = (rng.normal(size=(150, 1, 8)) + rng.normal(size=(150, 2, 8))).reshape(300, 8)
        row = measure(Z, metrics=["intrinsic_dimension"], clusters=np.arange(300) // 2).iloc[0]
        values, errors = [*values, row["value"]], [*errors, row["se"]]
        assert row["ci_method"] == "influence function, 150 clusters, standard error probably too large"
    assert 0.9 < np.mean(errors) / np.std(values, ddof=1) < 1.4


def test_too_few_rows_and_tied_distances_have_no_intrinsic_dimension_interval():
    few = measure(np.random.default_rng(0).normal(size=(29, 4)), metrics=["intrinsic_dimension"]).iloc[0]
    assert few["ci_method"] == "no valid interval: fewer than 30 independent rows"
    hub = np.concatenate([np.random.default_rng(0).normal(size=(99, 200)), np.zeros((1, 200))])
    shared = measure(hub, metrics=["intrinsic_dimension"]).iloc[0]
    assert shared["ci_method"].startswith("no valid interval: one row is among the two nearest of ")
    lattice = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), -1).reshape(-1, 2)
    tied = measure(lattice, metrics=["intrinsic_dimension"]).iloc[0]
    assert tied["status"] == "not applicable"
    assert "equally far" in tied["note"]


def test_a_row_without_neighbours_of_its_own_does_not_move_the_intrinsic_dimension():
    Z = np.random.default_rng(0).normal(size=(200, 6))
    twice = np.concatenate([Z, Z[:50]])
    found, influences = inference.measure(twice, metrics=["intrinsic_dimension"], clusters=np.r_[:200, :50])
    alone = inference.measure(Z, metrics=["intrinsic_dimension"])[1][0]
    assert found["value"].iloc[0] == pytest.approx(alone.value)
    assert influences[0].contributions == pytest.approx(alone.contributions, abs=1e-9)


def test_lidar_influence_is_what_leaving_an_object_out_says():
    rng, objects, d = np.random.default_rng(0), 300, 8
    centres = rng.normal(size=(objects, d)) * np.linspace(2, 0.3, d)
    Z = (centres[:, None] + rng.normal(size=(objects, 2, d))).reshape(-1, d)
    positives = np.arange(2 * objects).reshape(-1, 2)
    found, influences = inference.measure(Z, metrics=["lidar"], views=["raw"], positives=positives)
    compute, left = REGISTRY["lidar"].variants["standard"], []
    for i in range(0, objects, 6):
        kept = np.delete(positives, i, 0)
        left.append((objects - 1) * (found["value"].iloc[0] - compute(embeddings_of(Z, positives=kept)).value))
    moved = len(Z) * influences[0].contributions[0::2][::6] / 2  # rows/n is the influence of objects over their number
    left = np.array(left)
    assert np.corrcoef(moved, left)[0, 1] > 0.99
    assert moved.std() == pytest.approx(left.std(), rel=0.1)
    assert not influences[0].contributions[1::2].any()
    for view in ("raw", "standardised"):
        few = measure(Z[:100], metrics=["lidar"], views=[view], positives=positives[:50]).iloc[0]
        assert few["ci_method"] == "no valid interval: fewer than 10 objects a dimension"
    other = measure(Z, metrics=["lidar"], views=["standardised"], positives=positives).iloc[0]
    assert other["ci_method"] == "delete-a-shard jackknife, standard error probably too large"


def test_objects_that_share_a_cluster_through_any_row_count_as_one():
    rng = np.random.default_rng(0)
    Z, positives = rng.normal(size=(400, 4)) * [3, 2, 1, 1], np.arange(400).reshape(-1, 2)
    linked = np.arange(400)
    linked[2::4] = linked[1::4]  # the second row of an object and the first of the next
    whole = measure(Z, metrics=["lidar"], positives=positives, clusters=np.arange(400) // 4).iloc[0]
    chained = measure(Z, metrics=["lidar"], positives=positives, clusters=linked).iloc[0]
    assert chained["se"] == pytest.approx(whole["se"], rel=0.02)
    assert chained["se"] != pytest.approx(measure(Z, metrics=["lidar"], positives=positives).iloc[0]["se"], rel=0.02)


CLASSES = ["class_alignment", "class_separation"]


def test_small_classes_have_no_interval():
    """A mean taken from few rows hides how far they vary: of classes of two rows all influences are zero."""
    rng = np.random.default_rng(0)
    for labels, clusters in (
        (np.arange(40) // 2, None),
        (np.r_[np.arange(150) % 3, 3], None),
        (np.arange(40) // 2,) * 2,
    ):
        Z = rng.normal(size=(len(labels), 6)) + 1
        found = measure(Z, metrics=CLASSES, labels=labels, clusters=clusters).set_index("metric")
        refused = found["ci_method"] == "no valid interval: a class has fewer than 8 independent rows"
        assert refused["class_separation"]
        assert refused["class_alignment"] == (len(labels) == 40)  # a class of one row has no pairs


@pytest.mark.thorough
def test_classes_of_ten_rows_have_the_right_interval():
    rng, drawn = np.random.default_rng(0), []
    for _ in range(150):
        Z = rng.normal(size=(80, 6)) + 3 * np.random.default_rng(1).normal(size=(8, 6))[np.arange(80) % 8]
        drawn.append(measure(Z, metrics=CLASSES, labels=np.arange(80) % 8))
    for k in (0, 1):
        values, errors = (
            np.array([frame[c].to_numpy(float, na_value=np.nan)[k] for frame in drawn]) for c in ("value", "se")
        )
        assert np.isfinite(errors).mean() > 0.9
        assert 0.85 < np.nanmean(errors) / np.std(values, ddof=1) < 1.2


@pytest.mark.parametrize("size", [1, 3])
def test_classes_that_do_not_differ_around_no_mean_are_labelled(size):
    """Then the mean distance in and between classes has next to no first-order term, rows in clusters or not."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(100), size)
    Z = rng.normal(size=(100, 16))[clusters] + rng.normal(size=(100 * size, 16))
    metrics, labels = ["class_alignment", "class_separation"], clusters % 4
    plain = measure(Z, metrics=metrics, labels=labels, clusters=clusters)
    assert plain["ci_method"].str.contains("too large").all()
    apart = measure(Z + 2 * rng.normal(size=(4, 16))[labels], metrics=metrics, labels=labels, clusters=clusters)
    assert not apart["ci_method"].str.contains("too large").any()


def test_clusters_widen_the_interval():
    Z = vectors()
    twice = np.repeat(Z, 2, axis=0)
    clusters = np.repeat(np.arange(N), 2)
    alone = measure(twice, metrics=["effective_rank"]).iloc[0]
    grouped = measure(twice, metrics=["effective_rank"], clusters=clusters).iloc[0]
    assert grouped["se"] / alone["se"] == pytest.approx(np.sqrt(2), rel=0.01)
    assert grouped["ci_method"] == f"influence function, {N} clusters"


def test_second_order_is_what_pairs_of_clusters_add_to_row_means():
    """The variance of a mean over pairs of k = uᵀv, of which nothing is first-order, by fresh draws."""
    for size in (1, 4):
        clusters = np.arange(80) // size
        found, means = [], []
        for seed in range(3_000):
            rng = np.random.default_rng(seed)
            u = rng.normal(size=(80 // size, 3))[clusters] + 0.5 * rng.normal(size=(80, 3))
            terms = u @ u.T * (1 - np.eye(80))
            h = terms.sum(1) / 79
            means.append((terms * (clusters[:, None] != clusters)).sum() / (80 * 79))
            checked = sphere.checked_rows(clusters, np.ones(80, bool), 0)
            near = terms[np.ix_(checked.rows, checked.rows)]
            pairs = sphere.together(near, checked, h[checked.rows], h.mean())
            found.append((sphere.second_order(near, checked, h, h.mean()), (pairs**2).mean()))
        assert np.mean(found, axis=0) == pytest.approx(np.var(means), rel=0.12)


def test_checked_rows_are_whole_clusters_or_single_rows():
    rng = np.random.default_rng(0)
    clusters = np.unique(rng.integers(0, 700, 3_000), return_inverse=True)[1]
    usable = rng.random(3_000) < 0.9
    found = sphere.checked_rows(clusters, usable, 1)
    assert found.whole
    assert sphere.CHECKED_ROWS - 20 < len(found.rows) <= sphere.CHECKED_ROWS
    assert (found.rows == np.flatnonzero(np.isin(clusters, clusters[found.rows]) & usable)).all()
    assert (found.n, found.groups) == (usable.sum(), len(np.unique(clusters[usable])))
    alone = sphere.checked_rows(np.arange(3_000), usable, 1)
    assert len(alone.rows) == sphere.CHECKED_CLUSTERS
    kept = alone.keep(np.arange(256) < 64, 1_000)
    assert (len(kept.rows), kept.n, kept.groups) == (64, 1_000, round(alone.groups / 4))
    one_large = np.maximum(np.arange(3_000) - 900, 0)
    assert sphere.checked_rows(one_large, np.ones(3_000, bool), 1).whole
    for large in (np.arange(3_000) // 300, np.zeros(3_000, np.int64)):
        assert not sphere.checked_rows(large, usable, 1).whole


@pytest.mark.parametrize("size", [20, 257])
def test_clusters_of_any_size_have_the_right_interval_around_no_mean(size):
    """Independent rows, so that clusters of over 32 rows, of which single rows are looked at, lose nothing."""
    clusters = np.arange(30 * size) // size
    errors, plain = ratio(lambda rng: rng.normal(size=(30 * size, 16)), ["mean_cosine"], 60, clusters=clusters)
    assert plain > 1.15
    assert 0.8 < errors < 1.4


def test_rows_without_a_direction_keep_the_label():
    Z = np.random.default_rng(0).normal(size=(400, 16))
    Z[::2] = 0
    found = measure(Z, metrics=["mean_cosine", "uniformity"], views=["raw"])
    assert found["ci_method"].str.endswith("too large").all(), found["ci_method"].tolist()


@pytest.mark.parametrize("view", ["raw", "centred"])
@pytest.mark.parametrize("metric", ["mean_cosine", "uniformity"])
def test_pairs_within_a_cluster_count_once(metric, view):
    """The contribution of a cluster is what leaving it out says; row means count its own pairs twice."""
    rng, clusters = np.random.default_rng(0), np.arange(90) // 6
    Z = rng.normal(size=(15, 10))[clusters] + rng.normal(size=(90, 10)) + 0.5
    known = {"metrics": [metric], "views": [view]}
    frame, (found,) = inference.measure(Z, clusters=clusters, **known)
    left = [measure(Z[clusters != a], intervals=False, **known)["value"].item() for a in range(15)]
    expected = 84 / 90 * (frame["value"].item() - np.array(left))
    assert np.corrcoef(found.contributions, expected)[0, 1] > 0.97
    assert 0.85 < expected.std() / found.contributions.std() < 1.1


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_clusters_around_no_mean_have_the_right_interval(share):
    clusters = np.arange(200) // 4

    def draw(rng):
        return share * rng.normal(size=(50, 16))[clusters] + (1 - share) * rng.normal(size=(200, 16))

    errors, plain = ratio(draw, ["mean_cosine"], clusters=clusters)
    assert plain > 1.2
    assert 0.85 < errors < 1.3


def test_what_has_no_valid_interval_says_so():
    Z = vectors()
    Z[0] *= 1e3  # one row decides everything
    found = measure(Z, metrics=["participation_ratio", "rank_90"], views=["raw"]).set_index("metric")
    assert found["ci_method"].to_dict() == {
        "participation_ratio": "no valid interval: the lengths of the rows have a heavy tail: more rows are needed, "
        "or metrics of directions",
        "rank_90": "no valid interval: a few rows decide the standard error: more rows, or other ones, are needed",
    }
    assert found[["se", "ci_low", "ci_high"]].isna().all(axis=None)
    few = measure(vectors(), metrics=["effective_rank"], clusters=np.arange(N) % 3).iloc[0]
    assert few["ci_method"].startswith("no valid interval")
    constant = measure(vectors(), metrics=["uniformity_reference"]).iloc[0]
    assert "constant" in constant["ci_method"]


@pytest.mark.parametrize(
    ("n", "d"), [(200, 32), *(pytest.param(n, d, marks=pytest.mark.thorough) for n, d in ((200, 128), (1000, 32)))]
)
def test_heavy_tails_are_refused_where_lengths_count(n, d):
    """Rows t with 5 degrees of freedom: nearly every draw, however regular it looks, and no draw of normal rows."""
    given, labelled = {"normal": 0, "heavy": 0}, 0
    names = ["effective_rank", "participation_ratio", "mean_cosine", "rank_90"]
    for seed in range(20):
        rng = np.random.default_rng([seed, n, d])
        normal = rng.normal(size=(n, d))
        for law, Z in (("normal", normal), ("heavy", normal * np.sqrt(5 / rng.chisquare(5, size=(n, 1))))):
            found = measure(Z, metrics=names, views=["raw"]).set_index("metric").loc[names]
            given[law] += found["se"].notna().to_numpy()
            labelled += law == "heavy" and "too large" in found.at["rank_90", "ci_method"]
    assert given["normal"].tolist() == [20, 20, 20, 20]
    assert labelled >= 15
    assert max(given["heavy"][:2]) <= 4
    assert given["heavy"][2] >= 18  # directions have no length


def test_a_tail_that_ends_is_not_refused():
    """Short and long rows: Hill's index is that of a heavy tail, but many rows share the error."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(2000, 16)) * np.exp(rng.uniform(0, np.log(5), size=(2000, 1)))
    Z *= np.where(rng.random((2000, 1)) < 0.1, 2, 1)
    assert intervals.heavy_tailed(((Z - Z.mean(0)) ** 2).sum(1), 16)
    assert measure(Z, metrics=["effective_rank", "participation_ratio", "norm_cv"], views=["raw"])["se"].notna().all()


@pytest.mark.parametrize("d", [1, 2, 10])
def test_the_long_tail_of_normal_rows_in_few_dimensions_is_not_heavy(d):
    draws = [np.random.default_rng(seed).normal(size=(1000, d)) ** 2 for seed in range(20)]
    assert not any(intervals.heavy_tailed(squares.sum(1), d) for squares in draws)


def test_the_index_of_a_pareto_tail_is_found():
    places = (np.arange(1000) + 0.5) / 1000
    tail = lambda index: places ** (-1 / index)  # noqa: E731
    assert intervals.heavy_tailed(tail(2.5), 100.0)
    assert not intervals.heavy_tailed(tail(3.5), 100.0)
    assert not intervals.heavy_tailed(tail(2.5)[:50], 100.0)  # too few rows to tell


def test_a_shard_without_a_value_is_no_error():
    Z = np.zeros((6, 2))
    Z[0] = 1
    found = measure(Z, metrics=["norm_cv"], views=["centred"]).iloc[0]
    assert found["ci_method"].startswith("no valid interval")
    Z = np.zeros((120, 2))
    Z[0] = 1
    found = measure(Z, metrics=["norm_cv"], views=["standardised"]).iloc[0]
    assert found["ci_method"].startswith("no valid interval") or found["status"] != "ok"


def test_moments_alone_have_no_interval_and_views_fall_back():
    frame = measure(Moments().update(vectors()), metrics=["effective_rank"])
    assert frame["se"].isna().all()
    fallback = measure(vectors(), metrics=["effective_rank"], views=["standardised"]).iloc[0]
    assert fallback["ci_method"] == "delete-a-shard jackknife"
    assert fallback["se"] > 0


def test_intervals_do_not_change_values():
    frame, measured = measure_embeddings(embeddings_of(vectors()), None, None)
    filled, _ = inference.with_intervals(frame, measured, None)
    assert filled["value"].equals(frame["value"])
    assert frame["se"].isna().all()


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_what_values_and_influences_share_is_the_same_made_in_one_go(offset):
    Z = vectors(n=1100, d=24) + offset  # more than a tile; far off, the kernel is summed as k − 1 in the raw view
    apart, measured = measure_embeddings(embeddings_of(Z), None, None)
    apart, influences = inference.with_intervals(apart, measured, None)
    together, shared = inference.measure(Z)
    for column in ("value", "se", "ci_low", "ci_high"):
        a, b = (frame[column].to_numpy(float, na_value=np.nan) for frame in (apart, together))
        assert b == pytest.approx(a, rel=1e-10, abs=1e-12, nan_ok=True)
    assert together["ci_method"].equals(apart["ci_method"])
    for one, other in zip(influences, shared, strict=True):
        if one is not None and one.contributions is not None:
            near = pytest.approx(one.contributions, rel=1e-9, abs=1e-10 * np.abs(one.contributions).max())
            assert other.contributions == near


@pytest.mark.parametrize(("size", "mean_distance"), [(1.0, 2.0), (0.05, 0.005)])
def test_one_sweep_sums_what_the_influences_of_directions_need(size, mean_distance):
    rng = np.random.default_rng(0)
    w, weights, t = size * rng.normal(size=(1500, 3)), rng.uniform(1, 2, size=1500), 2.0
    square = ((w[:, None] - w[None]) ** 2).sum(2)
    kernel = np.exp(-t * square) - np.eye(1500)
    found = pairs.kernel_means(torch.from_numpy(w), t, mean_distance, torch.from_numpy(weights))
    plain = pairs.kernel_means(torch.from_numpy(w), t, mean_distance)
    assert found.log_mean == pytest.approx(plain.log_mean, rel=1e-13)
    assert found.row_means == pytest.approx(kernel.sum(1) / 1499, rel=1e-11)
    assert found.weighted.numpy() == pytest.approx(kernel @ weights, rel=1e-11)
    assert found.turned.numpy() == pytest.approx((kernel * (1 - square / 2)).sum(1), rel=1e-10, abs=1e-8)
    assert plain.weighted is None


def test_degrees_of_freedom_follow_the_tails():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=20_000)
    assert intervals.degrees(normal - normal.mean()) == pytest.approx(20_000, rel=0.1)
    heavy = rng.standard_t(3, size=20_000)
    assert intervals.degrees(heavy - heavy.mean()) < 4_000
    assert intervals.degrees(np.zeros(10)) == 9
    assert intervals.degrees(1e-100 * heavy) == pytest.approx(intervals.degrees(heavy))


def test_holm_of_a_worked_example():
    assert intervals.holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )
    assert len(intervals.holm(np.array([]))) == 0


def test_equivalence_and_detectable_difference():
    assert intervals.p_equivalence(0.0, 0.0, 10, 0.1) == 0
    assert intervals.p_equivalence(0.2, 0.0, 10, 0.1) == 1
    assert intervals.p_equivalence(0.0, 1.0, 1e9, 1.6449) == pytest.approx(0.05, rel=1e-3)
    assert intervals.p_equivalence(1.0, 1.0, 1e9, 1.0) == pytest.approx(0.5)
    assert intervals.detectable(1.0, 1e9) == pytest.approx(1.95996 + 0.84162, rel=1e-4)


@pytest.mark.parametrize(
    ("diff", "p", "p_tost", "words"),
    [
        (1.0, 0.01, 0.9, "higher"),
        (-1.0, 0.01, 0.9, "lower"),
        (1.0, 0.01, 0.01, "higher, but equivalent within the margin"),
        (-1.0, 0.01, 0.01, "lower, but equivalent within the margin"),
        (1.0, 0.20, 0.01, "no difference"),
        (0.0, 1.00, 0.00, "no difference"),
        (0.0, 0.00, 0.90, "no clear difference"),
        (1.0, 0.20, 0.90, "no clear difference"),
        (1.0, 0.05, 0.05, "no clear difference"),
        (1.0, 0.01, None, "higher"),
        (1.0, 0.20, None, "no clear difference"),
        (1.0, 0.20, float("nan"), "no clear difference"),
        (1.0, None, None, "no valid interval, no verdict"),
        (1.0, float("nan"), 0.01, "no valid interval, no verdict"),
        (None, 0.01, 0.01, "no valid interval, no verdict"),
    ],
)
def test_verdict(diff, p, p_tost, words):
    assert intervals.verdict(diff, p, p_tost) == words
    assert intervals.verdict(diff, p, p_tost, seeds=3) == words
    assert intervals.verdict(diff, p, p_tost, seeds=2) == "too few seeds, no verdict"


def norms_of_pairs(seed: int, n: int, mix: float, shift: float) -> list[np.ndarray]:
    """Return the vectors of two encoders whose coordinates correlate by `mix`; the second has one axis stretched."""
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(n, 12)), rng.normal(size=(2, n, 12))
    sides = (np.sqrt(mix) * shared + np.sqrt(1 - mix) * own) * np.arange(1, 13) ** -0.5
    sides[1, :, 0] *= 1 + shift
    return list(sides)


def test_the_paired_error_is_smaller_by_the_factor_of_theory():
    """Var(B − A)/(Var A + Var B) = 1 − ρ for influences of equal variance: so many times fewer rows find the same."""
    n, mix = 4000, 0.9
    sides = [inference.measure(Z, metrics=["participation_ratio"])[1][0] for Z in norms_of_pairs(0, n, mix, shift=0.0)]
    paired = sides[1].minus(sides[0]).interval().se
    alone = np.hypot(*(side.interval().se for side in sides))
    # influences are quadratic in the coordinates, so their correlation is that of the coordinates squared
    assert (paired / alone) ** 2 == pytest.approx(1 - mix**2, rel=0.1)


def powers(n: int, draws: int, mix: float = 0.8, shift: float = 0.12) -> tuple[float, float]:
    """Return how often a stretched axis is found at 5 %: paired on n rows, and unpaired on n rows a side."""
    found = []
    for seed in range(draws):
        pair, others = norms_of_pairs(seed, n, mix, shift), norms_of_pairs(10_000 + seed, n, mix, shift)
        a, b, apart = (inference.measure(Z, metrics=["participation_ratio"])[1][0] for Z in (*pair, others[1]))
        if any(side.contributions is None for side in (a, b, apart)):  # refused: nothing is found
            found.append((False, False))
            continue
        error = float(np.hypot(*(side.interval().se for side in (a, apart))))
        unpaired = intervals.p_two_sided(apart.value - a.value, error, n - 1.0)
        found.append((b.minus(a).interval().p < 0.05, unpaired < 0.05))
    paired, unpaired = np.mean(found, axis=0)
    return float(paired), float(unpaired)


@pytest.mark.thorough
def test_the_paired_test_has_the_power_of_the_unpaired_one_on_fewer_rows():
    draws, n = 60, 250
    paired, same_rows = powers(n, draws)
    unpaired = powers(round(n / (1 - 0.8**2)), draws)[1]  # rho = mix² = 0.64: 2.8 times as many rows
    assert paired > same_rows + 0.2
    assert paired == pytest.approx(unpaired, abs=3 * np.sqrt(2 * 0.25 / draws))


def test_mcnemar_is_the_binomial_test_of_discordant_rows():
    first = np.array([1] * 50 + [1] * 12 + [0] * 3 + [0] * 35, bool)
    second = np.array([1] * 50 + [0] * 12 + [1] * 3 + [0] * 35, bool)
    assert probe_tests.Discordant.of(first, second).p_exact() == pytest.approx(stats.binomtest(3, 15).pvalue)
    assert probe_tests.Discordant.of(first, first).p_exact() == 1.0


def test_score_interval_of_published_tables():
    # Fagerland, Lydersen & Laake (2017), Statistical Analysis of Contingency Tables, ch. 8, and their R package
    assert probe_tests.Discordant(16, 6, 161).interval(0.95) == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    assert probe_tests.Discordant(7, 1, 21).interval(0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_score_interval_is_that_of_the_test_and_has_a_width_without_discordant_rows():
    z2 = stats.norm.ppf(0.975) ** 2
    assert probe_tests.Discordant(0, 0, 300).interval(0.95) == pytest.approx((-z2 / (300 + z2), z2 / (300 + z2)))
    assert probe_tests.Discordant(0, 20, 20).interval(0.95)[1] == 1.0
    one = probe_tests.Discordant(2, 5, 872)
    low, high = one.interval(0.95)
    assert low < 3 / 872 < high
    assert probe_tests.Discordant(5, 2, 872).interval(0.95) == pytest.approx((-high, -low))
    assert probe_tests.Discordant(2, 5, 872, unit=2.5).interval(0.95) == pytest.approx((2.5 * low, 2.5 * high))


@pytest.mark.parametrize(("gains", "losses"), [(0.2, 0.2), (1, 0), (1, 1), (3, 0.5), (3, 3), (2, 6), (8, 0)])
@pytest.mark.parametrize("n", [100, 872])
def test_score_interval_covers_where_few_rows_are_discordant(gains, losses, n):
    """Exactly, over all counts of both kinds of discordant rows."""
    counts = np.arange(40)
    first, second = stats.binom.pmf(counts, n, losses / n), stats.binom.pmf(counts, n, gains / n)  # near multinomial
    covered = 0.0
    for c in np.flatnonzero(first > 1e-6):
        for b in np.flatnonzero(second > 1e-6):
            low, high = probe_tests.Discordant(int(c), int(b), n).interval(0.95)
            covered += first[c] * second[b] * (low <= (gains - losses) / n <= high)
    assert covered > 0.93


@pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
def test_score_interval_of_clusters_covers_however_far_rows_go_together(together):
    rng, clusters, size, draws, rate = np.random.default_rng(0), 300, 3, 400, 0.01
    covered, equivalent = 0, 0
    for _ in range(draws):
        whole = rng.random(clusters) < together
        alike = np.repeat(rng.random((clusters, 1)) < rate, size, 1)
        gains = np.where(whole[:, None], alike, rng.random((clusters, size)) < rate)
        counts = (int(gains.any(1).sum()), clusters, size)
        found = probe_tests.Discordant(0, int(gains.sum()), clusters * size, clusters=counts)
        low, high = found.interval(0.95)
        covered += low <= rate <= high
        equivalent += found.p_equivalence(rate, exact=True) < 0.05
    assert covered > 0.93 * draws
    assert equivalent / draws < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)


def test_few_discordant_rows_in_unequal_clusters_are_not_told_apart_too_often():
    """Two equally good classifiers, clusters of 10 among single rows: p goes with the interval."""
    rng, sizes = np.random.default_rng(0), np.repeat([10, 1], [40, 560])
    clusters, draws, rejected = np.repeat(np.arange(600), sizes), 500, 0
    for _ in range(draws):
        # clusters differ, all rows of one together, as often one way as the other
        sign = np.where(rng.random(600) < 0.01, rng.choice([-1, 1], 600), 0)[clusters]
        found = few_discordant(float(sign.mean()), sign < 0, sign > 0, clusters, 1.0)
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        rejected += found.p < 0.05
    assert rejected / draws < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    sign, clusters = np.repeat([1, 0, -1], [30, 550, 20]), np.concatenate([np.zeros(30, int), np.arange(1, 571)])
    assert few_discordant(10 / 600, sign < 0, sign > 0, clusters, 1.0).p > 0.5


def test_equivalence_of_few_discordant_rows_is_never_claimed_too_often():
    for n in (60, 136, 300, 872, 3000):
        counts = np.arange(100)
        claimed = [probe_tests.Discordant(int(k), 0, n).p_equivalence(0.02, exact=True) < 0.05 for k in counts]
        for others in (0, 0.01, 0.05):  # the difference is the margin; others cancel
            assert stats.binom.pmf(counts, n, 0.02 + 2 * others) @ claimed < 0.05
    assert probe_tests.Discordant(1, 1, 872).p_equivalence(0.02, exact=True) < 1e-4
    whole = probe_tests.Discordant(3, 3, 900, clusters=(2, 300, 3))  # rows of a cluster always go together
    apart = probe_tests.Discordant(1, 1, 300)
    assert whole.p_equivalence(0.02, exact=True) == pytest.approx(apart.p_equivalence(0.02, exact=True))
    assert whole.interval(0.95) == pytest.approx(apart.interval(0.95))
    assert probe_tests.Discordant(0, 0, 60).p_equivalence(0.02, exact=True) > 0.05
    assert probe_tests.Discordant(0, 0, 300, unit=2).p_equivalence(0.04, exact=True) == pytest.approx(0.98**300)


@pytest.mark.parametrize("n", [600, 872])
@pytest.mark.parametrize("losses", [0, 0.005, 0.03])
def test_score_test_of_equivalence_errs_as_often_as_it_says(n, losses):
    """Exactly, at a difference of the margin; the t test errs in 9 % of draws where all rows point one way."""
    counts, wrong = np.arange(90), 0.0
    first, second = stats.binom.pmf(counts, n, losses), stats.binom.pmf(counts, n, losses + 0.02)  # near multinomial
    for c in np.flatnonzero(first > 1e-6):
        for b in np.flatnonzero(second > 1e-6):
            found = probe_tests.Discordant(int(c), int(b), n)
            wrong += first[c] * second[b] * (found.p_equivalence(0.02, exact=c + b < 9) < 0.05)
    assert wrong < 0.055


def test_score_test_of_equivalence_is_that_of_its_interval():
    for first, second in ((3, 12), (20, 20), (11, 2), (40, 25)):
        found = probe_tests.Discordant(first, second, 800, unit=1.5)
        low, high = found.interval(0.90)
        farther = max(-low, high)
        assert (
            found.p_equivalence(1.001 * farther, exact=False) < 0.05 < found.p_equivalence(0.999 * farther, exact=False)
        )


def test_williams_of_a_worked_example():
    p = probe_tests.williams(0.50, 0.40, 0.10, 103)
    determinant = 1 - 0.25 - 0.16 - 0.01 + 2 * 0.5 * 0.4 * 0.1
    t = 0.1 * np.sqrt(102 * 1.1 / (2 * determinant * 102 / 100 + 0.45**2 * 0.9**3))
    assert p == pytest.approx(2 * stats.t.sf(t, 100))
    assert probe_tests.williams(0.5, 0.5, 0.9, 50) == 1.0


def test_williams_keeps_its_level():
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(400):
        score = rng.normal(size=80)
        said = 0.6 * score[:, None] + rng.normal(size=(80, 1)) * 0.5 + rng.normal(size=(80, 2))
        a, b, ab = (np.corrcoef(x, y)[0, 1] for x, y in ((said[:, 0], score), (said[:, 1], score), said.T))
        rejected += probe_tests.williams(a, b, ab, 80) < 0.05
    assert rejected / 400 < 0.08


def test_corrected_resampled_t():
    differences = np.array([0.02, 0.03, 0.01, 0.04, 0.00])
    se, p = probe_tests.corrected_resampled_t(differences, 80, 20)
    assert se == pytest.approx(np.sqrt((1 / 5 + 0.25) * differences.var(ddof=1)))
    assert p == pytest.approx(2 * stats.t.sf(differences.mean() / se, 4))
    assert p > stats.ttest_1samp(differences, 0).pvalue
    assert probe_tests.corrected_resampled_t(np.zeros(3), 80, 20) == (0.0, 1.0)
    with pytest.raises(ValueError, match="two splits"):
        probe_tests.corrected_resampled_t(np.ones(1), 80, 20)


def scored(seed: int, n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 6, n).astype(float)  # gold scores with many ties
    return label, label + 2 * rng.normal(size=n)


@pytest.mark.parametrize(
    ("influence", "statistic", "whole"),
    [
        (probe_tests.spearman_influence, lambda a, b: stats.spearmanr(a, b).statistic, False),
        (probe_tests.pearson_influence, lambda a, b: stats.pearsonr(a, b).statistic, False),
        (probe_tests.macro_f1_influence, None, True),
        (probe_tests.mcc_influence, None, True),
    ],
)
def test_influences_of_scores_are_what_leaving_an_example_out_says(influence, statistic, whole):
    from sklearn.metrics import f1_score, matthews_corrcoef

    label, said = scored(0)
    if whole:
        label, said = (label % 3).astype(int), np.clip(np.round(said), 0, 2).astype(int)
        macro = influence is probe_tests.macro_f1_influence
        statistic = (lambda a, b: f1_score(a, b, average="macro")) if macro else matthews_corrcoef
    n = len(label)
    moved = influence(label, said)
    assert abs(moved.sum()) < 1e-9 * np.abs(moved).sum()
    value = statistic(label, said)
    left_out = np.array([(n - 1) * (value - statistic(np.delete(label, i), np.delete(said, i))) for i in range(n)])
    assert np.corrcoef(moved, left_out)[0, 1] > 0.99
    assert moved.std() == pytest.approx(left_out.std(), rel=0.03)


def test_uniformity_of_sampled_columns_has_the_error_of_all_pairs(monkeypatch):
    from geomprobe.metrics import embeddings

    rng = np.random.default_rng(0)
    Z = (rng.exponential(size=(3000, 8)) - 1) * np.arange(1, 9) ** -0.7
    errors = []
    for limit in (20_000, 2_500):
        monkeypatch.setattr(embeddings, "EXACT_ROWS", limit)
        found, _ = inference.measure(Z, metrics=["uniformity"], views=["raw", "centred"])
        errors.append(found["se"].to_numpy(float))
    np.testing.assert_allclose(errors[1], errors[0], rtol=0.05)
