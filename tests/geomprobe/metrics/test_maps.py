"""What a map of rows shows, against slow ways to the same: brute force, other packages, planted groups and moves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from geomprobe.metrics import maps
from geomprobe.metrics.matrix import NEIGHBOURS, Matrix
from geomprobe.metrics.undefined import NotApplicable, TooFewRows


@pytest.fixture(scope="module")
def Z():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((60, 8)) * np.linspace(3, 0.5, 8) + 2).astype(np.float32)


def cosine(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_the_principal_map_is_that_of_pca_in_units_of_all_variance(Z):
    x = Z.astype(np.float64)
    found, pca = maps.principal_map(Z), PCA(2).fit(x)
    size = np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())
    np.testing.assert_allclose(np.abs(found), np.abs(pca.transform(x)) / size, atol=1e-9)
    assert (found**2).sum(1).mean() == pytest.approx(pca.explained_variance_ratio_.sum())
    np.testing.assert_allclose(maps.principal_map(7 * x + 3), found, atol=1e-9)  # signs too


def test_a_principal_map_of_few_dimensions_or_of_equal_rows():
    line = maps.principal_map(np.arange(4.0)[:, None])
    assert (line[:, 1] == 0).all()
    assert (np.diff(line[:, 0]) > 0).all()
    assert (maps.principal_map(np.ones((3, 5))) == 0).all()


def test_a_map_is_turned_back_onto_the_one_it_was_turned_from():
    rng = np.random.default_rng(1)
    target = rng.standard_normal((30, 2))
    target -= target.mean(0)
    reflected = np.array([[0.6, 0.8], [0.8, -0.6]])
    np.testing.assert_allclose(maps.turned_onto(target @ reflected, target), target, atol=1e-12)
    points = target + rng.standard_normal((30, 2))
    points -= points.mean(0)
    np.testing.assert_allclose(
        maps.turned_onto(points, target), points @ orthogonal_procrustes(points, target)[0], atol=1e-12
    )


def test_neighbours_are_those_of_brute_force(Z):
    near, cosines = maps.nearest_rows(maps.squared_distances(Matrix(Z)))
    for i, row in enumerate(Z.astype(np.float64)):
        known = {j: cosine(row, other) for j, other in enumerate(Z.astype(np.float64)) if j != i}
        best = sorted(known, key=lambda j: -known[j])[:NEIGHBOURS]
        assert near[i].tolist() == best
        assert cosines[i].tolist() == pytest.approx([known[j] for j in best], abs=1e-9)


def test_equally_near_rows_come_in_their_order(Z):
    repeated = np.concatenate([Z, Z[19::-1], 2 * Z[:1]])  # the last points the same way as the first
    near, cosines = maps.nearest_rows(maps.squared_distances(Matrix(repeated)))
    assert near[0, :2].tolist() == [79, 80]
    assert near[79, :2].tolist() == [0, 80]
    assert near[5, 0] == 74
    assert cosines[0, :2].tolist() == [1, 1]
    # whoever has row 76, which equals row 3, among its neighbours has row 3 just before
    for row in near[[i for i in range(81) if i not in (3, 76)]].tolist():
        assert 76 not in row or row.index(76) == row.index(3) + 1


def test_neighbours_that_are_undecided_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(NotApplicable, match="all directions of one side are equal"):
        maps.squared_distances(Matrix(np.ones((20, 4))))
    with pytest.raises(NotApplicable, match="a zero row has no direction"):
        maps.squared_distances(Matrix(np.concatenate([rng.standard_normal((20, 4)), np.zeros((1, 4))])))
    with pytest.raises(NotApplicable, match="undecided for most rows"):
        maps.squared_distances(Matrix(np.eye(20)))
    with pytest.raises(TooFewRows, match="10 rows; at least 11 are needed"):
        maps.squared_distances(Matrix(rng.standard_normal((10, 4))))


def test_planted_groups_stay_together_on_the_map_and_are_named_by_size():
    rng = np.random.default_rng(2)
    home = np.repeat(np.arange(6), [5, 30, 10, 25, 15, 20])
    Z = 6 * rng.standard_normal((6, 24))[home] + rng.standard_normal((105, 24))
    z = Matrix(Z).z.numpy()
    found = maps.groups(z)
    sizes = [np.unique(found[home == i]).tolist() for i in range(6)]
    assert sizes == [[5], [0], [4], [1], [3], [2]]
    points = maps.neighbour_map(z)
    assert (points == maps.neighbour_map(z)).all()
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-9)
    near, _ = maps.nearest_rows(maps.squared_in_plane(points))
    assert (home[near[:, 0]] == home).mean() > 0.95


def test_groups_and_maps_of_few_or_equal_rows():
    z = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert maps.groups(z).tolist() == [0, 1, 0, 0]
    with pytest.raises(TooFewRows):
        maps.neighbour_map(z)
    assert np.isfinite(maps.neighbour_map(np.repeat(z, 2, axis=0))).all()


def slowly_moved(first, second, most):
    """Pairs that moved, by counting less alike pairs one by one."""
    pairs = list(combinations(range(len(first)), 2))

    def share(side, pair):
        own = side[pair]
        return sum((side[p] > own) + 0.5 * (side[p] == own) for p in pairs) / len(pairs)

    moved = {pair: share(second, pair) - share(first, pair) for pair in pairs}
    found = []
    for sign in (1, -1):
        seen = set()
        for pair in sorted(pairs, key=lambda p: -sign * moved[p]):
            if sign * moved[pair] > 0 and len(seen) < 2 * most and not seen & set(pair):
                seen |= set(pair)
                found.append((pair, pytest.approx(share(first, pair)), pytest.approx(share(second, pair))))
    return found


@pytest.mark.parametrize("digits", [12, 1])  # with one, many pairs are tied
def test_moved_pairs_are_those_of_brute_force(digits):
    rng = np.random.default_rng(3)
    first, second = (np.round(maps.squared_distances(Matrix(rng.standard_normal((16, 5)))), digits) for _ in range(2))
    found = maps.moved_pairs(first, second, 3)
    rows = zip(*(found[name].tolist() for name in ("row", "other", "share_a", "share_b")), strict=True)
    assert [((i, j), a, b) for i, j, a, b in rows] == slowly_moved(first, second, 3)
    assert found["cosine_a"].tolist() == pytest.approx((1 - first[found["row"], found["other"]] / 2).tolist())
    assert found["cosine_b"].tolist() == pytest.approx((1 - second[found["row"], found["other"]] / 2).tolist())


def test_a_planted_move_is_found_whatever_the_scale_of_the_cosines():
    rng = np.random.default_rng(4)
    Z = rng.standard_normal((40, 30))
    Z[7] = Z[21] + 0.01 * rng.standard_normal(30)
    moved = Z.copy()
    moved[7] = rng.standard_normal(30)
    first, second = (maps.squared_distances(Matrix(side)) for side in (Z, moved))
    found = maps.moved_pairs(first, second, 20)
    apart = found["share_b"] < found["share_a"]
    assert (found["row"][apart][0], found["other"][apart][0]) == (7, 21)
    assert found["share_a"][apart][0] == pytest.approx(1, abs=0.001)
    # another increasing scale moves no pair
    nothing = maps.moved_pairs(first, first**3 / 100, 20)
    assert all(len(values) == 0 for values in nothing.values())
    again = maps.moved_pairs(first, second**3 / 100, 20)
    assert again["row"].tolist() == found["row"].tolist()
    for sign in (True, False):  # a row is in one pair of a list at most
        rows = np.concatenate([found["row"][apart == sign], found["other"][apart == sign]])
        assert len(set(rows.tolist())) == len(rows)
