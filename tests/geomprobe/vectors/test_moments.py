"""The mergeable state: against direct sums, under any split, in every precision, with bad rows refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomprobe.common import InputError
from geomprobe.vectors import GRAM_ROWS, NonFiniteError, gram
from geomprobe.vectors.moments import Moments

FIELDS = ("mean", "scatter", "cubic", "quartic", "sphere_mean", "sphere_scatter", "norm_sum", "norm_scatter")


def direct(x):
    x = np.asarray(x, np.float64)
    y = x - x.mean(0)
    norms = np.linalg.norm(x, axis=1)
    z = x[norms > 0] / norms[norms > 0, None]
    square = (y**2).sum(1)
    return {
        "mean": x.mean(0),
        "scatter": y.T @ y,
        "cubic": square @ y,
        "quartic": (square**2).sum(),
        "sphere_mean": z.mean(0),
        "sphere_scatter": (z - z.mean(0)).T @ (z - z.mean(0)),
        "norm_sum": norms.sum(),
        "norm_scatter": ((norms - norms.mean()) ** 2).sum(),
    }


def assert_close(state, expected, tolerance, x):
    """Relative to the natural size of each moment: N times a power of the spread, or of the length for the mean."""
    x = np.asarray(x, np.float64)
    n, size = len(x), np.abs(x).max()
    spread = np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean()) + 1e-16 * size
    natural = {
        "mean": size,
        "scatter": n * spread**2,
        "cubic": n * spread**3,
        "quartic": n * spread**4,
        "sphere_mean": 1,
        "sphere_scatter": n * min(1, spread / size) ** 2,
        "norm_sum": n * size,
        "norm_scatter": n * spread**2,
    }
    for name in FIELDS:
        want = expected[name] if isinstance(expected, dict) else getattr(expected, name)
        np.testing.assert_allclose(getattr(state, name), want, rtol=0, atol=tolerance * natural[name], err_msg=name)


def clouds(seed=0, n=300, d=12):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return {
        "random": x,
        "power law": x * np.arange(1, d + 1) ** -1.0,
        "shifted": x + 50 * rng.normal(size=d),
        "clustered": x * 0.1 + rng.normal(size=(4, d))[rng.integers(0, 4, n)],
        "sorted": np.sort(x, axis=0) + np.linspace(-100, 100, n)[:, None],
    }


@pytest.mark.parametrize("name", list(clouds()))
def test_equals_direct_sums(name):
    x = clouds()[name]
    assert_close(Moments().update(x), direct(x), 1e-11, x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_precisions(dtype):
    x = torch.from_numpy(clouds()["shifted"] / 100).to(getattr(torch, dtype))
    state = Moments().update(x)
    assert_close(state, direct(x.double().numpy()), 1e-11 if dtype == "float64" else 3e-6, x.double().numpy())
    assert state.eps == torch.finfo(x.dtype).eps


@given(
    st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.sampled_from([0.0, 1.0, 1e3])
)
@settings(max_examples=60, deadline=None)
def test_merge_equals_union(seed, n_a, n_b, d, shift):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_a + n_b, d)) * 10.0 ** rng.integers(-3, 4) + shift * rng.normal(size=d)
    a, b = Moments().update(x[:n_a]), Moments().update(x[n_a:])
    union = Moments().update(x)
    # relative to the spread around zero where the mean dwarfs it: those digits are not in the input
    tolerance = 1e-10 * max(1.0, shift)
    assert_close(a.merge(b), union, tolerance, x)
    assert_close(b.merge(a), union, tolerance, x)
    assert (a.merge(b).minimum == union.minimum).all()
    assert (a.merge(b).maximum == union.maximum).all()
    assert a.merge(b).duplicate_share == union.duplicate_share


@given(st.integers(0, 2**31), st.integers(2, 60), st.integers(2, 60))
@settings(max_examples=20, deadline=None)
def test_merge_equals_union_float32(seed, n_a, n_b):
    x = np.random.default_rng(seed).normal(size=(n_a + n_b, 6)).astype(np.float32)
    merged = Moments().update(x[:n_a]).merge(Moments().update(x[n_a:]))
    assert_close(merged, Moments().update(x), 1e-6, x)


def test_merge_leaves_operands_and_accepts_empty():
    x = clouds()["random"]
    a, b = Moments().update(x[:100]), Moments().update(x[100:])
    before = a.scatter.copy()
    a.merge(b)
    assert (a.scatter == before).all()
    assert a.n == 100
    assert_close(Moments().merge(a), a, 0, x)
    assert_close(a.merge(Moments()), a, 0, x)


def test_many_small_updates():
    x = clouds()["sorted"]
    state = Moments()
    for row in x:
        state.update(row[None])
    assert_close(state, direct(x), 1e-10, x)


def test_rows_that_are_not_finite_are_named_and_change_nothing():
    x = clouds()["random"]
    state = Moments().update(x)
    before = state.scatter.copy()
    bad = x.copy()
    bad[3, 2], bad[7, 0] = np.nan, -np.inf
    with pytest.raises(NonFiniteError, match="303, 307") as caught:
        state.update(bad)
    assert caught.value.rows == [303, 307]
    assert isinstance(caught.value, ValueError)
    assert state.n == 300
    assert (state.scatter == before).all()


@pytest.mark.parametrize("scale", [1e30, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_and_tiny_scale(scale, dtype):
    x = (clouds()["random"] * scale).astype(dtype)
    assert_close(Moments().update(x), direct(x), 1e-11 if dtype == np.float64 else 3e-6, x)


@pytest.mark.parametrize("value", [1e80, 1e-80])
def test_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="rescale"):
        Moments().update(np.full((3, 2), value))


def test_equal_rows_have_no_scatter():
    state = Moments()
    for _ in range(3):
        state.update(np.tile([0.1, 0.7, -1 / 3], (50, 1)))
    assert not state.scatter.any()
    assert not state.sphere_scatter.any()
    assert state.duplicate_share == pytest.approx(149 / 150)


def test_zero_rows_have_no_direction():
    x = clouds()["random"].copy()
    x[:5] = 0
    state = Moments().update(x)
    assert state.n_directions == 295
    assert_close(state, direct(x), 1e-11, x)
    assert Moments().update(np.zeros((4, 3))).n_directions == 0


def test_duplicates_beyond_the_sketch_are_estimated():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 2)).astype(np.float32)
    state = Moments().update(x).update(x[:50_000])
    assert state.duplicate_share == pytest.approx(1 / 3, abs=0.01)


def test_saves_and_loads(tmp_path):
    x = clouds()["shifted"]
    state = Moments().update(x)
    state.save(tmp_path / "state.safetensors")
    loaded = Moments.load(tmp_path / "state.safetensors")
    for name in (*FIELDS, "minimum", "maximum", "n", "d", "n_directions", "eps", "work_eps", "duplicate_share"):
        assert np.array_equal(getattr(loaded, name), getattr(state, name)), name
    assert_close(loaded.update(x), state.update(x), 0, x)


def test_load_refuses_other_files(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "cut").write_bytes(b"\x00\x01")
    save_file({"a": np.zeros(2)}, tmp_path / "other")
    for name in ("cut", "other", "missing"):
        with pytest.raises(InputError):
            Moments.load(tmp_path / name)


def test_load_refuses_a_flipped_byte(tmp_path):
    path = tmp_path / "state.safetensors"
    Moments().update(clouds()["shifted"]).save(path)
    whole = path.read_bytes()
    for at in range(len(whole) - 1, 8 + int.from_bytes(whole[:8], "little"), -97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InputError, match="not what was written"):
            Moments.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mean", lambda a: a[:-1]),
        ("scatter", lambda a: a[:-1]),
        ("cubic", lambda a: a.astype(np.float32)),
        ("minimum", lambda a: a * np.nan),
        ("sphere_mean", lambda a: a[:0]),
        ("sphere_scatter", lambda a: a[:0, :0]),
        ("scalars", lambda a: a[:-1]),
        ("scalars", lambda a: a * np.inf),
        ("counts", lambda a: -a),
        ("counts", lambda a: a + np.array([0, 1, 0])),
        ("hashes", lambda a: a[::-1]),
        ("hashes", lambda a: a[:-1]),
        ("copies", lambda a: a * 9),
        ("copies", lambda a: a.astype(np.int8)),
        ("mean", None),
    ],
)
def test_a_state_without_a_hash_is_read_with_its_shapes_checked(tmp_path, name, change):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "state.safetensors"
    state = Moments().update(clouds()["shifted"])
    state.save(path)
    with safe_open(path, "numpy") as file:
        meta = {key: value for key, value in file.metadata().items() if key != "sha256"}
    arrays = load_file(path)
    save_file(arrays, path, meta)  # as the first versions wrote it
    assert np.array_equal(Moments.load(path).scatter, state.scatter)
    changed = {} if change is None else {name: np.ascontiguousarray(change(arrays[name]))}
    save_file({key: value for key, value in arrays.items() if key != name} | changed, path, meta)
    with pytest.raises(InputError, match="cannot be read as moments"):
        Moments.load(path)


def test_an_empty_state_is_saved_and_loaded(tmp_path):
    Moments().save(tmp_path / "state.safetensors")
    assert (state := Moments.load(tmp_path / "state.safetensors")).n == 0
    assert state.update(clouds()["shifted"]).n == len(clouds()["shifted"])


def test_shapes_and_types_are_checked():
    with pytest.raises(ValueError, match="shape"):
        Moments().update(np.zeros(3))
    with pytest.raises(ValueError, match="real"):
        Moments().update(np.zeros((3, 2), complex))
    with pytest.raises(ValueError, match="dimensions"):
        Moments().update(np.ones((3, 2))).update(np.ones((3, 4)))


def test_read_only_strided_and_integer_input():
    x = clouds()["random"]
    x.flags.writeable = False
    assert_close(Moments().update(x[::2, ::-1]), direct(x[::2, ::-1]), 1e-11, x)
    whole = np.arange(12).reshape(4, 3)
    assert_close(Moments().update(whole), direct(whole), 1e-11, whole)
    assert_close(Moments().update(whole.tolist()), direct(whole), 1e-11, whole)


def test_without_directions_the_rest_is_the_same(tmp_path):
    x = clouds()["shifted"]
    whole, part = Moments().update(x), Moments(directions=False).update(x[:100]).update(x[100:])
    for name in ("scatter", "cubic", "quartic", "norm_sum", "norm_scatter", "mean"):
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    assert part.n_directions == part.sphere_mean.size == part.sphere_scatter.size == 0
    with pytest.raises(ValueError, match="directions"):
        whole.merge(part)
    part.save(tmp_path / "state.safetensors")
    assert not Moments.load(tmp_path / "state.safetensors").directions


def test_rounding_of_a_product_does_not_grow_with_the_block():
    """Float32 pieces are added up in float64, so 16 times the rows leave the relative error where it was."""
    x = np.random.default_rng(0).normal(size=(16 * GRAM_ROWS, 4)).astype(np.float32)
    errors = []
    for n in (GRAM_ROWS, 16 * GRAM_ROWS):
        exact = x[:n].astype(np.float64).T @ x[:n].astype(np.float64)
        errors.append(np.abs(gram(torch.from_numpy(x[:n])).numpy() - exact).max() / exact.max())
    assert errors[0] < 1e-6
    assert errors[1] < 2 * errors[0] + 1e-8
