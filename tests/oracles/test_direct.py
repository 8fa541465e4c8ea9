"""Every metric against its formula, written out plainly over all pairs and by SVD in float64."""

import warnings
from itertools import combinations

import numpy as np
import pytest
import scipy.linalg
import scipy.special
from clouds import NAMES, embeddings
from scipy.spatial.distance import cdist, pdist

from geomprobe.api import measure
from geomprobe.metrics import REGISTRY

DELTA = 1e-4


def h(p):
    p = p[p > 0]
    return -(p * np.log(p)).sum()


def sigma(x, centre=True):
    s = np.linalg.svd(x - x.mean(0) if centre else x, compute_uv=False)
    return s[: min(len(x) - 1, x.shape[1])] if centre else s


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def pca_rank(x, share):
    return float(np.argmax(np.cumsum(sigma(x) ** 2) / (sigma(x) ** 2).sum() >= share - 1e-12)) + 1


def alpha(x, first=11, last=500):
    return alpha_of(sigma(x) ** 2, first, last)


def alpha_of(s, first, last):
    k = np.arange(first, min(last, len(s)) + 1)
    return -np.polyfit(np.log(k), np.log(s[first - 1 : last]), 1, w=np.sqrt(1 / k))[0]


def partition(x):
    vectors = np.linalg.svd(x)[2]
    log_z = scipy.special.logsumexp(x @ np.vstack([vectors, -vectors]).T, axis=0)
    return np.exp(log_z.min() - log_z.max())


def rogue(x, k):
    z = unit(x)
    parts = np.mean([z[i] * z[j] for i, j in combinations(range(len(z)), 2)], axis=0)
    return np.sort(parts)[::-1][:k].sum() / parts.sum()


def hubness(x, k=10):
    distance = cdist(unit(x), unit(x))
    np.fill_diagonal(distance, np.inf)
    counts = np.bincount(np.argsort(distance, 1)[:, :k].ravel(), minlength=len(x))
    y = counts - counts.mean()
    return (y**3).mean() / (y**2).mean() ** 1.5


def class_pairs(x, y):
    distance = cdist(unit(x), unit(x), "sqeuclidean")
    within = [np.mean([distance[i, j] for i, j in combinations(np.flatnonzero(y == c), 2)]) for c in np.unique(y)]
    between = [distance[np.ix_(y == a, y == b)].mean() for a, b in combinations(np.unique(y), 2)]
    return np.mean(within), np.mean(between)


def nearest_distances(x, k):
    distance = cdist(x, x)
    np.fill_diagonal(distance, np.inf)
    return np.sort(distance, 1)[:, :k]


def two_nn(x):
    r = nearest_distances(x, 2)
    mu = np.sort(r[:, 1] / r[:, 0])[: int(len(x) * 0.9)]
    f = np.arange(1, len(mu) + 1) / len(x)
    return np.linalg.lstsq(np.log(mu)[:, None], -np.log(1 - f), rcond=None)[0][0]


def mle(x, k=20):
    r = nearest_distances(x, k)
    local = [(k - 1) / sum(np.log(row[-1] / row[j]) for j in range(k - 1)) for row in r]
    return 1 / np.mean(1 / np.array(local))


def lidar(x, pairs):
    views = x[pairs]  # (objects, 2, d)
    means = views.mean(1)
    between = (means - means.mean(0)).T @ (means - means.mean(0)) / len(pairs)
    rest = (views - means[:, None]).reshape(-1, x.shape[1])
    root = scipy.linalg.inv(scipy.linalg.sqrtm(rest.T @ rest / len(rest) + DELTA * np.eye(x.shape[1]))).real
    values = np.abs(np.linalg.eigvalsh(root @ between @ root))
    return np.exp(h(values / values.sum() + 1e-7))


def unbiased_parts(x):
    """Unbiased (tr Σ)² and tr Σ² as U-statistics over different rows, by inclusion of the means."""
    n = len(x)
    s = np.cov(x, rowvar=False)
    q = (((x - x.mean(0)) ** 2).sum(1) ** 2).sum() / (n - 1)
    tr, tr2 = np.trace(s), (s * s).sum()
    c = (n - 1) / (n * (n - 2) * (n - 3))
    return c * (2 * tr2 + (n * n - 3 * n + 1) * tr**2 - n * q), c * ((n - 1) * (n - 2) * tr2 + tr**2 - n * q)


def labels(x):
    return np.arange(len(x)) % (3 if len(x) > 5 else 2)


