"""Metrics against other people's packages, ours in the variant that reproduces theirs."""

import contextlib
import importlib.util
import io

import numpy as np
import pytest
import torch
from clouds import embeddings
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from geomprobe.api import measure
from geomprobe.inference.similarity import similarity

KINDS = ("random", "power law", "shifted", "clustered", "near-collapsed", "N<D")


def ours(x, name, view="raw", **arguments):
    return measure(x, metrics=[name], views=[view], intervals=False, **arguments)["value"].iloc[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 1e-4)])
class TestPackages:
    def test_embedding_quality(self, kind, dtype, tolerance):
        evaluation = pytest.importorskip("embedding_quality.evaluation")
        peer = evaluation.UnsupervisedEmbeddingQualityEvaluation
        x = embeddings(kind, dtype)
        wide = x.astype(np.float64)
        assert ours(x, "rankme") == pytest.approx(peer.RankMe(wide), rel=tolerance)
        assert ours(x, "stable_rank") == pytest.approx(float(np.real(peer.NESum(wide))), rel=tolerance)
        assert ours(x, "stable_rank:embedding-quality") == pytest.approx(peer.Stable_rank(wide), rel=tolerance)

    def test_isoscore(self, kind, dtype, tolerance):
        package = pytest.importorskip("IsoScore.IsoScore")
        x = embeddings(kind, dtype)
        # its constants are float32, so its digits end at 1e-6 of the score's scale
        peer = float(package.IsoScore(x.astype(np.float64)))
        assert ours(x, "isoscore") == pytest.approx(peer, rel=max(tolerance, 1e-5), abs=1e-6)

    def test_vendi_score(self, kind, dtype, tolerance):
        vendi = pytest.importorskip("vendi_score.vendi")
        x = embeddings(kind, dtype)
        wide = x.astype(np.float64)
        assert ours(x, "vendi_score") == pytest.approx(vendi.score_dual(wide), rel=tolerance)

    def test_nngeom(self, kind, dtype, tolerance):
        pytest.importorskip("nngeom")
        from nngeom import manifolds, metrics, representations

        x = embeddings(kind, dtype)
        wide = x.astype(np.float64)
        assert ours(x, "effective_rank") == pytest.approx(manifolds.effective_rank(wide), rel=tolerance)
        assert ours(x, "participation_ratio") == pytest.approx(manifolds.participation_ratio(wide), rel=tolerance)
        peer = metrics.compute(wide, ["stable_rank"])["stable_rank"]
        assert ours(x, "stable_rank") == pytest.approx(peer, rel=tolerance)
        y = embeddings(kind, dtype, seed=1)
        peer = representations.linear_cka(wide, y.astype(np.float64))
        value = similarity(x, y, metrics=["linear_cka"], permutations=0)["value"].iloc[0]
        assert value == pytest.approx(peer, rel=tolerance)

    def test_reptrix(self, kind, dtype, tolerance):
        if importlib.util.find_spec("reptrix") is None:
            pytest.skip("reptrix is not installed")
        rankme = pytest.importorskip("reptrix.rankme")
        alpha = pytest.importorskip("reptrix.alpha")
        x = embeddings(kind, dtype)
        wide = torch.from_numpy(x.astype(np.float64))
        assert ours(x, "rankme:reptrix") == pytest.approx(rankme.get_rankme(wide), rel=tolerance)
        last = min(len(x) - 1, x.shape[1])
        peer = alpha.get_powerlaw(
            np.append(PCA(svd_solver="full").fit(wide).explained_variance_ratio_, np.full(500, 1e-30)),
            np.arange(10, last),
        )[0]
        assert ours(x, "alpha_req:reptrix") == pytest.approx(peer, rel=max(tolerance, 1e-5))  # its weights are float32

    def test_vecscope(self, kind, dtype, tolerance):
        diagnostics = pytest.importorskip("vecscope.diagnostics")
        x = embeddings(kind, dtype)
        z = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        peer = diagnostics.anisotropy(z)["effective_rank"]
        # it computes in the precision that it casts to
        assert ours(x, "effective_rank:vecscope") == pytest.approx(peer, rel=max(tolerance, 1e-4))

    def test_scikit_dimension(self, kind, dtype, tolerance):
        skdim = pytest.importorskip("skdim")
        x = embeddings(kind, dtype)
        wide = x.astype(np.float64)
        peer = skdim.id.TwoNN().fit(wide).dimension_
        assert ours(x, "intrinsic_dimension") == pytest.approx(peer, rel=tolerance)
        peer = skdim.id.MLE().fit(wide, n_neighbors=20).dimension_
        assert ours(x, "intrinsic_dimension:mle") == pytest.approx(peer, rel=tolerance)

    def test_scikit_learn(self, kind, dtype, tolerance):
        x = embeddings(kind, dtype)
        wide = x.astype(np.float64)
        for q in (0.9, 0.99):
            peer = PCA(q, svd_solver="full").fit(wide).n_components_
            assert ours(x, f"rank_{round(q * 100)}") == peer
        found = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(wide).kneighbors()[1]
        counts = np.bincount(found.ravel(), minlength=len(x)).astype(float)
        y = counts - counts.mean()
        assert ours(x, "hubness_skew") == pytest.approx((y**3).mean() / (y**2).mean() ** 1.5, rel=tolerance)

    def test_torch_pdist(self, kind, dtype, tolerance):
        """The formula as its authors publish it."""
        x = embeddings(kind, dtype)
        wide = torch.from_numpy(x.astype(np.float64))
        for view, points in (("raw", wide), ("centred", wide - wide.mean(0))):
            z = torch.nn.functional.normalize(points, dim=1)
            peer = torch.pdist(z).pow(2).mul(-2).exp().mean().log().item()
            assert ours(x, "uniformity", view) == pytest.approx(peer, rel=tolerance)

    def test_scipy_procrustes(self, kind, dtype, tolerance):
        x, y = embeddings(kind, dtype), embeddings(kind, dtype, seed=1)
        a, b = (m.astype(np.float64) - m.astype(np.float64).mean(0) for m in (x, y))
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        peer = np.linalg.norm(a @ orthogonal_procrustes(a, b)[0] - b)
        value = similarity(x, y, metrics=["procrustes"], permutations=0)["value"].iloc[0]
        assert value == pytest.approx(peer, rel=tolerance)

    def test_cka_pytorch(self, kind, dtype, tolerance):
        """Its hsic module alone, since importing the package needs a training framework."""
        spec = importlib.util.find_spec("cka_pytorch")
        if spec is None or not spec.submodule_search_locations:
            pytest.skip("cka-pytorch is not installed")
        path = spec.submodule_search_locations[0] + "/hsic.py"
        module_spec = importlib.util.spec_from_file_location("cka_pytorch_hsic", path)
        hsic = importlib.util.module_from_spec(module_spec)
        module_spec.loader.exec_module(hsic)
        x, y = embeddings(kind, dtype), embeddings(kind, dtype, seed=1)
        # centred, for unbiased HSIC does not change and its digits do
        k, m = (torch.from_numpy(v - v.mean(0))[None] for v in (x.astype(np.float64), y.astype(np.float64)))
        k, m = k @ k.mT, m @ m.mT
        peer = float(hsic.hsic1(k, m) / torch.sqrt(hsic.hsic1(k, k) * hsic.hsic1(m, m)))
        value = similarity(x, y, metrics=["linear_cka_unbiased"], permutations=0)["value"].iloc[0]
        assert value == pytest.approx(peer, rel=tolerance, abs=tolerance * 1e-2)


def test_reptrix_lidar_differs_only_in_its_constants():
    """reptrix adds 1e-6 instead of 1e-4, and takes eigenvalues of the covariance of the rows of the LDA matrix."""
    if importlib.util.find_spec("reptrix") is None:
        pytest.skip("reptrix is not installed")
    lidar = pytest.importorskip("reptrix.lidar")
    x = embeddings("random")
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = lidar.get_lidar(torch.from_numpy(x), 60, 2)
    value = ours(x, "lidar", positives=np.arange(120).reshape(-1, 2))
    # documented, not equal: squares of the eigenvalues (about their mean) have a lower entropy
    assert theirs < value
    assert theirs > 1
