"""Common checks, run over every metric of the registry and every one of its definitions."""

import numpy as np
import pytest
import torch

from geomprobe.api import measure
from geomprobe.metrics import REGISTRY
from geomprobe.vectors.moments import Moments

N, D = 90, 15
LABELS = np.arange(N) % 3
POSITIVES = np.arange(N).reshape(-1, 2)
NAMES = [
    name if definition == "standard" else f"{name}:{definition}"
    for name, metric in REGISTRY.items()
    for definition in metric.variants
]
ABSOLUTE = {"mean_cosine"}  # crosses zero


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, D)) * np.arange(1, D + 1) ** -0.4 + 0.4 * rng.normal(size=D)


def row(data, name, *, labels=LABELS, positives=POSITIVES, view=None):
    view = view or "raw"
    frame = measure(data, metrics=[name], views=[view], labels=labels, positives=positives, intervals=False)
    assert len(frame) == 1
    return frame.iloc[0]


def value(data, name, **arguments):
    found = row(data, name, **arguments)
    assert found["status"] == "ok", found["note"]
    return float(found["value"])


def rotation(d, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


@pytest.mark.parametrize("name", NAMES)
class TestEveryMetric:
    def test_row_order(self, name, x):
        order = np.random.default_rng(2).permutation(N)
        place = np.argsort(order)
        moved = value(x[order], name, labels=LABELS[order], positives=place[POSITIVES])
        assert moved == pytest.approx(value(x, name), rel=1e-9)

    @pytest.mark.parametrize("what", ["rotation", "scale", "shift", "row scale"])
    def test_invariances_are_as_declared(self, name, x, what):
        rng = np.random.default_rng(3)
        moved = {
            "rotation": lambda: x @ rotation(D),
            "scale": lambda: 3.7 * x,
            "shift": lambda: x + 2 * rng.normal(size=D),
            "row scale": lambda: x * rng.uniform(0.2, 5, (N, 1)),
        }[what]()
        declared = what in REGISTRY[name.partition(":")[0]].invariances
        if ":" in name and not declared:
            return  # the entry speaks of the standard definition
        same = value(moved, name) == pytest.approx(value(x, name), rel=1e-8)
        if declared and name not in ("effective_rank:vecscope", "stable_rank:embedding-quality"):
            assert same
        elif not declared and name not in ("rank_90", "rank_99"):
            assert not same

    @pytest.mark.parametrize(
        ("dtype", "tolerance"),
        [(torch.float64, 1e-12), (torch.float32, 1e-4), (torch.float16, 1e-4), (torch.bfloat16, 1e-4)],
    )
    def test_types(self, name, x, dtype, tolerance):
        """Against float64 computed from the same rounded numbers."""
        rounded = torch.from_numpy(x).to(dtype)
        expected = value(rounded.double().numpy(), name)
        floor = 1e-7 if name in ABSOLUTE else 0
        assert value(rounded, name) == pytest.approx(expected, rel=tolerance, abs=floor)
        if dtype not in (torch.bfloat16,):
            assert value(rounded.numpy(), name) == pytest.approx(expected, rel=tolerance, abs=floor)

    def test_layout(self, name, x):
        expected = value(x, name)
        read_only = x.copy()
        read_only.flags.writeable = False
        wide = np.zeros((N, 2 * D))
        wide[:, ::2] = x
        for same in (read_only, np.asfortranarray(x), wide[:, ::2], torch.from_numpy(x).requires_grad_(), x.tolist()):
            assert value(same, name) == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("scale", [1e30, 1e-30])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_huge_and_tiny(self, name, x, scale, dtype):
        found = row((x * scale).astype(dtype), name)
        if found["status"] == "ok":
            assert np.isfinite(found["value"])
            if "scale" in REGISTRY[name.partition(":")[0]].invariances:
                tolerance = 1e-4 if dtype == np.float32 else 1e-9
                assert found["value"] == pytest.approx(value(x, name), rel=tolerance, abs=1e-7)
        else:
            assert name == "lidar"  # W vanishes beside, or swallows, the 1e-4 that is added
            assert found["note"]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_rows_that_are_not_finite(self, name, x, bad):
        broken = x.copy()
        broken[11, 3] = bad
        with pytest.raises(ValueError, match="NaN or infinity: 11"):
            row(broken, name)

    def test_too_few_rows(self, name, x):
        for few in (x[:0], x[:1]):
            with pytest.raises(ValueError, match="two rows"):
                row(few, name, labels=None, positives=None)

    def test_constant(self, name, x):
        found = row(np.tile(x[0], (N, 1)), name)
        assert found["status"] in ("ok", "not applicable", "too few rows")
        assert found["status"] == "ok" or found["note"]
        assert (found["status"] == "ok") == bool(
            np.isfinite(float(found["value"] if found["status"] == "ok" else np.nan))
        )

    def test_small_and_wide(self, name, x):
        rng = np.random.default_rng(5)
        for shape in ((2, 5), (3, 5), (12, 40), (40, 1), (6, 2)):
            small = rng.normal(size=shape)
            pairs = np.arange(shape[0] // 2 * 2).reshape(-1, 2)
            found = row(small, name, labels=np.arange(shape[0]) % 2, positives=pairs)
            assert found["status"] in ("ok", "not applicable", "too few rows")
            assert found["note"] if found["status"] != "ok" else np.isfinite(found["value"])

    def test_from_moments(self, name, x):
        metric = REGISTRY[name.partition(":")[0]]
        found = row(Moments().update(x[:40]).merge(Moments().update(x[40:])), name)
        if metric.needs == "moments":
            assert found["value"] == pytest.approx(value(x, name), rel=1e-8)
        else:
            assert found["status"] == "needs rows"

    def test_range_is_kept(self, name, x):
        bounds = REGISTRY[name.partition(":")[0]].range
        if not bounds.startswith(("[", "(")):
            return
        low = bounds[1:].split(",")[0].strip()
        limits = {"−1/(N−1)": -1 / (N - 1), "−4N/(N−1)": -4 * N / (N - 1), "−∞": -np.inf, "−4": -4.0}
        assert value(x, name) >= limits.get(low, float(low) if low.isdigit() else -np.inf) - 1e-12