def positives(x):
    return np.arange(len(x) // 2 * 2).reshape(-1, 2)


def cosines(x):
    z = unit(x)
    return 1 - pdist(z, "sqeuclidean") / 2


DIRECT = {
    "effective_rank": lambda x: np.exp(h(sigma(x) / sigma(x).sum())),
    "effective_rank:ssrlib": lambda x: np.exp(h(sigma(x) ** 2 / (sigma(x) ** 2).sum())),
    "effective_rank:vecscope": lambda x: (sigma(unit(x)) ** 2).sum() ** 2 / (sigma(unit(x)) ** 4).sum(),
    "rankme": lambda x: np.exp(h(sigma(x, False) / sigma(x, False).sum() + 1e-7)),
    "rankme:reptrix": lambda x: np.exp(
        h(np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / (sigma(x) ** 2).sum() + 1e-7)
    ),
    "spectral_entropy": lambda x: h(sigma(x) ** 2 / (sigma(x) ** 2).sum()) / np.log(min(len(x) - 1, x.shape[1])),
    "spectral_entropy:paper": lambda x: h(sigma(x) ** 2 / (sigma(x) ** 2).sum()) / np.log(min(x.shape)),
    "participation_ratio": lambda x: np.trace(np.cov(x.T)) ** 2 / (np.cov(x.T) ** 2).sum(),
    "participation_ratio:unbiased": lambda x: unbiased_parts(x)[0] / unbiased_parts(x)[1],
    "stable_rank": lambda x: np.linalg.norm(x - x.mean(0)) ** 2 / np.linalg.norm(x - x.mean(0), 2) ** 2,
    "stable_rank:embedding-quality": lambda x: np.linalg.norm(x) ** 2 / np.linalg.norm(x, 2) ** 2,
    "rank_90": lambda x: pca_rank(x, 0.9),
    "rank_99": lambda x: pca_rank(x, 0.99),
    "alpha_req": alpha,
    "alpha_req:reptrix": lambda x: alpha(x, 11, 100),
    "vendi_score": lambda x: np.exp(h(np.linalg.eigvalsh(unit(x) @ unit(x).T / len(x)))),
    "lidar": lambda x: lidar(x, positives(x)),
    "intrinsic_dimension": two_nn,
    "intrinsic_dimension:mle": mle,
    "uniformity": lambda x: np.log1p(np.expm1(-2 * pdist(unit(x), "sqeuclidean")).mean()),
    "uniformity:all pairs": lambda x: np.log1p(np.expm1(-2 * cdist(unit(x), unit(x), "sqeuclidean")).mean()),
    "uniformity_jensen": lambda x: -2 * pdist(unit(x), "sqeuclidean").mean(),
    "mean_cosine": lambda x: cosines(x).mean(),
    "alignment": lambda x: np.mean([((unit(x)[i] - unit(x)[j]) ** 2).sum() for i, j in positives(x)]),
    "class_alignment": lambda x: class_pairs(x, labels(x))[0],
    "class_alignment:pooled": lambda x: np.mean(
        [
            ((unit(x)[i] - unit(x)[j]) ** 2).sum()
            for i, j in combinations(range(len(x)), 2)
            if labels(x)[i] == labels(x)[j]
        ]
    ),
    "class_separation": lambda x: class_pairs(x, labels(x))[1],
    "isoscore": lambda x: (np.trace(np.cov(x.T)) ** 2 / (np.cov(x.T) ** 2).sum() - 1) / (x.shape[1] - 1),
    "isoscore:unbiased": lambda x: (unbiased_parts(x)[0] / unbiased_parts(x)[1] - 1) / (x.shape[1] - 1),
    "partition_isotropy": partition,
    "rogue_share_1": lambda x: rogue(x, 1),
    "rogue_share_3": lambda x: rogue(x, 3),
    "norm_cv": lambda x: np.linalg.norm(x, axis=1).std() / np.linalg.norm(x, axis=1).mean(),
    "hubness_skew": hubness,
}
NOT_AT = {  # what has no value there, and must say so
    "N=2": {
        "spectral_entropy",
        "participation_ratio:unbiased",
        "isoscore:unbiased",
        "alpha_req",
        "alpha_req:reptrix",
        "lidar",
        "intrinsic_dimension",
        "intrinsic_dimension:mle",
        "class_alignment",
        "class_alignment:pooled",
        "hubness_skew",
    },
}
NARROW = ("alpha_req", "alpha_req:reptrix")  # more rows would not mend it: the cloud has too few dimensions


def names():
    return [
        name if definition == "standard" else f"{name}:{definition}"
        for name, metric in REGISTRY.items()
        for definition in metric.variants
    ]


def test_every_metric_has_an_oracle():
    assert set(names()) - {"uniformity_reference"} == set(DIRECT)


def found(x, name, view="raw"):
    companions = {"labels": labels(x), "positives": positives(x)}
    return measure(x, metrics=[name], views=[view], intervals=False, **companions).iloc[0]


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("name", list(DIRECT))
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 1e-4)])
def test_raw(name, kind, dtype, tolerance):
    x = embeddings(kind, dtype)
    row = found(x, name)
    if name in NOT_AT.get(kind, ()):
        assert row["status"] == ("not applicable" if name in NARROW else "too few rows")
        return
    if name.startswith("rogue") and cosines(x.astype(np.float64)).mean() <= 0:
        assert row["status"] == "not applicable"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = DIRECT[name](x.astype(np.float64))
    assert row["status"] == "ok", row["note"]
    # a mean cosine (and a share of it) near zero is a difference of ones: its digits end at the rounding of the input
    floors = {"mean_cosine": 1e-8, "rogue_share_1": 1e-4, "rogue_share_3": 1e-4}
    floor = floors.get(name, 0) if dtype == np.float32 else 0
    assert row["value"] == pytest.approx(expected, rel=tolerance, abs=floor)


def viewed(x, view):
    y = x - x.mean(0)
    if view == "standardised":
        return y / y.std(0)
    if view == "all-but-top-k":
        top = np.linalg.svd(y, full_matrices=False)[2][: max(1, round(x.shape[1] / 100))]
        return y - y @ top.T @ top
    if view == "whitened":
        u, s, v = np.linalg.svd(y, full_matrices=False)
        keep = s > 1e-10 * s[0]
        return u[:, keep] @ v[keep] * np.sqrt(len(x))
    return y


def left(y, k):
    """The centred singular values of a view without the k zeros that removing components made."""
    s = sigma(y)
    return s[: len(s) - k]


def rankme_left(y, k):
    s = np.linalg.svd(y, compute_uv=False)[: min(y.shape) - k]
    return np.exp(h(s / s.sum() + 1e-7))


REMOVED = {  # in the view all-but-top-k the removed directions are no part of the spectrum
    "rankme": rankme_left,
    "spectral_entropy": lambda y, k: h(left(y, k) ** 2 / (left(y, k) ** 2).sum()) / np.log(len(left(y, k))),
    "alpha_req": lambda y, k: alpha_of(left(y, k) ** 2, 11, 500),
    "alpha_req:reptrix": lambda y, k: alpha_of(left(y, k) ** 2, 11, 100),
}
NEIGHBOURS = {"hubness_skew", "intrinsic_dimension", "intrinsic_dimension:mle"}


def applies(name, kind, view, y):
    """Whether a metric has a value: N = 2 leaves nothing beside one component; N<D rows are whitened to a simplex."""
    metric = REGISTRY[name.partition(":")[0]]
    if view not in metric.views or name in NOT_AT.get(kind, ()):
        return False
    if view == "all-but-top-k" and kind == "N=2":
        return False
    if view == "whitened" and kind == "N<D" and name in NEIGHBOURS:
        return False
    return not (name.startswith("rogue") and cosines(y).mean() <= 0)


@pytest.mark.parametrize("view", ["centred", "standardised", "all-but-top-k", "whitened"])
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 1e-4)])
def test_views(view, kind, dtype, tolerance):
    x = embeddings(kind, dtype)
    y = viewed(x.astype(np.float64), view)
    k = max(1, round(x.shape[1] / 100))
    companions = {"labels": labels(x), "positives": positives(x)}
    frame = measure(x, metrics=names(), views=[view], intervals=False, **companions)
    assert len(frame) == len(names())
    for row in frame.to_dict("records"):
        name = row["metric"] if row["definition"] == "standard" else f"{row['metric']}:{row['definition']}"
        if name == "uniformity_reference":
            assert row["status"] == "not applicable"
            continue
        assert (row["status"] == "ok") == applies(name, kind, view, y), (name, row["note"])
        if row["status"] != "ok":
            assert row["note"]
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = REMOVED[name](y, k) if view == "all-but-top-k" and name in REMOVED else DIRECT[name](y)
        # near 0 what is left is rounding: of a mean cosine about the mean, of lengths that are all equal
        floors = {"mean_cosine": tolerance * 0.01, "hubness_skew": tolerance * 0.01, "norm_cv": tolerance * 0.001}
        assert row["value"] == pytest.approx(expected, rel=tolerance, abs=floors.get(row["metric"], 0)), name


@pytest.mark.parametrize("d", [2, 3, 64, 768])
def test_uniformity_reference(d):
    """The mean of exp(2t·cosine) over the sphere, integrated numerically over the density of one cosine."""
    c = np.linspace(-1, 1, 200_001)
    if d == 2:
        angle = np.linspace(0, np.pi, 200_001)
        mean = np.trapezoid(np.exp(4 * np.cos(angle)), angle) / np.pi
    else:
        density = (1 - c * c) ** ((d - 3) / 2)
        mean = np.trapezoid(density * np.exp(4 * c), c) / np.trapezoid(density, c)
    value = found(np.eye(3, d), "uniformity_reference")["value"]
    assert value == pytest.approx(-4 + np.log(mean), rel=1e-6)
    if d == 768:
        assert value == pytest.approx(-3.98958, abs=1e-5)


def test_shift_moves_raw_uniformity_only():
    """The table of the design: a cloud shifted by multiples of its RMS length."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 40))
    direction = rng.normal(size=40)
    direction *= np.sqrt((x**2).sum(1).mean()) / np.linalg.norm(direction)
    raw = [found(x + shift * direction, "uniformity")["value"] for shift in (0, 1, 4)]
    centred = [found(x + shift * direction, "uniformity", "centred")["value"] for shift in (0, 1, 4)]
    assert raw[0] < -3.7 < -2.5 < raw[1] < raw[2]
    assert raw[2] > -0.4
    np.testing.assert_allclose(centred, centred[0], rtol=1e-9)
